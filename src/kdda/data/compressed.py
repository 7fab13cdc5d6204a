"""Compressed files (``.gz``, ``.zst``) as streams of their content; a torn or broken one is a message with its name."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from kdda.errors import KddaError
from kdda.runtime.text_files import printable

PACKED_BYTES = 2**14  # compressed bytes that are read at once; zstd may make 32,000 times as many of them


@runtime_checkable
class Decompressor(Protocol):
    """What zlib, the standard library's zstd and the package zstandard have in common: one compressed stream."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """The bytes behind the stream's end: the next stream of a file that is several, joined."""

    def decompress(self, data: bytes, /) -> bytes:
        """The content of the stream's next bytes."""


def _gzip_stream(name: str) -> Decompressor:
    """A decompressor of one gzip stream."""
    return zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)  # 16 more: with gzip's header and checksum


def _zstd_stream(name: str) -> Decompressor:
    """A decompressor of one zstd frame: the standard library's from Python 3.14 on, else that of an extra.

    Raises:
        KddaError: there is none; `name` is the file's.
    """
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        standard: Decompressor = zstd.ZstdDecompressor()
        return standard
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise KddaError(
            f'{name}: .zst files need Python 3.14, or pip install "kdda[zstd]"; or unpack it: zstd -d {name}'
        ) from None
    extra: Decompressor = zstandard.ZstdDecompressor().decompressobj()
    return extra


# How a compressed file is unpacked, by the extension that stands behind that of its content.
DECOMPRESSORS: dict[str, Callable[[str], Decompressor]] = {".gz": _gzip_stream, ".zst": _zstd_stream}


def open_file(path: Path) -> io.BufferedReader:
    """A file opened for reading bytes; of a compressed one, by its name, its content."""
    new_stream = DECOMPRESSORS.get(path.suffix.lower())
    if new_stream is None:
        return path.open("rb")
    return io.BufferedReader(_Content(path, new_stream))


class _Content(io.RawIOBase):
    """The content of a compressed file, as a raw stream that `io.BufferedReader` reads.

    Raises:
        KddaError: while it is read, where the file ends in the middle of a stream or is broken.
    """

    def __init__(self, path: Path, new_stream: Callable[[str], Decompressor]):
        self._name = printable(path)
        self._new_stream = new_stream
        self._stream = new_stream(self._name)
        self._file = path.open("rb")
        self._has_begun = False  # whether the current stream has got any bytes
        self._content = b""  # unpacked, and not read yet

    def readable(self) -> bool:
        """Yes; `io.BufferedReader` asks."""
        return True

    def close(self) -> None:
        """Close the compressed file, too."""
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Write the next bytes of the content into a buffer, and return how many; 0 at the end."""
        while not self._content:
            packed = self._file.read(PACKED_BYTES)
            if not packed:
                self._check_end()
                return 0
            self._content = self._unpack(packed)
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        """The content of the next bytes of the file, which may end a stream and begin others."""
        content = b""
        while packed:
            if self._stream.eof:
                self._stream = self._new_stream(self._name)
            try:
                content += self._stream.decompress(packed)
            except Exception as error:  # zlib.error, ZstdError: each library has its class
                raise KddaError(f"{self._name}: broken as a compressed file ({error}): fetch it again") from None
            self._has_begun = True
            packed = self._stream.unused_data if self._stream.eof else b""
        return content

    def _check_end(self) -> None:
        """Refuse a file that ends before its stream does."""
        if not self._has_begun:
            raise KddaError(f"{self._name}: empty, expected a compressed file")
        if not self._stream.eof:
            raise KddaError(f"{self._name}: ends in the middle of its compressed content (torn): fetch it again")
