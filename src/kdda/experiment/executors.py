"""Executors of runs (--workers, --ray): this process, several, or a Ray cluster. A failed run stops no other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch

from kdda.errors import Interrupted, KddaError
from kdda.experiment.context import RunContext
from kdda.experiment.schedule import Failures, Schedule
from kdda.experiment.specs import RunSpec
from kdda.experiment.worker import END_OF_RUN, from_json, parse_update, run_one, to_json
from kdda.runtime import distributed
from kdda.runtime.device import DEVICE_VARIABLE
from kdda.runtime.live import Job

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
            runs: teachers and students, in their order; a student waits for those of the teachers that it needs.

        Returns:
            The runs that failed, each with the reason in one line; among them students whose teacher failed.

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
        schedule = Schedule(context.recipe, runs)
        while (run := schedule.next()) is not None:
            context.view.forget(map(str, schedule.failures))
            with context.view.job(str(run)) as job:
                reason = run_one(context, run, job.update if context.view.is_drawn else None)
            schedule.finish(run, reason)
        return schedule.failures


class ProcessExecutor(Executor):
    """Runs in worker processes side by side, each with a part of the machine's cores, or a device.

    Args:
        workers: processes at once.
    """

    def __init__(self, workers: int):
        self.workers = workers

    def execute(self, context: RunContext, runs: Sequence[RunSpec]) -> Failures:
        """Execute runs in as many worker processes as there are runs at once (see `Executor.execute`)."""
        _refuse_launcher()
        schedule = Schedule(context.recipe, runs)
        workers = [WorkerProcess(slot, self.workers) for slot in range(self.workers)]
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(_work, worker, context, schedule) for worker in workers]
            try:
                for future in futures:
                    future.result()
            except KeyboardInterrupt:
                schedule.stop()
                for worker in workers:
                    worker.interrupt()
                raise Interrupted(INTERRUPTED) from None
        return schedule.failures


def _work(worker: WorkerProcess, context: RunContext, schedule: Schedule) -> None:
    """Execute one run after another in a worker process, until none is left to begin."""
    try:
        while (run := schedule.next()) is not None:
            context.view.forget(map(str, schedule.failures))
            with context.view.job(str(run)) as job:
                reason = worker.execute(context, run, job)
            schedule.finish(run, reason)
    except BaseException:
        schedule.stop()  # so that no other thread waits for what this one does not finish
        raise
    finally:
        worker.close()


class WorkerProcess:
    """A process that does one run after another (`worker.main`): it imports libraries and reads rows once.

    It starts with its first run. After a run that failed the next one gets a new process.

    Args:
        slot: its number, from 0: it stands for the cores or the device of one worker.
        workers: that there are.
    """

    def __init__(self, slot: int, workers: int):
        self.slot, self.workers = slot, workers
        self._child: subprocess.Popen[str] | None = None

    def execute(self, context: RunContext, run: RunSpec, job: Job) -> str | None:
        """Execute a run; the reason of a failure, or None.

        The process gets the run as a line of JSON and prints progress to standard error, which is passed on line by
        line up to `END_OF_RUN`; then it prints a line of JSON to standard output. Where the live picture is drawn, some
        lines of standard error are updates of the run's `job`.
        """
        child = self._child = self._child or self._start()
        assert child.stdin and child.stdout and child.stderr
        try:
            child.stdin.write(json.dumps(to_json(context, run), allow_nan=False) + "\n")
            child.stdin.flush()  # and stays open: its end tells a child that its parent was killed
        except BrokenPipeError:
            self.close()
            return "its process ended before it began"
        last_line = ""
        for line in child.stderr:
            update = parse_update(line)
            if update is not None:
                job.update(update)
                continue
            text = line.rstrip("\n").removesuffix(END_OF_RUN)
            if text or END_OF_RUN not in line:
                context.say(text)
                last_line = text
            if END_OF_RUN in line:
                break
        result = child.stdout.readline()
        reason = _failure_reason(0 if result else child.wait(), result, last_line)
        if reason:
            self.close()
        return reason

    def interrupt(self) -> None:
        """Send Ctrl-C to the process, which then writes a checkpoint if it does a run, and ends."""
        child = self._child
        if child is not None and sys.platform != "win32":  # where Ctrl-C has reached every process of the console
            child.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let the process end, if there is one, and wait until it has."""
        child = self._child
        self._child = None
        if child is None:
            return
        assert child.stdin and child.stdout and child.stderr
        with suppress(BrokenPipeError):
            child.stdin.write("null\n")
            child.stdin.flush()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            with suppress(BrokenPipeError):
                stream.close()

    def _start(self) -> subprocess.Popen[str]:
        """Start a process with the cores or the device of the slot."""
        # in a new session: a terminal's Ctrl-C reaches this process alone, which then interrupts its children once
        return subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER],  # -P: a queue.py of the user's folder is not Python's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **_worker_environment(self.slot, self.workers)},
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
        schedule = Schedule(context.recipe, runs)
        tasks: dict[Any, RunSpec] = {}  # Ray's reference to a task that has not ended → its run
        try:
            while True:
                while (run := schedule.next(wait=False)) is not None:
                    tasks[remote.remote(to_json(context, run), threads)] = run
                if not tasks:
                    return schedule.failures
                run, reason = _wait_for_one(ray, context, tasks)
                schedule.finish(run, reason)
        except KeyboardInterrupt:
            for task in tasks:
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


def _wait_for_one(ray: Any, context: RunContext, tasks: dict[Any, RunSpec]) -> tuple[RunSpec, str | None]:
    """Wait until a task has ended, and return its run with the reason of a failure, or None.

    Args:
        ray: the module, connected to a cluster.
        tasks: Ray's reference to a task → its run; the one that has ended leaves it.
    """
    ended, _still_running = ray.wait(list(tasks), num_returns=1)
    task = ended[0]
    run = tasks.pop(task)
    reason: str | None
    try:
        with context.view.job(str(run)):  # which has ended: the picture counts it
            reason = ray.get(task)
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    context.say(f"  {run}: FAILED: {reason}" if reason else f"  {run}: done")
    return run, reason


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
