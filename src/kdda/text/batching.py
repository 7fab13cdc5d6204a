"""EpochDataLoader of texts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 2048  # a batch's, padding included: larger ones gain nothing on a CPU and hold more memory


def buckets(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Which windows are read together: of like length, so that little is padding, and no more than so many tokens.

    >>> list(buckets([5, 1, 9, 2], 10))
    [[2], [0, 3], [1]]
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
