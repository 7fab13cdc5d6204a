"""Lock files of folders (`.NAME.lock` beside the folder): which one it is, and whether a process holds it; no torch."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def lock_of(folder: Path) -> FileLock:
    """The lock of a folder; the system releases it when the process that holds it ends."""
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def is_locked(folder: Path) -> bool:
    """Whether a process writes a folder now. No lock file is made, and one that cannot be opened counts as free."""
    lock = lock_of(folder)
    if not Path(lock.lock_file).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
