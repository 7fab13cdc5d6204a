"""JSON from outside: a key given twice, nesting too deep, a number too long and text that is no JSON, with the line."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

DEEPEST = 100  # levels of nesting: a row has three or four, and Python ends at about a thousand

# A string with its colon where it is a key, or a bracket.
TOKEN = re.compile(r'(?P<text>"(?:[^"\\]++|\\.)*+")(?P<colon>\s*:)?|[\[\]{}]')


class BadJsonError(ValueError):
    """A text that is not JSON as kdda reads it.

    Attributes:
        line: of the text, from 1.
    """

    def __init__(self, message: str, line: int = 1):
        super().__init__(message)
        self.line = line


class _RepeatedKeyError(ValueError):
    """An object that has a key twice."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        BadJsonError: it is not JSON, an object has a key twice, or it is nested too deeply; or a number has thousands
            of digits.
    """
    text = text.removeprefix("\ufeff")  # files that begin with a byte order mark, joined
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(text, error) from None
    except _RepeatedKeyError as error:
        raise BadJsonError(str(error), _line_of_repeated_key(text)) from None
    except RecursionError:
        raise _too_deep(text) from None
    except ValueError:  # Python's limit, which guards against numbers that take minutes to convert
        digits = sys.get_int_max_str_digits()
        long_number = re.search(rf"\d{{{digits + 1}}}", text)
        line = _line_at(text, long_number.start()) if long_number else 1
        raise BadJsonError(f"a number of more than {digits:,} digits", line) from None
    if text.count("[") + text.count("{") > DEEPEST and _line_of_depth(text):
        raise _too_deep(text)
    return value


def parse_line(line: str) -> Any:
    """The value of a line of a JSON Lines file, with or without its end.

    Raises:
        BadJsonError: as of `parse_json`; of a value over several lines, what its file is to be called.
    """
    text = line.rstrip("\r\n")
    if text.strip() in ("{", "["):
        raise BadJsonError(
            f'not JSON: the line holds "{text.strip()}" alone, expected one object a line; a file that is one value on '
            "several lines is called .json"
        )
    return parse_json(text)


def _not_json(text: str, error: json.JSONDecodeError) -> BadJsonError:
    """The error about a text that is no JSON, with the line and the column at which it stops being so.

    Where it ends too early, as of a file that was torn, that is behind its last character that is not blank.
    """
    end = len(text.rstrip())
    if error.pos < end:
        return BadJsonError(f"not JSON: {error.msg} at column {error.colno}", error.lineno)
    column = end - text.rfind("\n", 0, end)
    return BadJsonError(f"not JSON: it ends too early: {error.msg} at column {column}", _line_at(text, end))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its keys and values, none of which may be given twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(f'the key "{key}" is given twice: keep one of them')
            seen.add(key)
    return values


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _too_deep(text: str) -> BadJsonError:
    """The error about a text that is nested too deeply."""
    return BadJsonError(
        f"nested more than {DEEPEST} levels deep, expected a row of plain fields", _line_of_depth(text) or 1
    )


def _line_of_depth(text: str) -> int:
    """The line of a JSON text in which its nesting becomes too deep; 0 where it does not."""
    depth = 0
    for token in TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                return _line_at(text, token.start())
        elif token[0] in "]}":
            depth -= 1
    return 0


def _line_of_repeated_key(text: str) -> int:
    """The line of a JSON text in which an object has a key for the second time; 1 where none has."""
    open_objects: list[set[str]] = []  # the keys so far of each object that is not closed
    for token in TOKEN.finditer(text):
        if token[0] == "{":
            open_objects.append(set())
        elif token[0] == "}":
            open_objects.pop()
        elif token["colon"] is not None:
            key = json.loads(token["text"])
            if key in open_objects[-1]:
                return _line_at(text, token.start())
            open_objects[-1].add(key)
    return 1


def _line_at(text: str, position: int) -> int:
    """The line, from 1, of a character of a text."""
    return text.count("\n", 0, position) + 1
