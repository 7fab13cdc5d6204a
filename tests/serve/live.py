"""Servers on loopback, in a thread of the test, and the smallest client there is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from kdda.inference.predictor import Predictor
from kdda.serve.experiments import Experiments
from kdda.serve.limits import Limits
from kdda.serve.site import Site, listen, make_application, make_server

PAIR = {"question": "cat", "context": "cat sleeps dog runs"}
CLAIM = {"premise": "cat sleeps", "hypothesis": "dog runs"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Live:
    """A server that answers."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
            own = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, sent, {**own, **(headers or {})})
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A counter's value, summed over the labels that the name leaves open."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@contextmanager
def serving(predictors: Sequence[Predictor], limits: Limits, token: str = "", **site: Any) -> Iterator[Live]:
    """A server for as long as the block lasts."""
    own = Site([predictor.name for predictor in predictors], limits, **{"page": False, **site})
    experiments = Experiments(own.experiments) if own.experiments else None
    server = make_server(make_application(own, predictors, token, experiments), limits)
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield Live(port)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


class Held(Predictor):
    """A predictor that reads only while a gate is open, and remembers what it has read."""

    def __init__(self, own: Predictor):
        super().__init__(own.name, own.engine, own.encoder, own.task, own.labels)
        self.streams = 1  # what a test holds is all that is read
        self.open, self.seen, self.asked = threading.Event(), [], 0  # type: ignore[var-annotated]

    def read(self, pairs: Any) -> Any:
        self.asked += 1
        self.open.wait(60)
        self.seen.append(list(pairs))
        return super().read(pairs)
