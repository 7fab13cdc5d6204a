"""Locks of folders that one process writes at a time: refused at once, or waited for (told after 5 seconds)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, Timeout

from kdda.errors import KddaError
from kdda.runtime import distributed
from kdda.runtime.lock_files import lock_of
from kdda.runtime.progress import Say

TELL_AFTER = 5.0  # seconds of waiting for a lock before a message says so


@contextmanager
def lock_or_refuse(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Of a group of processes the main one holds it for all.

    Raises:
        KddaError: another process holds it.
    """
    lock = _lock(folder)
    if distributed.broadcast(distributed.is_main_process() and _acquire(lock)):
        try:
            yield
        finally:
            lock.release()  # does nothing in a process that does not hold it
    else:
        raise KddaError(f"another process is writing {folder}; wait for it, or choose another --out")


@contextmanager
def lock_or_wait(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a folder once no other process does, such as one that prepares what this one needs too.

    Of a group of processes the main one holds it for all; the others wait until it does.
    """
    lock = _lock(folder)
    if distributed.is_main_process() and not _acquire(lock, timeout=TELL_AFTER):
        say(f"  waiting for another process that prepares {folder}")
        lock.acquire()
    distributed.barrier()
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path) -> BaseFileLock:
    """The lock of a folder, whose parents are made where they are missing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lock_of(folder)


def _acquire(lock: BaseFileLock, timeout: float = 0.0) -> bool:
    """Take a lock within so many seconds; False where another process holds it all that time."""
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True
