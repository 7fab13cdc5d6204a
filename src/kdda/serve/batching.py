"""The queue of each model: too many waiting requests (429), time is up (504), batches, and whether it can answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kdda.errors import KddaError, NotFiniteError
from kdda.inference.predictor import Predictor
from kdda.runtime.numbers import ceil_div
from kdda.serve.errors import HTTPError
from kdda.serve.limits import Limits
from kdda.serve.metrics import Metrics
from kdda.tasks.base import Result

log = logging.getLogger(__name__)

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
        self.reader: asyncio.Task[None] | None = None  # runs `run`
        self.batch_started: float | None = None  # time.monotonic() of the batch that the model has now
        self.last_failure = ""  # the error of the last batch, where no row of it could be read and none had a mistake
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

    def start(self) -> None:
        """Begin to read batches."""
        self.reader = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Read batches for as long as the server runs, whatever becomes of one of them."""
        while True:
            await self.not_empty.wait()
            batch: list[WaitingRequest] = []
            try:
                batch = self._next_batch()
                if batch:
                    await self._read(batch)
            except Exception as error:
                if not batch:  # the queue itself cannot be read: none of it may stay, or the loop would never end
                    batch = list(self.queue)
                    self.queue.clear()
                self._fail(batch, error)
            finally:
                self.batch_started = None
            if not self.queue:
                self.not_empty.clear()

    async def problem(self) -> str:
        """Why the model cannot answer, or "" where it can.

        A model whose last batch failed reads a sample: it may have been that batch's texts alone.
        """
        if self.reader is None or self.reader.done():
            return "requests are not read any more"
        if self.batch_started is not None:
            seconds = time.monotonic() - self.batch_started
            if seconds > self.limits.seconds:
                return f"one batch has taken {seconds:.0f} seconds so far"
        if not self.last_failure:
            return ""
        task = self.predictor.task
        try:
            await self.submit(task.texts_of(task.sample_values()))
        except (HTTPError, KddaError):
            return self.last_failure
        return ""

    def close(self) -> None:
        """Stop reading, and end the model's thread once its present batch is finished."""
        if self.reader is not None:
            self.reader.cancel()
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
        self.batch_started = time.monotonic()
        outcomes = await asyncio.get_running_loop().run_in_executor(self.thread, self._outcomes, rows)
        seconds = time.monotonic() - self.batch_started
        self.seconds_per_request += 0.2 * (seconds / len(batch) - self.seconds_per_request)
        self.metrics.batches.labels(self.task).observe(len(batch))
        self.metrics.batch_seconds.labels(self.task).observe(seconds)
        self.last_batch = len(batch)
        self.last_failure = _failure_of_all(outcomes)
        for request, outcome in zip(batch, outcomes, strict=True):
            _settle(request, outcome)

    def _fail(self, batch: Sequence[WaitingRequest], error: Exception) -> None:
        """Answer a batch that could not be read with an error."""
        failure = _as_http(error)
        self.last_failure = str(failure)
        for request in batch:
            _settle(request, failure)

    def _outcomes(self, rows: Sequence[Texts]) -> list[Result | Exception]:
        """The result of each row, or its error: a row that cannot be read does not fail the others."""
        try:
            results = [*self.predictor.results(self.predictor.read(rows))]
            if len(results) != len(rows):
                raise RuntimeError(f"{len(results)} results for {len(rows)} rows")
            return list(results)
        except BaseException as error:  # SystemExit among them: raised in this thread, it would end the whole server
            if len(rows) == 1:
                return [_as_http(error)]
        outcomes: list[Result | Exception] = []
        for texts in rows:
            outcomes += self._outcomes([texts])
        return outcomes


def _settle(request: WaitingRequest, outcome: Result | Exception) -> None:
    """Give a request its result or its error, unless its client has gone or its time was up."""
    if request.future.done():
        return
    if isinstance(outcome, Exception):
        request.future.set_exception(outcome)
    else:
        request.future.set_result(outcome)


def _failure_of_all(outcomes: Sequence[Result | Exception]) -> str:
    """The error of a batch in which the model failed at every row; "" where it read one, or a row had a mistake."""
    for outcome in outcomes:
        if not isinstance(outcome, HTTPError):
            return ""
    return str(outcomes[0]) if outcomes else ""


def _as_http(error: BaseException) -> Exception:
    """A user's mistake as it is; anything else as 500 with the kind of error alone, as its text may hold the row's."""
    if isinstance(error, KddaError | HTTPError) and not isinstance(error, NotFiniteError):
        return error
    log.error("the model failed: %s: %s", type(error).__name__, error)
    if isinstance(error, NotFiniteError):  # its text holds nothing of a row
        return HTTPError(500, f"the model failed: {error}")
    return HTTPError(500, f"the model failed ({type(error).__name__})")


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
