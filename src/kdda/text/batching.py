"""Batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 2048  # of a batch, padding included: larger batches take more memory and are no faster on a CPU


def buckets(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of windows of similar length, by the batch, so that little of a batch is padding.

    Args:
        lengths: tokens of each window.
        tokens: of a batch at most, padding included; a longer window is a batch by itself.

    >>> list(buckets([5, 1, 9, 2], 10))
    [[2], [0, 3], [1]]
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):  # longest first
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
