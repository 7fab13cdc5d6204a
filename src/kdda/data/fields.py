"""Typed fields of rows, whatever type a reader gives them: whole numbers, yes or no, ids, labels, missing values."""

from __future__ import annotations

import ast
import json
import math
import unicodedata
from decimal import Decimal
from functools import cache
from reprlib import Repr
from typing import Any

from kdda.data.json_text import BadJsonError, parse_json

YES = frozenset({"true", "yes", "y", "t", "1"})

NO = frozenset({"false", "no", "n", "f", "0"})

# How tables write an empty cell of numbers or truth values.
NOTHING = frozenset({"nan", "null", "none", "na", "n/a", "<na>"})

LONGEST_VALUE = 80  # characters of a value in a message

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = LONGEST_VALUE


@cache
def plain_name(name: str) -> str:
    """A name without what authors write differently: case, diacritics, spaces, hyphens, underscores.

    >>> plain_name("Tiền_đề"), plain_name("tien de"), plain_name("sentence_1"), plain_name("pairID")
    ('tiende', 'tiende', 'sentence1', 'pairid')
    """
    decomposed = unicodedata.normalize("NFD", name.lower().replace("đ", "d"))  # letters, and marks behind them
    return "".join(filter(str.isalnum, decomposed))


class BadFieldError(ValueError):
    """A value that a typed field cannot have; the message tells the value and what is expected."""


def shown(value: Any) -> str:
    """A value in a message: its repr, shortened, however large or deep it is.

    >>> shown("mèo"), shown([1, 2, 3])
    ("'mèo'", '[1, 2, 3]')
    """
    return _repr.repr(value)


def plain(value: Any) -> Any:
    """A value in Python's types: numpy's numbers and arrays become numbers and lists, tuples lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return value


def is_missing(value: Any) -> bool:
    """Whether a field says nothing: null, not a number (pandas' empty cell), or a text of white space alone."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")  # pandas.NA and NaT, without an import of pandas


def check_surrogates(text: str) -> None:
    """Refuse a text with an unpaired surrogate, which no tokenizer reads and no file in UTF-8 holds.

    Raises:
        BadFieldError: names the surrogate and its place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadFieldError(f"an unpaired surrogate ({text[error.start]!r}) at character {error.start}") from None


def whole_number(value: Any) -> int | None:
    """A whole number, given as a number or as text; None where the field says nothing.

    >>> whole_number(4), whole_number("4"), whole_number(4.0), whole_number(" 4.0"), whole_number("")
    (4, 4, 4, 4, None)

    Raises:
        BadFieldError: something else.
    """
    value = plain(value)
    if is_missing(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = None
    if isinstance(value, float | Decimal):
        number = Decimal(value)
    elif isinstance(value, str):
        if value.strip().casefold() in NOTHING:
            return None
        number = _decimal(value)
    if number is None or not number.is_finite() or number != number.to_integral_value():
        raise BadFieldError(f"{shown(value)} is not a number, expected a whole one such as 4")
    return int(number)


def _decimal(text: str) -> Decimal | None:
    """The number that a text is, if it is a short one."""
    text = text.strip()
    if len(text) > LONGEST_VALUE or "_" in text or "e" in text.lower():
        return None
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


def truth(value: Any) -> bool:
    """Yes or no, given as a truth value, as 0 or 1, or as text; no where the field says nothing.

    >>> truth(True), truth("True"), truth(1), truth("1"), truth(0.0), truth("no"), truth(None)
    (True, True, True, True, False, False, False)

    Raises:
        BadFieldError: something else.
    """
    value = plain(value)
    if is_missing(value):
        return False
    if isinstance(value, bool):
        return value
    text = canonical(value).casefold()
    if text in YES:
        return True
    if text in NO or text in NOTHING:
        return False
    raise BadFieldError(f"{shown(value)} is neither true nor false")


def canonical(value: Any) -> str:
    """A label or id as text, alike for all the ways in which formats write it: ``0.0`` as ``0``, ``true`` as ``True``.

    >>> canonical(0.0), canonical("1.0"), canonical("TRUE"), canonical("neutral")
    ('0', '1', 'True', 'neutral')
    """
    text = unicodedata.normalize("NFC", str(plain(value)).strip())
    whole, point, fraction = text.partition(".")
    if point and whole.removeprefix("-").isdecimal() and not fraction.strip("0"):
        return whole
    if text.casefold() in ("true", "false"):
        return text.capitalize()
    return text


def identifier(value: Any, default: str) -> str:
    """A row's or a document's id as text.

    Args:
        value: what the id's field has. A number with no fraction is written without a point, whatever the reader.
        default: the id of a row that has none.

    Raises:
        BadFieldError: an unpaired surrogate.
    """
    value = plain(value)
    if is_missing(value):
        return default
    if isinstance(value, float | Decimal):
        return canonical(value)
    text = str(value)
    check_surrogates(text)
    return text


class _WithoutArrays(ast.NodeTransformer):
    """Replaces numpy's ``array([…], dtype=object)`` by its list."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """The first argument of a call of ``array``; any other call as it is, which `ast.literal_eval` refuses."""
        if isinstance(node.func, ast.Name) and node.func.id == "array" and node.args:
            return node.args[0]
        return node


def structure(text: str) -> Any:
    """The list or mapping that a cell of text holds, as JSON or as Python writes it; a plain JSON value as it is.

    Tables that were saved from Python have such cells: ``{'text': array(['Huế'], dtype=object), 'answer_start': [4]}``.

    Raises:
        BadFieldError: neither; of Python, anything but a list, a mapping or None.
    """
    try:
        return parse_json(text)
    except BadJsonError as error:
        reason = str(error)
    try:
        tree = _WithoutArrays().visit(ast.parse(text.strip(), mode="eval"))
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise BadFieldError(f"{shown(text)}: {reason}") from None
    if value is not None and not isinstance(value, list | dict):
        raise BadFieldError(f"{shown(text)}: expected a list or a mapping")
    return value


def is_storable_id(value: Any) -> bool:
    """Whether a raw id can be written as JSON in UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True
