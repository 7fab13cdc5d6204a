"""Batches on every core of a CPU: up to 4 streams at once, each on its share of the threads; 1,024 tokens a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from kdda.text.batching import BATCH_TOKENS

MAX_STREAMS = 4  # Python runs between the kernels of a model, for one stream at a time

STREAM_TOKENS = 1024  # of a batch at least, padding included: smaller ones take more of Python's time

TOKENS_PER_THREAD = 256  # of a batch that several threads share

Batch = TypeVar("Batch")
Outputs = TypeVar("Outputs")


def stream_count(threads: int) -> int:
    """How many batches are computed at once by so many threads."""
    return max(1, min(MAX_STREAMS, threads))


def batch_tokens(threads: int, least: int = STREAM_TOKENS) -> int:
    """Tokens of a batch, padding included, that so many threads compute together; `least` at least."""
    return min(BATCH_TOKENS, max(least, TOKENS_PER_THREAD * threads))


def use_threads(count: int) -> None:
    """Let torch compute with so many threads what the calling thread asks for."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block.

    Beside onnxruntime, whose threads hold the cores for a while after each run, torch's threads wait for a core at
    every operation, however small: batches of 8 bits took up to a quarter longer.
    """
    threads = torch.get_num_threads()
    use_threads(1)
    try:
        yield
    finally:
        use_threads(threads)


def in_streams(compute: Callable[[Batch], Outputs], batches: Sequence[Batch], streams: int) -> list[Outputs]:
    """The outputs of each batch, in their order.

    Threads that share every kernel of one batch wait for each other at its end; streams do not. A single batch gets all
    threads.

    Args:
        compute: is called by several threads at once.
        streams: batches that are computed at once.
    """
    streams = min(streams, len(batches))
    if streams < 2:
        return list(map(compute, batches))
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(streams, "kdda-stream", use_threads, (max(1, threads // streams),)) as pool:
            return list(pool.map(compute, batches))
    finally:
        torch.set_num_threads(threads)  # MKL has one number for all threads of the process
