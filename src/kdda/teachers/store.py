"""What a frozen teacher says, on disk: written once, checked when read, and never trusted when it does not fit.

Rows are ragged [tokens, width] states in bfloat16, in blocks of consecutive rows, each block one safetensors file that
carries its checksum and the fingerprint of what made it, and gets its name only when it is whole.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Int32, Int64
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdda.models.fingerprint import bytes_of, weights_fingerprint
from kdda.runtime.files import atomic_file
from kdda.teachers import shards as blocks
from kdda.teachers.shards import Answers, CacheShard, TeacherOutput

BLOCK_BYTES = 64 * 2**20

Ask = Callable[[range], Answers]


def cache_fingerprint(model: Any, read: str, order: Sequence[int]) -> str:
    """A name that changes with a weight of the model, with what it reads, or with the order of the labels.

    Args:
        read: a digest of every window's tokens.
    """
    return weights_fingerprint(model, repr((model.config.to_dict().get("model_type"), list(order), read)))


class CacheStore:
    """Blocks of stored states.

    Args:
        folder: theirs alone.
        name: the fingerprint that every block must carry.
        lengths: tokens of each row.
        width: of a state.
    """

    def __init__(self, folder: Path, name: str, lengths: Int32[ndarray, " rows"], width: int):
        self.folder, self.name, self.width = folder, name, width
        self.ends: Int64[ndarray, " rows"] = np.cumsum(lengths, dtype=np.int64)
        self.starts = _starts(self.ends, max(1, BLOCK_BYTES // (2 * width)))
        self._open: dict[int, CacheShard] = {}

    def fill(self, ask: Ask) -> int:
        """Write the blocks that are missing, damaged or of another fingerprint; how many there were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = 0
        with FileLock(self.folder / ".lock"):
            for k in range(len(self.starts)):
                if self._opened(k) is None:
                    self._write(k, ask)
                    written += 1
        return written

    def read(self, rows: Iterable[int]) -> list[TeacherOutput]:
        """The states of some rows, in bfloat16, with their logits and masses."""
        return [self._row(row) for row in rows]

    def _row(self, row: int) -> TeacherOutput:
        k = bisect_right(self.starts, row) - 1
        block = self._block(k)
        if k not in self._open:
            self._open[k] = blocks.header(self._path(k))
        file, first = self._open[k], self._before(row)
        at = first - self._before(block.start)
        count = int(self.ends[row]) - first
        return TeacherOutput(
            file.read("states", at, count),
            file.read("logits", row - block.start, 1)[0] if "logits" in file.entries else None,
            file.read("masses", at, count)[:, 0] if "masses" in file.entries else None,
        )

    def _block(self, k: int) -> range:
        return range(self.starts[k], self.starts[k + 1] if k + 1 < len(self.starts) else len(self.ends))

    def _before(self, row: int) -> int:
        """TokenizerAdapter of all rows before one."""
        return int(self.ends[row - 1]) if row else 0

    def _path(self, k: int) -> Path:
        return self.folder / f"block-{k:05}.safetensors"

    def _opened(self, k: int) -> CacheShard | None:
        found, block = blocks.opened(self._path(k), self.name), self._block(k)
        shape = [self._before(block.stop) - self._before(block.start), self.width]
        return found if found is not None and found.entries["states"]["shape"] == shape else None

    def _write(self, k: int, ask: Ask) -> None:
        block = self._block(k)
        answers = (([row - block.start for row in rows], said) for rows, said in ask(block))
        ends = self.ends[block.start : block.stop] - self._before(block.start)
        blocks.write(self._path(k), ends, self.width, answers, self.name)

    def term(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor that belongs to these states, such as their scale: read, or computed once and kept beside them."""
        path = self.folder / f"{name}.safetensors"
        with FileLock(self.folder / ".lock"):
            found = load_checked(path, self.name)
            if found is None:
                found = {"term": compute()}
                save_checked(path, found, self.name)
        return found["term"]


def save_checked(path: Path, tensors: dict[str, Tensor], name: str) -> None:
    """Write a file whole or not at all, with a checksum of what it holds and the name of what made it."""
    with atomic_file(path) as part:
        save_file(tensors, part, {"fingerprint": name, "crc32": _checksum(tensors)})


def load_checked(path: Path, name: str) -> dict[str, Tensor] | None:
    """What `save_checked` wrote under this name; None if there is no such file, or it is damaged or another's."""
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return tensors if said == {"fingerprint": name, "crc32": _checksum(tensors)} else None


def _starts(ends: Int64[ndarray, " rows"], tokens: int) -> list[int]:
    """The first rows of blocks: consecutive rows of at most so many tokens together, one row at least.

    >>> _starts(np.array([3, 5, 9, 20, 21]), tokens=5)
    [0, 2, 3, 4]
    """
    starts: list[int] = []
    row = 0
    while row < len(ends):
        starts.append(row)
        before = ends[row - 1] if row else 0
        row = max(row + 1, int(np.searchsorted(ends, before + tokens, side="right")))
    return starts


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    crc = 0
    for key in sorted(tensors):
        crc = zlib.crc32(bytes_of(tensors[key]), zlib.crc32(key.encode(), crc))
    return f"{crc:08x}"
