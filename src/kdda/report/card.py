"""The model card that goes with every saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData


def write_card(
    folder: Path,
    *,
    title: str,
    languages: Sequence[str],
    base: str,
    licence: str,
    teachers: Mapping[str, str],
    data: Mapping[str, Mapping[str, Any]],
    metric: str,
    scores: Mapping[str, Mapping[str, Any]],
    note: str,
) -> None:
    """Write README.md: what the model is made of, and what it scored where."""
    known = licence if licence != "unknown" else None
    lines = [
        f"# {title}",
        "",
        f"Fine-tuned from `{base}` (licence: {licence}) with kdda.",
        "",
    ]
    lines += [f"| language | teacher | training rows | test {metric.replace('_', ' ')} |", "|---|---|---:|---:|"]
    for language in languages:
        found = scores.get(language, {}).get(metric)
        score = "" if found is None else f"{found:.1f}"
        lines.append(f"| {language} | {teachers.get(language, 'none')} | {data[language]['train']} | {score} |")
    lines += ["", "One run, one seed: its score has no spread of its own.", note]
    data_card = ModelCardData(language=list(languages), license=known, library_name="transformers", tags=["kdda"])
    (folder / "README.md").write_text(
        f"---\n{data_card.to_yaml()}\n---\n\n" + "\n".join(lines).rstrip() + "\n", encoding="utf-8"
    )
    ModelCard.load(folder / "README.md")  # what we write must be what the Hub reads
