"""The queue of each model: too many waiting requests (429), time is up (504), and which are read in one batch."""

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
from kdda.runtime.numbers import ceil_div
from kdda.serve.limits import HTTPError, Limits
from kdda.serve.metrics import Metrics
from kdda.tasks.base import Result

MAX_BATCH_CHARACTERS = 200_000  # of one batch's texts, so that a few long ones do not hold up the rest

Texts = tuple[str, ...]  # of one row, in the order of the task's fields


class WaitingRequest(NamedTuple):
    """The texts of a request, and the future of its result."""

    texts: Texts
    future: asyncio.Future[Result]


class Batcher:
    """One model behind a queue. No request waits for others to arrive, so a lone client is served at once.

    Clients send their next request when they have their response. If all of them were read together, the model would be
    idle until the next requests arrive; so a batch is no more than half of those who wait and those of the last batch.

    A request whose client has gone, or whose time is up, is dropped before it is read.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics):
        """Start the thread that the model runs in, and let `metrics` watch the queue's length."""
        self.predictor = predictor
        self.limits = limits
        self.metrics = metrics
        self.task = predictor.task.name
        self.queue: deque[WaitingRequest] = deque()
        self.not_empty = asyncio.Event()
        self.last_batch = 0  # requests
        self.seconds_per_request = 0.01  # a running mean, from which Retry-After is computed
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"kdda-{self.task}")
        metrics.watch(self.task, lambda: len(self.queue), lambda: sum(predictor.encoder.counts.values()))

    async def submit(self, texts: Texts) -> Result:
        """The model's result for a row.

        Raises:
            HTTPError: 429 where too many requests wait, 504 where time is up.
            KddaError: texts that cannot be read.
        """
        if len(self.queue) >= self.limits.queue:
            self._drop_gone()
        waiting_requests = len(self.queue)
        if waiting_requests >= self.limits.queue:
            wait = max(1, math.ceil(waiting_requests * self.seconds_per_request))
            raise HTTPError(429, f"{waiting_requests} requests wait already", {"Retry-After": str(wait)})
        request = WaitingRequest(texts, asyncio.get_running_loop().create_future())
        self.queue.append(request)
        self.not_empty.set()
        try:
            return await asyncio.wait_for(request.future, self.limits.seconds)
        except TimeoutError:
            raise HTTPError(504, f"no prediction within {self.limits.seconds:g} seconds") from None

    async def run(self) -> None:
        """Read batches for as long as the server runs."""
        while True:
            await self.not_empty.wait()
            batch = self._next_batch()
            if batch:
                await self._read(batch)
            if not self.queue:
                self.not_empty.clear()

    def close(self) -> None:
        """End the model's thread once its present batch is finished."""
        self.thread.shutdown(wait=False, cancel_futures=True)

    def _drop_gone(self) -> None:
        """Remove the requests of clients that have gone, so that others can wait in their places."""
        present: deque[WaitingRequest] = deque()
        for request in self.queue:
            if not request.future.done():
                present.append(request)
        self.metrics.dropped.labels(self.task).inc(len(self.queue) - len(present))
        self.queue = present

    def _next_batch(self) -> list[WaitingRequest]:
        """Take the next requests to be read together from the queue; none where all of them have gone."""
        half = ceil_div(len(self.queue) + self.last_batch, 2)
        most = min(half, self.limits.batch)
        batch: list[WaitingRequest] = []
        characters = 0
        while self.queue and len(batch) < most:
            characters += sum(map(len, self.queue[0].texts))
            if batch and characters > MAX_BATCH_CHARACTERS:
                break
            request = self.queue.popleft()
            if request.future.done():
                self.metrics.dropped.labels(self.task).inc()
            else:
                batch.append(request)
        return batch

    async def _read(self, batch: Sequence[WaitingRequest]) -> None:
        """Run the model on a batch in its thread, and give each request its result or its error."""
        rows = [request.texts for request in batch]
        started = time.perf_counter()
        outcomes = await asyncio.get_running_loop().run_in_executor(self.thread, self._outcomes, rows)
        seconds = time.perf_counter() - started
        self.seconds_per_request += 0.2 * (seconds / len(batch) - self.seconds_per_request)
        self.metrics.batches.labels(self.task).observe(len(batch))
        self.metrics.batch_seconds.labels(self.task).observe(seconds)
        self.last_batch = len(batch)
        for request, outcome in zip(batch, outcomes, strict=True):
            if request.future.done():
                continue
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

    def _outcomes(self, rows: Sequence[Texts]) -> list[Result | Exception]:
        """The result of each row, or its error: a row that cannot be read does not fail the others."""
        try:
            return [*self.predictor.results(self.predictor.read(rows))]
        except Exception as error:
            if len(rows) == 1:
                return [_as_http(error)]
        outcomes: list[Result | Exception] = []
        for texts in rows:
            outcomes += self._outcomes([texts])
        return outcomes


def _as_http(error: Exception) -> Exception:
    """A user's mistake as it is; anything else as an error whose traceback does not hold the texts."""
    if isinstance(error, KddaError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


async def cancel_on_disconnect(receive: Any, work: asyncio.Task[Result]) -> Result | None:
    """The result of a task, or None, with the task cancelled, once the client has gone."""
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return None
        return await work
    finally:
        for task in (gone, work):
            task.cancel()


async def _disconnected(receive: Any) -> None:
    """Return once the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
