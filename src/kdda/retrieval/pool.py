"""Word segmentation on several cores, for corpora that take long enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context

from kdda.retrieval.terms import Terms, terms_of_all

CHUNK = 64  # texts that a process is given at once

TermExtractor = Callable[[Sequence[str]], list[Terms]]


@contextmanager
def term_reader(segmenter: str, processes: int) -> Iterator[TermExtractor]:
    """What reads the terms of many texts, with word segmentation on several cores.

    Processes start once there is enough to read, since each imports the segmenter anew.
    """
    pool: list[Executor] = []

    def read(texts: Sequence[str]) -> list[Terms]:
        if segmenter == "none" or processes < 2 or (len(texts) < 8 * CHUNK and not pool):
            return terms_of_all(texts, segmenter)
        if not pool:
            pool.append(ProcessPoolExecutor(processes, mp_context=get_context("spawn")))
        chunks = [texts[at : at + CHUNK] for at in range(0, len(texts), CHUNK)]
        return list(chain.from_iterable(pool[0].map(partial(terms_of_all, segmenter=segmenter), chunks)))

    try:
        yield read
    finally:
        for own in pool:
            own.shutdown(cancel_futures=True)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
