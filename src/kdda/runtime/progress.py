"""How far a long job is: a bar with rows/s and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_EVERY = 15.0  # seconds
Say = Callable[[str], None]


class Progress:
    """Rows done of a total, told on stderr."""

    def __init__(self, name: str, total: int, console: Console | None = None):
        self.name, self.total = name, total
        self.console = console or Console(stderr=True)
        self.started = self.said = time.monotonic()
        self.done = self.before = 0

    def __enter__(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        pace = TextColumn("{task.fields[pace]}")
        self.bar = Bar(*columns, pace, TimeRemainingColumn(), console=self.console, transient=True)
        if self.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=self.total, pace="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def begin(self, before: int) -> None:
        """Start the clock, with so many rows done in an earlier sitting."""
        self.started = self.said = time.monotonic()
        self.before = before
        self.advance(0)

    def advance(self, rows: int) -> None:
        self.done += rows
        at = self.before + self.done
        if self.console.is_terminal:
            self.bar.update(self.task, completed=at, pace=self.pace.strip(", "))
        elif time.monotonic() - self.said >= PLAIN_EVERY:
            self.said = time.monotonic()
            left = (self.total - at) / max(self.rate, 1e-9)
            line = f"  {self.name}: {at:,} of {self.total:,} rows{self.pace}, about {left:.0f} s left"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        return self.done / max(time.monotonic() - self.started, 1e-9)

    @property
    def pace(self) -> str:
        return f", {self.rate:,.1f} rows/s" if self.done else ""
