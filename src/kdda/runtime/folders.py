"""Output folders and files (--out): checked before any work, made, or built aside; what a full disk raises."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from math import ceil
from pathlib import Path

from kdda.errors import KddaError
from kdda.runtime.text_files import printable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over a quota, over the largest size of a file

RUNS = Path("runs")  # the output folder where --out names no other

LISTED = 6  # entries of a folder that a message names

TRIED = b"\0" * 4096  # a block, which is written to a folder and removed again to see whether files can be written


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the system, or of a library that wraps it, means that a disk is full."""
    number = error.errno if isinstance(error, OSError) else None
    in_text = re.search(r"os error (\d+)", str(error))  # safetensors writes the errno into its message
    if number is None and in_text:
        number = int(in_text[1])
    if number is None and error.__cause__ is not None:
        return is_disk_full(error.__cause__)
    return number in DISK_FULL


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, and check that files can be written in it.

    Raises:
        KddaError: it cannot, with the system's reason.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(folder)
    except OSError as error:
        raise _not_writable(folder, error) from None


def check_folder(folder: Path) -> None:
    """Check that a folder can be made and written, without making it.

    Raises:
        KddaError: it cannot: a file is in its place, or the nearest folder that exists takes no files.
    """
    _refuse_home(printable(folder), folder)
    try:
        nearest = nearest_existing(folder)
        if nearest.is_dir():
            _try_to_write(nearest)
            return
    except OSError as error:
        raise _not_writable(folder, error) from None
    raise KddaError(
        f"the folder {printable(folder)} cannot be made: {printable(nearest)} is a file; choose another folder"
    )


def check_output_file(option: str, path: Path) -> None:
    """Check that a file can be written, before any work; nothing of it is changed.

    Args:
        option: which names the file, for messages.
        path: of the file, which may exist. Devices and pipes are taken too, such as /dev/stdout.

    Raises:
        KddaError: a folder is in its place, its folder does not exist, it cannot be written, or the disk is full.
    """
    name = f"{option} {printable(path)}"
    parent = path.absolute().parent
    _refuse_home(name, path)
    try:
        if path.is_dir():
            raise KddaError(f"{name}: is a folder, expected a file")
        if not parent.is_dir():
            raise KddaError(f'{name}: no folder "{printable(parent)}"; make it first, or choose another file')
        _try_to_write_file(path)
    except OSError as error:
        raise KddaError(f"{name}: {_reason(error)}; choose another file") from None


def _refuse_home(name: str, path: Path) -> None:
    """Refuse a path to write to that begins with "~", of which some libraries make the home folder and others do not.

    Args:
        name: of the path in the message.
    """
    advice = home_advice(path)
    if advice:
        raise KddaError(f"{name}{advice}")


def _try_to_write_file(path: Path) -> None:
    """Fail with the system's error where a file cannot be written, or not be made in its folder."""
    if not path.exists():
        _try_to_write(path.absolute().parent)
        return
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
        with path.open("ab", buffering=0) as file:
            file.write(b"")  # fails on /dev/full
    elif not os.access(path, os.W_OK):  # to open a pipe would wait for its reader
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _try_to_write(folder: Path) -> None:
    """Fail with the system's error where no file of a block can be written in a folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(TRIED)
        file.flush()


def _reason(error: OSError) -> str:
    """Why nothing can be written, in words."""
    if error.errno in DISK_FULL:
        return "the disk is full"
    return f"nothing can be written there ({error.strerror or error})"


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


def listing(folder: Path) -> str:
    """What stands in a folder, for a message: the first `LISTED` names, those of folders with a slash behind them."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = []
    for path in entries[:LISTED]:
        names.append(printable(path.name) + "/" * path.is_dir())
    if not names:
        return "nothing"
    more = f" and {len(entries) - LISTED:,} more" if len(entries) > LISTED else ""
    return ", ".join(names) + more


def home_advice(name: str | Path) -> str:
    """What to say of a path that begins with "~", which shells leave as it is in quotes and behind "="; else empty."""
    if Path(name).parts[:1] != ("~",):
        return ""
    return f'; "~" means your home folder only where the shell reads it, without quotes: {Path(name).expanduser()}'


def what_is_near(path: Path) -> str:
    """What a message says of a path that is not there: what the nearest folder above holds, and a similar name in it.

    A path that is there below a folder of this one, such as `runs/nli` for `nli`, goes before a similar name.
    Names are compared without their extensions, which would make any two files of one format similar.
    """
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    place = missing.parent
    names: dict[str, str] = {}
    with suppress(OSError):  # a folder that may not be read
        for entry in place.iterdir():
            if entry.stem not in names or entry.suffix == path.suffix:
                names[entry.stem] = entry.name
    similar = get_close_matches(missing.stem, names, n=1)
    deeper = _one_folder_below(path)
    meant = ""
    if deeper is not None:
        meant = printable(deeper)
    elif similar:
        meant = printable(names[similar[0]])
    hint = f' — did you mean "{meant}"?' if meant else ""
    if not names or place in (Path(), Path(place.anchor)):
        return hint
    return f'; "{printable(place)}" holds {listing(place)}{hint}'


def _one_folder_below(path: Path) -> Path | None:
    """The same relative path below a folder of the working directory: below "runs", or else the first; or None."""
    if path.is_absolute() or not path.name or ".." in path.parts:
        return None
    folders = [RUNS]
    with suppress(OSError):  # a folder that may not be read
        folders += sorted(entry for entry in Path().iterdir() if not entry.name.startswith("."))
    for folder in folders:
        with suppress(OSError):
            if (folder / path).exists():
                return folder / path
    return None


def folder_size(folder: Path) -> int:
    """The bytes of all files in a folder and below; links are not followed."""
    size = 0
    for path, _names, files in os.walk(folder):
        for name in files:
            with suppress(OSError):  # removed meanwhile
                size += os.lstat(Path(path, name)).st_size
    return size


def size_in_words(size: int) -> str:
    """A number of bytes in the largest fitting unit, of 1,000 of the one before.

    >>> size_in_words(512), size_in_words(41_000), size_in_words(2_340_000_000)
    ('1 kB', '41 kB', '2.3 GB')
    """
    if size >= 999_500_000:
        return f"{size / 1e9:,.1f} GB"
    if size >= 999_500:
        return f"{size / 1e6:.0f} MB"
    return f"{ceil(size / 1e3)} kB"


def nearest_existing(path: Path) -> Path:
    """A path, or the first of its parents that exists."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return place


def _not_writable(folder: Path, error: OSError) -> KddaError:
    """The error for a folder that takes no files, with the system's reason."""
    return KddaError(f"the folder {printable(folder)}: {_reason(error)}; choose another folder")
