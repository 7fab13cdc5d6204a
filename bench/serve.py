"""How a server holds under load: 32 clients on loopback against the offline predictor, and its memory.

    python bench/serve.py runs/nli/student-kdda/seed-1/model --write docs/performance.md

Starts `kdda serve`, reads the embedded test rows offline, then over HTTP for `--seconds` with `--clients` clients that
each wait for their answer, then until `--requests` were answered in all while the server's memory is watched. Clients
share the machine's cores with the server, so its throughput is a lower bound.
`--seconds 3 --requests 200` tries it out.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from page import replace
from use import DATA

import kdda
from kdda.data.sources import Source, read_rows


@dataclass
class Load:
    """What clients have seen."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def client(port: int, bodies: "itertools.cycle[bytes]", path: str, until: float, most: int, load: Load) -> None:
    """One client: asks, waits for the answer, asks again, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until and len(load.seconds) < most:
        body = next(bodies)
        started = time.monotonic()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        found = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", found)
        await reader.readexactly(int(length[1]) if length else 0)
        load.seconds.append(time.monotonic() - started)
        if not found.startswith(b"HTTP/1.1 200"):
            load.errors.append(found.split(b"\r\n")[0].decode())
    writer.close()


async def clients(count: int, port: int, bodies: list[bytes], path: str, seconds: float, most: int) -> Load:
    load, cycle, until = Load(), itertools.cycle(bodies), time.monotonic() + seconds
    await asyncio.gather(*(client(port, cycle, path, until, most, load) for _ in range(count)))
    return load


def started(model: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "kdda", "serve", model, "--port", "0", "--no-page"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r":(\d+)/", process.stdout.readline())
    if not found:
        sys.exit("the server did not start")
    port = int(found[1])
    for _ in range(600):
        try:
            with __import__("socket").create_connection(("127.0.0.1", port), 1):
                return process, port
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose table is replaced")
    own = parser.parse_args()
    predictor = kdda.load(own.model)
    task = predictor.task
    pairs = [tuple(row.values[name] for name in task.fields) for row in read_rows(Source(DATA[task.name]))]
    bodies = [json.dumps(dict(zip(task.fields, pair, strict=True))).encode() for pair in pairs]
    rates = []
    for number in range(3 if own.seconds >= 30 else 2):
        began = time.monotonic()
        predictor.read(pairs)
        rates += [len(pairs) / (time.monotonic() - began)] if number else []
    offline = statistics.median(rates)
    process, port = started(own.model)
    try:
        asyncio.run(clients(own.clients, port, bodies, task.route, min(3.0, own.seconds), 10**9))  # warms up
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        load = asyncio.run(clients(own.clients, port, bodies, task.route, own.seconds, 10**9))
        rest = asyncio.run(clients(own.clients, port, bodies, task.route, 1e9, own.requests - len(load.seconds)))
        after = memory.memory_info().rss
    finally:
        process.terminate()
        process.wait(60)
    rate = len(load.seconds) / own.seconds
    ranked = sorted(load.seconds)
    lines = [
        f"{own.model}, {os.cpu_count()} cores shared by server and clients, {own.clients} clients, {own.seconds:g} s.",
        "",
        "| requests/s | of offline rows/s | errors | p50 | p99 | slowest | memory before and after |",
        "|--:|--:|--:|--:|--:|--:|--:|",
        f"| {rate:.1f} | {rate / offline:.0%} | {len(load.errors) + len(rest.errors)} "
        f"| {statistics.median(ranked):.3f} s | {ranked[int(0.99 * len(ranked))]:.3f} s | {ranked[-1]:.3f} s "
        f"| {before / 2**20:.0f} → {after / 2**20:.0f} MB after {len(load.seconds) + len(rest.seconds):,} requests |",
    ]
    print("\n".join(lines), *sorted(set(load.errors + rest.errors)), sep="\n")
    if own.write:
        replace(own.write, "serve", lines)


if __name__ == "__main__":
    main()
