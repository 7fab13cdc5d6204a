"""A server's throughput, response times and memory under the load of 32 clients on loopback.

    python bench/serve.py runs/nli/student-kdda/seed-1/model --write docs/performance.md

Predicts the embedded test rows offline, then starts `kdda serve` and sends them over HTTP for `--seconds` with
`--clients` clients, each of which waits for a response before its next request. After that it goes on until the number
of all requests is `--requests`, to see whether the server's memory grows. Clients share the machine's cores with the
server, so its throughput is a lower bound. `--seconds 3 --requests 200` tries it out.
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
import time
from dataclasses import dataclass, field
from functools import partial

import psutil
from aims import Aim, publish
from page import arguments, machine
from use import DATA

import kdda
from kdda.data.sources import Source, read_rows

SHARE, SLOWEST = 80.0, 2.0  # of the offline rate in %, at least; p99 against p50, at most


@dataclass
class Load:
    """Response times and errors of all clients."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu: float = 0.0  # seconds of a core that the clients took


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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.requests = 2.0, 100
    offline, bodies, path = predict_offline(options.model, repeats=3 if options.seconds >= 30 else 2)
    load, rest, memory = put_under_load(options, bodies, path)
    print(*sorted(set(load.errors + rest.errors)), sep="\n")
    if len(load.errors) == len(load.seconds):  # refusals are fast, and say nothing of the model
        sys.exit(f"the server answered none of {len(load.seconds):,} requests")
    publish(options, "serve", report(options, offline, load, rest, memory), aims(options, offline, load, rest))


def predict_offline(model: str, repeats: int) -> tuple[float, list[bytes], str]:
    """Rows a second of the predictor, the same rows as bodies of requests, and the path that takes them."""
    predictor = kdda.load(model)
    task = predictor.task
    pairs, bodies = [], []
    for row in read_rows(Source(DATA[task.name])):
        fields = {name: row.values[name] for name in task.fields}
        pairs.append(tuple(fields.values()))
        bodies.append(json.dumps(fields).encode())
    rates = []
    for number in range(repeats):
        began = time.monotonic()
        predictor.read(pairs)
        if number:  # the first one warms up
            rates.append(len(pairs) / (time.monotonic() - began))
    return statistics.median(rates), bodies, task.route


def put_under_load(options: argparse.Namespace, bodies: list[bytes], path: str) -> tuple[Load, Load, tuple[int, int]]:
    """Send requests for a number of seconds, and after that up to a total number.

    Returns:
        What the clients measured in both parts, and the server's resident bytes before and after.
    """
    process, port = start_server(options.model)
    send = partial(clients, options.clients, port, bodies, path)
    try:
        asyncio.run(send(min(3.0, options.seconds), 10**9))  # warms up
        server = psutil.Process(process.pid)
        before = server.memory_info().rss
        load = asyncio.run(send(options.seconds, 10**9))
        rest = asyncio.run(send(1e9, options.requests - len(load.seconds)))
        after = server.memory_info().rss
    finally:
        process.terminate()
        process.wait(60)
    return load, rest, (before, after)


def aims(options: argparse.Namespace, offline: float, load: Load, rest: Load) -> list[Aim]:
    """What was aimed at; the arguments are those of `report`."""
    share = 100 * len(load.seconds) / options.seconds / offline
    ranked = sorted(load.seconds)
    slowest = ranked[int(0.99 * len(ranked))] / statistics.median(ranked)
    name = f"serving {options.clients} clients"
    return [
        Aim(f"{name}: rows a second", share, "≥", SHARE, "% of offline"),
        Aim(f"{name}: 99th percentile of response times", slowest, "≤", SLOWEST, "× the median"),
        Aim(f"{name}: errors", len(load.errors) + len(rest.errors), "≤", 0),
    ]


def report(options: argparse.Namespace, offline: float, load: Load, rest: Load, memory: tuple[int, int]) -> list[str]:
    """The table.

    Args:
        offline: the predictor's rows a second.
        memory: the server's resident bytes before and after.
    """
    before, after = memory
    rate = len(load.seconds) / options.seconds
    ranked = sorted(load.seconds)
    setting = f"cores shared by server and clients, {options.clients} clients, {options.seconds:g} s"
    return [
        f"{machine()} {options.model}, {setting}. Offline {offline:.1f} rows/s; the clients take "
        f"{1000 * load.cpu / len(load.seconds):.2f} ms of a core a request.",
        "",
        "| requests/s | of offline rows/s | errors | p50 | p99 | slowest | memory before and after |",
        "|--:|--:|--:|--:|--:|--:|--:|",
        f"| {rate:.1f} | {rate / offline:.0%} | {len(load.errors) + len(rest.errors)} "
        f"| {statistics.median(ranked):.3f} s | {ranked[int(0.99 * len(ranked))]:.3f} s | {ranked[-1]:.3f} s "
        f"| {before / 2**20:.0f} → {after / 2**20:.0f} MB after {len(load.seconds) + len(rest.seconds):,} requests |",
    ]


if __name__ == "__main__":
    main()
