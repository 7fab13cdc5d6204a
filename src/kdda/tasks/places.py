"""Where a student's tokens, words and token logits are in the text, for comparison with another tokenizer's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.tasks.features import Features
from kdda.text.encode import Window
from kdda.text.places import padded_places, padded_words

if TYPE_CHECKING:
    from kdda.tasks.base import Task


class LogitPlaces(NamedTuple):
    """Where the logits of a window's tokens are compared with another model's.

    Attributes:
        tokens: whose logits they are, by their positions in the window.
        characters: [start, end) of the window's last text that each of them decides.
    """

    tokens: Int64[ndarray, " places"]
    characters: Int64[ndarray, "places 2"]


class PaddedLogitPlaces(NamedTuple):
    """The `LogitPlaces` of some rows; 0 at padding, which no characters show."""

    tokens: Int[Tensor, "rows places"]
    characters: Int[Tensor, "rows places 2"]

    @classmethod
    def of(cls, rows: Sequence[LogitPlaces]) -> PaddedLogitPlaces:
        """The places of some rows, padded to as many as one of them has."""
        tokens = [torch.from_numpy(row.tokens) for row in rows]
        characters = [torch.from_numpy(row.characters) for row in rows]
        return cls(pad_sequence(tokens, batch_first=True), pad_sequence(characters, batch_first=True))

    def to(self, device: torch.device) -> PaddedLogitPlaces:
        """The same on a device."""
        return PaddedLogitPlaces(self.tokens.to(device), self.characters.to(device))

    def chosen(self, logits: Float[Tensor, "rows tokens classes"]) -> Float[Tensor, "rows places classes"]:
        """The logits at these places; those of the first token at padding."""
        return logits.gather(1, self.tokens[..., None].expand(-1, -1, logits.shape[2]))


class Places(NamedTuple):
    """Where the tokens and the words of some windows are, on lines that teachers' tokens lie on, too; 0 at padding."""

    tokens: Float[Tensor, "windows tokens 2"]
    words: Float[Tensor, "windows words 2"]


def places_of_windows(task: Task, features: Features, numbers: Sequence[int]) -> Places:
    """The places of the tokens and words of some windows."""
    spans = task.text_spans(features)
    windows = []
    characters = []
    for number in numbers:
        windows.append(features.windows[number])
        characters.append(spans[number].characters)
    return Places(padded_places(windows, characters), padded_words(windows, characters))


def logit_places_of(task: Task, windows: Sequence[Window]) -> PaddedLogitPlaces:
    """Where the logits of some windows' tokens are compared with another model's."""
    return PaddedLogitPlaces.of(list(map(task.logit_places, windows)))
