"""Callbacks of a fine-tuning: metrics.jsonl (MetricsLog), progress bar, Ctrl-C that writes a checkpoint and stops."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kdda.runs.events import event_line, read_metrics
from kdda.runtime import distributed
from kdda.runtime.files import write_atomically
from kdda.runtime.live import LiveView, has_receiver, print_line, tell, tell_count, tell_stage, updates_to
from kdda.runtime.progress import PLAIN_EVERY
from kdda.runtime.verbosity import progress_console
from kdda.runtime.wording import worded

CURVES = ("loss", "transport")  # of the live picture, by their names in Trainer's logs: the loss, its distillation term


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
    """Tells the steps and the terms of the loss to the live picture, in the main process alone.

    On a terminal on which nothing is drawn yet it draws a picture of this training; elsewhere it prints a plain line
    now and then.

    Args:
        name: of the training.
        console: stderr by default.
    """

    def __init__(self, name: str, console: Console | None = None):
        self.name = name
        self.console = console or progress_console()
        self._view: LiveView | None = None  # of this training alone
        self._open = ExitStack()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock and, on a terminal, show the bar; a resumed run begins at its step, with its curves."""
        self.started = self.last_line = time.monotonic()
        self.first_step = state.global_step
        if not distributed.is_main_process():
            return
        if not has_receiver():
            self._draw()
        tell_count(state.global_step, state.max_steps, "steps")
        for logs in state.log_history:
            _tell_terms(logs)

    def _draw(self) -> None:
        """Draw a picture of this training, on a terminal alone."""
        view = self._open.enter_context(LiveView(self.console))
        if view.is_drawn:
            self._view = view
            job = self._open.enter_context(view.job(self.name))
            self._open.enter_context(updates_to(job.update))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar, or print a line every `PLAIN_EVERY` seconds."""
        if not distributed.is_main_process():
            return
        if has_receiver():
            tell_count(state.global_step, state.max_steps, "steps")
        elif time.monotonic() - self.last_line >= PLAIN_EVERY:
            self.last_line = time.monotonic()
            seconds_a_step = (self.last_line - self.started) / max(1, state.global_step - self.first_step)
            remaining = seconds_a_step * (state.max_steps - state.global_step)
            line = f"  {self.name}: step {state.global_step}/{state.max_steps}, about {remaining:.0f} s remaining"
            print_line(self.console, line)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Add the terms of the loss to their curves."""
        if distributed.is_main_process():
            _tell_terms(logs or {})

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the picture inside the block, in which a line is printed by other means."""
        with self._view.hidden() if self._view is not None else nullcontext():
            yield

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the bar; what follows a training is its scoring."""
        self.close()
        if distributed.is_main_process():
            tell_stage("scoring")

    def close(self) -> None:
        """Remove the picture of this training, however it has ended."""
        self._open.close()
        self._view = None


def _tell_terms(logs: Mapping[str, Any]) -> None:
    """Tell the live picture what a log of Trainer's says of the loss and its distillation term; others say nothing."""
    points = {}
    for name in CURVES:
        if name in logs:
            points[name] = float(logs[name])
    if points:
        tell({"points": points})


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
        print("\n  " + worded("stopping after this step; Ctrl-C again stops at once"), file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After Ctrl-C, tell Trainer by its `control` to save a checkpoint and to stop."""
        if self.requested:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After Ctrl-C in the midst of an epoch, neither evaluate nor save once more."""
        # Trainer takes the end of a broken epoch for an epoch's end; a model half-way must not become the best one.
        if self.requested and state.epoch is not None and state.epoch % 1 > 1e-9:  # `epoch` counts in fractions
            control.should_evaluate = control.should_save = False
