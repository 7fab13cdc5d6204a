"""Word segmentation that keeps the raw text: words are [start, end) spans of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kdda.errors import KddaError

Span = tuple[int, int]


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
    return list(_segment(text, segmenter))


@lru_cache(maxsize=100_000)
def _segment(text: str, segmenter: str) -> tuple[Span, ...]:
    if segmenter not in SEGMENTERS:
        raise KddaError(f'segmenter "{segmenter}" is unknown; there are {", ".join(SEGMENTERS)}')
    if not text.strip():
        return ()
    return tuple(_align(text, SEGMENTERS[segmenter](text)) or _align(text, text.split()) or ())


def _align(text: str, words: list[str]) -> list[Span] | None:
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


def joined_words(text: str, segmenter: str = "none") -> str:
    """The text with its words separated by a space and their syllables joined by ``_``, as word-level models read it.

    >>> joined_words("Hà Nội là thủ đô.", "vi")
    'Hà_Nội là thủ_đô .'
    """
    if segmenter == "none":
        return text
    return " ".join("_".join(text[a:b].split()) for a, b in segment(text, segmenter))
