"""The terms by which passages and questions match: syllables with their marks, case folded, and Vietnamese words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import regex

from kdda.text.segment import clear_segment_cache, segment

# A letter, digit or "_", and what follows of them with their combining marks; a variation selector is no such mark.
_TERM = regex.compile(r"[\p{L}\p{N}_](?:[\p{L}\p{N}_]|(?![\uFE00-\uFE0F])[\p{Mn}\p{Mc}])*")

# In Indic scripts a joiner behind a virama chooses between two shapes of the same word.
_JOINER = regex.compile(r"(?<=\p{ccc=9})[\u200C\u200D]")

# Unicode folds İ to i with a dot above, and leaves ı as it is, although I, the capital of both, becomes i.
_TURKISH = str.maketrans({"ı": "i"})

Terms = list[str]


def terms_of(text: str, segmenter: str = "vi") -> Terms:
    """The terms of a text in NFC, with case folded: its syllables, then its words of several syllables.

    Combining marks belong to their word (Hindi, Arabic, Thai). Case is folded as Unicode folds it (``ß`` is ``ss``);
    the four letters i of Turkish are one.

    Words alone retrieve less: a question and a passage may segment "thủ đô" differently (docs/retrieval.md).

    Args:
        text: a passage or a question.
        segmenter: a key of `SEGMENTERS`, or ``none`` for syllables alone.

    >>> terms_of("Hà Nội là thủ đô.", "vi"), terms_of("Hà Nội.", "none")
    (['hà', 'nội', 'là', 'thủ', 'đô', 'hà_nội', 'thủ_đô'], ['hà', 'nội'])
    """
    text = unicodedata.normalize("NFC", text)
    terms = _syllables(text)
    if segmenter == "none":
        return terms
    for start, end in segment(text, segmenter):
        syllables = _syllables(text[start:end])
        if len(syllables) > 1:
            terms.append("_".join(syllables))
    return terms


def _syllables(text: str) -> Terms:
    """The terms of a text without its words of several syllables."""
    folded = text.casefold()
    if not folded.isascii():
        folded = folded.replace("i\u0307", "i").translate(_TURKISH)
        folded = unicodedata.normalize("NFC", _JOINER.sub("", folded))
    terms: Terms = _TERM.findall(folded)
    return terms


def terms_of_all(texts: Sequence[str], segmenter: str) -> list[Terms]:
    """The terms of many texts, without caching their word segmentation."""
    terms = []
    for text in texts:
        terms.append(terms_of(text, segmenter))
    clear_segment_cache()
    return terms
