"""Batches of one language each (docs/method.md, 2): order by seed and epoch, rows bucketed by length (50)."""

from __future__ import annotations

import heapq
import random
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64
from numpy import ndarray
from torch.utils.data import DataLoader

from kdda.runtime.numbers import ceil_div
from kdda.tasks.base import Features

Lengths = Sequence[int] | Int[ndarray, " rows"]

BUCKET = 50  # batches whose rows are sorted by length together: little padding, still random


class LanguageBatchSampler:
    """Yields lists of row numbers, every row once an epoch, all rows of a list in one language.

    Rows are numbered through the languages in the order given. Lengths are bucketed, languages are interleaved in
    proportion to their batches, and the order is a function of the seed and the epoch alone.

    Args:
        lengths: language → tokens of each of its rows.
        batch_size: rows a batch; a language's last batch may be smaller.
        seed: with the epoch, decides the order.

    >>> batches = LanguageBatchSampler({"vi": [3, 5, 4], "en": [7, 8]}, batch_size=2, seed=1)
    >>> sorted(i for batch in batches for i in batch)
    [0, 1, 2, 3, 4]
    >>> all(max(batch) < 3 or min(batch) >= 3 for batch in batches)
    True
    """

    def __init__(self, lengths: Mapping[str, Lengths], batch_size: int, seed: int):
        self.lengths = {language: np.asarray(row, np.int32) for language, row in lengths.items() if len(row)}
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, whose order the next iteration has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(ceil_div(len(row), self.batch_size) for row in self.lengths.values())

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this epoch, those of all languages merged by their places in it."""
        # the number of each language's first row, and at the end the number of all rows, which zip drops
        starts = accumulate(map(len, self.lengths.values()), initial=0)
        placed = [self._placed(language, start) for language, start in zip(self.lengths, starts, strict=False)]
        yield from (batch for _, _, batch in heapq.merge(*placed))

    def _placed(self, language: str, start: int) -> Iterator[tuple[float, str, list[int]]]:
        """A language's batches as (place, language, row numbers), in the order of their places in the epoch, 0 to 1.

        `start` is the number of the language's first row.
        """
        chance = random.Random(f"{self.seed}/{self.epoch}/{language}")
        order = self._order(self.lengths[language], chance)
        count = ceil_div(len(order), self.batch_size)
        numbers = array("q", range(count))  # "q": 64-bit integers
        chance.shuffle(numbers)
        offset = chance.random()  # so that languages of equally many batches do not always come in the same order
        for k, number in enumerate(numbers):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            # the k-th of a language's n batches falls near the fraction k/n of the epoch
            yield (k + offset) / count, language, (rows + start).tolist()

    def _order(self, lengths: Int32[ndarray, " rows"], chance: random.Random) -> Int64[ndarray, " rows"]:
        """Rows shuffled, and then sorted by length within the rows of `BUCKET` batches."""
        shuffled = array("q", range(len(lengths)))  # a list of a million numbers would take 36 MB
        chance.shuffle(shuffled)
        order = np.frombuffer(shuffled, np.int64)  # a view: sorted in place below
        pool = BUCKET * self.batch_size
        for at in range(0, len(order), pool):
            bucket = order[at : at + pool]
            bucket[:] = bucket[np.argsort(lengths[bucket], kind="stable")]
        return order


class ConcatDataset:
    """The items of batches (windows, or whole rows) of all languages, numbered through: each is its language and its
    number there.
    """

    def __init__(self, train: Mapping[str, Features]):
        self.languages = list(train)
        self.ends: list[int] = []  # items of the languages so far, after each language
        for features in train.values():
            before = self.ends[-1] if self.ends else 0
            self.ends.append(before + len(features.item_lengths))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[str, int]:
        """The language of an item, and the item's number among those of its language."""
        k = bisect_right(self.ends, index)
        start = self.ends[k - 1] if k else 0
        return self.languages[k], index - start


class EpochDataLoader(DataLoader[Any]):
    """A loader whose sampler is told the epoch, which decides its order."""

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each epoch."""
        assert isinstance(self.batch_sampler, LanguageBatchSampler)
        self.batch_sampler.set_epoch(epoch)


def collate(items: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """A batch is its language and its rows; `training_step` pads what it takes of them."""
    languages, rows = zip(*items, strict=True)  # pairs as two tuples; all languages of a batch are the same
    return {"language": languages[0], "rows": list(rows)}
