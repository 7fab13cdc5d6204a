"""Pools of worker processes that end with their parent, however it ends: a kill (SIGKILL, SIGTERM, SIGHUP), Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait


def process_pool(processes: int) -> ProcessPoolExecutor:
    """A pool of new Python processes, none of which outlives this one.

    Those of `concurrent.futures` alone wait for work for ever when their parent is killed.
    """
    # spawn: a fork would copy locks that threads of the parent hold, and could not use CUDA
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=begin_worker)


def begin_worker() -> None:
    """What a worker of `multiprocessing` does first: watch its parent, and leave Ctrl-C to it, which ends the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit at once when the parent has ended, whatever the worker does then."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])  # a handle that becomes readable when the parent ends
        os._exit(1)
