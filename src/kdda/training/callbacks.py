"""What a person sees of a fine-tuning: metrics.jsonl, progress with time left, and a Ctrl-C that loses nothing."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kdda.runs.events import event_line, read_metrics
from kdda.runtime import distributed
from kdda.runtime.files import write_atomically

PLAIN_EVERY = 15.0  # seconds between two plain lines where there is no terminal


class MetricsLog:
    """metrics.jsonl: one event a line, with the seconds of training so far, over all sittings; the first rank writes.

    A run that resumes from step k drops what was logged after k, so that no step stands twice.
    """

    def __init__(self, path: Path, resume_step: int = 0):
        self.path = path
        kept = [event for event in read_metrics(path) if event.get("step", 0) <= resume_step] if resume_step else []
        self.before = max((event["seconds"] for event in kept), default=0.0)
        self.started = time.monotonic()
        if distributed.is_main_process():
            write_atomically(path, "".join(event_line(event) for event in kept))

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def write(self, event: str, **values: Any) -> None:
        if distributed.is_main_process():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(event_line({"event": event, **values, "seconds": round(self.seconds, 2)}))


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """A bar with time left on a terminal, a plain line now and then elsewhere."""

    def __init__(self, name: str, console: Console | None = None):
        self.name, self.console = name, console or Console(stderr=True)
        self.bar: Progress | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.started, self.first, self.said = time.monotonic(), state.global_step, time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)
            self.bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)
        elif time.monotonic() - self.said >= PLAIN_EVERY:
            self.said = time.monotonic()
            each = (self.said - self.started) / max(1, state.global_step - self.first)
            left = each * (state.max_steps - state.global_step)
            self.console.print(
                f"  {self.name}: step {state.global_step}/{state.max_steps}, about {left:.0f} s left", highlight=False
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()


class StopOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """The first Ctrl-C ends the step, writes a checkpoint and stops; the second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread() or distributed.size() > 1:
            yield  # ranks that stop after different steps would wait for each other: their last checkpoints must do
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\n  stopping after this step; Ctrl-C again stops at once", file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Trainer takes the end of a broken epoch for an epoch's end; a model half-way must not become the best one.
        if self.asked and state.epoch is not None and state.epoch % 1 > 1e-9:
            control.should_evaluate = control.should_save = False
