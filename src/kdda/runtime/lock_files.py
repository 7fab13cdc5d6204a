"""Lock files of folders and files (`.NAME.lock` beside them): made, removed on release, and whether one is held."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout, UnixFileLock


class RemovedFileLock(UnixFileLock):
    """A lock whose file goes when it is released, so that none lies beside what users have written.

    A removed file can still be locked by a process that opened it before. So the file is removed while the lock is
    held, and a lock counts only where the name still leads to the file that was locked: else it is taken anew.
    `_acquire` and `_release` are the two methods by which the library's locks differ; `lock_file_fd` is the locked
    file's descriptor, or None.
    """

    def _acquire(self) -> None:
        """Try once to take the lock, and again where the file was removed between its opening and its locking."""
        super()._acquire()
        # on a disk without locks the library makes this object one of another class, which removes its file itself
        while isinstance(self, RemovedFileLock) and self.is_locked and not self._name_leads_here():
            super()._release()
            super()._acquire()

    def _release(self) -> None:
        """Remove the file, and then release the lock; a file that may not be removed stays, and the lock is right."""
        if self._name_leads_here():  # the whole folder may have been removed and made again meanwhile
            with suppress(OSError):
                Path(self.lock_file).unlink()
        super()._release()

    def _name_leads_here(self) -> bool:
        """Whether the lock file's name leads to the file that this lock has locked."""
        descriptor = self._context.lock_file_fd
        if descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(descriptor), Path(self.lock_file).stat())
        except FileNotFoundError:
            return False


def file_lock(path: Path) -> BaseFileLock:
    """A lock by a file that is removed on release; on Windows the library removes it, where no other process has it."""
    if issubclass(FileLock, UnixFileLock):
        return RemovedFileLock(path)
    return FileLock(path)


def lock_path(path: Path) -> Path:
    """The lock file of a folder or file, which lies beside it while it is written."""
    return path.with_name(f".{path.name}.lock")


def lock_of(path: Path) -> BaseFileLock:
    """The lock of a folder or file; the system releases it when the process that holds it ends."""
    return file_lock(lock_path(path))


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
