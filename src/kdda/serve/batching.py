"""The queue of each model: too many waiting requests (429), time is up (504), streams of batches, can it answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

from kdda.errors import KddaError, NotFiniteError
from kdda.inference.predictor import Predictor
from kdda.inference.streams import use_threads
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


@dataclass
class Stream:
    """A thread that reads one batch after another, beside others.

    Attributes:
        thread: the only one of its pool.
        batch: how many requests it reads.
        last_batch: how many it has read before; their clients are about to send the next ones.
        started: time.monotonic() of the batch that it reads; None while it reads none.
        task: runs `Batcher.run`.
    """

    thread: ThreadPoolExecutor
    batch: int = 0
    last_batch: int = 0
    started: float | None = None
    task: asyncio.Task[None] | None = None


class Batcher:
    """One model behind a queue. No request waits for others to arrive, so a lone client is served at once.

    The model reads as many batches at once as it has streams, each on its share of the processor's threads; a request
    that comes alone is read on all of them.

    Clients send their next request when they have their response. If all of them were read together, the model would be
    idle until the next requests arrive; so each stream takes one of as many shares as there are streams and one more.

    A request whose client has gone, or whose time is up, is dropped before it is read.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics):
        """Make the streams that the model runs in, and let `metrics` watch the queue's length."""
        self.predictor = predictor
        self.limits = limits
        self.metrics = metrics
        self.task = predictor.task.name
        self.queue: deque[WaitingRequest] = deque()
        self.not_empty = asyncio.Event()
        self.seconds_per_request = 0.01  # a running mean, from which Retry-After is computed
        self.last_failure = ""  # the error of the last batch, where no row of it could be read and none had a mistake
        self.threads = torch.get_num_threads()
        self.streams: list[Stream] = []
        for _ in range(predictor.streams):
            self.streams.append(Stream(ThreadPoolExecutor(1, f"kdda-{self.task}")))
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
        for stream in self.streams:
            stream.task = asyncio.create_task(self.run(stream))

    async def run(self, stream: Stream) -> None:
        """Read batches in a stream for as long as the server runs, whatever becomes of one of them."""
        while True:
            await self.not_empty.wait()
            batch: list[WaitingRequest] = []
            try:
                batch = self._next_batch(stream)
                if batch:
                    await self._read(batch, stream)
            except Exception as error:
                if not batch:  # the queue itself cannot be read: none of it may stay, or the loop would never end
                    batch = list(self.queue)
                    self.queue.clear()
                self._fail(batch, error)
            finally:
                stream.batch = 0
                stream.started = None
            if not self.queue:
                self.not_empty.clear()

    async def problem(self) -> str:
        """Why the model cannot answer, or "" where it can.

        A model whose last batch failed reads a sample: it may have been that batch's texts alone.
        """
        for stream in self.streams:
            if stream.task is None or stream.task.done():
                return "requests are not read any more"
            if stream.started is not None:
                seconds = time.monotonic() - stream.started
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
        """Stop reading, and end the streams' threads once their present batches are finished."""
        for stream in self.streams:
            if stream.task is not None:
                stream.task.cancel()
            stream.thread.shutdown(wait=False, cancel_futures=True)

    def _drop_gone(self) -> None:
        """Remove the requests of clients that have gone, so that others can wait in their places."""
        present: deque[WaitingRequest] = deque()
        for request in self.queue:
            if not request.future.done():
                present.append(request)
        self.metrics.dropped.labels(self.task).inc(len(self.queue) - len(present))
        self.queue = present

    def _next_batch(self, stream: Stream) -> list[WaitingRequest]:
        """Take the next requests that a stream reads from the queue; none where all of them have gone."""
        clients = len(self.queue) + stream.last_batch
        for other in self.streams:
            clients += other.batch
        shares = len(self.streams) + 1  # one waits while each stream reads one
        most = min(ceil_div(clients, shares), self.limits.batch)
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

    async def _read(self, batch: Sequence[WaitingRequest], stream: Stream) -> None:
        """Run the model on a batch in a stream's thread, and give each request its result or its error."""
        rows = [request.texts for request in batch]
        stream.batch = len(batch)
        stream.started = time.monotonic()
        work = partial(self._outcomes_of_batch, rows, self._threads_for_batch())
        outcomes = await asyncio.get_running_loop().run_in_executor(stream.thread, work)
        seconds = time.monotonic() - stream.started
        per_request = seconds / len(batch) / len(self.streams)
        self.seconds_per_request += 0.2 * (per_request - self.seconds_per_request)
        self.metrics.batches.labels(self.task).observe(len(batch))
        self.metrics.batch_seconds.labels(self.task).observe(seconds)
        stream.last_batch = len(batch)
        self.last_failure = _failure_of_all(outcomes)
        for request, outcome in zip(batch, outcomes, strict=True):
            _settle(request, outcome)

    def _threads_for_batch(self) -> int:
        """All threads where nothing else waits or is read, else those of one stream; the next batch is in a stream."""
        streams_reading = 0
        for stream in self.streams:
            streams_reading += stream.batch > 0
        if streams_reading == 1 and not self.queue:
            return self.threads
        return max(1, self.threads // len(self.streams))

    def _fail(self, batch: Sequence[WaitingRequest], error: Exception) -> None:
        """Answer a batch that could not be read with an error."""
        failure = _as_http(error)
        self.last_failure = str(failure)
        for request in batch:
            _settle(request, failure)

    def _outcomes_of_batch(self, rows: Sequence[Texts], threads: int) -> list[Result | Exception]:
        """The outcomes of rows, computed by so many threads of torch."""
        use_threads(threads)
        return self._outcomes(rows)

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
