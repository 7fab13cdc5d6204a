"""Texts shortened to so many columns of a terminal (`shorten`): with an ellipsis, at a word or else at a letter."""

from __future__ import annotations

import regex
from rich.cells import cell_len

ELLIPSIS = "…"

_LETTER = regex.compile(r"\X\p{M}*")  # Unicode's grapheme cluster, with the few marks that it leaves out


def shorten(text: str, columns: int) -> str:
    """A text that takes so many columns at most; a longer one ends with an ellipsis.

    It ends behind a whole word, and behind a whole letter where words leave less than half of the columns.

    Args:
        columns: of a terminal, on which a Chinese character takes two and a combining mark none.

    >>> shorten("out of memory: 3 GB are missing", 21)
    'out of memory: 3 GB…'
    """
    if cell_len(text) <= columns:
        return text
    end = 0
    taken = cell_len(ELLIPSIS)
    for letter in _LETTER.finditer(text):
        taken += cell_len(letter.group())
        if taken > columns:
            break
        end = letter.end()
    if not text[end].isspace():
        space = text.rfind(" ", end // 2, end)
        if space > 0:
            end = space
    return text[:end].rstrip() + ELLIPSIS
