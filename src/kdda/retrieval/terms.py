"""The terms by which passages and questions are matched: lower-case syllables, and Vietnamese words of several."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from kdda.text.segment import clear_segment_cache, segment

_TERM = re.compile(r"\w+")

Terms = list[str]


def terms_of(text: str, segmenter: str = "vi") -> Terms:
    """The terms of a text in lower case and NFC: its syllables, then its words of several syllables.

    Words alone retrieve less: a question and a passage may segment "thủ đô" differently (docs/retrieval.md).

    Args:
        segmenter: ``vi``, or ``none`` for syllables alone.

    >>> terms_of("Hà Nội là thủ đô.", "vi"), terms_of("Hà Nội.", "none")
    (['hà', 'nội', 'là', 'thủ', 'đô', 'hà_nội', 'thủ_đô'], ['hà', 'nội'])
    """
    text = unicodedata.normalize("NFC", text)
    terms: Terms = _TERM.findall(text.lower())
    if segmenter == "none":
        return terms
    for start, end in segment(text, segmenter):
        syllables = _TERM.findall(text[start:end].lower())
        if len(syllables) > 1:
            terms.append("_".join(syllables))
    return terms


def terms_of_all(texts: Sequence[str], segmenter: str) -> list[Terms]:
    """The terms of many texts, without caching their word segmentation."""
    terms = [terms_of(text, segmenter) for text in texts]
    clear_segment_cache()
    return terms
