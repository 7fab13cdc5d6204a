"""The model card that goes with every saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kdda.metrics.significance import Interval

HUB_TASKS = {"classification": "text-classification", "question-answering": "question-answering"}  # by a task's head


@dataclass(frozen=True)
class Made:
    """What a model was made of.

    Attributes:
        base, licence: the model that was fine-tuned, and its licence.
        teachers: language → the teacher that spoke, with its licence.
        rows: language → training rows.
        cautions: what a licence of these asks of whoever passes the model on.
    """

    title: str
    task: str
    head: str
    languages: Sequence[str]
    base: str
    licence: str
    teachers: Mapping[str, str]
    rows: Mapping[str, int]
    cautions: Sequence[str] = ()
    note: str = ""


def write_card(folder: Path, made: Made, metric: str, scores: Mapping[str, Interval]) -> None:
    """Write README.md: what the model is made of, and what it scored where, in per cent with 95 % intervals."""
    lines = [f"# {made.title}", "", f"Fine-tuned from `{made.base}` (licence: {made.licence}) with kdda.", ""]
    shown = metric.replace("_", " ")
    lines += [f"| language | teacher | training rows | test {shown} | 95 % interval |", "|---|---|---:|---:|---|"]
    for language in dict.fromkeys([*made.languages, *scores]):
        lines.append("| " + " | ".join(_row(language, made, scores.get(language))) + " |")
    lines += [
        "",
        "One run, one seed. The interval is that of the test rows (bootstrap over premises or passages); another",
    ]
    lines += ["seed would give another score."]
    lines += ["", *(f"**Licence:** {caution}." for caution in made.cautions), made.note]
    text = f"---\n{_metadata(made, metric, scores).to_yaml()}\n---\n\n" + "\n".join(lines).rstrip() + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    ModelCard.load(folder / "README.md")  # what we write must be what the Hub reads


def _row(language: str, made: Made, score: Interval | None) -> list[str]:
    cells = [language, made.teachers.get(language, "none"), str(made.rows.get(language, 0))]
    return [*cells, f"{score.mean:.1f}", f"{score.low:.1f} to {score.high:.1f}"] if score else [*cells, "", ""]


def _metadata(made: Made, metric: str, scores: Mapping[str, Interval]) -> ModelCardData:
    known = "other" if made.cautions else made.licence
    return ModelCardData(
        language=list(made.languages),
        license=known if known != "unknown" else None,
        library_name="transformers",
        pipeline_tag=HUB_TASKS[made.head],
        tags=["kdda"],
        base_model=made.base if "/" in made.base and not Path(made.base).exists() else None,
        model_name=made.title,
        eval_results=[
            EvalResult(
                task_type=HUB_TASKS[made.head],
                dataset_type=f"{made.task}-{language}",
                dataset_name=f"{made.task}, {language} test rows",
                metric_type=metric,
                metric_value=round(score.mean, 2),
            )
            for language, score in scores.items()
        ],
    )
