"""What no tokenizer can read is refused before it reaches one."""

from __future__ import annotations

from typing import Any

from kdda.errors import KddaError


def check_text(text: Any, name: str) -> None:
    """Refuse what no tokenizer can read.

    Raises:
        KddaError: no text, white space alone, or an unpaired surrogate.
    """
    if not isinstance(text, str):
        raise KddaError(f"{name}: found {text!r:.80}, expected text")
    if not text.strip():
        raise KddaError(f"{name} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise KddaError(f"{name}: an unpaired surrogate ({text[error.start]!r}) at {error.start}") from None
