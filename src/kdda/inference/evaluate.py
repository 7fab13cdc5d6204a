"""`kdda evaluate`: any checkpoint's scores on any dataset, its predictions, and what was skipped or repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from kdda.data.adapters import to_rows
from kdda.data.examples import ARGUMENT_ADVICE, CheckedRows, Schema, check_rows
from kdda.errors import KddaError
from kdda.inference.checkpoint import choose_task, counted, encoder_of_config, label_names
from kdda.inference.columns import in_words, missing_columns, with_columns_in_training
from kdda.models.load import load_checkpoint, load_config
from kdda.runtime.files import write_output
from kdda.tasks.base import Prediction, Task
from kdda.tasks.prediction import predict
from kdda.text.encode import Encoder


@dataclass(frozen=True)
class Evaluation:
    """Scores of a checkpoint on a dataset, and what it predicted.

    Attributes:
        scores: name → score, in per cent where it is one; with `task`, `rows` and `seconds`.
        predictions: one a row, in the rows' order.
        warnings: what was skipped, repaired or truncated, with counts.
    """

    scores: dict[str, Any]
    predictions: Sequence[Prediction]
    warnings: list[str]


def evaluate(
    model: str | Path,
    dataset: Any,
    task: str | Task | None = None,
    language: str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    labels: Mapping[str, str | None] | None = None,
    task_options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score a checkpoint on a dataset.

    Args:
        model: a folder, or a Hub id.
        dataset: a file or Hub split as `kdda.data.sources.Source` names it, a list of dicts, or a `datasets.Dataset`.
        task: a task or its name; the model's by default.
        language: whose scoring rules hold (``vi``, ``en``, …); what the checkpoint stores, or ``vi``, by default.
        columns: task field → the dataset's column, where they differ; several of a field that holds a list.
        labels: the dataset's label value, as text → the checkpoint's label name, or None to skip such rows.
        task_options: options of the task, instead of those that the checkpoint stores.

    Raises:
        KddaError: no such task, a checkpoint without the task's head or label names, or bad rows.

    >>> evaluate("out/final", [{"premise": "…", "hypothesis": "…", "label": "neutral"}])  # doctest: +SKIP
    """
    schema = Schema((), columns or {}, labels or {}, ARGUMENT_ADVICE)
    return evaluate_rows(model, dataset, schema, task, language, task_options)


def evaluate_rows(
    model: str | Path,
    dataset: Any,
    schema: Schema,
    task: str | Task | None = None,
    language: str | None = None,
    task_options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Score a checkpoint on a dataset, as `evaluate` does.

    Args:
        schema: how the dataset names columns and labels, and what messages may advise; its label names are replaced by
            the checkpoint's.
    """
    name = str(model)
    chosen = choose_task(task, load_config(name), name, task_options)
    checkpoint = load_checkpoint(name, head=chosen.head)
    if checkpoint.new_head:
        raise KddaError(f'"{name}" has no {chosen.head} head: fine-tune it first, for example with kdda run')
    config = checkpoint.model.config
    chosen.check_outputs(config, name)
    chosen.check_columns(schema.columns)
    names = _named_labels(config, name) if chosen.labelled else []
    schema = replace(schema, labels=tuple(names), label_map=_by_names(schema.label_map, names, chosen))
    rows = to_rows(dataset)
    naming = []  # a line about columns that are read as in training
    if rows:
        named = schema.columns
        schema = with_columns_in_training(schema, config, chosen, rows[0], with_golds=True)
        if schema.columns != named:
            naming.append(f"columns as in training: {in_words(schema.columns)}")
    convert = chosen.convert(schema)
    try:
        checked = check_rows(rows, convert)
    except KddaError as error:
        refusal = rows and missing_columns(rows[0].where, schema, config, chosen, rows[0], names, with_golds=True)
        raise refusal or error from None
    started = perf_counter()
    rules = language or getattr(config, "kdda_language", None) or "vi"
    encoder = encoder_of_config(config, checkpoint.tokenizer, checkpoint.segmenter)
    features = chosen.encode(checked.examples, encoder)
    predictions = predict(checkpoint.model, chosen, features, encoder, names, rules)
    seconds = round(perf_counter() - started, 3)
    scores = {"task": chosen.name, "seconds": seconds, **chosen.score(predictions, names)}
    return Evaluation(scores, predictions, [*naming, *_warnings(checked, encoder)])


def _named_labels(config: Any, name: str) -> list[str]:
    """A checkpoint's label names, which rows with labels are compared with.

    Raises:
        KddaError: the checkpoint has numbers alone.
    """
    names = label_names(config)
    if all(label.startswith("LABEL_") for label in names):
        raise KddaError(
            f'"{name}" has no names for its labels ({", ".join(names)}): write id2label into its '
            "config.json, in the order of its outputs"
        )
    return names


def _by_names(label_map: Mapping[str, str | None], names: Sequence[str], task: Task) -> dict[str, str | None]:
    """A dataset's label value → the checkpoint's label, also where the map has another word for it, "kéo theo".

    Args:
        names: of the checkpoint's labels.
    """
    named: dict[str, str | None] = {}
    for value, label in label_map.items():
        if label is not None and label not in names and task.label_meant(label) in names:
            label = task.label_meant(label)
        named[value] = label
    return named


def _warnings(checked: CheckedRows, encoder: Encoder) -> list[str]:
    """Rows that were skipped or repaired, and texts that were truncated or split, as lines."""
    return [*counted(checked.skipped), *counted(checked.repaired), *counted(encoder.counts)]


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as JSONL, one a line; the file is whole, or stays as it was."""
    write_output(path, map(_as_line, predictions))


def _as_line(prediction: Prediction) -> str:
    """A prediction as a line of JSON."""
    return json.dumps(asdict(prediction), ensure_ascii=False, allow_nan=False) + "\n"
