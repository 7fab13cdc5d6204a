"""Windows of many rows, kept on disk as token numbers and places, and put together again when they are asked for."""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.data import Items, Spilled
from kdda.text import Pieces, Window
from kdda.text.pieces import Template

T = TypeVar("T")
Reading = Sequence[Window]  # one row as a model reads it: its windows, over the same texts
CHUNK = 1024  # rows that are cut into tokens together


class Readings(Spilled[Reading]):
    """Rows as one model reads them; each a window, or as many as it takes.

    A row's windows share its parts, and all rows one template.
    """

    template: Template | None = None

    def pack(self, item: Reading) -> bytes:
        first = item[0]
        self.template = first.template
        parts = [(own.text, own.ids.tobytes(), own.starts.tobytes(), own.ends.tobytes()) for own in first.parts]
        return pickle.dumps((parts, [window.ranges for window in item]))

    def unpack(self, packed: bytes) -> Reading:
        assert self.template is not None
        parts, ranges = pickle.loads(packed)
        pieces = tuple(Pieces(text, *(np.frombuffer(own, np.int32) for own in numbers)) for text, *numbers in parts)
        return [Window(pieces, own, self.template) for own in ranges]


class Windows(Items[Window]):
    """The windows of all rows, numbered through.

    Attributes:
        lengths: tokens of each.
        owners: window k is of row `owners[k]`; ordered.
    """

    def __init__(self, rows: Iterable[Reading]):
        lengths, owners = array("i"), array("i")
        self.readings = Readings(_noted(rows, lengths, owners))
        self.lengths: Int32[ndarray, " windows"] = np.array(lengths, np.int32)
        # one a row, as in classification, is a rule and no list
        self.owners: Sequence[int] = range(len(owners)) if len(owners) == len(self.readings) else owners

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Window]:
        return (window for windows in self.readings for window in windows)

    def item(self, index: int) -> Window:
        owner = self.owners[index]
        return self.readings[owner][index - bisect_left(self.owners, owner)]


def _noted(rows: Iterable[Reading], lengths: array[int], owners: array[int]) -> Iterator[Reading]:
    for owner, windows in enumerate(rows):
        for window in windows:
            lengths.append(len(window))
            owners.append(owner)
        yield windows


def in_chunks(items: Iterable[T], read: Callable[[Sequence[T]], Iterable[Reading]]) -> Iterator[Reading]:
    """What `read` makes of items, some at a time: tokenizers like many texts, and memory few."""
    left = iter(items)
    while some := list(islice(left, CHUNK)):
        yield from read(some)
