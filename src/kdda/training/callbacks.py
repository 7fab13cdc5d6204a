"""Callbacks of a fine-tuning: metrics.jsonl (MetricsLog), progress bar, Ctrl-C that writes a checkpoint and stops."""

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
from kdda.runtime.progress import PLAIN_EVERY
from kdda.runtime.verbosity import progress_console


class MetricsLog:
    """Writes metrics.jsonl, one event a line, with the seconds of training so far over all sittings.

    Only the main process writes. A run that resumes from step k drops what was logged after k, so that no step is
    logged twice.

    Args:
        path: of the file.
        resume_step: the step of the checkpoint that the run goes on from; 0 for a run that starts.
    """

    def __init__(self, path: Path, resume_step: int = 0):
        self.path = path
        events = []
        if resume_step:
            events = [event for event in read_metrics(path) if event.get("step", 0) <= resume_step]
        self.seconds_before = max((event["seconds"] for event in events), default=0.0)
        self.started = time.monotonic()
        if distributed.is_main_process():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, "".join(map(event_line, events)))

    @property
    def seconds(self) -> float:
        """Of training so far, over all sittings."""
        return self.seconds_before + time.monotonic() - self.started

    def write(self, event: str, **values: Any) -> None:
        """Append an event with these values; only the main process does."""
        if distributed.is_main_process():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(event_line({"event": event, **values, "seconds": round(self.seconds, 2)}))


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """A bar with time left on a terminal, a plain line now and then elsewhere; in the main process alone.

    Args:
        name: of the training.
        console: stderr by default.
    """

    def __init__(self, name: str, console: Console | None = None):
        self.name, self.console = name, console or progress_console()
        self.bar: Progress | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock and, on a terminal, show the bar; a resumed run begins at its step."""
        self.started = self.last_line = time.monotonic()
        self.first_step = state.global_step
        if self.console.is_terminal and distributed.is_main_process():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)
            self.bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar, or print a line every `PLAIN_EVERY` seconds."""
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)
        elif distributed.is_main_process() and time.monotonic() - self.last_line >= PLAIN_EVERY:
            self.last_line = time.monotonic()
            seconds_a_step = (self.last_line - self.started) / max(1, state.global_step - self.first_step)
            remaining = seconds_a_step * (state.max_steps - state.global_step)
            line = f"  {self.name}: step {state.global_step}/{state.max_steps}, about {remaining:.0f} s remaining"
            self.console.print(line, highlight=False)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the bar inside the block, in which a line is printed by other means."""
        if self.bar is None:
            yield
            return
        self.bar.stop()
        yield
        self.bar.start()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()


class StopOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """The first Ctrl-C ends the step, writes a checkpoint and stops; the second one stops at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle Ctrl-C (SIGINT) here inside the block; Python gives signals to the main thread alone."""
        if threading.current_thread() is not threading.main_thread() or distributed.size() > 1:
            yield  # processes that stop after different steps would wait for each other: they resume from a checkpoint
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_signal(self, *_: Any) -> None:
        """Python's handler of SIGINT: takes a signal's number and a stack frame, of which neither matters."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\n  stopping after this step; Ctrl-C again stops at once", file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After Ctrl-C, tell Trainer by its `control` to save a checkpoint and to stop."""
        if self.requested:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After Ctrl-C in the midst of an epoch, neither evaluate nor save once more."""
        # Trainer takes the end of a broken epoch for an epoch's end; a model half-way must not become the best one.
        if self.requested and state.epoch is not None and state.epoch % 1 > 1e-9:  # `epoch` counts in fractions
            control.should_evaluate = control.should_save = False
