"""Files that are written completely or not at all: a temporary file (.part) that takes the name once it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from kdda.errors import DiskFullError, KddaError
from kdda.runtime.folders import is_disk_full


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file; if the process is killed, the file has its old content or all of the new one."""
    if isinstance(content, str):
        content = content.encode()
    _write_whole(path, [content])


def write_output(path: Path, parts: Iterable[str]) -> None:
    """Write the output of a command: a file whole or not at all; a device or a pipe, such as /dev/stdout, as it is.

    Args:
        parts: of the text, written one after the other.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as device:
            device.writelines(parts)
    else:
        _write_whole(path.resolve(), _encoded(parts))  # of a link, the file that it points to


def _encoded(parts: Iterable[str]) -> Iterator[bytes]:
    """Texts in UTF-8; what it lacks, such as an unpaired surrogate of a broken file, escaped."""
    for part in parts:
        yield part.encode(errors="backslashreplace")


def _write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write beside the file, and give it the file's name at the end; after an error, such as a full disk, nothing."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """The path of a temporary file beside `path`, which replaces it at the end of the block; for teacher states.

    Raises:
        KddaError: the file could not be written; the temporary one is removed.
    """
    part = path.with_suffix(".part")
    try:
        yield part
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        kind = DiskFullError if is_disk_full(error) else KddaError
        raise kind(
            f"{path} could not be written ({error}); free some space, or set teacher_cache_gb=0 to run teachers in "
            "each step"
        ) from None
