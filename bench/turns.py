"""Programs in separate processes that take turns, a step each.

A machine's speed drifts by more than the differences measured here, so programs are compared step by step, on the same
batch, while the others wait. In separate processes the memory of each can be measured.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from transformers import TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS

QUIET = {"TRANSFORMERS_VERBOSITY": "error"}
MARK = "@turn "  # begins a child's messages to its parent; its other output is ignored


def peak_megabytes() -> float:
    """The peak resident memory of this process so far. (That of getrusage includes the parent's at the fork.)"""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    raise RuntimeError("/proc/self/status has no VmHWM")


class Turns:
    """The child's side: it waits for its turn, does a step, reports it, and exits after the last one."""

    def __init__(self, steps: int):
        self.remaining = steps

    def wait(self) -> None:
        if not sys.stdin.readline():  # the parent is gone
            leave()
        self.started = time.perf_counter()

    def over(self, loss: float = 0.0) -> None:
        seconds = time.perf_counter() - self.started
        self.remaining -= 1
        send(seconds=seconds, loss=loss, peak=peak_megabytes())
        if not self.remaining:
            leave()
        self.wait()


class InTurns(TrainerCallback):  # type: ignore[misc]
    """Makes any Trainer that logs every step take turns; fetching a batch and logging count as part of its step."""

    def __init__(self, turns: Turns):
        self.turns = turns
        self.libraries = peak_megabytes()  # before rows and models are read

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        send(ready=True, libraries=self.libraries)
        self.turns.wait()

    def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.turns.over(logs["loss"])


def take_turns(steps: int) -> None:
    """From now on every Trainer of this process takes turns, those of kdda included."""
    DEFAULT_CALLBACKS.append(InTurns(Turns(steps)))


def send(**values: Any) -> None:
    """Send a message to the parent."""
    print(MARK + json.dumps(values), flush=True)


def leave() -> NoReturn:
    """Exit at once: whatever follows the last step is not measured."""
    sys.stdout.flush()
    os._exit(0)


@dataclass
class Program:
    """The parent's side of one child."""

    name: str
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)  # peak MB after each step
    libraries: float = 0.0  # peak MB before rows and models are read
    parts: list[Mapping[str, "Program"]] = field(
        default_factory=list
    )  # of those that took turns with it, itself included

    def measured(self) -> dict[str, Any]:
        """What was measured, by the fields' names."""
        return {"seconds": self.seconds, "losses": self.losses, "peaks": self.peaks, "libraries": self.libraries}

    def start(self) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, *self.command], env={**os.environ, **QUIET}, **pipes)

    def receive(self) -> dict[str, Any]:
        """Wait for the child's next message."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(MARK):
                message: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return message
        sys.exit(f"{self.name} ended with code {self.process.wait()}")

    def step(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        message = self.receive()
        self.seconds.append(message["seconds"])
        self.losses.append(message["loss"])
        self.peaks.append(message["peak"])


def start(programs: Sequence[Program]) -> None:
    """Start all at once, and wait until they are ready."""
    for program in programs:
        program.start()
    for program in programs:
        program.libraries = program.receive().get("libraries", 0.0)


def in_turns(programs: Sequence[Program], steps: int, say: Callable[[str], None] = print) -> None:
    """Let each program do so many steps, one step at a time; the first to go changes from step to step."""
    for number in range(steps):
        first = number % len(programs)
        for program in (*programs[first:], *programs[:first]):
            program.step()
        say(f"step {number + 1}: " + ", ".join(f"{program.name} {program.seconds[-1]:.2f} s" for program in programs))


def ratio(slow: Program, fast: Program, warm: int) -> float:
    """The median over steps of how many times longer one takes than the other on the same batch."""
    pairs = zip(slow.seconds[warm:], fast.seconds[warm:], strict=False)  # one may have done more steps
    return statistics.median(a / b for a, b in pairs)


def disagreement(one: Program, other: Program) -> float:
    """The largest relative difference between two loss curves."""
    return max(abs(a - b) / abs(b) for a, b in zip(one.losses, other.losses, strict=False))
