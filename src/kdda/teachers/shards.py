"""A shard of stored teacher states, 64 MB at most: a safetensors file that is written, checked and read in parts.

States are in bfloat16, or in 8 bits: whole numbers from −127 to 127 times the token's scale, its largest absolute value
divided by 127.

It is read through a handle and not mapped: mapped pages would count as this process's memory, of which a large store
would take all.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int8, Int64
from numpy import ndarray
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.fingerprint import bytes_of
from kdda.runtime.files import atomic_file

SHARD_BYTES = 64 * 2**20  # of states in one file; a row that takes more has a file for itself
CHECKSUM_BYTES = 2**20  # that are checked together
FORMATS = ("1", "2")  # of files that can be read; the last is written. Files of 1 do not name theirs; 2 added 8 bits
DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "I8": torch.int8}  # safetensors' names → torch's types
STATE_DTYPES = {"bf16": "BF16", "int8": "I8"}  # a value of `teacher_cache_precision` → that of stored states
LARGEST_CODE = 127  # of 8 bits with a sign; −128 is not used, so that codes are symmetric


class TeacherOutput(NamedTuple):
    """A teacher's output for one row.

    Attributes:
        states: hidden states of the tokens that count.
        logits: of the row's labels, where the task has labels.
        masses: of the tokens, where they differ.
        token_logits: of each token's labels, where those are compared.
    """

    states: Float[Tensor, "tokens width"]
    logits: Float[Tensor, " labels"] | None = None
    masses: Float[Tensor, " tokens"] | None = None
    token_logits: Float[Tensor, "tokens labels"] | None = None


OutputBatches = Iterable[tuple[Sequence[int], list[TeacherOutput]]]  # row numbers, in any order, and their outputs


@dataclass(frozen=True)
class CacheShard:
    """Where a safetensors file has its tensors.

    Attributes:
        begin: the offset of the first tensor's bytes.
        entries: tensor name → its entry in the header.
        metadata: the header's other fields.
    """

    path: Path
    begin: int
    entries: dict[str, Any]
    metadata: dict[str, str]

    def read(self, name: str, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of a tensor ``[rows, width]``, without reading the others.

        Args:
            name: of the tensor: ``states``, ``scales``, ``logits``, ``masses`` or ``token_logits``.

        Raises:
            KddaError: the file has become shorter since its header was read.
        """
        entry = self.entries[name]
        dtype, width = DTYPES[entry["dtype"]], entry["shape"][1]
        row_bytes = width * dtype.itemsize
        start = self.begin + entry["data_offsets"][0] + first * row_bytes
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(count * row_bytes)
        if len(data) < count * row_bytes:
            raise KddaError(f"{self.path} was truncated while it was in use; the same command writes it again")
        return torch.frombuffer(bytearray(data), dtype=dtype).reshape(count, width)

    def read_states(self, first: int, count: int) -> Float[Tensor, "tokens width"]:
        """The states of tokens `first` to `first + count`: in bfloat16 as stored, or in float32 from 8 bits."""
        states = self.read("states", first, count)
        if "scales" not in self.entries:
            return states
        return states * self.read("scales", first, count)

    def checksum(self) -> str:
        """CRC-32 of names and bytes, in the order of names; the store computes the same of tensors in memory."""
        crc = 0
        with self.path.open("rb") as file:
            for name in sorted(self.entries):
                crc = zlib.crc32(name.encode(), crc)
                start, end = self.entries[name]["data_offsets"]
                file.seek(self.begin + start)
                for position in range(start, end, CHECKSUM_BYTES):
                    crc = zlib.crc32(file.read(min(CHECKSUM_BYTES, end - position)), crc)
        return f"{crc:08x}"


def open_shard(path: Path, name: str) -> CacheShard | None:
    """A shard that was written under this name; None if there is none, or it is damaged or another's.

    Raises:
        KddaError: a newer version has written it.
    """
    try:
        shard = read_header(path)
        version = shard.metadata.pop("format", FORMATS[0])
        is_whole = shard.metadata == {"fingerprint": name, "crc32": shard.checksum()}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
    ):  # ways to be damaged
        return None
    if is_whole and version not in FORMATS:
        raise KddaError(
            f"{path} has format {version} of teacher states, and this kdda reads {' and '.join(FORMATS)}: update kdda, "
            "or delete that folder"
        )
    return shard if is_whole else None


def bytes_of_state(width: int, precision: str) -> int:
    """Bytes that a token's stored state takes, its scale included.

    >>> bytes_of_state(768, "bf16"), bytes_of_state(768, "int8")
    (1536, 772)
    """
    scale = 4 if precision == "int8" else 0  # float32
    return width * DTYPES[STATE_DTYPES[precision]].itemsize + scale


def in_8_bits(states: Float[Tensor, "tokens width"]) -> tuple[Int8[Tensor, "tokens width"], Float[Tensor, "tokens 1"]]:
    """States as codes of 8 bits and a scale a token; code times scale is nearest to the state.

    A token whose state is not finite has no finite scale, so that it is not finite when it is read, either.

    >>> codes, scales = in_8_bits(torch.tensor([[1.0, -0.25], [0.0, 0.0]]))
    >>> codes.tolist(), (codes * scales).tolist()[1]
    ([[127, -32], [0, 0]], [0.0, 0.0])
    """
    states = states.float()
    scales = states.abs().amax(dim=1, keepdim=True) / LARGEST_CODE
    codes = states / scales.clamp_min(torch.finfo(torch.float32).tiny)  # of a token of zeros, 0
    return codes.round().nan_to_num().to(torch.int8), scales


def read_header(path: Path) -> CacheShard:
    """A file's header, without its tensors."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))  # of the header, as 64 bits, little-endian
        if size > path.stat().st_size:
            raise ValueError(f"{path}: a header of {size} bytes")
        entries = json.loads(file.read(size))
    return CacheShard(path, 8 + size, entries, entries.pop("__metadata__", {}))


def write_shard(
    path: Path,
    ends: Int64[ndarray, " rows"],
    width: int,
    outputs: OutputBatches,
    name: str,
    precision: str = "bf16",
) -> None:
    """Write a shard whole or not at all, row by row as the teacher computes them.

    Args:
        ends: of each row, the shard's tokens up to its last.
        width: of a state.
        outputs: rows of the shard, numbered from 0, with the teacher's outputs.
        name: the fingerprint of what computes them.
        precision: of stored states: ``bf16`` or ``int8``.
    """
    with atomic_file(path) as part, part.open("wb+") as file:
        shard: CacheShard | None = None
        for rows, row_outputs in outputs:
            if shard is None:
                shard = _begin(file, name, row_outputs[0], len(ends), (int(ends[-1]), width), precision)
            for row, output in zip(rows, row_outputs, strict=True):
                first_token = int(ends[row]) - len(output.states)
                _put_states(file, shard, first_token, output.states)
                if output.logits is not None:
                    _put(file, shard, "logits", row, output.logits.cpu()[None])
                if output.masses is not None:
                    _put(file, shard, "masses", first_token, output.masses.cpu()[:, None])
                if output.token_logits is not None:
                    _put(file, shard, "token_logits", first_token, output.token_logits.cpu())
        assert shard is not None
        file.flush()
        file.seek(0)
        file.write(_packed_header(_metadata(name, shard.checksum()), shard.entries))


def _metadata(name: str, crc32: str) -> dict[str, str]:
    """The fields of a header beside its tensors: fingerprint, checksum and format."""
    return {"fingerprint": name, "crc32": crc32, "format": FORMATS[-1]}


def _begin(
    file: Any, name: str, example: TeacherOutput, rows: int, states: tuple[int, int], precision: str
) -> CacheShard:
    """Write a header to a new file, with zeros for the checksum, and describe where its tensors go.

    Numbers of four bytes come first, since they must lie at a multiple of four.

    Args:
        example: an output of some row, which shows what there is beside states.
        rows: of the shard.
        states: the shape of all states, ``(tokens, width)``.
        precision: of stored states.
    """
    shapes = {"logits": ("F32", rows, 0), "masses": ("F32", states[0], 0)}
    if example.logits is not None:
        shapes["logits"] = ("F32", rows, len(example.logits))
    if example.masses is not None:
        shapes["masses"] = ("F32", states[0], 1)
    if example.token_logits is not None:
        shapes["token_logits"] = ("F32", states[0], example.token_logits.shape[1])
    if precision == "int8":
        shapes["scales"] = ("F32", states[0], 1)
    shapes["states"] = (STATE_DTYPES[precision], *states)
    entries: dict[str, Any] = {}
    end = 0
    for key, (dtype, count, width) in shapes.items():
        if width:
            start, end = end, end + count * width * DTYPES[dtype].itemsize
            entries[key] = {"dtype": dtype, "shape": [count, width], "data_offsets": [start, end]}
    header = _packed_header(_metadata(name, "0" * 8), entries)
    file.write(header)
    return CacheShard(Path(file.name), len(header), entries, {})


def _packed_header(metadata: dict[str, str], entries: dict[str, Any]) -> bytes:
    """A safetensors header: its size in 64 bits, then JSON, filled with spaces to a multiple of eight bytes."""
    text = json.dumps({"__metadata__": metadata, **entries}, allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _put_states(file: Any, shard: CacheShard, first: int, states: Float[Tensor, "tokens width"]) -> None:
    """Write the states of consecutive tokens, as the shard has them; `first` is the first token's number in it."""
    states = states.cpu()
    if "scales" in shard.entries:
        codes, scales = in_8_bits(states)
        _put(file, shard, "scales", first, scales)
        _put(file, shard, "states", first, codes)
    else:
        _put(file, shard, "states", first, states.to(torch.bfloat16))


def _put(file: Any, shard: CacheShard, name: str, first: int, rows: Tensor) -> None:
    """Write rows of a tensor in their place, from row `first` on."""
    row_bytes = rows.shape[1] * rows.element_size()
    file.seek(shard.begin + shard.entries[name]["data_offsets"][0] + first * row_bytes)
    file.write(bytes_of(rows))
