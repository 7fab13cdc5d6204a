"""Word segmentation: words as [start, end) spans of the raw text. At most 400 characters without a space at a time."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from kdda.errors import KddaError, unknown_choice
from kdda.text.letters import compose, letter_bounds, snap_to_letters
from kdda.text.segmenters import SEGMENTERS

Span = tuple[int, int]

# Segmenters are regular expressions at heart, whose time grows with the square of a run of characters without a space.
LONGEST_RUN = 400

# In a run that may be a URL, underthesea's time doubles with every one of these that follow each other.
PUNCTUATION_RUN = 8

_SPACE_OR_LETTER = re.compile(r"\s+|\S")

_RUN = re.compile(r"\S+")

_PUNCTUATION = re.compile(rf"[`!()\[\]{{}};:'\".,<>?«»“”‘’]{{{PUNCTUATION_RUN},}}")


def segment(text: str, segmenter: str = "none") -> list[Span]:
    """The words of a text as ordered, disjoint spans that cover everything but white space.

    A word may contain spaces ("thủ đô" is one Vietnamese word). The words are those of the text's NFC. A text is
    segmented in bounded time: runs of more than `LONGEST_RUN` characters without a space are divided.

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
    bounds = array("i")
    if segmenter == "none":
        for run in _RUN.finditer(text):
            bounds.extend(run.span())
        return bounds
    composed = compose(text)
    for part_start, part_end in _parts(composed.text):
        part = composed.text[part_start:part_end]
        for start, end in _words_of_part(part, segmenter):
            raw_start = int(composed.starts[part_start + start])
            raw_end = int(composed.ends[part_start + end])
            if raw_start < raw_end:
                bounds.extend((raw_start, raw_end))
    return bounds


def _words_of_part(text: str, segmenter: str) -> Sequence[Span]:
    """The words of a text without runs that are too long; its runs where the segmenter gives other letters."""
    if not text.strip():
        return ()
    return align(text, SEGMENTERS[segmenter](text)) or align(text, text.split()) or ()


def _parts(text: str) -> Iterator[Span]:
    """The text whole, or, where runs of it would take a segmenter too long, those by the piece and what is between."""
    start = 0
    for run in _RUN.finditer(text):
        cuts = _cuts(run[0])
        if cuts:
            yield start, run.start()
            start = run.start()
            for cut in cuts:
                yield start, run.start() + cut
                start = run.start() + cut
            yield start, run.end()
            start = run.end()
    yield start, len(text)


def _cuts(run: str) -> list[int]:
    """Where a run of characters without a space is divided, so that a segmenter's time is bounded; mostly nowhere."""
    may_be_url = "/" in run or ":" in run
    if len(run) <= LONGEST_RUN and not (may_be_url and _PUNCTUATION.search(run)):
        return []
    borders = {len(run)}
    if may_be_url:
        for punctuation in _PUNCTUATION.finditer(run):
            borders.update(punctuation.span())
    letters = letter_bounds(run)
    cuts = []
    start = 0
    for border in sorted(borders):
        while border - start > LONGEST_RUN:
            start += LONGEST_RUN
            if letters is not None:
                start = int(letters[1][start])  # never inside a letter
            cuts.append(start)
        if border > start:
            start = border
            cuts.append(border)
    return [cut for cut in cuts if cut < len(run)]


def has_long_run(text: str) -> bool:
    """Whether a text has a run without a space that `segment` divides, since regular expressions are slow on it."""
    return len(list(_parts(text))) > 1


def clear_segment_cache() -> None:
    """Empty the cache of segmented texts."""
    _segment.cache_clear()


def align(text: str, words: Sequence[str]) -> list[Span] | None:
    """Spans of words in a text; white space is ignored, and ``_`` in a word may stand for it.

    Args:
        text: raw text.
        words: all its words in order, such as a segmenter returns.

    Returns:
        The span of each word that is not empty; None if the words are not those of the text.

    >>> align("thủ đô Hà Nội", ["thủ_đô", "Hà Nội"])
    [(0, 6), (7, 13)]
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
    """The span of the text's next characters that, white space ignored, are these; None where others come.

    A ``_`` of `letters` that the text does not have is what a segmenter joins syllables by.
    """
    while start < len(text) and text[start].isspace():
        start += 1
    position = start
    for letter in letters:
        after_space = position
        while after_space < len(text) and text[after_space].isspace():
            after_space += 1
        if after_space < len(text) and text[after_space] == letter:
            position = after_space + 1
        elif letter != "_" or after_space == position:
            return None
    if position == start:
        return None
    return start, position


@dataclass(frozen=True, eq=False)
class SegmentedText:
    """A text as a word-level model reads it, and the map of its characters to the raw text.

    Attributes:
        text: words separated by one space, the syllables of a word joined by ``_``; without a segmenter the raw text.
        raw: the raw text.
        _starts: for each position of `text`, its end included: where a span that begins there begins in `raw`.
        _ends: the same for spans that end there.
    """

    text: str
    raw: str
    _starts: Int[ndarray, "_"]
    _ends: Int[ndarray, "_"]

    def to_raw(self, spans: Int[ndarray, "tokens 2"]) -> tuple[Int[ndarray, " tokens"], Int[ndarray, " tokens"]]:
        """Spans of `text` as starts and ends in `raw`: no white space at their edges, no letter divided."""
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
        return snap_to_letters(self.raw, starts, np.maximum(preceding[ends], starts))


def segmented_text(text: str, segmenter: str = "none", composed: bool = False) -> SegmentedText:
    """A text as word-level models read it: words separated by a space, the syllables of a word joined by ``_``.

    Args:
        text: raw text.
        segmenter: a key of `SEGMENTERS`, which reads the text's NFC; ``none`` leaves the text as it is.
        composed: whether the text is read in NFC without a segmenter, too.

    >>> segmented_text("Hà Nội là thủ đô.", "vi").text
    'Hà_Nội là thủ_đô .'
    """
    if segmenter == "none":
        if composed:
            nfc = compose(text)
            return SegmentedText(nfc.text, text, nfc.starts, nfc.ends)
        same = np.arange(len(text) + 1)
        return SegmentedText(text, text, same, same)
    nfc = compose(text)
    characters: list[str] = []
    spans: list[Span] = []  # of each character in NFC
    end = 0
    for word_start, word_end in segment(nfc.text, segmenter):
        if characters:
            characters.append(" ")
            spans.append((end, word_start))
        for run in _SPACE_OR_LETTER.finditer(nfc.text, word_start, word_end):
            character = run[0]
            if character.isspace():
                character = "_"
            characters.append(character)
            spans.append(run.span())
        end = word_end
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    return SegmentedText("".join(characters), text, nfc.starts[np.append(starts, end)], nfc.ends[np.insert(ends, 0, 0)])
