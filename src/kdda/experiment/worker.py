"""One run and why it failed (failure.txt, a full disk), also in a worker process, which gets runs as lines of JSON."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import nullcontext, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from kdda.errors import Interrupted, KddaError
from kdda.experiment.context import RunContext
from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun
from kdda.recipe.schema import Recipe, TeacherSpec
from kdda.runs.folder import FAILURE
from kdda.runtime import distributed
from kdda.runtime.folders import is_disk_full
from kdda.runtime.live import Receiver, Update, print_line, tell_stage, updates_to
from kdda.runtime.memory import free_bytes, leave_out_live_objects
from kdda.runtime.plugins import import_plugins

FULL_DISK_BYTES = 16 * 2**20  # free bytes, below which an error that has no errno is put down to a full disk

END_OF_RUN = "\x04"  # the character "end of transmission": a line of it ends what a worker prints of one run

UPDATE = "\x1e"  # begins a line of standard error that is an update of the live picture: a separator of records

SECONDS_BETWEEN_COUNTS = 0.25  # at least, between two updates of how much is done

LONGEST_REASON = 300  # characters of the one line that says why a run failed


def run_one(context: RunContext, run: RunSpec, receiver: Receiver | None = None) -> str | None:
    """Execute a run, and catch its errors. What a failed run leaves is continued the next time.

    Args:
        receiver: told how far the run is; nobody by default.

    Returns:
        The reason of a failure in one line, or None.
    """
    try:
        with updates_to(receiver) if receiver else nullcontext():
            tell_stage("preparing")
            context.execute(run)
    except (Interrupted, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever it is, other runs go on
        if distributed.size() > 1:  # other ranks would wait for this one: let the launcher end them all
            raise
        reason = _reason_in_one_line(error, context.out)
        context.say(f"  {run}: FAILED: {reason}")
        if isinstance(run, StudentRun):
            folder = run.folder(context.out, context.task.name)
            _write_failure(folder, f"{reason}\n\n{traceback.format_exc()}")
        return reason
    return None


# Parts of the reasons of failures that the same command, given again, can get over.
PASSING = (
    "the same command continues",
    "interrupted",
    "killed by signal",
    "its process ended",
    "OutOfMemoryError",
    "MemoryError",
    "OSError",
    "ConnectionError",
    "Timeout",
    "could not be written",
)


def can_pass(reason: str) -> bool:
    """Whether a run that failed for a reason may succeed when it is tried again, unlike one that diverged."""
    return any(part in reason for part in PASSING)


def _write_failure(folder: Path, text: str) -> None:
    """Write why a run failed into failure.txt of its folder."""
    with suppress(OSError):  # the disk may be full, or the folder not made yet
        (folder / FAILURE).write_text(text, encoding="utf-8")


def _reason_in_one_line(error: Exception, out: Path) -> str:
    """Why a run failed: kdda's message as it is, any other error with its type, and a full disk as such.

    Args:
        out: the output folder, whose disk may be full.
    """
    if isinstance(error, KddaError):
        return str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
    if _is_disk_full(error, text, out):
        return f"the disk of {out} is full ({text}); make room, and the same command continues"
    return text


def _is_disk_full(error: Exception, text: str, out: Path) -> bool:
    """Whether an error means that the disk of a folder is full.

    Args:
        text: the error in one line.
    """
    if is_disk_full(error):
        return True
    has_number = isinstance(error, OSError) or "os error" in text
    return not has_number and free_bytes(out) < FULL_DISK_BYTES  # torch fails to write without any errno


def to_json(context: RunContext, run: RunSpec) -> dict[str, Any]:
    """A run and all that it needs, as JSON for another process.

    Returns:
        "recipe"; "out", the output folder; "save", which models are saved; "folder", the working directory, in which
        plugins are looked for; "is_drawn", whether the live picture waits for updates; and "run", with the fields of a
        `StudentRun`, or with "language" and "spec" of a `TeacherRun`.
    """
    values = vars(run)  # the fields of a dataclass
    if isinstance(run, TeacherRun):
        values = {"language": run.language, "spec": run.spec.model_dump()}
    return {
        "recipe": context.recipe.model_dump(by_alias=True),
        "out": str(context.out.absolute()),
        "save": context.save,
        "folder": str(Path.cwd()),
        "run": values,
        "is_drawn": context.view.is_drawn,
    }


def from_json(values: dict[str, Any]) -> tuple[RunContext, RunSpec]:
    """The run of `to_json` in this process, which imports the recipe's plugins and reads its rows.

    Rows that the last call has read are used again where recipe and folders are the same.
    """
    run = values["run"]
    shared = {name: value for name, value in values.items() if name != "run"}
    context = _context(json.dumps(shared, allow_nan=False))
    if "spec" in run:
        return context, TeacherRun(run["language"], TeacherSpec.model_validate(run["spec"]))
    return context, StudentRun(**run)


@lru_cache(maxsize=1)
def _context(shared: str) -> RunContext:
    """What the runs of one experiment share, from the values of `to_json` that all of them have, as JSON."""
    values = json.loads(shared)
    recipe = Recipe.model_validate(values["recipe"])
    import_plugins(recipe.plugins, Path(values["folder"]))
    console = Console(stderr=True)
    context = RunContext.open(recipe, Path(values["out"]), partial(print_line, console), values["save"])
    leave_out_live_objects()
    return context


class _UpdateLines:
    """Prints the updates of this process on standard error, a line each; of counts, a few a second are enough."""

    def __init__(self) -> None:
        self._next_count = 0.0  # when another count is printed

    def __call__(self, update: Update) -> None:
        """Print an update, unless it is a count that soon has a successor."""
        if update.get("done") and time.monotonic() < self._next_count:
            return
        if "done" in update:
            self._next_count = time.monotonic() + SECONDS_BETWEEN_COUNTS
        print(f"{UPDATE}{json.dumps(update)}", file=sys.stderr, flush=True)


def parse_update(line: str) -> Update | None:
    """The update that a line of a worker's standard error is; None for any other line."""
    if not line.startswith(UPDATE):
        return None
    update: Update = json.loads(line.removeprefix(UPDATE))
    return update


def main() -> None:
    """Execute the runs that standard input names, a line of `to_json` each, until a line says null.

    After each run standard error gets `END_OF_RUN`, and standard output a line of JSON: ``{"failed": null}``, or the
    reason of the failure in place of null. What a run prints to standard output goes to standard error.
    """
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # of libraries that are not Python
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell's & ignores Ctrl-C, so would this process
    sys.stdout = sys.stderr
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    try:
        while (values := json.loads(lines.get())) is not None:
            receiver = _UpdateLines() if values["is_drawn"] else None
            _tell_result(results, run_one(*from_json(values), receiver))
    except (Interrupted, KeyboardInterrupt) as interrupt:
        _tell_result(results, str(interrupt) or "interrupted")


def _tell_result(results: TextIO, reason: str | None) -> None:
    """Tell the parent that a run has ended, and why it failed, if it did."""
    print(END_OF_RUN, file=sys.stderr, flush=True)
    print(json.dumps({"failed": reason}, allow_nan=False), file=results, flush=True)


def _read_lines(lines: queue.SimpleQueue[str]) -> None:
    """Hand on the lines of standard input; exit where they end, since the parent was killed.

    An orphan would hold the locks of its run.
    """
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)
