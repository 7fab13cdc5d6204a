"""Places: where tokens and words lie on a line that all models of a row share, whatever their tokenizers are.

The line of a row is one unit for the special tokens before the first text, one for each character of the first text,
one for the special tokens behind it, one for each character of the second text, and so on. A token of any model is an
interval of it, and so is a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import regex
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.text.encode import Window
from kdda.text.segment import Span

# A run of letters, marks and digits; in scripts without spaces, and of all other visible characters, each by itself,
# with the marks on it.
_WORD = regex.compile(
    r"[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}\p{Tibetan}]]+"
    r"|[^\p{Z}\p{C}]\p{M}*",
    regex.V1,
)


class PlacedText(NamedTuple):
    """One text of a row on its line.

    Attributes:
        place: where its first character on the line lies.
        start, end: its characters that are on the line.
    """

    place: int
    start: int
    end: int

    @property
    def specials(self) -> int:
        """The place of the unit of the special tokens behind it."""
        return self.place + self.end - self.start

    def intervals(self, spans: Int[ndarray, "spans 2"]) -> Int[ndarray, "spans 2"]:
        """Spans of its characters as intervals of the line, cut to it."""
        return spans.clip(self.start, self.end) - self.start + self.place


def token_places(window: Window, characters: Span) -> Float32[ndarray, "tokens 2"]:
    """The interval [start, end) of each token of a window on its row's line.

    Special tokens that stand together, such as the two between a RoBERTa's texts, share their unit alike. A token
    without characters has a start that is its end.

    Args:
        characters: those of the last text that are on the line; tokens are cut to them.
    """
    specials_before, *specials_after = window.template.specials
    places = [_shares_of_unit(0, len(specials_before))]
    placed = _placed_texts(window, characters)
    for part, (first, stop), specials, text in zip(window.parts, window.ranges, specials_after, placed, strict=True):
        spans = np.stack([part.starts[first:stop], part.ends[first:stop]], axis=1)
        places.append(text.intervals(spans))
        places.append(_shares_of_unit(text.specials, len(specials)))
    return np.concatenate(places).astype(np.float32)


def word_places(window: Window, characters: Span) -> Float32[ndarray, "words 2"]:
    """The interval [start, end) of each word of a window's texts on its row's line; units of special tokens are words.

    A word is a run of letters, marks and digits. Other visible characters, and those of scripts without spaces, are
    words by themselves. They are those of the raw texts, whole, whatever the window's tokens are.

    Args:
        characters: those of the last text that are on the line.
    """
    places = [_shares_of_unit(0, 1)]
    for part, text in zip(window.parts, _placed_texts(window, characters), strict=True):
        spans = []
        for word in _WORD.finditer(part.text, text.start, text.end):
            spans.append(word.span())
        places.append(text.intervals(np.array(spans, np.int64).reshape(-1, 2)))
        places.append(_shares_of_unit(text.specials, 1))
    return np.concatenate(places).astype(np.float32)


def padded_places(windows: Sequence[Window], characters: Sequence[Span]) -> Float[Tensor, "windows tokens 2"]:
    """The places of the tokens of a batch of windows, 0 and 0 at padding.

    Args:
        characters: of each window, as in `token_places`.
    """
    places = []
    for window, of_window in zip(windows, characters, strict=True):
        places.append(torch.from_numpy(token_places(window, of_window)))
    return pad_sequence(places, batch_first=True)


def padded_words(windows: Sequence[Window], characters: Sequence[Span]) -> Float[Tensor, "windows words 2"]:
    """The places of the words of a batch of windows; arguments and padding as in `padded_places`."""
    places = []
    for window, of_window in zip(windows, characters, strict=True):
        places.append(torch.from_numpy(word_places(window, of_window)))
    return pad_sequence(places, batch_first=True)


def _placed_texts(window: Window, characters: Span) -> Iterator[PlacedText]:
    """The texts of a window on its row's line; arguments as in `token_places`."""
    place = 1  # behind the unit of the special tokens before the first text
    for part in window.parts[:-1]:
        text = PlacedText(place, 0, len(part.text))
        yield text
        place = text.specials + 1
    yield PlacedText(place, *characters)


def _shares_of_unit(place: int, tokens: int) -> Float[ndarray, "tokens 2"]:
    """The intervals of tokens that share the unit at a place alike."""
    bounds = np.linspace(place, place + 1, tokens + 1)
    return np.stack([bounds[:-1], bounds[1:]], axis=1)
