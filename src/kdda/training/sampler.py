"""Batches of one language each (docs/method.md, 2): order by seed and epoch, buckets by length (50); temperature
sampling of languages.
"""

from __future__ import annotations

import heapq
import random
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int32, Int64
from numpy import ndarray
from torch.utils.data import DataLoader

from kdda.runtime.numbers import ceil_div
from kdda.tasks.features import Features

Lengths = Sequence[int] | Int[ndarray, " rows"]

BUCKET = 50  # batches whose rows are sorted by length together: little padding, still random


def batches_an_epoch(batches: Mapping[str, int], temperature: float = 1.0) -> dict[str, int]:
    """Language → its batches in an epoch under temperature sampling, p_l ∝ n_l^(1/T); together as many as there are.

    An epoch keeps its length. Shares are rounded by largest remainders, and no language has less than one batch, since
    the smallest one gets at least as many as it has.

    Args:
        batches: language → n_l, the batches that hold each of its rows once.
        temperature: T, 1 or more: at 1 languages have their shares of the data; the higher, the more equal they are.

    Source: Arivazhagan et al. 2019, arXiv:1907.05019, §4.1; Raffel et al. 2020, JMLR 21(140), §3.5.2.

    >>> batches_an_epoch({"vi": 1, "en": 99}, temperature=2.0)
    {'vi': 9, 'en': 91}
    >>> batches_an_epoch({"vi": 1, "en": 99})
    {'vi': 1, 'en': 99}
    """
    total = sum(batches.values())
    powers = {}
    for language, count in batches.items():
        powers[language] = count ** (1 / temperature)
    shares = {}
    for language, power in powers.items():
        shares[language] = total * power / sum(powers.values())
    rounded = {language: int(share) for language, share in shares.items()}
    by_remainder = sorted(shares, key=lambda language: rounded[language] - shares[language])  # the largest first
    for language in by_remainder[: total - sum(rounded.values())]:
        rounded[language] += 1
    return rounded


class Pass(NamedTuple):
    """One pass over a language's rows: each row once, in batches.

    Attributes:
        rows: row numbers in the order of the length buckets; a batch is a run of them.
        batches: the numbers of those runs, in the order in which they are trained on.
        offset: from 0 to 1, so that languages of equally many batches do not always come in the same order.
    """

    rows: Int64[ndarray, " rows"]
    batches: Sequence[int]
    offset: float


class LanguageBatchSampler:
    """Yields lists of row numbers, all rows of a list in one language; without a temperature every row once an epoch.

    Rows are numbered through the languages in the order given. Lengths are bucketed, languages are interleaved in
    proportion to their batches, and the order is a function of the seed and the epoch alone.

    Under a temperature above 1, small languages have more batches an epoch than they have rows for, and large ones
    fewer (`batches_an_epoch`). Each language's batches are those of one pass over its rows after another, so that an
    epoch begins in a language where the last one has ended.

    Args:
        lengths: language → tokens of each of its rows.
        batch_size: rows a batch; the last batch of a pass may be smaller.
        seed: with the epoch, decides the order.
        temperature: of the languages' sampling, 1 or more.

    >>> batches = LanguageBatchSampler({"vi": [3, 5, 4], "en": [7, 8]}, batch_size=2, seed=1)
    >>> sorted(i for batch in batches for i in batch)
    [0, 1, 2, 3, 4]
    >>> all(max(batch) < 3 or min(batch) >= 3 for batch in batches)
    True
    """

    def __init__(self, lengths: Mapping[str, Lengths], batch_size: int, seed: int, temperature: float = 1.0):
        self.lengths = {language: np.asarray(row, np.int32) for language, row in lengths.items() if len(row)}
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.batches_a_pass: dict[str, int] = {}
        for language, row in self.lengths.items():
            self.batches_a_pass[language] = ceil_div(len(row), batch_size)
        self.batches_an_epoch = batches_an_epoch(self.batches_a_pass, temperature)

    def set_epoch(self, epoch: int) -> None:
        """The epoch, from 0, whose order the next iteration has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.batches_an_epoch.values())

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
        count, a_pass = self.batches_an_epoch[language], self.batches_a_pass[language]
        current = self._pass(language, self.epoch * count // a_pass)
        offset = current.offset  # of the epoch's first pass
        for k in range(count):
            number, at = divmod(self.epoch * count + k, a_pass)  # the pass, and the place of the batch in it
            if k and at == 0:
                current = self._pass(language, number)
            first = current.batches[at] * self.batch_size
            rows = current.rows[first : first + self.batch_size]
            # the k-th of a language's n batches falls near the fraction k/n of the epoch
            yield (k + offset) / count, language, (rows + start).tolist()

    def _pass(self, language: str, number: int) -> Pass:
        """The pass of a number, from 0, over a language's rows."""
        chance = random.Random(f"{self.seed}/{number}/{language}")
        rows = self._order(self.lengths[language], chance)
        batches = array("q", range(self.batches_a_pass[language]))  # "q": 64-bit integers
        chance.shuffle(batches)
        return Pass(rows, batches, chance.random())

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
