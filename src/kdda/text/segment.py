"""Word segmentation that keeps the raw text: words are [start, end) spans of it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from kdda.errors import KddaError

Span = tuple[int, int]

_SPACE_OR_LETTER = re.compile(r"\s+|\S")


def _vietnamese(text: str) -> list[str]:
    try:
        from underthesea import word_tokenize  # 2 to 4 s to import: only those who segment pay
    except ImportError:
        raise KddaError('Vietnamese word segmentation needs underthesea: pip install "kdda[vi]"') from None
    # The default respells (hoá → hòa) and the words could no longer be found in the text.
    words: list[str] = word_tokenize(text, use_token_normalize=False)
    return words


SEGMENTERS: dict[str, Callable[[str], list[str]]] = {"none": str.split, "vi": _vietnamese}


def segment(text: str, segmenter: str = "none") -> list[Span]:
    """Where the words of `text` are: ordered, disjoint spans that leave out nothing but white space.

    A word may hold spaces ("thủ đô" is one Vietnamese word).

    Args:
        text: raw text, of any script.
        segmenter: a key of `SEGMENTERS`; ``none`` takes what white space separates.

    >>> segment("two words")
    [(0, 3), (4, 9)]
    """
    bounds = _segment(text, segmenter)
    return list(zip(bounds[::2], bounds[1::2], strict=True))


@lru_cache(maxsize=50_000)
def _segment(text: str, segmenter: str) -> Sequence[int]:
    """Starts and ends in turn, as numbers of four bytes: tuples of spans would take ten times as much."""
    if segmenter not in SEGMENTERS:
        raise KddaError(f'segmenter "{segmenter}" is unknown; there are {", ".join(SEGMENTERS)}')
    if not text.strip():
        return array("i")
    spans = align(text, SEGMENTERS[segmenter](text)) or align(text, text.split()) or ()
    return array("i", [edge for span in spans for edge in span])


def clear_segment_cache() -> None:
    """Empty the cache of segmented texts."""
    _segment.cache_clear()


def align(text: str, words: list[str]) -> list[Span] | None:
    """Spans of `words` in `text`, comparing everything but white space; None when they are not the text's."""
    spans, at = [], 0
    for word in words:
        letters = "".join(word.split())
        while at < len(text) and text[at].isspace():
            at += 1
        start, matched = at, 0
        while matched < len(letters) and at < len(text):
            if text[at] == letters[matched]:
                matched += 1
            elif not text[at].isspace():
                return None
            at += 1
        if matched < len(letters):
            return None
        if letters:
            spans.append((start, at))
    return spans if not text[at:].strip() else None


@dataclass(frozen=True, eq=False)
class SegmentedText:
    """A raw text as a word-level model reads it, and the way back.

    Attributes:
        text: words separated by one space, their syllables joined by ``_``; the raw text itself without a segmenter.
        raw: what it was made of.
    """

    text: str
    raw: str
    _starts: Int[ndarray, "_"]
    _ends: Int[ndarray, "_"]

    def to_raw(self, spans: Int[ndarray, "tokens 2"]) -> tuple[Int[ndarray, " tokens"], Int[ndarray, " tokens"]]:
        """Spans of `text` as spans of `raw`: starts and ends, without the white space at their edges."""
        if not self.raw:
            return spans[:, 0], spans[:, 1]
        starts, ends = self._starts[spans[:, 0]], self._ends[spans[:, 1]]
        length = len(self.raw)
        space = np.fromiter(map(str.isspace, self.raw), bool, length)
        following, before = np.arange(length + 1), np.arange(length + 1)
        following[:-1][space], before[1:][space] = length, 0
        following = np.minimum.accumulate(following[::-1])[::-1]
        before = np.maximum.accumulate(before)
        starts = np.minimum(following[starts], ends)
        return starts, np.maximum(before[ends], starts)


def segmented_text(text: str, segmenter: str = "none") -> SegmentedText:
    """The text with its words separated by a space and their syllables joined by ``_``, as word-level models read it.

    >>> segmented_text("Hà Nội là thủ đô.", "vi").text
    'Hà_Nội là thủ_đô .'
    """
    if segmenter == "none":
        same = np.arange(len(text) + 1)
        return SegmentedText(text, text, same, same)
    letters: list[str] = []
    spans: list[Span] = []
    end = 0
    for a, b in segment(text, segmenter):
        if letters:
            letters.append(" ")
            spans.append((end, a))
        for run in _SPACE_OR_LETTER.finditer(text, a, b):
            letters.append("_" if run[0].isspace() else run[0])
            spans.append(run.span())
        end = b
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    return SegmentedText("".join(letters), text, np.append(starts, end), np.insert(ends, 0, 0))
