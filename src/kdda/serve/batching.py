"""Requests of many clients, read together: half of them are read while the other half are on their way."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.limits import HTTPError, Limits
from kdda.serve.metrics import Metrics
from kdda.tasks.base import Result

CHARACTERS = 200_000  # of one batch's texts, so that a few long ones do not hold up the rest

Pair = tuple[str, str]

Found = Result


class Waiting(NamedTuple):
    """A pair of texts, and who waits for what is found."""

    pair: Pair
    future: asyncio.Future[Found]


class Batcher:
    """One model behind a queue. No request waits for others to arrive, so a lone client is served at once.

    Clients come again when they were answered. Were all of them read together, the model would be idle until they are
    back; so a batch is no more than half of those who wait and those who were answered last.

    A request whose client has gone, or whose time is up, is dropped before it is read.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics):
        self.predictor, self.limits, self.metrics = predictor, limits, metrics
        self.task = predictor.task.name
        self.queue: deque[Waiting] = deque()
        self.something = asyncio.Event()
        self.answered = 0  # of the last batch
        self.each = 0.01  # seconds a request, a running mean
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"kdda-{self.task}")
        metrics.watch(self.task, lambda: len(self.queue), lambda: sum(predictor.encoder.counts.values()))

    async def submit(self, pair: Pair) -> Found:
        """What the model finds.

        Raises:
            HTTPError: 429 where too many wait, 504 where time is up.
            KddaError: texts that cannot be read.
        """
        if len(self.queue) >= self.limits.queue:
            self._forget_gone()
        if len(self.queue) >= self.limits.queue:
            wait = max(1, math.ceil(len(self.queue) * self.each))
            raise HTTPError(429, f"{len(self.queue)} requests wait already", {"Retry-After": str(wait)})
        waiting = Waiting(pair, asyncio.get_running_loop().create_future())
        self.queue.append(waiting)
        self.something.set()
        try:
            return await asyncio.wait_for(waiting.future, self.limits.seconds)
        except TimeoutError:
            raise HTTPError(504, f"no answer within {self.limits.seconds:g} seconds") from None

    async def run(self) -> None:
        """Read batches for as long as the server runs."""
        while True:
            await self.something.wait()
            batch = self._next()
            if batch:
                await self._read(batch)
            if not self.queue:
                self.something.clear()

    def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _forget_gone(self) -> None:
        """Give the places of those who have gone to those who come."""
        here = [own for own in self.queue if not own.future.done()]
        self.metrics.given_up.labels(self.task).inc(len(self.queue) - len(here))
        self.queue = deque(here)

    def _next(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size, half = 0, -(-(len(self.queue) + self.answered) // 2)
        while self.queue and len(batch) < min(half, self.limits.batch):
            size += sum(map(len, self.queue[0].pair))
            if batch and size > CHARACTERS:
                break
            own = self.queue.popleft()
            if own.future.done():
                self.metrics.given_up.labels(self.task).inc()
            else:
                batch.append(own)
        return batch

    async def _read(self, batch: Sequence[Waiting]) -> None:
        started = time.perf_counter()
        outcomes = await asyncio.get_running_loop().run_in_executor(
            self.thread, self._outcomes, [own.pair for own in batch]
        )
        seconds = time.perf_counter() - started
        self.each += 0.2 * (seconds / len(batch) - self.each)
        self.metrics.batches.labels(self.task).observe(len(batch))
        self.metrics.reading.labels(self.task).observe(seconds)
        self.answered = len(batch)
        for own, outcome in zip(batch, outcomes, strict=True):
            if own.future.done():
                continue
            if isinstance(outcome, Exception):
                own.future.set_exception(outcome)
            else:
                own.future.set_result(outcome)

    def _outcomes(self, pairs: Sequence[Pair]) -> list[Found | Exception]:
        """What is found of each pair; one that cannot be read does not take its neighbours with it."""
        try:
            return list(self.predictor.results(self.predictor.read(pairs)))
        except Exception as error:
            if len(pairs) == 1:
                return [error if isinstance(error, KddaError) else RuntimeError(f"{type(error).__name__}: {error}")]
            return [outcome for pair in pairs for outcome in self._outcomes([pair])]


async def cancel_on_disconnect(receive: Any, work: asyncio.Task[Found]) -> Found | None:
    """What a task finds, or None, with the task cancelled, once the client has gone."""
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        for task in (gone, work):
            task.cancel()


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
