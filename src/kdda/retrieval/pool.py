"""Term extraction in several processes, for corpora large enough to be worth starting them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from itertools import chain

from kdda.retrieval.terms import Terms, terms_of_all
from kdda.runtime.processes import process_pool

CHUNK = 64  # texts that a process is given at once

TermExtractor = Callable[[Sequence[str]], list[Terms]]


@contextmanager
def term_extractor(segmenter: str, processes: int) -> Iterator[TermExtractor]:
    """A function that extracts the terms of many texts, with word segmentation on several cores.

    Processes start with the first call that is large enough, since each of them imports the segmenter anew.

    Args:
        segmenter: as `IndexSettings.segmenter`.
        processes: at most; one means the calling process.
    """
    pools: list[Executor] = []

    def extract(texts: Sequence[str]) -> list[Terms]:
        """The terms of each text: in this process for few texts, else in the pool, which is made once."""
        is_small = len(texts) < 8 * CHUNK and not pools
        if segmenter == "none" or processes < 2 or is_small:
            return terms_of_all(texts, segmenter)
        if not pools:
            pools.append(process_pool(processes))
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        terms = pools[0].map(partial(terms_of_all, segmenter=segmenter), chunks)
        return list(chain.from_iterable(terms))

    try:
        yield extract
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
