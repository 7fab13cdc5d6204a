"""The model card (README.md) of every saved model: scores, licences, the Hub's metadata, words on mini models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kdda.hub.licences import UNKNOWN
from kdda.metrics.significance import Interval

CARD = "README.md"  # the file's name, which the Hub prescribes

# Stands below the table of scores: what its interval covers, and what not.
SPREAD = """\
One run, one seed. The interval is that of the test rows (bootstrap over premises or passages); another
seed would give another score."""

MINI_PREFIX = "mini/"  # names of the mini models, which come with kdda

MOST_LABELS = 30  # that a card names

AND = " and "  # between several teachers of a language


@dataclass(frozen=True)
class ModelCardFacts:
    """What a model card tells besides the scores.

    Attributes:
        title: the card's heading, and the model's name in the Hub's metadata.
        task: kdda's name of the task.
        pipeline_tag: the Hub's name of the task, such as ``text-classification``.
        languages: the languages of the training rows.
        base: the model that was fine-tuned.
        licence: the base model's licence, or ``unknown``.
        teachers: language → its teacher, with the teacher's licence; several joined by `AND`.
        rows: language → number of training rows.
        unlabelled: the languages whose training rows have no labels.
        licence_warnings: what the licences of these models require of whoever redistributes the model.
        note: a paragraph at the end of the card.
        use: what the model does and how it is called, such as ``labels texts: classify(text)``; empty without a task.
        labels: names of its outputs, of tasks with labels.
    """

    title: str
    task: str
    pipeline_tag: str
    languages: Sequence[str]
    base: str
    licence: str
    teachers: Mapping[str, str]
    rows: Mapping[str, int]
    unlabelled: Collection[str] = ()
    licence_warnings: Sequence[str] = ()
    note: str = ""
    use: str = ""
    labels: Sequence[str] = ()


def write_card(folder: Path, facts: ModelCardFacts, metric: str, scores: Mapping[str, Interval]) -> None:
    """Write a model's README.md: its models, data and licences, and its scores on the test rows.

    Args:
        folder: the saved model's.
        metric: the name of the score.
        scores: language → mean score in per cent with its 95 % interval.
    """
    metadata = _metadata(facts, metric, scores).to_yaml()
    text = "\n".join(_body(facts, metric, scores)).rstrip()
    (folder / CARD).write_text(f"---\n{metadata}\n---\n\n{text}\n", encoding="utf-8")
    ModelCard.load(folder / CARD)  # raises where the Hub could not read it


def _body(facts: ModelCardFacts, metric: str, scores: Mapping[str, Interval]) -> list[str]:
    """The card's lines of Markdown: heading, table of languages, remarks on scores and licences, note."""
    lines = [f"# {facts.title}", "", f"Fine-tuned from `{facts.base}` (licence: {facts.licence}) with kdda.", ""]
    if facts.use:
        lines += [_about_use(facts), ""]
    lines += [f"| language | teacher | training rows | test {metric.replace('_', ' ')} | 95 % interval |"]
    lines += ["|---|---|---:|---:|---|"]
    for language in dict.fromkeys([*facts.languages, *scores]):  # each once: trained on, scored, or both
        cells = _table_row(language, facts, scores.get(language))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", SPREAD, ""]
    if _mini_models(facts):
        lines += [_about_mini_models(facts), ""]
    for warning in facts.licence_warnings:
        lines += [f"**Licence:** {warning}.", ""]
    return [*lines, facts.note]


def _about_use(facts: ModelCardFacts) -> str:
    """What the model does, its call in Python, and its labels: some of them, where they are many."""
    sentence = f"Task `{facts.task}`: it {facts.use.replace(': ', ', `kdda.load(…).', 1)}`."
    if not facts.labels:
        return sentence
    names = ", ".join(facts.labels[:MOST_LABELS])
    more = len(facts.labels) - MOST_LABELS
    return f"{sentence} Labels: {names}{f' and {more} more' if more > 0 else ''}."


def _table_row(language: str, facts: ModelCardFacts, score: Interval | None) -> list[str]:
    """A language's cells: code, teacher, training rows, score and interval; the last two empty without a score."""
    rows = str(facts.rows.get(language, 0))
    is_zero_shot = language not in facts.rows
    if language in facts.unlabelled:
        rows += ", no labels"
        is_zero_shot = True
    cells = [language, facts.teachers.get(language, "none"), rows]
    if score is None:
        return [*cells, "", ""]
    mean = f"{score.mean:.1f}"
    if is_zero_shot:  # no labels of this language in training
        mean += " (zero-shot)"
    return [*cells, mean, f"{score.low:.1f} to {score.high:.1f}"]


def _mini_models(facts: ModelCardFacts) -> list[str]:
    """The names of the mini models among base and teachers, each once, in Markdown."""
    models = []
    teachers = AND.join(facts.teachers.values()).split(AND)
    for model in (facts.base, *teachers):
        if model.startswith(MINI_PREFIX):
            models.append(f"`{model.split(' ')[0]}`")  # a teacher's licence follows its name after a space
    return list(dict.fromkeys(models))


def _about_mini_models(facts: ModelCardFacts) -> str:
    """The remark that scores of mini models are none of larger ones."""
    names = ", ".join(_mini_models(facts))
    return f"Made with mini models ({names}): small models to try kdda with, whose scores say nothing of larger ones."


def _metadata(facts: ModelCardFacts, metric: str, scores: Mapping[str, Interval]) -> ModelCardData:
    """What the Hub reads from the card's head: languages, licence, task, base model and scores."""
    return ModelCardData(
        language=list(facts.languages),
        license=_hub_licence(facts),
        library_name="transformers",
        pipeline_tag=facts.pipeline_tag,
        tags=["kdda"],
        base_model=_hub_base_model(facts.base),
        model_name=facts.title,
        eval_results=_eval_results(facts, metric, scores),
    )


def _hub_licence(facts: ModelCardFacts) -> str | None:
    """The licence field: ``other`` where any model's licence has a warning, None (no field) for an unknown one."""
    if facts.licence_warnings:
        return "other"
    if facts.licence == UNKNOWN:
        return None
    return facts.licence


def _hub_base_model(base: str) -> str | None:
    """The base model's Hub id; a local folder has none."""
    is_hub_id = "/" in base and not Path(base).exists()
    return base if is_hub_id else None


def _eval_results(facts: ModelCardFacts, metric: str, scores: Mapping[str, Interval]) -> list[EvalResult]:
    """The mean scores, one a language, as the Hub's metadata has them: in per cent with two decimals."""
    results = []
    for language, score in scores.items():
        result = EvalResult(
            task_type=facts.pipeline_tag,
            dataset_type=f"{facts.task}-{language}",
            dataset_name=f"{facts.task}, {language} test rows",
            metric_type=metric,
            metric_value=round(score.mean, 2),
        )
        results.append(result)
    return results
