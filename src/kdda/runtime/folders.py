"""Output folders (--out): checked before any work, made, or built aside and renamed; error numbers of a full disk."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdda.errors import KddaError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over a quota, over the largest size of a file


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, and check that files can be written in it.

    Raises:
        KddaError: it cannot, with the system's reason.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # fails where no file can be written
    except OSError as error:
        raise _not_writable(folder, error) from None


def check_folder(folder: Path) -> None:
    """Check that a folder can be made and written, without making it.

    Raises:
        KddaError: it cannot: a file is in its place, or the nearest folder that exists takes no files.
    """
    try:
        nearest = nearest_existing(folder)
        if nearest.is_dir():
            tempfile.TemporaryFile(dir=nearest).close()
            return
    except OSError as error:
        raise _not_writable(folder, error) from None
    raise KddaError(f"the folder {folder} cannot be made: {nearest} is a file; choose another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` at the end of the block; if the block fails, nothing is left.

    Raises:
        KddaError: `out` holds something already, or cannot be made.
    """
    if out.is_dir() and any(out.iterdir()):
        raise KddaError(f"{out} is not empty: choose a new folder")
    check_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
        if out.is_dir():
            out.rmdir()  # it is empty
        folder.chmod(0o755)  # temporary folders are for their owner alone
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def nearest_existing(path: Path) -> Path:
    """A path, or the first of its parents that exists."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return place


def _not_writable(folder: Path, error: OSError) -> KddaError:
    """The error for a folder that takes no files, with the system's reason."""
    return KddaError(f"nothing can be written in the folder {folder}: {error.strerror or error}; choose another --out")
