"""What stands below an output folder: runs and teachers with their states, scores and sizes (`kdda runs`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.runs.events import BrokenRunError, parse_object, read_metrics, read_run_file
from kdda.runs.folder import (
    FAILURE,
    METRICS,
    MODEL_FOLDER,
    RECIPE,
    RUN_NAME,
    STATES,
    SYSTEMS,
    TEACHER_RECORD,
    TEACHERS,
    Run,
    is_complete,
    read_run,
)
from kdda.runtime.folders import folder_size, what_is_near
from kdda.runtime.lock_files import is_locked

# States of a run or of a teacher that is fine-tuned.
FINISHED = "finished"
RUNNING = "running"  # a process writes its folder now
STOPPED = "stopped"  # the same `kdda run` continues it
FAILED = "failed"  # for the reason in failure.txt
BROKEN = "broken"  # files that cannot be read


@dataclass(frozen=True)
class RunEntry:
    """A run, or a teacher that was fine-tuned.

    Attributes:
        state: `FINISHED`, `RUNNING`, `STOPPED`, `FAILED` or `BROKEN`.
        detail: the step where it stands, or the reason why it failed or is broken; empty of a finished one.
        score: with the metric's name; on the target languages' test rows, before them on development rows.
        size: of its folder, in bytes.
    """

    folder: Path
    is_teacher: bool
    state: str
    detail: str
    score: str
    size: int


def list_runs(root: Path) -> list[RunEntry]:
    """Every run and teacher below a folder, in the order of their folders' names.

    Raises:
        KddaError: no such folder.
    """
    check_is_folder(root)
    entries = []
    for folder in run_folders(root):
        entries.append(_run_entry(folder))
    for folder in teacher_folders(root):
        entries.append(_teacher_entry(folder))
    return entries


def check_is_folder(root: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        KddaError: names it, and where run folders are.
    """
    if not root.is_dir():
        near = what_is_near(root)
        raise KddaError(f'no folder "{root}": name the folder that kdda run --out has written{near}')


def run_folders(root: Path) -> Iterator[Path]:
    """The folders of students' runs, finished or not; those of systems, which no training has made, are left out."""
    for folder in _folders(root):
        if RUN_NAME.fullmatch(folder.absolute().name) and (folder / RECIPE).is_file():
            yield folder


def saved_models(root: Path) -> dict[str, Path]:
    """The models of the finished runs below an output folder: the run folder's path from there → the model's folder."""
    models = {}
    for folder in run_folders(root):
        model = folder / MODEL_FOLDER
        if is_complete(folder) and model.is_dir():
            models[folder.relative_to(root).as_posix()] = model
    return models


def teacher_folders(root: Path) -> Iterator[Path]:
    """The folders of teachers that were fine-tuned, to the end or not."""
    for folder in _folders(root):
        has_files = (folder / METRICS).is_file() or (folder / TEACHER_RECORD).is_file()
        if folder.absolute().parent.name == TEACHERS and has_files:
            yield folder


def state_folders(root: Path) -> Iterator[Path]:
    """The folders under which teacher states are stored."""
    for folder in _folders(root):
        if folder.absolute().name == STATES and folder.absolute().parent.name == TEACHERS:
            yield folder


def _folders(root: Path) -> Iterator[Path]:
    """A folder and those below it, by name; not hidden ones, links, and what is inside runs, teachers and caches."""
    for path, names, _files in os.walk(root):
        folder = Path(path).absolute()
        is_leaf = RUN_NAME.fullmatch(folder.name) or folder.parent.name == TEACHERS
        visible = []
        if not is_leaf and folder.name != SYSTEMS:
            for name in sorted(names):
                if not name.startswith("."):
                    visible.append(name)
        names[:] = visible  # which os.walk goes on with
        yield Path(path)


def _run_entry(folder: Path) -> RunEntry:
    """The entry of a student's run."""
    size = folder_size(folder)
    try:
        run = read_run(folder)
    except KddaError as error:
        return RunEntry(folder, False, BROKEN, str(error), "", size)
    if is_complete(folder):
        return RunEntry(folder, False, FINISHED, "", _test_score(run), size)
    state = STOPPED
    detail = _step(run.events)
    failure = _first_line(folder / FAILURE)
    if is_locked(folder):
        state = RUNNING
    elif failure:
        state = FAILED
        detail = failure
    return RunEntry(folder, False, state, detail, _last_dev_score(run.events), size)


def _teacher_entry(folder: Path) -> RunEntry:
    """The entry of a teacher."""
    size = folder_size(folder)
    try:
        events = read_metrics(folder / METRICS)
        record = parse_object(read_run_file(folder / TEACHER_RECORD) or "{}", str(folder / TEACHER_RECORD))
    except BrokenRunError as error:
        return RunEntry(folder, True, BROKEN, str(error), "", size)
    if record:
        score = _dev_score(events, record.get("dev") or {})
        return RunEntry(folder, True, FINISHED, "", score, size)
    state = RUNNING if is_locked(folder) else STOPPED
    return RunEntry(folder, True, state, _step(events), _last_dev_score(events), size)


def _metric(events: list[dict[str, Any]]) -> str:
    """The main score of the events' task; empty where they do not name it."""
    for event in events:
        if event["event"] == "task":
            return str(event["metric"])
    return ""


def _test_score(run: Run) -> str:
    """A finished run's score on the test rows of its target languages, such as ``accuracy vi 56.3, id 51.0``."""
    metric = _metric(run.events)
    target = run.recipe.get("target")
    targets = target if isinstance(target, list) else [str(target)]
    parts = []
    for language in targets:
        score = run.test.get(language, {}).get(metric)
        if isinstance(score, int | float):
            parts.append(f"{language} {score:.1f}")
    return f"{metric} {', '.join(parts)}" if parts else ""


def _last_dev_score(events: list[dict[str, Any]]) -> str:
    """The score of the last evaluation during a training; empty before the first."""
    for event in reversed(events):
        if event["event"] == "dev":
            return _dev_score(events, event)
    return ""


def _dev_score(events: list[dict[str, Any]], scores: Mapping[str, Any]) -> str:
    """The main one of some scores on development rows, such as ``accuracy 48.0 (dev)``."""
    metric = _metric(events)
    score = scores.get(metric)
    if not isinstance(score, int | float):
        return ""
    return f"{metric} {score:.1f} (dev)"


def _step(events: list[dict[str, Any]]) -> str:
    """The last step of a training that was logged, in words; empty before the first."""
    for event in reversed(events):
        if "step" in event:
            return f"step {event['step']}"
    return ""


def _first_line(path: Path) -> str:
    """The first line of a text file; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return ""
