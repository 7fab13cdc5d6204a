"""Windows of many rows: stored on disk as token ids and positions, and put together again when they are read."""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.runtime.disk_sequence import DiskSequence, SequenceBase
from kdda.text.encode import Window, used_ids
from kdda.text.tokenize import Template, TokenizedText

T = TypeVar("T")  # an example, or the windows of one

RowWindows = Sequence[Window]  # of one row, over the same texts

CHUNK = 1024  # rows that are tokenized together


class ByRow(DiskSequence[RowWindows]):
    """The windows of each row, on disk: a row has one, or as many as its texts take.

    A part that several windows of a row share is stored once; all windows have one template.
    """

    template: Template | None = None

    def pack(self, item: RowWindows) -> bytes:
        """The bytes of a row: its texts with the ids and positions of their tokens; of each window, its parts' numbers
        among these and their ranges.
        """
        self.template = item[0].template
        parts: list[tuple[str, bytes]] = []
        windows = []
        numbers: dict[int, int] = {}  # of a part, by the identity of its object
        for window in item:
            for part in window.parts:
                if id(part) not in numbers:
                    numbers[id(part)] = len(parts)
                    parts.append((part.text, part.ids.tobytes() + part.starts.tobytes() + part.ends.tobytes()))
            windows.append((tuple(numbers[id(part)] for part in window.parts), window.ranges))
        return pickle.dumps((parts, windows))

    def unpack(self, packed: bytes) -> RowWindows:
        """The windows of a row from such bytes."""
        assert self.template is not None
        packed_parts, packed_windows = pickle.loads(packed)
        parts = []
        for text, numbers in packed_parts:
            parts.append(TokenizedText(text, *np.frombuffer(numbers, np.int32).reshape(3, -1)))  # ids, starts, ends
        windows = []
        for numbers, ranges in packed_windows:
            windows.append(Window(tuple(parts[number] for number in numbers), ranges, self.template))
        return windows


class Windows(SequenceBase[Window]):
    """The windows of all rows, numbered through.

    Attributes:
        lengths: tokens of each.
        owners: window k is of row `owners[k]`; ordered.
        used: every id that occurs, those of truncated ends too.
    """

    def __init__(self, rows: Iterable[RowWindows]):
        lengths = array("i")
        owners = array("i")
        self.used: set[int] = set()
        self.by_row = ByRow(_recorded(rows, lengths, owners, self.used))
        self.lengths: Int32[ndarray, " windows"] = np.array(lengths, np.int32)
        self.owners: Sequence[int] = owners
        if len(owners) == len(self.by_row):  # one a row, as in classification: a rule and no list
            self.owners = range(len(owners))

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Window]:
        for windows in self.by_row:
            yield from windows

    def item(self, index: int) -> Window:
        """Window `index` of all: the row that owns it, and its place among that row's windows."""
        owner = self.owners[index]
        return self.by_row[owner][index - bisect_left(self.owners, owner)]


def _recorded(
    rows: Iterable[RowWindows], lengths: MutableSequence[int], owners: MutableSequence[int], used: set[int]
) -> Iterator[RowWindows]:
    """The rows as they come; on the way, their windows' lengths, owners and token ids are added to the arguments.

    Args:
        rows: the windows of each row.
        lengths, owners, used: of `Windows`, filled here, so that all rows are gone through once.
    """
    owner = 0
    for chunk in _chunks(rows):
        windows_of_chunk = list(chain.from_iterable(chunk))
        for windows in chunk:
            for window in windows:
                lengths.append(len(window))
                owners.append(owner)
            owner += 1
        used |= used_ids(windows_of_chunk)
        yield from chunk


def in_chunks(items: Iterable[T], read: Callable[[Sequence[T]], Iterable[RowWindows]]) -> Iterator[RowWindows]:
    """The windows of each item, made by `read` of `CHUNK` items at a time: fast, and in bounded memory."""
    for chunk in _chunks(items):
        yield from read(chunk)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of `CHUNK` items, the last one shorter."""
    remaining = iter(items)
    while True:
        chunk = list(islice(remaining, CHUNK))
        if not chunk:
            return
        yield chunk
