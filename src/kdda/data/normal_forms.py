"""A text in a context of another normal form of Unicode: places with canonically equivalent text, as raw slices."""

from __future__ import annotations

import re
import unicodedata


def equivalent_matches(text: str, context: str) -> list[tuple[int, int]]:
    """Starts and ends of the slices of a context that are canonically equivalent to a text, but for white space.

    A slice begins and ends between letters: a letter's combining marks belong to it.

    >>> equivalent_matches("\u00e0", "la\u0300 ca\u0300")
    [(1, 3), (5, 7)]
    """
    decomposed, starts = _decompose(context)
    words = unicodedata.normalize("NFD", text).split()
    pattern = r"\s+".join(map(re.escape, words))
    spans = []
    for match in re.finditer(pattern, decomposed):
        begin, end = starts[match.start()], starts[match.end()]
        if begin >= 0 and end >= 0:
            spans.append((begin, end))
    return spans


def _decompose(context: str) -> tuple[str, list[int]]:
    """A context in NFD, and for each of its positions the raw character at which a letter begins there.

    Positions inside a letter, before one of its marks, have -1; the last position is the end of both texts.
    """
    parts = []
    starts: list[int] = []
    begin = 0
    while begin < len(context):
        end = begin + 1
        while end < len(context) and unicodedata.combining(context[end]):
            end += 1
        letter = unicodedata.normalize("NFD", context[begin:end])
        parts.append(letter)
        starts.append(begin)
        starts.extend([-1] * (len(letter) - 1))
        begin = end
    starts.append(len(context))
    return "".join(parts), starts
