"""Batches of one language each, so that only that language's teacher is asked (docs/method.md, 2)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

BUCKET = 50  # batches sorted by length together: little padding, still random


class OneLanguageBatches:
    """Yields lists of row numbers, every row once an epoch, all rows of a list in one language.

    Rows are numbered through the languages in the order given. Lengths are bucketed, languages are interleaved in
    proportion to their batches, and the order is a function of the seed and the epoch alone.

    Args:
        lengths: language → tokens of each of its rows.
        batch_size: rows a batch; a language's last batch may be smaller.
        seed: with the epoch, decides the order.

    >>> batches = OneLanguageBatches({"vi": [3, 5, 4], "en": [7, 8]}, batch_size=2, seed=1)
    >>> sorted(i for batch in batches for i in batch)
    [0, 1, 2, 3, 4]
    >>> all(max(batch) < 3 or min(batch) >= 3 for batch in batches)
    True
    """

    def __init__(self, lengths: Mapping[str, Sequence[int]], batch_size: int, seed: int):
        self.lengths = {language: list(row) for language, row in lengths.items() if len(row)}
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(-(-len(row) // self.batch_size) for row in self.lengths.values())

    def __iter__(self) -> Iterator[list[int]]:
        start, placed = 0, []
        for language, lengths in self.lengths.items():
            chance = random.Random(f"{self.seed}/{self.epoch}/{language}")
            batches = self._batches(lengths, start, chance)
            offset = chance.random()
            # the k-th of a language's n batches falls near the fraction k/n of the epoch
            placed += [((k + offset) / len(batches), language, batch) for k, batch in enumerate(batches)]
            start += len(lengths)
        yield from (batch for _, _, batch in sorted(placed))

    def _batches(self, lengths: list[int], start: int, chance: random.Random) -> list[list[int]]:
        order = list(range(len(lengths)))
        chance.shuffle(order)
        pool = BUCKET * self.batch_size
        batches = []
        for at in range(0, len(order), pool):
            bucket = sorted(order[at : at + pool], key=lambda i: lengths[i])
            batches += [
                [start + i for i in bucket[b : b + self.batch_size]] for b in range(0, len(bucket), self.batch_size)
            ]
        chance.shuffle(batches)
        return batches
