"""Word segmentation: words as [start, end) spans of the raw text."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from kdda.errors import KddaError, unknown_choice

Span = tuple[int, int]

_SPACE_OR_LETTER = re.compile(r"\s+|\S")


def _vietnamese(text: str) -> list[str]:
    try:
        from underthesea import word_tokenize  # imported here, since it takes 2 to 4 s
    except ImportError:
        raise KddaError('Vietnamese word segmentation needs underthesea: pip install "kdda[vi]"') from None
    # By default underthesea respells words (hoá → hòa), which then are not slices of the text.
    words: list[str] = word_tokenize(text, use_token_normalize=False)
    return words


SEGMENTERS: dict[str, Callable[[str], list[str]]] = {"none": str.split, "vi": _vietnamese}


def segment(text: str, segmenter: str = "none") -> list[Span]:
    """The words of a text as ordered, disjoint spans that cover everything but white space.

    A word may contain spaces ("thủ đô" is one Vietnamese word).

    Args:
        text: raw text, of any script.
        segmenter: a key of `SEGMENTERS`; ``none`` splits at white space.

    Raises:
        KddaError: an unknown segmenter, or one whose package is not installed.

    >>> segment("two words")
    [(0, 3), (4, 9)]
    """
    bounds = _segment(text, segmenter)
    return list(zip(bounds[::2], bounds[1::2], strict=True))


@lru_cache(maxsize=50_000)
def _segment(text: str, segmenter: str) -> Sequence[int]:
    """Start and end of each word in turn, as numbers of four bytes: tuples would take ten times the memory."""
    if segmenter not in SEGMENTERS:
        raise KddaError(unknown_choice("segmenter", segmenter, SEGMENTERS))
    if not text.strip():
        return array("i")
    spans = align(text, SEGMENTERS[segmenter](text)) or align(text, text.split()) or ()
    return array("i", chain.from_iterable(spans))


def clear_segment_cache() -> None:
    """Empty the cache of segmented texts."""
    _segment.cache_clear()


def align(text: str, words: list[str]) -> list[Span] | None:
    """Spans of words in a text, white space ignored.

    Args:
        text: raw text.
        words: all its words in order, such as a segmenter returns.

    Returns:
        The span of each word that is not empty; None if the words are not those of the text.
    """
    spans = []
    end = 0
    for word in words:
        letters = "".join(word.split())
        if letters:
            span = _span_of(letters, text, end)
            if span is None:
                return None
            spans.append(span)
            end = span[1]
    if text[end:].strip():
        return None
    return spans


def _span_of(letters: str, text: str, start: int) -> Span | None:
    """The span of the text's next characters that, white space ignored, are these; None where others come."""
    while start < len(text) and text[start].isspace():
        start += 1
    matched = 0
    for i in range(start, len(text)):
        if text[i] == letters[matched]:
            matched += 1
            if matched == len(letters):
                return start, i + 1
        elif not text[i].isspace():
            return None
    return None


@dataclass(frozen=True, eq=False)
class SegmentedText:
    """A text as a word-level model reads it, and the map of its characters to the raw text.

    Attributes:
        text: words separated by one space, the syllables of a word joined by ``_``; without a segmenter the raw text.
        raw: the raw text.
    """

    text: str
    raw: str
    _starts: Int[ndarray, "_"]
    _ends: Int[ndarray, "_"]

    def to_raw(self, spans: Int[ndarray, "tokens 2"]) -> tuple[Int[ndarray, " tokens"], Int[ndarray, " tokens"]]:
        """Spans of `text` as starts and ends in `raw`, without white space at their edges."""
        if not self.raw:
            return spans[:, 0], spans[:, 1]
        length = len(self.raw)
        is_space = np.fromiter(map(str.isspace, self.raw), bool, length)
        # for each position of `raw`: the next character that is not white space, and the end of the last one
        following = np.arange(length + 1)
        following[:-1][is_space] = length
        following = np.minimum.accumulate(following[::-1])[::-1]
        preceding = np.arange(length + 1)
        preceding[1:][is_space] = 0
        preceding = np.maximum.accumulate(preceding)
        ends = self._ends[spans[:, 1]]
        starts = np.minimum(following[self._starts[spans[:, 0]]], ends)
        return starts, np.maximum(preceding[ends], starts)


def segmented_text(text: str, segmenter: str = "none") -> SegmentedText:
    """A text as word-level models read it: words separated by a space, the syllables of a word joined by ``_``.

    Args:
        text: raw text.
        segmenter: a key of `SEGMENTERS`; ``none`` leaves the text as it is.

    >>> segmented_text("Hà Nội là thủ đô.", "vi").text
    'Hà_Nội là thủ_đô .'
    """
    if segmenter == "none":
        same = np.arange(len(text) + 1)
        return SegmentedText(text, text, same, same)
    characters: list[str] = []
    spans: list[Span] = []  # of each character in the raw text
    end = 0
    for word_start, word_end in segment(text, segmenter):
        if characters:
            characters.append(" ")
            spans.append((end, word_start))
        for run in _SPACE_OR_LETTER.finditer(text, word_start, word_end):
            character = run[0]
            if character.isspace():
                character = "_"
            characters.append(character)
            spans.append(run.span())
        end = word_end
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    return SegmentedText("".join(characters), text, np.append(starts, end), np.insert(ends, 0, 0))
