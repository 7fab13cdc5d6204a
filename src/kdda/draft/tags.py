"""Files of tagged words or of spans in texts (`recognise_tags`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdda.data.examples import BadRowError
from kdda.data.fields import BadFieldError
from kdda.data.tagged_rows import word_list
from kdda.draft.columns import Recognised, text_column
from kdda.draft.names import SPANS, TAGS, TOKENS
from kdda.draft.tables import FileTable


def recognise_tags(table: FileTable) -> Recognised | None:
    """Labels of words (two lists of one length) or of spans (positions in a text)."""
    tokens, tags = table.first_of(TOKENS), table.first_of(TAGS)
    if tokens and tags and tokens != tags and _are_parallel(table, tokens, tags):
        columns = {"tokens": tokens, "tags": tags}
        numbers = _numbers_of_tags(table, tags)
        reasons = (f"{tokens} and {tags} are lists of one length",)
        if table.is_conll:
            reasons = ("a word a line, its tag last",)
        return Recognised("tag", columns, unknown=numbers, reasons=reasons)
    spans, text = table.first_of(SPANS), text_column(table)
    if spans and text and spans != text and _are_positions(table.cells(spans)):
        columns = {"text": text, "spans": spans}
        return Recognised("tag", columns, reasons=(f"{spans} has positions in {text}",))
    return None


def _are_parallel(table: FileTable, tokens: str, tags: str) -> bool:
    """Whether two columns hold lists of the same length in every row of the sample."""
    lists = 0
    for values in table.sample:
        try:
            first = word_list(values.get(tokens), tokens)
            second = word_list(values.get(tags), tags)
        except (BadRowError, BadFieldError):
            return False
        if len(first) != len(second):
            return False
        lists += len(first) > 1
    return lists > 0


def _numbers_of_tags(table: FileTable, tags: str) -> tuple[str, ...]:
    """The tags of the sample that are numbers, in order; none where tags have names."""
    numbers: set[int] = set()
    for cell in table.cells(tags):
        numbers.update(int(tag) for tag in word_list(cell, tags) if tag.isdecimal())
    return tuple(map(str, sorted(numbers)))


def _are_positions(cells: Sequence[Any]) -> bool:
    """Whether all cells are lists of numbers, of lists, or of dicts with a start, perhaps as texts."""
    is_any_filled = False
    for cell in cells:
        if isinstance(cell, str):
            if not re.fullmatch(r"\s*\[[\s\d,\[\]{}\"':\w-]*\]\s*", cell):
                return False
            is_any_filled = is_any_filled or any(character.isdigit() for character in cell)
        elif isinstance(cell, list):
            is_any_filled = is_any_filled or bool(cell)
            if cell and not isinstance(cell[0], int | list | dict):
                return False
        else:
            return False
    return is_any_filled
