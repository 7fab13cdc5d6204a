"""Windows of many rows, kept on disk as token numbers and places, and put together again when they are asked for."""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.runtime.disk_sequence import DiskSequence, SequenceBase
from kdda.text.encode import Window, used_ids
from kdda.text.tokenize import Template, TokenizedText

T = TypeVar("T")

RowWindows = Sequence[Window]  # of one row, over the same texts

CHUNK = 1024  # rows that are cut into tokens together


class ByRow(DiskSequence[RowWindows]):
    """Rows as one model reads them; each a window, or as many as it takes.

    A row's windows share its parts, and all rows one template.
    """

    template: Template | None = None

    def pack(self, item: RowWindows) -> bytes:
        first = item[0]
        self.template = first.template
        parts = [(own.text, own.ids.tobytes() + own.starts.tobytes() + own.ends.tobytes()) for own in first.parts]
        return pickle.dumps((parts, [window.ranges for window in item]))

    def unpack(self, packed: bytes) -> RowWindows:
        assert self.template is not None
        parts, ranges = pickle.loads(packed)
        pieces = tuple(TokenizedText(text, *np.frombuffer(numbers, np.int32).reshape(3, -1)) for text, numbers in parts)
        return [Window(pieces, own, self.template) for own in ranges]


class Windows(SequenceBase[Window]):
    """The windows of all rows, numbered through.

    Attributes:
        lengths: tokens of each.
        owners: window k is of row `owners[k]`; ordered.
        used: every id that occurs, those of cut ends too.
    """

    def __init__(self, rows: Iterable[RowWindows]):
        lengths, owners = array("i"), array("i")
        self.used: set[int] = set()
        self.by_row = ByRow(_noted(rows, lengths, owners, self.used))
        self.lengths: Int32[ndarray, " windows"] = np.array(lengths, np.int32)
        # one a row, as in classification, is a rule and no list
        self.owners: Sequence[int] = range(len(owners)) if len(owners) == len(self.by_row) else owners

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Window]:
        return (window for windows in self.by_row for window in windows)

    def item(self, index: int) -> Window:
        owner = self.owners[index]
        return self.by_row[owner][index - bisect_left(self.owners, owner)]


def _noted(
    rows: Iterable[RowWindows], lengths: MutableSequence[int], owners: MutableSequence[int], used: set[int]
) -> Iterator[RowWindows]:
    left = enumerate(rows)
    while some := list(islice(left, CHUNK)):
        for owner, windows in some:
            for window in windows:
                lengths.append(len(window))
                owners.append(owner)
        used |= used_ids(window for _, windows in some for window in windows)
        yield from (windows for _, windows in some)


def in_chunks(items: Iterable[T], read: Callable[[Sequence[T]], Iterable[RowWindows]]) -> Iterator[RowWindows]:
    """What `read` makes of items, some at a time: tokenizers like many texts, and memory few."""
    left = iter(items)
    while some := list(islice(left, CHUNK)):
        yield from read(some)
