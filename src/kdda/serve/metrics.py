"""The counters at /metrics in Prometheus' format: requests, seconds, batches, waiting, dropped, truncated texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Upper bounds of the histograms' buckets.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one application, in a registry that no other application shares.

    Args:
        paths: paths that are counted one by one; all others are counted together, as "other".
    """

    def __init__(self, paths: Sequence[str] = ()) -> None:
        """Make all counters, at zero."""
        self.paths = paths
        self.registry = CollectorRegistry()
        at: Any = {"registry": self.registry}
        self.requests = Counter("kdda_requests", "Requests answered.", ["path", "status"], **at)
        self.seconds = Histogram("kdda_request_seconds", "From arrival to answer.", ["path"], buckets=SECONDS, **at)
        self.batches = Histogram("kdda_batch_requests", "Requests read together.", ["task"], buckets=SIZES, **at)
        self.batch_seconds = Histogram("kdda_batch_seconds", "Reading of a batch.", ["task"], buckets=SECONDS, **at)
        self.dropped = Counter("kdda_given_up", "Requests dropped before they were read.", ["task"], **at)
        self.waiting = Gauge("kdda_waiting", "Requests that wait for their turn.", ["task"], **at)
        self.truncated = Gauge("kdda_texts_cut", "Texts that were truncated or split.", ["task"], **at)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        label = path if path in self.paths else "other"
        self.requests.labels(label, str(status)).inc()
        self.seconds.labels(label).observe(seconds)

    def watch(self, task: str, waiting: Callable[[], int], truncated: Callable[[], int]) -> None:
        """Read these two numbers whenever the counters are read."""
        self.waiting.labels(task).set_function(waiting)
        self.truncated.labels(task).set_function(truncated)

    def text(self) -> bytes:
        """The counters in Prometheus' text format."""
        return bytes(generate_latest(self.registry))
