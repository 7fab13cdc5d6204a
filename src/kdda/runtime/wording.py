"""The language of printed words: English as the code has them, or what the command line translates them into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENGLISH = "en"

Translate = Callable[[str], str]

_translations: list[tuple[str, Translate]] = []  # of this process, with their languages; the last one is used


@contextmanager
def translated_by(translate: Translate, language: str) -> Iterator[None]:
    """Print words in another language inside the block.

    Args:
        translate: gives an English text, such as a line of progress, in that language; unknown texts as they are.
        language: its code.
    """
    _translations.append((language, translate))
    try:
        yield
    finally:
        _translations.pop()


def output_language() -> str:
    """The code of the language in which this process prints."""
    return _translations[-1][0] if _translations else ENGLISH


def worded(text: str) -> str:
    """A text for people in the language in which this process prints; itself, where that is English."""
    if not _translations:
        return text
    _language, translate = _translations[-1]
    return translate(text)
