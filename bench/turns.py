"""Programs that take turns, a step each, every one in a process of its own.

A machine's speed drifts by more than what is measured here, so programs are compared step by step, on the same batch,
while the others wait; and a process of its own shows what each of them holds in memory.
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
MARK = "@turn "  # of a child's lines that are for its parent; whatever else it prints is not


def peak_megabytes() -> float:
    """The most memory that this process has held so far. (What getrusage says of a child begins with its parent's.)"""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


class Turns:
    """A child's side: it waits for its turn, does a step, says what it found, and after the last one ends."""

    def __init__(self, steps: int):
        self.left = steps

    def wait(self) -> None:
        if not sys.stdin.readline():  # the parent is gone
            leave()
        self.started = time.perf_counter()

    def over(self, loss: float = 0.0) -> None:
        seconds = time.perf_counter() - self.started
        self.left -= 1
        say(seconds=seconds, loss=loss, peak=peak_megabytes())
        if not self.left:
            leave()
        self.wait()


class InTurns(TrainerCallback):  # type: ignore[misc]
    """Makes any Trainer that logs every step take turns; batches are fetched and losses logged within its own."""

    def __init__(self, turns: Turns):
        self.turns = turns

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        say(ready=True)
        self.turns.wait()

    def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.turns.over(logs["loss"])


def take_turns(steps: int) -> None:
    """From now on every Trainer of this process, kdda's own too, takes turns."""
    DEFAULT_CALLBACKS.append(InTurns(Turns(steps)))


def say(**values: Any) -> None:
    print(MARK + json.dumps(values), flush=True)


def leave() -> NoReturn:
    """What would follow the last step is not measured."""
    sys.stdout.flush()
    os._exit(0)


@dataclass
class Program:
    """A parent's side of one child."""

    name: str
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak: float = 0.0

    def start(self) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, *self.command], env={**os.environ, **QUIET}, **pipes)

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return found
        sys.exit(f"{self.name} ended with code {self.process.wait()}")

    def step(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = self.hear()
        self.seconds.append(found["seconds"])
        self.losses.append(found["loss"])
        self.peak = found["peak"]


def start(programs: Sequence[Program]) -> None:
    """Start all at once, and wait until they are ready."""
    for program in programs:
        program.start()
    for program in programs:
        program.hear()


def in_turns(programs: Sequence[Program], steps: int, say: Callable[[str], None] = print) -> None:
    """Let each do a step, again and again."""
    for number in range(steps):
        first = number % len(programs)
        for program in (*programs[first:], *programs[:first]):
            program.step()
        say(f"step {number + 1}: " + ", ".join(f"{own.name} {own.seconds[-1]:.2f} s" for own in programs))


def ratio(slow: Program, fast: Program, warm: int) -> float:
    """The median over steps of how many times longer one takes than the other on the same batch."""
    pairs = zip(slow.seconds[warm:], fast.seconds[warm:], strict=False)  # one may have gone on after the other
    return statistics.median(a / b for a, b in pairs)


def disagreement(one: Program, other: Program) -> float:
    """The largest relative difference between two loss curves."""
    return max(abs(a - b) / abs(b) for a, b in zip(one.losses, other.losses, strict=False))
