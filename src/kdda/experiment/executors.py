"""Where work is done: here, in processes side by side, or on a Ray cluster. What fails stops nothing else."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from kdda.errors import Interrupted, KddaError
from kdda.experiment.context import RunContext
from kdda.experiment.specs import RunSpec
from kdda.experiment.worker import from_json, run_one, to_json
from kdda.runtime import distributed

Failures = dict[RunSpec, str]

WORKER = (
    "from kdda.runtime.memory import tune_garbage_collection; tune_garbage_collection(); "
    "from kdda.experiment.worker import main; main()"
)


@dataclass(frozen=True)
class Grid:
    """How many pieces of work are done at once, and where.

    Args:
        workers: processes side by side; on a cluster, pieces at once, by default as many as it has nodes.
        ray: a cluster's address, or ``auto``; its nodes must have kdda and see the output folder under the same path.
    """

    workers: int = 0
    ray: str = ""

    def of(self, context: RunContext) -> Callable[[Sequence[RunSpec]], Failures]:
        """What does a recipe's work and returns what failed, and why."""
        if distributed.size() > 1 and (self.ray or self.workers > 1):
            raise KddaError(
                "--workers and --ray do many runs at once; accelerate launch does one run in many processes"
            )
        if self.ray:
            return lambda works: _on_cluster(context, works, self.ray, self.workers)
        if self.workers > 1:
            return lambda works: _Processes(context, self.workers).do(works)
        return lambda works: _one_by_one(context, works)


def _one_by_one(context: RunContext, works: Sequence[RunSpec]) -> Failures:
    outcomes = {work: run_one(context, work) for work in works}
    return {work: why for work, why in outcomes.items() if why}


@dataclass
class _Processes:
    """A process a piece of work, so many at once, each with its share of the cores, or a device of its own."""

    context: RunContext
    workers: int
    running: set[subprocess.Popen[str]] = field(default_factory=set)
    stopped: bool = False

    def do(self, works: Sequence[RunSpec]) -> Failures:
        slots: queue.Queue[int] = queue.Queue()
        for slot in range(self.workers):
            slots.put(slot)
        with ThreadPoolExecutor(self.workers) as pool:
            found = {work: pool.submit(self._one, work, slots) for work in works}
            try:
                outcomes = {work: own.result() for work, own in found.items()}
            except KeyboardInterrupt:
                self._stop()
                raise Interrupted("stopped; the same command continues from the last checkpoints") from None
        return {work: why for work, why in outcomes.items() if why}

    def _stop(self) -> None:
        """Once a child, which then writes a checkpoint; what waits does not begin."""
        self.stopped = True
        for child in list(self.running):
            child.send_signal(signal.SIGINT)

    def _one(self, work: RunSpec, slots: queue.Queue[int]) -> str | None:
        if self.stopped:
            return "stopped"
        slot = slots.get()
        try:
            return self._run(work, slot)
        finally:
            slots.put(slot)

    def _run(self, work: RunSpec, slot: int) -> str | None:
        # a session of its own: a terminal's Ctrl-C reaches this process alone, which then tells its children once
        child = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_share(slot, self.workers)},
            start_new_session=True,
        )
        assert child.stdin and child.stdout and child.stderr
        self.running.add(child)
        try:
            child.stdin.write(json.dumps(to_json(self.context, work)) + "\n")
            child.stdin.flush()  # and stays open: a child whose parent was killed finds its end, and stops
            last = ""
            for line in child.stderr:
                last = line.rstrip("\n")
                self.context.say(last)
            result = child.stdout.read().strip().split("\n")[-1]
            code = child.wait()
        except BrokenPipeError:
            return "its process ended before it began"
        finally:
            self.running.discard(child)
        return _outcome(code, result, last)


def _outcome(code: int, result: str, last: str) -> str | None:
    if code == 0 and result:
        why: str | None = json.loads(result)["failed"]
        return why
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}: {last}"


def _share(slot: int, workers: int) -> dict[str, str]:
    """A worker's part of the machine, where the user has not said it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // workers)))}
    devices = torch.cuda.device_count()
    if devices > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        own["CUDA_VISIBLE_DEVICES"] = str(slot % devices)
    return own


def _on_cluster(context: RunContext, works: Sequence[RunSpec], address: str, workers: int) -> Failures:
    ray = _connected(address)
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    have = ray.cluster_resources()
    threads = max(1, int(have.get("CPU", 1)) // (workers or nodes))
    # max_calls: a process a piece of work, so that its memory goes with it
    options = {"num_cpus": threads, "num_gpus": min(1, int(have.get("GPU", 0))), "max_calls": 1, "max_retries": 3}
    remote = ray.remote(**options)(_elsewhere)
    waiting = {remote.remote(to_json(context, work), threads): work for work in works}
    failed: Failures = {}
    try:
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            work = waiting.pop(done)
            try:
                why = ray.get(done)
            except ray.exceptions.RayError as error:
                why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            context.say(f"  {work}: " + (f"FAILED: {why}" if why else "done"))
            failed |= {work: why} if why else {}
    except KeyboardInterrupt:
        for own in waiting:
            ray.cancel(own, force=True)
        raise Interrupted("stopped; the same command continues from the last checkpoints") from None
    return failed


def _elsewhere(order: dict[str, Any], threads: int) -> str | None:
    torch.set_num_threads(threads)
    return run_one(*from_json(order))


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise KddaError('--ray needs Ray: pip install "kdda[ray]"') from None
    try:
        if ":" in address and "//" not in address:  # Ray itself would knock for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, ignore_reinit_error=True, logging_level="warning")
    except (OSError, ValueError, RuntimeError) as error:
        raise KddaError(f"--ray {address}: no cluster answers there ({str(error).splitlines()[0]})") from None
    return ray
