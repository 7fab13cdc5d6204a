"""The ground floor: the one exception for everything that a user can correct."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KddaError(Exception):
    """A user's mistake or an unmet condition. The command line prints its message and exits with code 2.

    The message names the value that was read, the place it was read from, and what is accepted there.
    """


class InsteadError(KddaError):
    """A name or path for which another one was probably meant, which is there.

    Attributes:
        given: the name as the user wrote it.
        instead: the other one; the command line prints the same command with it.
    """

    def __init__(self, message: str, given: str, instead: str):
        super().__init__(message)
        self.given = given
        self.instead = instead


class DivergedError(KddaError):
    """A training whose loss or weights are not finite any more: it failed, and would fail again."""


class NotFiniteError(KddaError):
    """A model whose outputs are not finite, so that nothing can be read from them."""


class DiskFullError(KddaError):
    """A disk that filled during the work. The message says what was kept and how to go on; the exit code is 1."""


class Interrupted(KddaError):
    """Ctrl-C during training, after a checkpoint was written. The command line exits with code 130."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, empty when no known word is similar.

    >>> did_you_mean("epoch", ["epochs", "batch_size"])
    ' — did you mean "epochs"?'
    >>> did_you_mean("NLI", ["nli", "qa"])
    ' — did you mean "nli"?'
    """
    choices = list(known)
    similar = get_close_matches(word, choices, n=1, cutoff=0.6)
    for choice in choices:
        if choice.lower() == word.lower():
            similar = [choice]
    if not similar:
        return ""
    return f' — did you mean "{similar[0]}"?'


def unknown_choice(what: str, value: object, known: Iterable[str]) -> str:
    """The message for a value that is not one of the known choices.

    Args:
        what: the option, field or kind of thing that takes the value, with its place where it has one.
        value: what was read.
        known: the choices, in the order to name them.

    >>> unknown_choice("task", "nlj", ["nli", "qa"])
    'task: got "nlj", expected one of: nli, qa — did you mean "nli"?'
    """
    choices = list(known)
    return f'{what}: got "{value}", expected one of: {", ".join(choices)}{did_you_mean(str(value), choices)}'
