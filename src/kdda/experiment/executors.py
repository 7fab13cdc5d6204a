"""Executors of runs (--workers, --ray): this process, several, or a Ray cluster. A failed run stops no other."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from kdda.errors import Interrupted, KddaError
from kdda.experiment.context import RunContext
from kdda.experiment.specs import RunSpec
from kdda.experiment.worker import from_json, run_one, to_json
from kdda.runtime import distributed
from kdda.runtime.device import DEVICE_VARIABLE

Failures = dict[RunSpec, str]  # the runs that failed → the reason in one line

# the message after Ctrl-C
INTERRUPTED = "interrupted; the same command continues from the last checkpoints"

# what a worker process runs, as `python -c` takes it; it reads its run from standard input (`experiment.worker`)
WORKER = (
    "from kdda.runtime.memory import tune_garbage_collection; tune_garbage_collection(); "
    "from kdda.experiment.worker import main; main()"
)


class Executor(ABC):
    """Executes the runs of an experiment."""

    @abstractmethod
    def execute(self, context: RunContext, runs: Sequence[RunSpec]) -> Failures:
        """Execute runs, each of them whatever happens to the others.

        Args:
            context: what the runs share.
            runs: teachers or students; none needs another one of them.

        Returns:
            The runs that failed, each with the reason in one line.

        Raises:
            Interrupted: after Ctrl-C, once the runs in progress have written their checkpoints.
        """


def make_executor(workers: int = 0, ray: str = "") -> Executor:
    """The executor that the options of `kdda run` name.

    Args:
        workers: processes side by side; up to 1, runs are executed in this process. With `ray`: runs at once, by
            default as many as the cluster has nodes.
        ray: the address of a Ray cluster, or ``auto``.
    """
    if ray:
        return RayExecutor(ray, workers)
    if workers > 1:
        return ProcessExecutor(workers)
    return LocalExecutor()


class LocalExecutor(Executor):
    """Runs in this process, one after another."""

    def execute(self, context: RunContext, runs: Sequence[RunSpec]) -> Failures:
        """Execute runs one after another (see `Executor.execute`)."""
        failures: Failures = {}
        for run in runs:
            reason = run_one(context, run)
            if reason:
                failures[run] = reason
        return failures


class ProcessExecutor(Executor):
    """Every run in a separate process, with a part of the machine's cores, or a device.

    Args:
        workers: processes at once.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._children: set[subprocess.Popen[str]] = set()
        self._interrupted = False

    def execute(self, context: RunContext, runs: Sequence[RunSpec]) -> Failures:
        """Execute runs in child processes, as many at once as there are workers (see `Executor.execute`).

        A slot stands for the cores or the device of one worker; a run waits until a slot is free.
        """
        _refuse_launcher()
        slots: queue.Queue[int] = queue.Queue()  # numbers of workers that are free
        for slot in range(self.workers):
            slots.put(slot)
        failures: Failures = {}
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(self._run_in_slot, context, run, slots) for run in runs]
            try:
                for run, future in zip(runs, futures, strict=True):
                    reason = future.result()
                    if reason:
                        failures[run] = reason
            except KeyboardInterrupt:
                self._interrupt()
                raise Interrupted(INTERRUPTED) from None
        return failures

    def _interrupt(self) -> None:
        """Send Ctrl-C once to every child, which then writes a checkpoint; runs that wait do not begin."""
        self._interrupted = True
        if sys.platform == "win32":
            return  # Ctrl-C has reached every process of the console already
        for child in list(self._children):
            child.send_signal(signal.SIGINT)

    def _run_in_slot(self, context: RunContext, run: RunSpec, slots: queue.Queue[int]) -> str | None:
        """Execute a run with a free slot's cores, unless Ctrl-C was pressed; the reason of a failure, or None."""
        if self._interrupted:
            return "interrupted"
        slot = slots.get()
        try:
            return self._run_in_process(context, run, slot)
        finally:
            slots.put(slot)

    def _run_in_process(self, context: RunContext, run: RunSpec, slot: int) -> str | None:
        """Execute a run in a child process; the reason of a failure, or None.

        The child gets the run as a line of JSON, prints progress to standard error, which is passed on line by line,
        and ends with a line of JSON on standard output (`worker.main`).
        """
        child = self._start_worker(slot)
        assert child.stdin and child.stdout and child.stderr
        self._children.add(child)
        try:
            child.stdin.write(json.dumps(to_json(context, run), allow_nan=False) + "\n")
            child.stdin.flush()  # and stays open: its end tells a child that its parent was killed
            last_line = ""
            for line in child.stderr:
                last_line = line.rstrip("\n")
                context.say(last_line)
            result = child.stdout.read().strip().split("\n")[-1]
            code = child.wait()
        except BrokenPipeError:
            return "its process ended before it began"
        finally:
            self._children.discard(child)
        return _failure_reason(code, result, last_line)

    def _start_worker(self, slot: int) -> subprocess.Popen[str]:
        """Start a worker process with the cores or the device of a slot."""
        # in a new session: a terminal's Ctrl-C reaches this process alone, which then interrupts its children once
        return subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **_worker_environment(slot, self.workers)},
            start_new_session=True,
        )


def _failure_reason(code: int, result: str, last_line: str) -> str | None:
    """Why a worker process failed; None if it did not.

    Args:
        code: its exit code; that of a process killed by signal n is −n.
        result: its last line on standard output: ``{"failed": null}`` or ``{"failed": reason}``.
        last_line: on standard error, where an exception is.
    """
    if code == 0 and result:
        reason: str | None = json.loads(result)["failed"]
        return reason
    if code < 0:
        return f"its process was killed by signal {-code}"
    return f"its process ended with code {code}: {last_line}"


def _worker_environment(slot: int, workers: int) -> dict[str, str]:
    """A worker's cores and device, unless the user's environment or ``--device cuda:1`` sets them."""
    environment = {}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, _cores() // workers))
    devices = torch.cuda.device_count()
    is_chosen = "CUDA_VISIBLE_DEVICES" in os.environ or ":" in os.environ.get(DEVICE_VARIABLE, "")
    if devices > 1 and not is_chosen:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % devices)
    return environment


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class RayExecutor(Executor):
    """Every run as a task of a Ray cluster, whose nodes have kdda and the output folder under the same path.

    Args:
        address: of the cluster, or ``auto``.
        workers: runs at once; as many as the cluster has nodes by default.
    """

    def __init__(self, address: str, workers: int = 0):
        self.address, self.workers = address, workers

    def execute(self, context: RunContext, runs: Sequence[RunSpec]) -> Failures:
        """Execute runs as tasks of the cluster; Ctrl-C ends all of them (see `Executor.execute`)."""
        _refuse_launcher()
        ray = _connect(self.address)
        threads, options = self._resources(ray)
        remote = ray.remote(**options)(_run_task)
        waiting = {}
        for run in runs:
            waiting[remote.remote(to_json(context, run), threads)] = run
        try:
            return _collect(ray, context, waiting)
        except KeyboardInterrupt:
            for task in waiting:
                ray.cancel(task, force=True)
            raise Interrupted(INTERRUPTED) from None

    def _resources(self, ray: Any) -> tuple[int, dict[str, Any]]:
        """Threads of a run, and the options of its Ray task.

        Args:
            ray: the module, connected to a cluster.
        """
        nodes = [node for node in ray.nodes() if node["Alive"]]
        resources = ray.cluster_resources()
        threads = max(1, int(resources.get("CPU", 1)) // (self.workers or len(nodes)))
        devices = min(1, int(resources.get("GPU", 0)))
        # max_calls: a process for every task, so that its memory is freed with it
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": devices, "max_calls": 1, "max_retries": 3}
        if DEVICE_VARIABLE in os.environ:
            options["runtime_env"] = {"env_vars": {DEVICE_VARIABLE: os.environ[DEVICE_VARIABLE]}}
        return threads, options


def _collect(ray: Any, context: RunContext, waiting: dict[Any, RunSpec]) -> Failures:
    """Wait for tasks, and return what failed.

    Args:
        ray: the module, connected to a cluster.
        waiting: Ray's reference to a task → its run; tasks leave it as they end.
    """
    failures: Failures = {}
    while waiting:
        ended, _still_running = ray.wait(list(waiting), num_returns=1)
        task = ended[0]
        run = waiting.pop(task)
        try:
            reason = ray.get(task)
        except ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        if reason:
            failures[run] = reason
            context.say(f"  {run}: FAILED: {reason}")
        else:
            context.say(f"  {run}: done")
    return failures


def _run_task(values: dict[str, Any], threads: int) -> str | None:
    """Execute a run of `to_json` in a process of a Ray cluster; the reason of a failure, or None."""
    torch.set_num_threads(threads)
    return run_one(*from_json(values))


def _connect(address: str) -> Any:
    """The module `ray`, connected to the cluster at an address.

    Raises:
        KddaError: Ray is not installed, or no cluster answers within 10 s.
    """
    try:
        import ray
    except ImportError:
        raise KddaError('--ray needs Ray: pip install "kdda[ray]"') from None
    try:
        if ":" in address and "//" not in address:  # Ray itself would try to connect for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, ignore_reinit_error=True, logging_level="warning")
    except (OSError, ValueError, RuntimeError) as error:
        raise KddaError(f"--ray {address}: no cluster answers there ({str(error).splitlines()[0]})") from None
    return ray


def _refuse_launcher() -> None:
    """Refuse several runs at once under `accelerate launch`, whose processes all execute the same run."""
    if distributed.size() > 1:
        raise KddaError("--workers and --ray do many runs at once; accelerate launch does one run in many processes")
