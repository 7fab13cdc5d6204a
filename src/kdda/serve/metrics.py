"""What a server tells of itself, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATHS = ("/answer", "/entails", "/health", "/metrics", "/docs", "/openapi.json", "/")  # all others are one

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        at: Any = {"registry": self.registry}
        self.requests = Counter("kdda_requests", "Requests answered.", ["path", "status"], **at)
        self.seconds = Histogram("kdda_request_seconds", "From arrival to answer.", ["path"], buckets=SECONDS, **at)
        self.batches = Histogram("kdda_batch_requests", "Requests read together.", ["task"], buckets=SIZES, **at)
        self.reading = Histogram("kdda_batch_seconds", "Reading of a batch.", ["task"], buckets=SECONDS, **at)
        self.given_up = Counter("kdda_given_up", "Requests dropped before they were read.", ["task"], **at)
        self.waiting = Gauge("kdda_waiting", "Requests that wait for their turn.", ["task"], **at)
        self.cut = Gauge("kdda_texts_cut", "Texts that lost their end or were read in parts.", ["task"], **at)

    def request(self, path: str, status: int, seconds: float) -> None:
        known = path if path in PATHS else "other"
        self.requests.labels(known, str(status)).inc()
        self.seconds.labels(known).observe(seconds)

    def watch(self, task: str, waiting: Callable[[], int], cut: Callable[[], int]) -> None:
        """Read these two whenever someone asks."""
        self.waiting.labels(task).set_function(waiting)
        self.cut.labels(task).set_function(cut)

    def text(self) -> bytes:
        return bytes(generate_latest(self.registry))
