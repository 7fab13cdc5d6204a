"""Lines of a file of rows: UTF-8 or UTF-16, with a byte order mark or none, plain or compressed; one encoding a file.

A line in a second encoding is refused with its number (`MIXED_BYTES`: how many bytes are evidence of one).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from kdda.data.compressed import open_file
from kdda.errors import KddaError
from kdda.runtime.text_files import (
    READ_FIRST,
    NotUtf8Error,
    check_is_text,
    conversion,
    decode,
    encoding_of,
    printable,
)

CHUNK = 2**16  # bytes of a file in UTF-16 that are read at once

MIXED_BYTES = 16  # so many bytes of plain text without a zero byte are no UTF-16

LETTERS = 4  # different bytes at every second place: in one alphabet of UTF-16 they are hardly ever so many

# The names under which files in UTF-16 are known by their first bytes, and Python's codecs of them.
UTF16 = {"UTF-16LE": "utf-16-le", "UTF-16BE": "utf-16-be"}


def text_lines(path: Path, may_be_page: bool = False) -> Iterator[str]:
    """A file's lines with their ends, which are "\\n" alone, and without its byte order mark.

    Args:
        may_be_page: whether a web page may be meant, as among documents.

    Raises:
        KddaError: names the line that is not in the file's encoding, or what the file is instead of text.
    """
    name = printable(path)
    with open_file(path) as file:
        first = file.read(READ_FIRST)
    check_is_text(first, name, may_be_page)
    encoding = _utf16_name(first) or encoding_of(first)
    if encoding and encoding not in UTF16:
        expected = "expected UTF-8 or UTF-16"
        raise KddaError(f"{name}:1: its first bytes say {encoding}, {expected}; {conversion(name, encoding)}")
    with open_file(path) as file:
        if encoding:
            yield from _utf16_lines(file, encoding, name)
        else:
            yield from _utf8_lines(file, name)


def whole_text(path: Path, may_be_page: bool = False) -> str:
    """A file's text, without its byte order mark; argument and errors as of `text_lines`."""
    return "".join(text_lines(path, may_be_page))


def _utf16_name(first: bytes) -> str:
    """Which UTF-16 a file is by its byte order mark; empty where it has none. UTF-32's begins alike."""
    if first.startswith(b"\xff\xfe") and not first.startswith(b"\xff\xfe\x00\x00"):
        return "UTF-16LE"
    if first.startswith(b"\xfe\xff"):
        return "UTF-16BE"
    return ""


def _utf8_lines(file: BufferedReader, name: str) -> Iterator[str]:
    """The lines of a file in UTF-8; `name` is the file's."""
    for number, line in enumerate(file, 1):
        try:
            text = decode(line, is_first=number == 1)
        except NotUtf8Error as error:
            where = f"{name}:{number}"
            if number > 1 and encoding_of(line):
                raise KddaError(_two_encodings(where, encoding_of(line), "UTF-8")) from None
            advice = conversion(name, "WINDOWS-1258")
            raise KddaError(f"{where}: {error}; its encoding may be an older one: {advice}") from None
        if "\0" in text and number > 1 and encoding_of(line):
            raise KddaError(_two_encodings(f"{name}:{number}", encoding_of(line), "UTF-8"))
        yield text


def _two_encodings(where: str, other: str, first: str) -> str:
    """The message about a line in another encoding than the lines before it.

    Args:
        where: the line's place.
        other: its encoding.
        first: the encoding of the lines before it.
    """
    return (
        f"{where}: this line is {other}, and the file is {first} before it: a file with two encodings, probably joined "
        f"of two; convert both parts to UTF-8 (iconv -f {other} -t UTF-8) and join them again"
    )


def _utf16_lines(file: BufferedReader, encoding: str, name: str) -> Iterator[str]:
    """The lines of a file in UTF-16 of either byte order; `name` is the file's."""
    for number, line in enumerate(_split_utf16(file, "\n".encode(UTF16[encoding])), 1):
        where = f"{name}:{number}"
        if _ends_in_utf8(line):
            raise KddaError(_two_encodings(where, "UTF-8", encoding))
        try:
            text = line.decode(UTF16[encoding])
        except UnicodeDecodeError as error:
            raise KddaError(f"{where}: not {encoding} at byte {error.start + 1} of the line ({error.reason})") from None
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield text


def _split_utf16(file: BufferedReader, line_end: bytes) -> Iterator[bytes]:
    """The lines of a file whose characters are pairs of bytes, each with its end.

    Args:
        line_end: the two bytes of "\\n".
    """
    rest = b""  # the beginning of a line whose end is not read yet
    while chunk := file.read(CHUNK):
        rest += chunk
        start = 0
        place = rest.find(line_end)
        while place >= 0:
            if place % 2 == 0:  # else the second byte of one character and the first of the next
                yield rest[start : place + 2]
                start = place + 2
            place = rest.find(line_end, place + 1)
        rest = rest[start:]
    if rest:
        yield rest


def _ends_in_utf8(line: bytes) -> bool:
    """Whether a line of a file in UTF-16 ends in plain text of single bytes, as where a file in UTF-8 was joined to it.

    Plain text has no zero bytes, no control characters, and many different bytes at every second place, where the
    letters of one alphabet in UTF-16 have the same one.
    """
    tail = line[line.rfind(0) + 1 :]
    if len(tail) < MIXED_BYTES or len(set(tail[::2])) < LETTERS or len(set(tail[1::2])) < LETTERS:
        return False
    try:
        text = tail.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\r\n" for character in text)
