"""`ReadAhead`: a thread prepares the next 2 batches (`AHEAD`): padding and stored states, while a step computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

AHEAD = 2  # batches that are prepared before they are asked for

Batch = dict[str, Any]


class ReadAhead:
    """Iterates over batches in their order, each with a `Future` of what was prepared of it under ``"prepared"``.

    One thread prepares all of them, so that files and caches have a single reader. Nothing is drawn at random in it.

    Args:
        prepare: what a step needs of a batch; it is called in the thread.
    """

    def __init__(self, prepare: Callable[[Batch], Any]):
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        _compute_on_one_core(self._thread)
        self._batches: Iterator[Batch] = iter(())
        self._waiting: deque[Batch] = deque()

    def over(self, batches: Iterator[Batch]) -> ReadAhead:
        """Itself, over these batches: from where it is in them, or from their first if they are others than before."""
        if batches is not self._batches:
            self._batches = batches
            self._waiting.clear()
        return self

    def __iter__(self) -> ReadAhead:
        return self

    def __next__(self) -> Batch:
        while len(self._waiting) <= AHEAD:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._waiting.append({**batch, "prepared": self.submit(batch)})
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()

    def submit(self, batch: Batch) -> Future[Any]:
        """Prepare a batch in the thread, after those that were submitted before."""
        return self._thread.submit(self._prepare, batch)

    def close(self) -> None:
        """End the thread; what waits to be prepared is dropped."""
        self._thread.shutdown(cancel_futures=True)


def _compute_on_one_core(thread: ThreadPoolExecutor) -> None:
    """Let torch compute without helper threads in a thread, whose operations are small, and as before in all others.

    GNU OpenMP puts the helpers of all threads to sleep after every operation once there are more of them than cores:
    each operation of a training step then waits until they are awake.
    """
    count = torch.get_num_threads()
    thread.submit(torch.set_num_threads, 1).result()
    thread.submit(torch.get_num_threads).result()  # from here on the thread's number is fixed
    torch.set_num_threads(count)  # which new threads take over
