"""metrics.jsonl: one event a line, in the order in which they happened.

Every event has `event`, its kind, and `seconds`, the training time so far over all sittings. Kinds:

- ``task``: the task's name, its main `metric`, the `scores` of a table, and per language the sizes of the training
  data; from it a report knows how to score a row (`row_score`, `row_weight`) and what to break scores down by
  (`breakdown`);
- ``train``, ``step``, ``dev``: terms of the loss by language, the optimizer's state, scores of an evaluation;
- ``teacher-lead``: after an evaluation, the scores of `student` and `teacher` on development rows, since which epoch
  the student is ahead (`ahead_since`), and whether the teacher is `stopped`;
- ``final-teacher``: a teacher's scores on the development rows of its language, and its `training_seconds`;
- ``final-dev``, ``final-test``: the selected model's scores by language;
- ``final-retrieval``: how often translations among the development rows of `language` and `other` are each other's
  nearest texts, of tasks that turn texts into vectors;
- ``final-cost``: the peak memory of the process;
- ``system``: how an open-domain system answers (`kdda.report.open_domain`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdda.errors import KddaError

# Fields that every event of a kind has, with their types.
REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "task": {"metric": str, "scores": list},
    "train": {"language": str, "step": int},
    "step": {"step": int},
    "dev": {"step": int},
    "teacher-lead": {"language": str, "model": str, "step": int},
    "final-teacher": {"language": str, "model": str},
    "final-dev": {"language": str},
    "final-test": {"language": str},
    "final-retrieval": {
        "language": str,
        "other": str,
        "src_to_tgt": (int, float),
        "tgt_to_src": (int, float),
        "pairs": int,
    },
}


class BrokenRunError(KddaError):
    """A run folder with a file that cannot be read, or that does not hold what a run's file holds."""


def read_run_file(path: Path) -> str:
    """The text of a file of a run folder; empty where there is no such file.

    Raises:
        BrokenRunError: it is not UTF-8.
    """
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BrokenRunError(f"{path}: not UTF-8 at byte {error.start}") from None


def parse_object(text: str, where: str) -> dict[str, Any]:
    """The JSON object of a run's file or line, whose place is `where`.

    Raises:
        BrokenRunError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenRunError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BrokenRunError(f"{where}: got {type(value).__name__}, expected an object")
    return value


def event_line(event: Mapping[str, Any]) -> str:
    """An event as one line of metrics.jsonl; numbers that are not finite, which JSON lacks, are null.

    No error: a training that diverges is told by the trainer, with its step.

    >>> event_line({"event": "step", "step": 1})
    '{"event": "step", "step": 1}\\n'
    """
    return json.dumps(_without_infinite(event), ensure_ascii=False, allow_nan=False) + "\n"


def _without_infinite(value: Any) -> Any:
    """A value of an event, in which None stands for every number that is not finite."""
    if isinstance(value, Mapping):
        members = {}
        for name, member in value.items():
            members[name] = _without_infinite(member)
        return members
    if isinstance(value, list | tuple):
        return list(map(_without_infinite, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics file, in order; a last line cut by a kill is skipped.

    Raises:
        BrokenRunError: another line that is no event; names it.
    """
    events = []
    whole_lines = read_run_file(path).split("\n")[:-1]
    for number, line in enumerate(whole_lines, 1):
        if line.endswith("}"):
            event = parse_object(line, f"{path}:{number}")
            _check_event(event, f"{path}:{number}")
            events.append(event)
    return events


def _check_event(event: Mapping[str, Any], where: str) -> None:
    """Refuse an event that lacks what readers of its kind take for granted."""
    kind = event.get("event")
    if not isinstance(kind, str):
        raise BrokenRunError(f'{where}: no "event", which tells what a line is about')
    for name, expected in REQUIRED.get(kind, {}).items():
        if not isinstance(event.get(name), expected):
            raise BrokenRunError(f"{where}: a {kind} event with {name} {event.get(name)!r:.40}")
    if kind == "train":
        for term in ("task", "transport", "marginal_error"):
            check_number(event, term, where, 0.0)
    if kind == "teacher-lead" and event.get("ahead_since") is not None:
        check_number(event, "ahead_since", where)
    if kind == "final-cost":  # those of systems have no peak
        check_number(event, "peak_mb", where, 0.0)
    if kind == "task":
        _check_task(event, where)


def _check_task(event: Mapping[str, Any], where: str) -> None:
    """Refuse a task's event whose scores have no names, or whose sizes of the training data are no numbers of rows."""
    for name in event["scores"]:
        if not isinstance(name, str):
            raise BrokenRunError(f"{where}: a task event with a score {name!r:.40}")
    sizes_by_language = event.get("data", {})
    if not isinstance(sizes_by_language, dict):
        raise BrokenRunError(f"{where}: a task event with data {sizes_by_language!r:.40}")
    for language, sizes in sizes_by_language.items():
        if not isinstance(sizes, dict) or not isinstance(sizes.get("rows"), int):
            raise BrokenRunError(f"{where}: a task event with data.{language} {sizes!r:.40}")


def check_number(event: Mapping[str, Any], name: str, where: str, default: Any = None) -> None:
    """Refuse an event whose field of this name, or the default where it has none, is no number.

    Raises:
        BrokenRunError: names the event's kind, the field and its value.
    """
    value = event.get(name, default)
    if not isinstance(value, int | float):
        raise BrokenRunError(f"{where}: a {event['event']} event with {name} {value!r:.40}")
