"""Sentence splitting (Vietnamese by underthesea, else at punctuation): sentences as [start, end) spans of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kdda.errors import KddaError
from kdda.text.letters import compose
from kdda.text.segment import Span, align, has_long_run

# The end of a sentence. The first look back lets a match begin with a run of marks only, so that time stays linear.
_END = re.compile(r"(?:(?<![.!?…])[.!?…]+[\"'”’)\]]*(?=\s))|[。！？]+|(?=\n)|\Z")


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
        language: a key of `SPLITTERS`, whose splitter knows the language's abbreviations and reads the text's NFC;
            for any other, and for a text that would take the splitter too long (`has_long_run`), `plain_sentences`.

    >>> sentences("Hà Nội ở đâu? Ở bên sông Hồng.")
    [(0, 13), (14, 30)]
    """
    if language not in SPLITTERS or not text.strip() or has_long_run(text):
        return list(plain_sentences(text))
    nfc = compose(text)
    spans = []
    for start, end in align(nfc.text, SPLITTERS[language](nfc.text)) or plain_sentences(nfc.text):
        spans.append((int(nfc.starts[start]), int(nfc.ends[end])))
    return spans


def plain_sentences(text: str) -> Iterator[Span]:
    """Sentences by punctuation and line ends alone, one after another, so that a long text is never copied whole."""
    start = 0
    for match in _END.finditer(text):
        sentence = text[start : match.end()]
        if sentence.strip():
            begin = start + len(sentence) - len(sentence.lstrip())
            yield begin, start + len(sentence.rstrip())
        start = match.end()
