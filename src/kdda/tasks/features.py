"""`Features`: the windows of examples, and the items that batches are made of; `TextSpan`: the text a window reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from kdda.data.examples import Example
from kdda.runtime.disk_sequence import LazySequence
from kdda.tasks.windows import Windows
from kdda.text.segment import Span


class TextSpan(NamedTuple):
    """What a student's window reads: texts, and the characters of the last one, or None for as much as fits."""

    texts: tuple[str, ...]
    span: Span | None

    @property
    def characters(self) -> Span:
        """The characters of the last text that are on the line of places of what is read (`kdda.text.places`)."""
        if self.span is None:
            return 0, len(self.texts[-1])
        return self.span


@dataclass(frozen=True)
class Features:
    """Examples as one model reads them.

    Attributes:
        windows: one an example, or as many as it takes.
        whole_rows: whether all windows of a row stay in one part of a batch, since its loss reads them together.
    """

    examples: Sequence[Example]
    windows: Windows
    whole_rows: bool = False

    @property
    def owners(self) -> Sequence[int]:
        """`windows[k]` belongs to `examples[owners[k]]`; ordered."""
        return self.windows.owners

    @property
    def lengths(self) -> Int32[ndarray, " windows"]:
        """Tokens of each window."""
        return self.windows.lengths

    # -- what batches are made of: items, which are windows, or rows where rows stay whole

    @property
    def item_lengths(self) -> Int32[ndarray, " items"]:
        """Tokens of each item of a batch; of a row those of its longest window, to which the others are padded."""
        if not self.whole_rows:
            return self.lengths
        longest: Int32[ndarray, " items"] = np.maximum.reduceat(self.lengths, self._first_windows[:-1])
        return longest

    def windows_of(self, items: Sequence[int]) -> Sequence[int]:
        """The numbers of the windows of some items of a batch, item after item."""
        if not self.whole_rows:
            return items
        numbers: list[int] = []
        for row in items:
            numbers += range(self._first_windows[row], self._first_windows[row + 1])
        return numbers

    @cached_property
    def _first_windows(self) -> Int64[ndarray, " rows_and_end"]:
        """The number of each row's first window, and at the end the number of all windows."""
        starts: Int64[ndarray, " rows_and_end"] = np.searchsorted(self.owners, np.arange(len(self.examples) + 1))
        return starts


def spans_of_windows(features: Features) -> Sequence[TextSpan]:
    """The texts of each window's example, and the characters of the last text that the window holds."""

    def text_span(k: int) -> TextSpan:
        return TextSpan(features.examples[features.owners[k]].texts, features.windows[k].context_span)

    return LazySequence(len(features.windows), text_span)
