"""The ground floor: the one exception for everything a user can put right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KddaError(Exception):
    """A user's mistake or an unmet condition. The command line prints its message and exits with code 2.

    The message says what was found, where, and what would do.
    """


class Interrupted(KddaError):
    """Ctrl-C during training, after a checkpoint was written. The command line exits with code 130."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, empty when nothing is near.

    >>> did_you_mean("epoch", ["epochs", "batch_size"])
    ' — did you mean "epochs"?'
    """
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' — did you mean "{near[0]}"?' if near else ""
