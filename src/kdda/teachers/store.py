"""A folder of stored teacher states: its fingerprint, which shards must be computed again, terms beside them.

Rows are ragged ``[tokens, width]`` states in bfloat16 or 8 bits, in shards of consecutive rows. A shard is one
safetensors file that carries its checksum and the fingerprint of what computed it, and gets its name only when it is
whole.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdda.models.fingerprint import bytes_of, weights_fingerprint
from kdda.runtime.files import atomic_file
from kdda.runtime.lock_files import file_lock
from kdda.teachers.shards import (
    SHARD_BYTES,
    STATE_DTYPES,
    CacheShard,
    OutputBatches,
    TeacherOutput,
    bytes_of_state,
    open_shard,
    read_header,
    write_shard,
)

ComputeRows = Callable[[range], OutputBatches]
"""Computes a teacher's outputs of consecutive rows."""


def cache_fingerprint(model: Any, inputs: str, label_order: Sequence[int]) -> str:
    """A name that changes with a weight of the model, with what it reads, or with the order of the labels.

    Args:
        inputs: a digest of every window's tokens.
    """
    model_type = model.config.to_dict().get("model_type")
    return weights_fingerprint(model, repr((model_type, list(label_order), inputs)))


class CacheStore:
    """Shards of stored states.

    Args:
        folder: for these shards alone.
        name: the fingerprint that every shard must carry.
        lengths: tokens of each row.
        width: of a state.
        precision: of stored states: ``bf16`` or ``int8``.
    """

    def __init__(self, folder: Path, name: str, lengths: Int32[ndarray, " rows"], width: int, precision: str = "bf16"):
        self.folder, self.name, self.width, self.precision = folder, name, width, precision
        self.ends: Int64[ndarray, " rows"] = np.cumsum(lengths, dtype=np.int64)
        self.starts = _shard_starts(self.ends, max(1, SHARD_BYTES // bytes_of_state(width, precision)))
        self._open: dict[int, CacheShard] = {}  # headers that were read, by the shard's number

    def fill(self, compute: ComputeRows) -> int:
        """Write the shards that are missing, damaged or of another fingerprint; how many there were.

        Args:
            compute: gives the outputs of consecutive rows.

        Raises:
            KddaError: a newer version has written a shard.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        written = 0
        with file_lock(self.folder / ".lock"):
            for k in range(len(self.starts)):
                if self._whole_shard(k) is None:
                    self._write(k, compute)
                    written += 1
        return written

    def read(self, rows: Iterable[int]) -> list[TeacherOutput]:
        """The states of some rows, in bfloat16, or float32 from 8 bits, with their logits and masses."""
        return [self._row(row) for row in rows]

    def term(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A tensor that belongs to these states, such as their scale: read, or computed once and stored beside them."""
        path = self.folder / f"{name}.safetensors"
        with file_lock(self.folder / ".lock"):
            tensors = load_checked(path, self.name)
            if tensors is None:
                tensors = {"term": compute()}
                save_checked(path, tensors, self.name)
        return tensors["term"]

    def _row(self, row: int) -> TeacherOutput:
        """What is stored of one row."""
        k = bisect_right(self.starts, row) - 1  # the shard of the row
        rows = self._rows_of(k)
        if k not in self._open:
            self._open[k] = read_header(self._path(k))
        shard = self._open[k]
        first = self._tokens_before(row)
        position = first - self._tokens_before(rows.start)  # within the shard
        count = int(self.ends[row]) - first
        logits = masses = token_logits = None
        if "logits" in shard.entries:
            logits = shard.read("logits", row - rows.start, 1)[0]
        if "masses" in shard.entries:
            masses = shard.read("masses", position, count)[:, 0]
        if "token_logits" in shard.entries:
            token_logits = shard.read("token_logits", position, count)
        return TeacherOutput(shard.read_states(position, count), logits, masses, token_logits)

    def _rows_of(self, k: int) -> range:
        """The rows of the k-th shard."""
        stop = self.starts[k + 1] if k + 1 < len(self.starts) else len(self.ends)
        return range(self.starts[k], stop)

    def _tokens_before(self, row: int) -> int:
        """Tokens of all rows before a row."""
        return int(self.ends[row - 1]) if row else 0

    def _path(self, k: int) -> Path:
        return self.folder / f"shard-{k:05}.safetensors"

    def _whole_shard(self, k: int) -> CacheShard | None:
        """The k-th shard, if it is undamaged and of this store; else None."""
        shard, rows = open_shard(self._path(k), self.name), self._rows_of(k)
        if shard is None:
            return None
        shape = [self._tokens_before(rows.stop) - self._tokens_before(rows.start), self.width]
        states = shard.entries["states"]
        is_of_store = states["shape"] == shape and states["dtype"] == STATE_DTYPES[self.precision]
        return shard if is_of_store else None

    def _write(self, k: int, compute: ComputeRows) -> None:
        """Compute and write the k-th shard."""
        rows = self._rows_of(k)
        ends = self.ends[rows.start : rows.stop] - self._tokens_before(rows.start)
        outputs = _numbered_from(rows.start, compute(rows))
        write_shard(self._path(k), ends, self.width, outputs, self.name, self.precision)


def save_checked(path: Path, tensors: dict[str, Tensor], name: str) -> None:
    """Write a file whole or not at all, with a checksum of its tensors and the name of what computed them."""
    with atomic_file(path) as part:
        save_file(tensors, part, {"fingerprint": name, "crc32": _checksum(tensors)})


def load_checked(path: Path, name: str) -> dict[str, Tensor] | None:
    """What `save_checked` wrote under this name; None if there is no such file, or it is damaged or another's."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    is_whole = metadata == {"fingerprint": name, "crc32": _checksum(tensors)}
    return tensors if is_whole else None


def _numbered_from(start: int, outputs: OutputBatches) -> OutputBatches:
    """The same outputs with row numbers that count from the row `start`."""
    for rows, row_outputs in outputs:
        yield [row - start for row in rows], row_outputs


def _shard_starts(ends: Int64[ndarray, " rows"], tokens: int) -> list[int]:
    """The first rows of shards: consecutive rows of at most so many tokens together, one row at least.

    >>> _shard_starts(np.array([3, 5, 9, 20, 21]), tokens=5)
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
    """CRC-32 of names and bytes, in the order of names, as eight hexadecimal digits."""
    crc = 0
    for key in sorted(tensors):
        crc = zlib.crc32(bytes_of(tensors[key]), zlib.crc32(key.encode(), crc))
    return f"{crc:08x}"
