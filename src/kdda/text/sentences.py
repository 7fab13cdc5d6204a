"""Sentences that keep the raw text: spans of it, as words are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kdda.errors import KddaError
from kdda.text.segment import Span, align

_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s))|[。！？]+|(?=\n)|\Z")


def _vietnamese(text: str) -> list[str]:
    try:
        from underthesea import sent_tokenize
    except ImportError:
        raise KddaError('Vietnamese sentences need underthesea: pip install "kdda[vi]"') from None
    found: list[str] = sent_tokenize(text)
    return found


SPLITTERS: dict[str, Callable[[str], list[str]]] = {"vi": _vietnamese}


def sentences(text: str, language: str = "") -> list[Span]:
    """Where the sentences of a text are: ordered, disjoint spans that leave out nothing but white space.

    Args:
        language: a key of `SPLITTERS`, which knows its abbreviations; others end where a full stop, a question mark or
            a line does.

    >>> sentences("Hà Nội ở đâu? Ở bên sông Hồng.")
    [(0, 13), (14, 30)]
    """
    if language in SPLITTERS and text.strip():
        return align(text, SPLITTERS[language](text)) or list(plain_sentences(text))
    return list(plain_sentences(text))


def plain_sentences(text: str) -> Iterator[Span]:
    """Sentences by their marks alone, one after another, so that a long text is never cut up whole."""
    start = 0
    for match in _END.finditer(text):
        own = text[start : match.end()]
        if own.strip():
            begin = start + len(own) - len(own.lstrip())
            yield begin, start + len(own.rstrip())
        start = match.end()
