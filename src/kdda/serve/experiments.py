"""Experiments that the page starts: `kdda run` as a process that outlives the server, one at a time, state on disk."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.load import built_in
from kdda.runs.listing import RunEntry, list_runs, run_folders, saved_models
from kdda.runtime.folders import make_folder
from kdda.runtime.lock_files import is_locked
from kdda.serve.experiment_process import INTERRUPTED, LOCKED, PROGRAM, RECORD, Record, current_name, read_record

OUTPUT = "output.txt"  # in an experiment's folder: what `kdda run` prints

TAIL_BYTES = 8_192  # of the output that is read

TAIL_LINES = 20  # of the output that are shown

PLAN_SECONDS = 600.0  # after which a plan is given up

START_SECONDS = 30.0  # within which a process has written its record, or has ended

POLL_SECONDS = 0.05

# States of an experiment.
NEW = "new"  # nothing of it has run
RUNNING = "running"
STOPPING = "stopping"  # asked to stop, and not stopped yet
ELSEWHERE = "elsewhere"  # a process that the page has not started writes its runs
FINISHED = "finished"
STOPPED = "stopped"  # the same start continues it
FAILED = "failed"


class BusyError(KddaError):
    """Another experiment is running."""

    def __init__(self, name: str):
        """Keep the name of the experiment that is running."""
        super().__init__(f"{name} is running; one experiment runs at a time")
        self.name = name


@dataclass(frozen=True)
class Choice:
    """An experiment that may be started.

    Attributes:
        name: what the page calls it, and what its folder is called, with - for /.
        recipe: what `kdda run` takes: a built-in recipe's name, or the path of a file.
        out: the folder of its runs.
    """

    name: str
    recipe: str
    out: Path


@dataclass(frozen=True)
class State:
    """How far an experiment is.

    Attributes:
        kind: `NEW`, `RUNNING`, `STOPPING`, `ELSEWHERE`, `FINISHED`, `STOPPED` or `FAILED`.
        record: of its last process, where the page has started one.
        entries: its teachers and runs so far.
        planned: how many runs of students it is going to have; 0 where that is not known.
        tail: the last lines that its process has printed.
    """

    kind: str
    record: Record | None
    entries: Sequence[RunEntry]
    planned: int
    tail: str


class Experiments:
    """The experiments of a folder: built-in recipes, and the YAML files that lie in it.

    Nothing that a browser sends becomes a path, a recipe or an argument: it names one of `choices`, and everything else
    about it is known here.

    Args:
        root: the folder; made where it does not exist. The recipe NAME.yaml and the built-in recipe NAME have their
            runs in root/NAME; a file goes before a built-in recipe of its name.
        without: variables of the environment that the processes do not get, such as the one with the server's token.

    Raises:
        KddaError: the folder cannot be made or written.
    """

    def __init__(self, root: Path, without: Sequence[str] = ()):
        self.root = root.absolute()
        make_folder(self.root)
        self._environment = _environment(without)
        self._lock = threading.RLock()  # one start or look at a time
        self._planning = threading.Lock()  # one plan at a time: it measures training steps
        self._process: subprocess.Popen[bytes] | None = None  # the last that was started, to be waited for
        self._plan: subprocess.Popen[str] | None = None  # the one that runs
        self._stopping = ""  # the experiment that was asked to stop

    def choices(self) -> dict[str, Choice]:
        """Every experiment by its name: files first, then built-in recipes."""
        choices = {}
        for path in sorted(self.root.glob("*.yaml")):
            if path.is_file() and not path.name.startswith("."):
                choices[path.stem] = Choice(path.stem, str(path), self.root / path.stem)
        for name in built_in():
            if name not in choices:
                choices[name] = Choice(name, name, self.root / name.replace("/", "-"))
        return choices

    def choice(self, name: str) -> Choice:
        """The experiment of a name.

        Raises:
            KddaError: there is none.
        """
        choices = self.choices()
        if name not in choices:
            raise KddaError(unknown_choice("experiment", name, choices))
        return choices[name]

    def running(self) -> str:
        """The name of the experiment that a process of this folder runs now, or ""."""
        with self._lock:
            if self._process is not None:
                self._process.poll()  # or a process that has ended stays in the system's table
            if not is_locked(self.root / LOCKED):
                self._stopping = ""
                return ""
            folder = current_name(self.root)
            for choice in self.choices().values():
                if choice.out.name == folder:
                    return choice.name
            return folder

    def state(self, name: str) -> State:
        """How far an experiment is.

        Raises:
            KddaError: no such experiment.
        """
        choice = self.choice(name)
        record = read_record(choice.out)
        entries = list_runs(choice.out) if choice.out.is_dir() else []
        output = _tail(choice.out / OUTPUT)
        kind = self._kind(choice, record)
        return State(kind, record, entries, _planned(choice.out / OUTPUT), output)

    def start(self, name: str, language: str) -> None:
        """Start an experiment, or continue it: `kdda run` uses its finished runs and checkpoints.

        Args:
            language: of the lines that it prints, as in `KDDA_LANG`.

        Raises:
            BusyError: an experiment of this folder is running.
            KddaError: no such experiment, another process writes its runs, or its folder cannot be written.
        """
        choice = self.choice(name)
        with self._lock:
            running = self.running()
            if running:
                raise BusyError(running)
            for folder in run_folders(choice.out):
                if is_locked(folder):
                    raise KddaError(f"another process is writing {folder}; wait for it")
            make_folder(choice.out)
            (choice.out / RECORD).unlink(missing_ok=True)  # of an earlier process
            arguments = [str(self.root), choice.out.name, "run", choice.recipe, "--out", str(choice.out)]
            with (choice.out / OUTPUT).open("wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", PROGRAM, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**self._environment, "KDDA_LANG": language},
                    **_detached(),
                )
            self._wait_for_record(self._process, choice.out)

    def stop(self, name: str) -> None:
        """Let an experiment write a checkpoint and stop, as Ctrl-C does; asked once more, it stops at once.

        Raises:
            KddaError: no such experiment.
        """
        choice = self.choice(name)
        with self._lock:
            record = read_record(choice.out)
            if record is None or record.exit_code is not None or self.running() != name:
                return
            self._stopping = name
            _interrupt(record.process)  # it is this number's process that holds the lock

    def plan(self, name: str, language: str) -> str:
        """What `kdda plan` prints of an experiment: what it needs and will cost, in Markdown.

        Args:
            language: of messages, as in `KDDA_LANG`.

        Raises:
            KddaError: no such experiment, or what `kdda plan` refuses.
        """
        choice = self.choice(name)
        command = [sys.executable, "-P", "-m", "kdda", "plan", choice.recipe, "--out", str(choice.out)]
        with self._planning, self._started_plan(command, language) as process:
            try:
                output, errors = process.communicate(timeout=PLAN_SECONDS)
            except subprocess.TimeoutExpired:
                raise KddaError(f"the plan of {name} took more than {PLAN_SECONDS:.0f} seconds") from None
        if not output.strip():
            raise KddaError(errors.strip() or f"kdda plan ended with exit code {process.returncode}")
        return output

    def close(self) -> None:
        """End a plan that is being made; an experiment goes on."""
        plan = self._plan
        if plan is not None:
            plan.kill()

    def students(self) -> dict[str, Path]:
        """The models of all finished runs: "EXPERIMENT: ARM/seed-N" → the folder of the model.

        Names alone go to a browser and come back from it; paths do not.
        """
        students = {}
        for choice in self.choices().values():
            if choice.out.is_dir():
                for run, folder in saved_models(choice.out).items():
                    students[_student(choice, run)] = folder
        return students

    def students_of(self, name: str) -> list[str]:
        """The names of one experiment's students, as in `students`."""
        choice = self.choice(name)
        if not choice.out.is_dir():
            return []
        return [_student(choice, run) for run in saved_models(choice.out)]

    def _kind(self, choice: Choice, record: Record | None) -> str:
        """The state of an experiment, of which `record` is the last process."""
        if self.running() == choice.name:
            return STOPPING if self._stopping == choice.name else RUNNING
        folders = list(run_folders(choice.out))
        if any(map(is_locked, folders)):
            return ELSEWHERE
        if record is None:
            return STOPPED if folders else NEW
        if record.exit_code == 0:
            return FINISHED
        was_stopped = record.exit_code in (None, INTERRUPTED)
        return STOPPED if was_stopped else FAILED

    def _wait_for_record(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Return once a process that was started has the lock and has written its record, or has ended."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and read_record(folder) is None:
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)

    @contextmanager
    def _started_plan(self, command: Sequence[str], language: str) -> Iterator[subprocess.Popen[str]]:
        """A process that makes a plan; it is ended at the end of the block, whatever has happened."""
        self._plan = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**self._environment, "KDDA_LANG": language},
        )
        try:
            yield self._plan
        finally:
            self._plan.kill()
            self._plan.wait()
            self._plan = None


def _student(choice: Choice, run: str) -> str:
    """What the page calls the student of a run, <task>/<arm>/[lr-<rate>/]seed-<n>: an experiment has one task."""
    return f"{choice.name}: {run.partition('/')[2]}"


def _environment(without: Sequence[str]) -> dict[str, str]:
    """The environment of the processes: this one's as it is now, without some variables, for output that is read."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    for name in without:
        environment.pop(name, None)
    return environment


def _detached() -> Mapping[str, Any]:
    """Options of `subprocess.Popen` for a process that no Ctrl-C or hang-up of this one's terminal reaches."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _interrupt(process: int) -> None:
    """Send Ctrl-C to a process; under Windows, which has none for it alone, Ctrl-Break, which ends it."""
    try:
        if sys.platform == "win32":
            os.kill(process, signal.CTRL_BREAK_EVENT)
        else:
            os.kill(process, signal.SIGINT)
    except OSError:
        return  # it has ended meanwhile


def _planned(output: Path) -> int:
    """How many runs `kdda run` has announced in the first lines that it printed; 0 where it has not."""
    with _opened(output) as file:
        match = re.search(rb", (\d+) runs? in ", file.read(TAIL_BYTES))
    return int(match[1]) if match else 0


def _tail(output: Path) -> str:
    """The last lines of a file of output; empty where there is none."""
    with _opened(output) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def _opened(path: Path) -> Any:
    """A file, opened to read its bytes; an empty one where there is none."""
    try:
        return path.open("rb")
    except OSError:
        return io.BytesIO()
