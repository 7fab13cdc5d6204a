"""Files that are written completely or not at all: a temporary file (.part) that takes the name once it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from kdda.errors import KddaError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file; if the process is killed, the file has its old content or all of the new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


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
        raise KddaError(
            f"{path} could not be written ({error}); free some space, or set teacher_cache_gb=0 to run teachers in "
            "each step"
        ) from None
