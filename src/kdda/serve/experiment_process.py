"""What stands around `kdda run` in the process of an experiment: the lock of its folder, and `experiment.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from filelock import Timeout

from kdda.runtime.files import write_atomically
from kdda.runtime.lock_files import lock_of

RECORD = "experiment.json"  # in an experiment's folder: its last process

CURRENT = ".experiment.json"  # in the folder of all experiments: which one has the lock, or had it last

LOCKED = "experiment"  # the name that the lock of a folder of experiments is made of (`lock_of`)

PATIENCE = 5.0  # seconds for the lock: a server that looks whether it is taken holds it for a moment

INTERRUPTED = 130  # the exit code after Ctrl-C

# What `python -c` takes, with the folder of all experiments, an experiment's name, and the arguments of `kdda`.
PROGRAM = (
    "import sys; from kdda.serve.experiment_process import recorded; from kdda.cli import main; "
    "root, name = sys.argv[1:3]; del sys.argv[1:3]\n"
    "with recorded(root, name): main()"
)


@dataclass(frozen=True)
class Record:
    """The last process of an experiment.

    Attributes:
        process: its number.
        started, ended: local time, to the second; `ended` is empty of a process that runs or was killed.
        exit_code: of `kdda run`; None as long as it has none.
    """

    process: int
    started: str
    ended: str = ""
    exit_code: int | None = None


@contextmanager
def recorded(root: str, name: str) -> Iterator[None]:
    """Hold the lock of a folder of experiments, and write down when the block began, ended, and with which exit code.

    Args:
        root: the folder of all experiments.
        name: of the experiment's folder in it, which exists.
    """
    folder = Path(root, name)
    # a server that a shell started in the background ignores Ctrl-C, and so would its processes, which *Stop* sends it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        lock = lock_of(Path(root, LOCKED)).acquire(timeout=PATIENCE)
    except Timeout:
        sys.exit("kdda: another experiment of this folder is running; wait for it, or stop it")
    with lock:
        record = Record(os.getpid(), _now())
        write_atomically(Path(root, CURRENT), json.dumps({"name": name}))
        _write(folder / RECORD, record)
        exit_code = 1
        try:
            yield
            exit_code = 0
        except SystemExit as stop:
            exit_code = _exit_code(stop.code)
            raise
        except KeyboardInterrupt:
            exit_code = INTERRUPTED
            raise
        finally:
            _write(folder / RECORD, replace(record, ended=_now(), exit_code=exit_code))


def read_record(folder: Path) -> Record | None:
    """The record of an experiment's folder; None where there is none that can be read."""
    try:
        record = Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    is_process = isinstance(record.process, int) and record.process > 0  # 0 and below name groups of processes
    return record if is_process else None


def current_name(root: Path) -> str:
    """The name of the experiment that has the lock of a folder, or had it last; empty where there is none."""
    try:
        return str(json.loads((root / CURRENT).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _write(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_atomically(path, json.dumps(asdict(record)) + "\n")


def _now() -> str:
    """The local time, to the second."""
    return datetime.now().isoformat(sep=" ", timespec="seconds")


def _exit_code(code: object) -> int:
    """The exit code that Python gives a process for the argument of `sys.exit`: 0 for nothing, 1 for a message."""
    if code is None:
        return 0
    return code if isinstance(code, int) else 1
