"""Sentence splitting (Vietnamese by underthesea, else at punctuation): sentences as [start, end) spans of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kdda.errors import KddaError
from kdda.text.segment import Span, align

_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s))|[。！？]+|(?=\n)|\Z")


def _vietnamese(text: str) -> list[str]:
    """The sentences of a Vietnamese text, by underthesea."""
    try:
        from underthesea import sent_tokenize
    except ImportError:
        raise KddaError('Vietnamese sentences need underthesea: pip install "kdda[vi]"') from None
    texts: list[str] = sent_tokenize(text)
    return texts


SPLITTERS: dict[str, Callable[[str], list[str]]] = {"vi": _vietnamese}


def sentences(text: str, language: str = "") -> list[Span]:
    """The sentences of a text as ordered, disjoint spans that cover everything but white space.

    Args:
        text: raw text.
        language: a key of `SPLITTERS`, whose splitter knows the language's abbreviations; for any other the text is
            split by `plain_sentences`.

    >>> sentences("Hà Nội ở đâu? Ở bên sông Hồng.")
    [(0, 13), (14, 30)]
    """
    if language in SPLITTERS and text.strip():
        return align(text, SPLITTERS[language](text)) or list(plain_sentences(text))
    return list(plain_sentences(text))


def plain_sentences(text: str) -> Iterator[Span]:
    """Sentences by punctuation and line ends alone, one after another, so that a long text is never copied whole."""
    start = 0
    for match in _END.finditer(text):
        sentence = text[start : match.end()]
        if sentence.strip():
            begin = start + len(sentence) - len(sentence.lstrip())
            yield begin, start + len(sentence.rstrip())
        start = match.end()
