"""Folders that one process writes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdda.errors import KddaError
from kdda.runtime import distributed
from kdda.runtime.progress import Say


@contextmanager
def lock_or_refuse(folder: Path) -> Iterator[None]:
    """Keep a second process out of a folder that this one writes; of ranks the first one stands for all."""
    lock = _lock(folder)
    if distributed.broadcast(distributed.is_main_process() and not _taken(lock)):
        try:
            yield
        finally:
            lock.release()
    else:
        raise KddaError(f"another process is writing {folder}; wait for it, or choose another --out")


@contextmanager
def lock_or_wait(folder: Path, say: Say) -> Iterator[None]:
    """Wait for a process that writes what this one needs too."""
    lock = _lock(folder)
    if distributed.is_main_process() and _taken(lock, patience=5.0):
        say(f"  waiting for another process that prepares {folder}")
        lock.acquire()
    distributed.barrier()
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path) -> FileLock:
    """Falls with the process that holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _taken(lock: FileLock, patience: float = 0.0) -> bool:
    """Whether another process holds a lock; this one does from now on, if not."""
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return True
    return False
