"""Broken variants of valid files: bytes that are lost, doubled, replaced, and values that their format allows."""

from __future__ import annotations

import re

from hypothesis import strategies as st

# What people's files, editors, spreadsheets and downloads put into a place where something else belongs.
BYTES = [
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b'"',
    b"'",
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b",",
    b";",
    b"{",
    b"[",
    b"]",
    b"}",
    b":",
    b"\\ud800",
    "\u0301".encode(),
    "\u200b".encode(),
    "👩‍👩‍👧".encode(),
    "ệ".encode("utf-16-le"),
    b"&a ",
    b"*a",
    b"!!python/object:os.system ",
    b"!!binary ",
    b"<<: ",
    b"# ",
    b"a" * 2000,
]

# Values in the place of a value.
VALUES = [
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"-Infinity",
    b".inf",
    b".nan",
    b"1e999",
    b"-1",
    b"0",
    b"4.0",
    b'"4"',
    b'""',
    b'" "',
    b"[]",
    b"{}",
    b"[[]]",
    b'{"a": 1}',
    b"9" * 5000,
    b"[" * 3000,
    b'"\\ud800"',
    b'"\\u0000"',
    b'"-"',
    b"2024-02-30",
    b"2**31",
    b"18446744073709551616",
]

VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|\b(?:true|false|null)\b')


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A variant of a valid file, one to three changes away from it."""
    content = valid
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from([_with_value, _with_bytes, _without, _doubled, _cut]))
        content = change(draw, content)
    return content


def _place(draw: st.DrawFn, content: bytes) -> int:
    return draw(st.integers(0, len(content)))


def _with_value(draw: st.DrawFn, content: bytes) -> bytes:
    """One value of JSON or YAML replaced by another."""
    places = [match.span() for match in VALUE.finditer(content)]
    if not places:
        return _with_bytes(draw, content)
    start, end = draw(st.sampled_from(places))
    return content[:start] + draw(st.sampled_from(VALUES)) + content[end:]


def _with_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes put in, or in the place of some others."""
    start = _place(draw, content)
    return content[:start] + draw(st.sampled_from(BYTES)) + content[start + draw(st.integers(0, 3)) :]


def _without(draw: st.DrawFn, content: bytes) -> bytes:
    start = _place(draw, content)
    return content[:start] + content[start + draw(st.integers(1, 40)) :]


def _doubled(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes twice, such as a whole line or a key with its value."""
    start = _place(draw, content)
    end = start + draw(st.integers(1, 80))
    return content[:end] + content[start:]


def _cut(draw: st.DrawFn, content: bytes) -> bytes:
    """The beginning of the file, as a torn download leaves it."""
    return content[: _place(draw, content)]
