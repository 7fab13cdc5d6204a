"""Rows of multiple choice: a context, a question, options in one column or several, and which one is right."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kdda.data.examples import (
    BadRowError,
    DroppedError,
    Example,
    RowConverter,
    Schema,
    label_text,
    row_id,
    text_of,
    value_of,
)
from kdda.data.fields import BadFieldError, canonical, check_surrogates, is_missing, plain, shown, structure
from kdda.data.sources import Row

# What a column with an option is called where a row has no `options`, and which number it has: those of XCOPA, SWAG, …
OPTION_COLUMN = re.compile(r"(?:choice|option|ending)_?(\d+|[a-d])", re.IGNORECASE)

NO_GOLD = -1  # of a row of which nobody says which option is right

FIRST_OPTION = 2  # the place of the first option among the texts of an example, after the context and the question


@dataclass(frozen=True)
class Choice(Example):
    """An example of multiple choice: the texts are the context, the question (empty without one) and the options.

    Attributes:
        gold: the number of the right option, from 0.
    """

    gold: int


class Options(NamedTuple):
    """The options of a row, and how its source calls each: a letter, or the name of its column."""

    texts: list[str]
    names: list[str]


def choice_converter(schema: Schema, is_labelled: bool = True) -> RowConverter:
    """A converter of rows with `context`, perhaps a `question`, `options`, and a `label`.

    `options` is a list, a list as the text of a cell, ``{"text": […], "label": ["A", …]}`` (ARC on the Hub), or several
    columns, which the schema names or which are called `choice1`, `choice2`, … (XCOPA), `ending0`, … (SWAG). The last
    of several columns may be empty in rows with fewer options.
    `label` is the number of an option, from 0; its letter; its text; or the name that the source has for it.

    Args:
        schema: names of columns; its label map is for values of `label`.
        is_labelled: whether rows say which option is right.
    """

    def convert(row: Row, repaired: Counter[str]) -> Choice:
        """The row as an example; its group is the context, which other questions may share."""
        context = text_of(row, schema.column("context"))
        question = _question(row, schema)
        options = _options(row, schema)
        problem = problem_of(options.texts)
        if problem:
            raise BadRowError(f'"{_name(schema)}": {problem}')
        gold = _gold(row, schema, options) if is_labelled else NO_GOLD
        return Choice(row_id(row, schema), (context, question, *options.texts), context, gold)

    return convert


def problem_of(options: Sequence[Any], name: Callable[[int], str] = "option {}".format) -> str:
    """Why these cannot be the options of a choice; empty where they can.

    Args:
        name: what the message calls the option of a number, which counts from 1.

    >>> problem_of(["yes"]), problem_of(["yes", "no", " yes"]), problem_of(["yes", ""]), problem_of(["yes", "no"])
    ('got 1 option, expected two or more', "options 1 and 3 are equal: 'yes'", 'option 2 is empty', '')
    """
    places: dict[str, int] = {}  # of each text
    for number, option in enumerate(options, 1):
        if is_missing(option):
            return f"{name(number)} is empty"
        if not isinstance(option, str):
            return f"{name(number)}: got {shown(option)}, expected text"
        try:
            check_surrogates(option)
        except BadFieldError as error:
            return f"{name(number)}: {error}"
        first = places.setdefault(_normal(option), number)
        if first != number:
            return f"options {first} and {number} are equal: {shown(option.strip())}"
    if not options:
        return "got 0 options, expected two or more"
    if len(options) == 1:
        return "got 1 option, expected two or more"
    return ""


def _normal(text: str) -> str:
    """A text as options are compared: without white space around it, in one normal form."""
    return unicodedata.normalize("NFC", text.strip())


def _name(schema: Schema) -> str:
    """What messages call the options: their column, or the field where they have several."""
    columns = schema.columns_of("options")
    return columns[0] if len(columns) == 1 else "options"


def _question(row: Row, schema: Schema) -> str:
    """The text of a row's question; empty where it has none."""
    column = schema.column("question")
    if is_missing(row.values.get(column)):
        return ""
    return text_of(row, column)


def _options(row: Row, schema: Schema) -> Options:
    """A row's options, from one column or several.

    Raises:
        BadRowError: a value that is no list of texts, or a column that the row lacks.
    """
    columns = list(schema.columns_of("options"))
    if columns == ["options"] and "options" not in row.values:
        columns = sorted(filter(OPTION_COLUMN.fullmatch, map(str, row.values)), key=_number_in_name) or columns
    if len(columns) > 1:
        texts = [plain(value_of(row, column)) for column in columns]
        while texts and is_missing(texts[-1]):
            texts.pop()
        return Options(texts, columns)
    value = plain(value_of(row, columns[0]))
    if isinstance(value, str) and value.strip() and value.lstrip()[0] not in "[{":
        raise BadRowError(f'"{columns[0]}": got {shown(value)}, expected a list of texts, or a column for each option')
    try:
        return _listed(structure(value) if isinstance(value, str) and value.strip() else value)
    except BadFieldError as error:
        raise BadRowError(f'"{columns[0]}": {error}') from None


def _number_in_name(column: str) -> tuple[int, str]:
    """The place of a column such as `choice2` or `optionB` among those of its row."""
    match = OPTION_COLUMN.fullmatch(column)
    assert match is not None
    number = match[1].lower()
    return (int(number), "") if number.isdecimal() else (0, number)


def _listed(value: Any) -> Options:
    """The options of a list, or of a mapping of their texts and labels.

    Raises:
        BadFieldError: another value.
    """
    names: list[str] = []
    if isinstance(value, dict) and {"text", "label"} <= set(value):
        names = [str(name).strip() for name in plain(value["label"])]
        value = plain(value["text"])
    if not isinstance(value, list):
        raise BadFieldError(f"got {shown(value)}, expected a list of texts")
    return Options([plain(option) for option in value], names)


def _gold(row: Row, schema: Schema, options: Options) -> int:
    """The number of the right option, from 0.

    Raises:
        DroppedError: the schema's map drops the row.
        BadRowError: a value that is no option, or that stands for two.
    """
    column = schema.column("label")
    value = label_text(plain(value_of(row, column)))
    if value in schema.label_map:
        known = schema.label_map[value]
        if known is None:
            raise DroppedError(f'label "{value}" dropped')
        value = known
    if not value:
        raise BadRowError(f'"{column}" is empty')
    if value in options.names[: len(options.texts)]:
        return options.names.index(value)
    meant = _meant(value, options.texts)
    if len(meant) > 1:
        raise BadRowError(f'"{column}": {shown(value)} is the number of an option and the text of another one')
    if not meant:
        last = len(options.texts) - 1
        raise BadRowError(
            f'"{column}": got {shown(value)}, expected the number of an option, 0 to {last}; a letter, A to '
            f"{chr(ord('A') + last)}; or the text of an option"
        )
    return meant.pop()


def _meant(value: str, options: Sequence[str]) -> set[int]:
    """The numbers of all options that a label may mean: by its number from 0, its letter, or its text."""
    meant = set()
    number = canonical(value)  # 1 of a table that writes 1.0
    if number.isdecimal() and int(number) < len(options):
        meant.add(int(number))
    letter = ord(value.upper()) - ord("A") if len(value) == 1 and value.isascii() and value.isalpha() else len(options)
    if letter < len(options):
        meant.add(letter)
    for place, option in enumerate(options):
        if _normal(option) == _normal(value):
            meant.add(place)
    return meant
