"""A server's throughput, response times and memory under the load of 32 clients on loopback.

    python bench/serve.py runs/nli/student-kdda/seed-1/model --write docs/performance.md

Starts `kdda serve` with a checkpoint, and another one with its export in 8 bits. In each of `--rounds` rounds both take
turns with both models offline: the embedded test rows are predicted offline, and sent over HTTP by `--clients` clients,
each of which waits for a response before its next request, for `--seconds` in all rounds together. After that clients
go on until the number of a server's requests is `--requests`, to see whether its memory grows. Clients share the
machine's cores with the server, so its throughput is a lower bound. `--seconds 3 --requests 200` tries it out.
"""

import argparse
import asyncio
import itertools
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from aims import Aim, publish
from page import arguments, machine, table
from use import DATA

import kdda
from kdda.data.sources import Source, read_rows
from kdda.inference.onnx import export
from kdda.inference.predictor import Predictor

SHARE, SLOWEST = 80.0, 2.0  # of the offline rate in %, at least; p99 against p50, at most


@dataclass
class Load:
    """Response times and errors of all clients."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu: float = 0.0  # seconds of a core that the clients took

    def add(self, other: "Load") -> None:
        """Count another load in."""
        self.seconds += other.seconds
        self.errors += other.errors
        self.cpu += other.cpu


async def client(port: int, bodies: "itertools.cycle[bytes]", path: str, until: float, most: int, load: Load) -> None:
    """One client: sends a request, waits for the response, and sends the next, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n".encode()
    while time.monotonic() < until and len(load.seconds) < most:
        body = next(bodies)
        started = time.monotonic()
        writer.write(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        headers = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", headers)
        await reader.readexactly(int(length[1]) if length else 0)
        load.seconds.append(time.monotonic() - started)
        if not headers.startswith(b"HTTP/1.1 200"):
            load.errors.append(headers.split(b"\r\n")[0].decode())
    writer.close()


async def clients(count: int, port: int, bodies: list[bytes], path: str, seconds: float, most: int) -> Load:
    load = Load()
    cycle = itertools.cycle(bodies)
    until = time.monotonic() + seconds
    began = time.process_time()
    await asyncio.gather(*(client(port, cycle, path, until, most, load) for _ in range(count)))
    load.cpu = time.process_time() - began
    return load


def start_server(model: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "kdda", "serve", model, "--port", "0", "--no-page"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = re.search(r":(\d+)/", process.stdout.readline())
    if not address:
        sys.exit("the server did not start")
    port = int(address[1])
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return process, port
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not answer")


@dataclass
class Served:
    """A model on a server and offline, and what both did in turns.

    Attributes:
        name: of its row.
        model: its folder.
        predictor: the model, loaded in this process.
        offline: rows a second of the predictor, of each round.
        rates: requests a second of the server, of each round.
        load: of all rounds together.
        memory: the server's resident bytes, before and after all requests.
    """

    name: str
    model: str
    predictor: Predictor
    offline: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    load: Load = field(default_factory=Load)
    memory: tuple[int, int] = (0, 0)

    @property
    def share(self) -> float:
        """Requests a second in % of the offline rows a second of the same round: the median of rounds."""
        return 100 * statistics.median(a / b for a, b in zip(self.rates, self.offline, strict=True))

    def response_seconds(self, share: float) -> float:
        """The response time that so large a share of the requests did not exceed."""
        ranked = sorted(self.load.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.requests = 2.0, 1, 100
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "8-bits")
        print(export(options.model, small, int8=True))
        models = []
        for name, model in (("kdda serve", options.model), ("kdda serve, ONNX in 8 bits", str(small))):
            models.append(Served(name, model, kdda.load(model)))
        put_under_load(options, models)
    for served in models:
        for error in sorted(set(served.load.errors)):
            print(error)
        if len(served.load.errors) == len(served.load.seconds):  # refusals are fast, and say nothing of the model
            sys.exit(f"the server answered none of {len(served.load.seconds):,} requests")
    publish(options, "serve", report(options, models), [aim for served in models for aim in aims(options, served)])


def put_under_load(options: argparse.Namespace, models: Sequence[Served]) -> None:
    """Let servers and predictors take turns, and let the clients of each server go on up to a number of requests."""
    task = models[0].predictor.task
    pairs, bodies = [], []
    for row in read_rows(Source(DATA[task.name])):
        fields = {name: row.values[name] for name in task.fields}
        pairs.append(tuple(fields.values()))
        bodies.append(json.dumps(fields).encode())
    servers = [start_server(served.model) for served in models]
    send = partial(clients, options.clients, bodies=bodies, path=task.route)
    seconds = options.seconds / options.rounds
    try:
        before = []
        for served, (process, port) in zip(models, servers, strict=True):
            served.predictor.read(pairs)  # warms up, as the next line does
            asyncio.run(send(port, seconds=min(3.0, seconds), most=10**9))
            before.append(psutil.Process(process.pid).memory_info().rss)
        for _ in range(options.rounds):
            for served, (_, port) in zip(models, servers, strict=True):
                began = time.monotonic()
                served.predictor.read(pairs)
                served.offline.append(len(pairs) / (time.monotonic() - began))
                load = asyncio.run(send(port, seconds=seconds, most=10**9))
                served.rates.append(len(load.seconds) / seconds)
                served.load.add(load)
        for served, (process, port), resident in zip(models, servers, before, strict=True):
            rest = asyncio.run(send(port, seconds=1e9, most=options.requests - len(served.load.seconds)))
            served.load.errors += rest.errors
            served.memory = resident, psutil.Process(process.pid).memory_info().rss
    finally:
        for process, _ in servers:
            process.terminate()
            process.wait(60)


def aims(options: argparse.Namespace, served: Served) -> list[Aim]:
    """What was aimed at."""
    slowest = served.response_seconds(0.99) / served.response_seconds(0.5)
    name = f"{served.name}, {options.clients} clients"
    return [
        Aim(f"{name}: rows a second", served.share, "≥", SHARE, "% of offline"),
        Aim(f"{name}: 99th percentile of response times", slowest, "≤", SLOWEST, "× the median"),
        Aim(f"{name}: errors", len(served.load.errors), "≤", 0),
    ]


def report(options: argparse.Namespace, models: Sequence[Served]) -> list[str]:
    """The table."""
    setting = f"{options.clients} clients on the same cores, {options.seconds:g} s in {options.rounds} rounds"
    titles = ("", "requests/s", "offline rows/s", "of offline", "errors", "p50", "p99", "slowest", "memory, MB")
    rows = []
    for served in models:
        times = [f"{served.response_seconds(share):.3f} s" for share in (0.5, 0.99, 1.0)]
        before, after = (number / 2**20 for number in served.memory)
        rates = [statistics.median(served.rates), statistics.median(served.offline)]
        of_offline = f"{served.share:.0f}% (aim {SHARE:.0f})"
        numbers = [*(f"{rate:.1f}" for rate in rates), of_offline, f"{len(served.load.errors)}"]
        rows.append([served.name, *numbers, *times, f"{before:,.0f} → {after:,.0f}"])
    taken = models[0].load
    lines = [
        f"{machine()} {options.model}, {setting}; the clients take {1000 * taken.cpu / len(taken.seconds):.2f} ms of a "
        f"core a request. Memory: of the server, before and after {options.requests:,} requests.",
        "",
    ]
    return [*lines, *table(titles, rows)]


if __name__ == "__main__":
    main()
