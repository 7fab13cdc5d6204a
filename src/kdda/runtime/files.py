"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from kdda.errors import KddaError


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that whoever finds it finds all of it, whatever kills the writer."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is written."""
    part = path.with_suffix(".part")
    try:
        yield part
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise KddaError(
            f"{path} could not be written ({error}); make room, or set teacher_cache_gb=0 to run teachers in each step"
        ) from None
