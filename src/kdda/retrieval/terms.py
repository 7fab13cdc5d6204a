"""The terms that passages and questions are matched by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from kdda.text.segment import clear_segment_cache, segment

_TERM = re.compile(r"\w+")

Terms = list[str]


def terms_of(text: str, segmenter: str = "vi") -> Terms:
    """A text's terms: lower case, one spelling of each letter (NFC); its syllables, and where there is a segmenter its
    words of several syllables beside them.

    Words alone find less: a question's "thủ đô" and a passage's may be segmented otherwise (docs/retrieval.md).

    >>> terms_of("Hà Nội là thủ đô.", "vi"), terms_of("Hà Nội.", "none")
    (['hà', 'nội', 'là', 'thủ', 'đô', 'hà_nội', 'thủ_đô'], ['hà', 'nội'])
    """
    text = unicodedata.normalize("NFC", text)
    syllables = _TERM.findall(text.lower())
    if segmenter == "none":
        return syllables
    words = (_TERM.findall(text[start:end].lower()) for start, end in segment(text, segmenter))
    return [*syllables, *("_".join(word) for word in words if len(word) > 1)]


def terms_of_all(texts: Sequence[str], segmenter: str) -> list[Terms]:
    """The same of many texts, none of which is kept."""
    found = [terms_of(text, segmenter) for text in texts]
    clear_segment_cache()
    return found
