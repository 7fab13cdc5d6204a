"""Letters as readers see them: a base with its combining marks, an emoji with its parts, a syllable of Hangul jamo.

Where letters begin and end in a text (`letter_bounds`), and a text in the normal form NFC with the way back to the raw
characters (`compose`).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import regex
from jaxtyping import Int
from numpy import ndarray

# White space stands alone, so that a mark after a space is a letter by itself. \X is Unicode's grapheme cluster; it
# leaves out a few marks (of Burmese), which belong to their letter here.
_LETTER = regex.compile(r"\s|\X\p{M}*")

# What can stand inside a letter behind its first character, or join two: marks, joiners, jamo, flags, skin tones.
_JOINS = regex.compile(
    r"[\p{M}\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}\p{GCB=Prepend}\p{GCB=RI}\p{GCB=L}\p{GCB=V}\p{GCB=T}]"
)

# Unicode counts this joiner to the letter before it; Persian writes it between the parts of a word, so it divides here.
_ZERO_WIDTH_NON_JOINER = "\u200c"


def letter_bounds(text: str) -> tuple[Int[ndarray, "_"], Int[ndarray, "_"]] | None:
    """Where the letter begins, and where it ends, that holds each position of a text, the text's end included.

    A position between two letters is mapped to itself. None for a text whose characters are all letters by themselves,
    which is most of them.
    """
    if text.isascii() or not _JOINS.search(text):
        return None
    begins = np.arange(len(text) + 1)
    ends = np.arange(len(text) + 1)
    for start, end in _letters(text):
        begins[start + 1 : end] = start
        ends[start + 1 : end] = end
    return begins, ends


def _letters(text: str) -> list[tuple[int, int]]:
    """Start and end of every letter, in order; together they cover the text."""
    divided = text.replace(_ZERO_WIDTH_NON_JOINER, "\n")
    spans = []
    for letter in _LETTER.finditer(divided):
        spans.append(letter.span())
    return spans


@dataclass(frozen=True, eq=False)
class ComposedText:
    """A text in NFC, and where its spans lie in the raw text.

    Attributes:
        text: in NFC, where ``ệ`` is one character.
        starts: for each position of `text`, its end included: where a span that begins there begins in the raw text.
        ends: the same for spans that end there. A span that ends inside a letter is mapped to the letter's end, and
            the span that goes on there to the same place, so that neighbours neither overlap nor leave a gap.
    """

    text: str
    starts: Int[ndarray, "_"]
    ends: Int[ndarray, "_"]


def compose(text: str) -> ComposedText:
    """A text in NFC, the form that Vietnamese vocabularies are made of, with the way back to the raw text.

    >>> composed = compose("Hue\\u0302\\u0301")
    >>> composed.text, composed.starts.tolist(), composed.ends.tolist()
    ('Huế', [0, 1, 2, 5], [0, 1, 2, 5])
    """
    if unicodedata.is_normalized("NFC", text):
        same = np.arange(len(text) + 1)
        return ComposedText(text, same, same)
    parts = []
    starts: list[int] = []
    ends: list[int] = [0]
    for start, end in _letters(text):
        letter = text[start:end]
        composed = unicodedata.normalize("NFC", letter)
        parts.append(composed)
        if composed == letter:
            starts += range(start, end)
            ends += range(start + 1, end + 1)
        else:
            starts += [start] + [end] * (len(composed) - 1)
            ends += [end] * len(composed)
    starts.append(len(text))
    return ComposedText("".join(parts), np.array(starts), np.array(ends))


def snap_to_letters(
    text: str, starts: Int[ndarray, " tokens"], ends: Int[ndarray, " tokens"]
) -> tuple[Int[ndarray, " tokens"], Int[ndarray, " tokens"]]:
    """Spans of tokens so that none ends or begins inside a letter.

    An end inside a letter moves to the letter's end. The next token then begins behind the letter; one that held
    nothing but the letter's marks becomes empty. A token that begins inside a letter which no token before it reaches
    begins where the letter does.

    Args:
        text: what the spans are of.
        starts: of tokens in order.
        ends: of the same tokens.
    """
    bounds = letter_bounds(text)
    if bounds is None or not len(starts):
        return starts, ends
    letter_starts, letter_ends = bounds
    ends = letter_ends[ends]
    reach_before = np.zeros_like(ends)  # the furthest end of the tokens before each one
    reach_before[1:] = np.maximum.accumulate(ends)[:-1]
    begins = letter_starts[starts]
    inside = begins < starts
    moved = np.minimum(np.maximum(begins, reach_before), letter_ends[starts])
    starts = np.where(inside, moved, starts)
    return starts, np.maximum(starts, ends)
