"""predictions.jsonl, a line a test row: its language, what was predicted and what is right; and a row's score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdda.runs.events import BrokenRunError, parse_object, read_run_file
from kdda.runs.folder import PREDICTIONS, Run

CORRELATION = "spearman"  # the row score of tasks whose arms are compared by a correlation over rows


class RowScore(NamedTuple):
    """A test row's score in per cent, the group it belongs to (its premise or passage), and the row as written.

    `weight` is the row's in the mean over rows: all rows have 1, but where a score counts spans.
    """

    score: float
    group: str
    row: dict[str, Any]
    weight: float = 1.0


def prediction_line(language: str, prediction: Mapping[str, Any]) -> str:
    """A prediction as one line of predictions.jsonl.

    >>> prediction_line("vi", {"id": "1", "predicted": "neutral"})
    '{"language": "vi", "id": "1", "predicted": "neutral"}\\n'
    """
    return json.dumps({"language": language, **prediction}, ensure_ascii=False, allow_nan=False) + "\n"


def read_predictions(folder: Path, language: str) -> list[dict[str, Any]]:
    """The test rows of one language in a run folder, in order; empty where nothing was predicted.

    Raises:
        BrokenRunError: a line that is no prediction; names it.
    """
    path = folder / PREDICTIONS
    rows = []
    for number, line in enumerate(read_run_file(path).split("\n"), 1):
        row = parse_object(line or "{}", f"{path}:{number}")
        if row.get("language") == language:
            rows.append(row)
    return rows


def row_score(row: Mapping[str, Any], kind: str | None = None) -> float:
    """A prediction's score in per cent.

    Args:
        row: a line of predictions.jsonl, or a prediction as a dict.
        kind: "accuracy" compares the label with the gold one; "spearman", of tasks whose arms are compared by a
            correlation over rows, gives minus the squared error; any other names the row's field that holds the score,
            from 0 to 1. By default "f1" where the row has it, which run folders of before `row_score` need.
    """
    if kind is None:
        kind = "f1" if "f1" in row else "accuracy"
    if kind == "accuracy":
        return 100.0 * float(row["gold"] == row["predicted"])
    if kind == CORRELATION:
        return -100.0 * (float(row["similarity"]) - float(row["gold"])) ** 2
    return 100.0 * float(row[kind])


def row_weight(row: Mapping[str, Any], field: str | None) -> float:
    """A prediction's weight in the mean over rows: the value of the field that the task names, else 1."""
    return float(row[field]) if field else 1.0


def row_scores(run: Run, language: str) -> dict[str, RowScore]:
    """Every test row's score by the row's id, as the run's task scores a row.

    Raises:
        BrokenRunError: a row without a field that it needs.
    """
    kind, weight = run.task_event.get("row_score"), run.task_event.get("row_weight")
    scores = {}
    for row in read_predictions(run.folder, language):
        try:
            for name in ("id", "group"):
                if not isinstance(row[name], str):
                    raise TypeError(f"{name} {row[name]!r:.40}")
            scores[row["id"]] = RowScore(row_score(row, kind), row["group"], row, row_weight(row, weight))
        except (KeyError, TypeError, ValueError) as error:
            path = run.folder / PREDICTIONS
            raise BrokenRunError(f"{path}: a row of {language} is no prediction: {error!r:.80}") from None
    return scores
