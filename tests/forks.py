"""Processes of kdda that begin at once: forks of a server that has imported the libraries, which takes 5 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import psutil

from kdda.runs.events import read_metrics

ROOT = Path(__file__).parents[1]
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])


class Fork:
    """A process as `subprocess.Popen` has it, in which a function is called.

    Args:
        call: what the process does, a function of a module.
        arguments: of the function.
        streams: what the process has as standard input, output and error; its end of a pipe, or a file.
        environment: the variables of the process.
    """

    def __init__(
        self,
        call: Callable[..., None],
        arguments: Sequence[Any],
        streams: Sequence[Connection],
        environment: dict[str, str],
    ):
        _ensure_server()
        self._process = FORKS.Process(target=_begin, args=(call, arguments, list(streams), environment))
        self._process.start()
        for stream in streams:
            stream.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a fork", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def forks() -> list[psutil.Process]:
    """All forks of this process' server that are alive, those of forks among them."""
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return psutil.Process(server).children()


def _ensure_server() -> None:
    """Start the server if this process has none. A fork's forks come from the server that it comes from."""
    if forkserver._forkserver._forkserver_alive_fd is None:  # type: ignore[attr-defined]
        with chdir(ROOT):  # where the server finds what it imports
            forkserver.ensure_running()


def _begin(
    call: Callable[..., None], arguments: Sequence[Any], streams: list[Connection], environment: dict[str, str]
) -> None:
    """What a fork does: it takes its streams and variables, and calls its function."""
    import torch

    # The class would start another server here, in spite of what it documents.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Torch reads the variable when it is imported. Without it a fork has one thread, as tests have: with another number
    # of threads the last bits of sums differ.
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    call(*arguments)


class Command(Fork):
    """`python -m kdda` with arguments, whose workers are forks, too.

    Args:
        call: what is called with the arguments instead of the command line.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        call: Callable[..., None] | None = None,
        environment: dict[str, str] | None = None,
    ):
        self._files: list[IO[str]] = []  # what it writes to standard output, and to standard error
        streams = [Connection(os.open(os.devnull, os.O_RDONLY))]
        for _ in range(2):
            number, name = tempfile.mkstemp()
            Path(name).unlink()
            self._files.append(os.fdopen(number, "r"))
            streams.append(Connection(os.dup(number)))
        super().__init__(call or run_kdda, list(arguments), streams, {**os.environ, **(environment or {})})

    def communicate(self) -> tuple[str, str]:
        """Wait for its end, and return its output and its errors."""
        self.wait()
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read())
        output, errors = texts
        return output, errors


def wait_for_step(metrics: Path, step: int, process: Command | subprocess.Popen[str]) -> None:
    """Until the process has written a step of at least this number to metrics.jsonl, or has ended."""
    while process.poll() is None and not any(e.get("step", 0) >= step for e in read_metrics(metrics)):
        time.sleep(0.002)


def run_kdda(*arguments: str) -> None:
    """The command line, in a process that was forked for it."""
    import kdda.experiment.executors
    from kdda.cli import main

    vars(kdda.experiment.executors)["subprocess"] = _Subprocess
    sys.argv = ["kdda", *arguments]
    main()


class Worker(Fork):
    """What `subprocess.Popen` gives for a worker process of `kdda run --workers`."""

    def __init__(self, command: Sequence[str], env: dict[str, str], encoding: str, **_: Any):
        code = command[-1]
        ends = [FORKS.Pipe(duplex=False) for _ in range(3)]  # for reading, for writing
        (read_in, write_in), (read_out, write_out), (read_err, write_err) = ends
        super().__init__(_run_code, [code], [read_in, write_out, write_err], env)
        self.stdin = os.fdopen(os.dup(write_in.fileno()), "w", encoding=encoding)
        self.stdout = os.fdopen(os.dup(read_out.fileno()), encoding=encoding)
        self.stderr = os.fdopen(os.dup(read_err.fileno()), encoding=encoding)
        for end in (write_in, read_out, read_err):
            end.close()


class _Subprocess:
    """What `experiment.executors` uses of the module `subprocess`."""

    Popen = Worker
    PIPE = subprocess.PIPE


def _run_code(code: str) -> None:
    os.setsid()
    exec(code, {"__name__": "__main__"})
