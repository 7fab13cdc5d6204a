"""Any checkpoint's scores on any file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from kdda.data.examples import Schema, check_rows
from kdda.data.sources import Source, read_rows
from kdda.errors import KddaError, did_you_mean
from kdda.models.families import position_limit
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.tasks.base import Prediction, predict
from kdda.tasks.registry import TASKS
from kdda.text.encode import Encoder

MAX_LENGTH = 384  # tokens, for checkpoints that do not remember how they were trained


@dataclass(frozen=True)
class Evaluation:
    """Scores of a checkpoint on a file, and what it predicted."""

    scores: dict[str, Any]
    predictions: Sequence[Prediction]
    warnings: list[str]


def evaluate(
    model: str, task: str, source: Source, schema: Schema | None = None, language: str | None = None
) -> Evaluation:
    """Score a checkpoint (a folder or a Hub id) on one file or Hub split.

    Args:
        task: a key of `TASKS`.
        schema: how the source names columns and labels, where it differs; the labels are the checkpoint's own.
        language: whose scoring rules hold; what the checkpoint remembers, or ``vi``, by default.

    Raises:
        KddaError: no such task, a checkpoint without the task's head or label names, bad rows.
    """
    if task not in TASKS:
        raise KddaError(f'--task: found "{task}"{did_you_mean(task, TASKS)}; there are {", ".join(TASKS)}')
    checkpoint = load_checkpoint(model, head=TASKS[task].head)
    if checkpoint.new_head:
        raise KddaError(f'"{model}" has no {TASKS[task].head} head: fine-tune it first, for example with kdda run')
    config = checkpoint.model.config
    check_outputs(config, model, task)
    own = TASKS[task].with_settings(config.to_dict())
    labels = _labels(checkpoint) if own.labelled else []
    named = replace(schema or Schema(), labels=tuple(labels))
    checked = check_rows(read_rows(source), own.convert(named))
    started = perf_counter()
    spoken = language or getattr(config, "kdda_language", None) or "vi"
    encoder = encoder_of_config(config, checkpoint.tokenizer, checkpoint.segmenter)
    features = own.encode(checked.examples, encoder)
    found = predict(checkpoint.model, own, features, encoder, labels, spoken)
    seconds = round(perf_counter() - started, 3)
    scores = own.score(found, labels)
    counts = [*checked.skipped.items(), *checked.repaired.items(), *encoder.counts.items()]
    warnings = [f"{count:,} × {what}" for what, count in counts if count]
    return Evaluation({"task": task, "seconds": seconds, **scores}, found, warnings)


def check_outputs(config: Any, name: str, task: str) -> None:
    """Refuse heads of the right kind and the wrong size.

    Raises:
        KddaError: a reader whose head does not give a start and an end.
    """
    if task == "qa" and config.num_labels != 2:
        raise KddaError(
            f'"{name}": its head gives {config.num_labels} numbers a token; an answer has a start and an end'
        )


def encoder_of_config(config: Any, tokenizer: Any, segmenter: str) -> Encoder:
    """The encoder that a checkpoint was trained with, as far as its config remembers."""
    longest = min(getattr(config, "kdda_max_length", MAX_LENGTH), position_limit(config))
    return Encoder(tokenizer, segmenter, longest, getattr(config, "kdda_stride", 128))


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """One prediction a line."""
    lines = [json.dumps(asdict(own), ensure_ascii=False) + "\n" for own in predictions]
    path.write_text("".join(lines), encoding="utf-8")


def _labels(checkpoint: Checkpoint) -> list[str]:
    names: dict[int, str] = checkpoint.model.config.id2label
    found = [str(names[i]) for i in sorted(names)]
    if all(name.startswith("LABEL_") for name in found):
        raise KddaError(
            f'"{checkpoint.name}" has no names for its labels ({", ".join(found)}): write id2label into its '
            "config.json, in the order of its outputs"
        )
    return found
