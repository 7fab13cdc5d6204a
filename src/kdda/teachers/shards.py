"""A block of stored states: a safetensors file that is written, checked and read a little at a time.

It is read through a handle and not mapped: mapped pages would count as this process' memory, of which a large store
would take all.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.fingerprint import bytes_of
from kdda.runtime.files import atomic_file

AT_ONCE = 2**20  # bytes that are checked together


class TeacherOutput(NamedTuple):
    """What a teacher says of a row: states, logits where labels have them, and masses where tokens are not alike."""

    states: Float[Tensor, "tokens width"]
    logits: Float[Tensor, " labels"] | None = None
    masses: Float[Tensor, " tokens"] | None = None


Answers = Iterable[tuple[Sequence[int], list[TeacherOutput]]]  # some rows, in any order, and what is said of them

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}


@dataclass(frozen=True)
class CacheShard:
    """Where a safetensors file has its tensors: name → its entry in the header."""

    path: Path
    begin: int  # of the first tensor's bytes
    entries: dict[str, Any]
    metadata: dict[str, str]

    def read(self, name: str, first: int, count: int) -> Tensor:
        """Some rows of a tensor [rows, width]."""
        own = self.entries[name]
        dtype, width = DTYPES[own["dtype"]], own["shape"][1]
        size = width * dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            found = os.pread(file.fileno(), count * size, self.begin + own["data_offsets"][0] + first * size)
        if len(found) < count * size:
            raise KddaError(f"{self.path} was cut while it was in use; the same command makes it anew")
        return torch.frombuffer(bytearray(found), dtype=dtype).reshape(count, width)

    def checksum(self) -> str:
        """Of names and bytes, in the order of names; as the store counts it of tensors in memory."""
        crc = 0
        with self.path.open("rb") as file:
            for name in sorted(self.entries):
                crc = zlib.crc32(name.encode(), crc)
                start, end = self.entries[name]["data_offsets"]
                file.seek(self.begin + start)
                for at in range(start, end, AT_ONCE):
                    crc = zlib.crc32(file.read(min(AT_ONCE, end - at)), crc)
        return f"{crc:08x}"


def opened(path: Path, name: str) -> CacheShard | None:
    """A block that was written under this name; None if there is none, or it is damaged or another's."""
    try:
        found = header(path)
        whole = found.metadata == {"fingerprint": name, "crc32": found.checksum()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):  # as many ways to be damaged
        return None
    return found if whole else None


def header(path: Path) -> CacheShard:
    """A file's header alone."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > path.stat().st_size:
            raise ValueError(f"{path}: a header of {size} bytes")
        entries = json.loads(file.read(size))
    return CacheShard(path, 8 + size, entries, entries.pop("__metadata__", {}))


def write(path: Path, ends: Int64[ndarray, " rows"], width: int, answers: Answers, name: str) -> None:
    """Write a block whole or not at all, row by row as they are answered.

    Args:
        ends: of each row, the block's tokens up to its last.
    """
    with atomic_file(path) as part, part.open("wb+") as file:
        tensors: CacheShard | None = None
        for rows, said in answers:
            if tensors is None:
                tensors = _begun(file, name, said[0], len(ends), (int(ends[-1]), width))
            for row, own in zip(rows, said, strict=True):
                first = int(ends[row]) - len(own.states)
                _put(file, tensors, "states", first, own.states.to("cpu", torch.bfloat16))
                if own.logits is not None:
                    _put(file, tensors, "logits", row, own.logits.cpu()[None])
                if own.masses is not None:
                    _put(file, tensors, "masses", first, own.masses.cpu()[:, None])
        assert tensors is not None
        file.flush()
        file.seek(0)
        file.write(_packed({"fingerprint": name, "crc32": tensors.checksum()}, tensors.entries))


def _begun(file: Any, name: str, one: TeacherOutput, rows: int, states: tuple[int, int]) -> CacheShard:
    """A file with room for the header; numbers of four bytes first, since they must lie at a multiple of four."""
    logits = (rows, 0 if one.logits is None else len(one.logits))
    masses = (states[0], 0 if one.masses is None else 1)
    entries, at = {}, 0
    for key, dtype, shape in (("logits", "F32", logits), ("masses", "F32", masses), ("states", "BF16", states)):
        if shape[1]:
            size = shape[0] * shape[1] * DTYPES[dtype].itemsize
            entries[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
            at += size
    head = _packed({"fingerprint": name, "crc32": "0" * 8}, entries)
    file.write(head)
    return CacheShard(Path(file.name), len(head), entries, {})


def _packed(metadata: dict[str, str], entries: dict[str, Any]) -> bytes:
    text = json.dumps({"__metadata__": metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _put(file: Any, tensors: CacheShard, name: str, first: int, rows: Tensor) -> None:
    own = tensors.entries[name]
    file.seek(tensors.begin + own["data_offsets"][0] + first * rows.shape[1] * rows.element_size())
    file.write(bytes_of(rows))
