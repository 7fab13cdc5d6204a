"""Refusal of texts that no tokenizer can read."""

from __future__ import annotations

from typing import Any

from kdda.errors import KddaError


def check_text(text: Any, name: str) -> None:
    """Refuse a text that no tokenizer can read.

    Args:
        text: a value from outside.
        name: of the field, for the message.

    Raises:
        KddaError: it is not a text, holds white space alone, or contains an unpaired surrogate.
    """
    if not isinstance(text, str):
        raise KddaError(f"{name}: got {text!r:.80}, expected text")
    if not text.strip():
        raise KddaError(f"{name} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise KddaError(f"{name}: an unpaired surrogate ({text[error.start]!r}) at character {error.start}") from None
