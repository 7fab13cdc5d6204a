"""Text files from users: lines in UTF-8; by the first 512 bytes other encodings, Git LFS, gzip, zip; odd names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kdda.errors import KddaError

READ_FIRST = 512  # bytes read from a file's beginning to tell what it is

# How files in other encodings begin, and what iconv calls these; UTF-32's mark begins with that of UTF-16.
ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x2b\x2f\x76": "UTF-7",
    b"\x84\x31\x95\x33": "GB18030",
}

# How files begin that are no text, what they are, and what to do.
FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer and not the file itself: git lfs pull fetches it",
    b"# xet version": "a pointer of the Hub's storage and not the file itself: download the file again",
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"BZh": "compressed (bzip2): unpack it first",
    b"\xfd7zXZ": "compressed (xz): unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or export it as CSV in UTF-8",
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
    b"%PDF": "a PDF document: extract its text first",
    b"\xd0\xcf\x11\xe0": "an old Office document: export it as text in UTF-8",
}

PAGES = (b"<!doctype html", b"<html")  # how a web page begins


class NotUtf8Error(ValueError):
    """Bytes that are not UTF-8; the message names the first of them."""


def printable(name: str | Path) -> str:
    """A file's name for messages, ids and files: bytes of it that are not UTF-8 are written as ``\\xff``.

    >>> printable("r\\udce9gion.csv")
    'r\\\\xe9gion.csv'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_first_bytes(path: Path) -> None:
    """Refuse a file that is no text in UTF-8 by what its first bytes say it is.

    Raises:
        KddaError: a pointer of Git LFS, a web page, something compressed or binary, or text in another encoding.
    """
    with path.open("rb") as file:
        check_is_utf8(file.read(READ_FIRST), printable(path))


def check_is_utf8(first: bytes, name: str) -> None:
    """Refuse what is no text in UTF-8 by what its first bytes say it is; `check_first_bytes` of bytes at hand.

    Args:
        first: its first bytes, `READ_FIRST` or all of them.
        name: of the file in messages.
    """
    check_is_text(first, name)
    encoding = encoding_of(first)
    if encoding:
        raise KddaError(f"{name}:1: its first bytes say {encoding}, expected UTF-8; {conversion(name, encoding)}")


def check_is_text(first: bytes, name: str, may_be_page: bool = False) -> None:
    """Refuse what is no text, or a web page, by its first bytes.

    Args:
        first: the first `READ_FIRST` bytes.
        name: the file's, for the message.
        may_be_page: whether a web page may be meant.
    """
    for beginning, what in FOREIGN.items():
        if first.startswith(beginning):
            raise KddaError(f"{name} is {what}")
    if not may_be_page and first.lstrip().lower().startswith(PAGES):
        raise KddaError(f"{name} is a web page: the download gave a page instead of the file")


def encoding_of(first: bytes) -> str:
    """The encoding that the first bytes of a file are evidence of; empty where they may be UTF-8.

    Latin letters in UTF-16 without a byte order mark are pairs of a letter and a zero byte.
    """
    for beginning, encoding in ENCODINGS.items():
        if first.startswith(beginning):
            return encoding
    even = first[0::2].count(0)  # zero bytes at even places: the high halves of big-endian pairs
    odd = first[1::2].count(0)
    if even + odd > len(first) // 4:  # text in UTF-8 has none; English in UTF-16 has half of its bytes 0
        return "UTF-16BE" if even > odd else "UTF-16LE"
    return ""


def conversion(name: str, encoding: str) -> str:
    """The advice to convert a file from an encoding."""
    file = Path(name)
    return f"convert it first: iconv -f {encoding} -t UTF-8 {file.name} > {file.stem}.utf8{file.suffix}"


def decode(line: bytes, is_first: bool = False) -> str:
    """A line's text.

    Args:
        line: in UTF-8.
        is_first: whether it is a file's first, which may begin with a byte order mark.

    Raises:
        NotUtf8Error: names the byte and its place in the line.
    """
    try:
        return line.decode("utf-8-sig" if is_first else "utf-8")  # utf-8-sig drops a byte order mark
    except UnicodeDecodeError as error:
        raise NotUtf8Error(
            f"not UTF-8 (byte 0x{line[error.start]:02x}) at byte {error.start + 1} of the line"
        ) from None


def read_lines(path: Path) -> Iterator[str]:
    """A file's lines with their ends, which are "\\n" alone: `str.splitlines` would also split at U+2028 inside a text.

    Raises:
        KddaError: names the line that is not UTF-8, or what the file is instead of text.
    """
    check_first_bytes(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decode(line, is_first=number == 1)
            except NotUtf8Error as error:
                name = printable(path)
                raise KddaError(
                    f"{name}:{number}: {error}; its encoding may be an older one: {conversion(name, 'WINDOWS-1258')}"
                ) from None


def read_text(path: Path) -> str:
    """A file's text, without its byte order mark.

    Raises:
        KddaError: names the line that is not UTF-8, or what the file is instead of text.
    """
    return "".join(read_lines(path))
