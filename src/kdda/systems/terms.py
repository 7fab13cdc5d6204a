"""The terms that passages and questions are matched by."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context

from kdda.text import forget_words, segment

_TERM = re.compile(r"\w+")
CHUNK = 64  # texts that a process is given at once

Terms = list[str]


def terms_of(text: str, segmenter: str = "vi") -> Terms:
    """A text's terms: lower case, one spelling of each letter (NFC); its syllables, and where there is a segmenter its
    words of several syllables beside them.

    Words alone find less: a question's "thủ đô" and a passage's may be segmented otherwise (docs/systems.md).

    >>> terms_of("Hà Nội là thủ đô.", "vi"), terms_of("Hà Nội.", "none")
    (['hà', 'nội', 'là', 'thủ', 'đô', 'hà_nội', 'thủ_đô'], ['hà', 'nội'])
    """
    text = unicodedata.normalize("NFC", text)
    syllables = _TERM.findall(text.lower())
    if segmenter == "none":
        return syllables
    words = (_TERM.findall(text[start:end].lower()) for start, end in segment(text, segmenter))
    return [*syllables, *("_".join(word) for word in words if len(word) > 1)]


def terms_of_all(texts: Sequence[str], segmenter: str) -> list[Terms]:
    """The same of many texts, none of which is kept."""
    found = [terms_of(text, segmenter) for text in texts]
    forget_words()
    return found


Reader = Callable[[Sequence[str]], list[Terms]]


@contextmanager
def term_reader(segmenter: str, processes: int) -> Iterator[Reader]:
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
