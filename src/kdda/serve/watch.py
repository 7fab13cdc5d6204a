"""The page beside a running experiment (`kdda run --watch PORT`): its Training tab, on loopback, in another process."""

from __future__ import annotations

import os
import socket
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from kdda.runtime.processes import begin_worker
from kdda.runtime.wording import output_language, translated_by
from kdda.serve.limits import Limits
from kdda.serve.site import Site, listen, make_application, make_server

HOST = "127.0.0.1"

NICENESS = 5  # of the page's process, so that the run goes before it; from 0, as other processes have it, to 19


class Watch:
    """The page of a running experiment, which ends with the block.

    It runs in a process of low priority that ends with this one, and takes nothing down when it fails itself.

    Args:
        port: 0 takes a free one.

    Raises:
        KddaError: a port that cannot be bound.
    """

    def __init__(self, port: int):
        self._listening = listen(HOST, port, "--watch")
        self.url = f"http://{HOST}:{self._listening.getsockname()[1]}/"
        self._process: BaseProcess | None = None

    def __enter__(self) -> Watch:
        """Nothing yet: the page starts when the folder is known."""
        return self

    def start(self, folder: Path) -> None:
        """Show the runs below a folder; browsers that come before the page is ready wait for it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._listening.listen()
        # spawn: a fork would copy locks that threads of this process hold
        arguments = (self._listening, folder, output_language())
        process = get_context("spawn").Process(target=serve_runs, args=arguments, daemon=True)
        process.start()
        self._process = process
        self._listening.close()  # of this process: the port is refused once the other one has ended

    @property
    def exit_code(self) -> int | None:
        """Of a page that has ended before its time; None as long as there is one, or none was started."""
        return None if self._process is None else self._process.exitcode

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the page; there is nothing that it could lose."""
        self._listening.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()


def serve_runs(listening: socket.socket, folder: Path, language: str) -> None:
    """Serve the page of a folder's runs for ever, in a process of which nothing is printed.

    Args:
        language: the code of that of the run's output, in which the page is sent.
    """
    begin_worker()
    if hasattr(os, "nice"):  # not under Windows
        os.nice(NICENESS)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # the terminal's Ctrl-C is the run's, which goes on until it has written a checkpoint
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # standard output and error: the terminal is the run's
        os.dup2(silence, stream)
    site = Site((), Limits(), runs=[folder], watch=True)
    with translated_by(str, language):  # str: the page has its words in both languages, and nothing is translated
        make_server(make_application(site, ()), site.limits).run(sockets=[listening])
