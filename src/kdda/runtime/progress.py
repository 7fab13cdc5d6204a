"""Progress of a long job: a bar with rows/s and time left on a terminal, elsewhere a plain line every 15 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console

from kdda.runtime.live import has_receiver, print_line, showing, tell_count
from kdda.runtime.numbers import count_of
from kdda.runtime.verbosity import progress_console

PLAIN_EVERY = 15.0  # seconds between two lines where there is no terminal

Say = Callable[[str], None]

"""A function that shows a message to the user."""


class Progress:
    """Shows on stderr how many rows of a total are done.

    Args:
        name: of the job.
        total: rows of the whole job.
        console: stderr by default, which shows nothing under --quiet.
    """

    def __init__(self, name: str, total: int, console: Console | None = None):
        self.name = name
        self.total = total
        self.console = console or progress_console()
        self.started = time.monotonic()
        self.last_line = self.started
        self.done = 0  # rows since `begin`
        self.done_before = 0  # rows of an earlier, interrupted process

    def __enter__(self) -> Progress:
        """Show the bar, on a terminal alone."""
        self._open = ExitStack()
        self._open.enter_context(showing(self.name, self.console))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the bar; errors pass through."""
        self._open.close()

    def begin(self, done_before: int) -> None:
        """Start the clock.

        Args:
            done_before: rows that an earlier, interrupted process has done.
        """
        self.started = time.monotonic()
        self.last_line = self.started
        self.done_before = done_before
        self.advance(0)

    def advance(self, rows: int) -> None:
        """Count rows as done, and show it."""
        self.done += rows
        completed = self.done_before + self.done
        tell_count(completed, self.total, "rows")
        if not has_receiver() and time.monotonic() - self.last_line >= PLAIN_EVERY:
            self.last_line = time.monotonic()
            self._print_line(completed)

    def _print_line(self, completed: int) -> None:
        """Print rows done, rate and remaining seconds as one line."""
        seconds = (self.total - completed) / max(self.rate, 1e-9)  # never a division by 0
        line = f"  {self.name}: {completed:,} of {count_of(self.total, 'row')}{self.pace}, about {seconds:.0f} s left"
        print_line(self.console, line)

    @property
    def rate(self) -> float:
        """Rows a second since `begin`."""
        return self.done / max(time.monotonic() - self.started, 1e-9)

    @property
    def pace(self) -> str:
        """The rate as a text; empty before the first row."""
        if not self.done:
            return ""
        return f", {self.rate:,.1f} rows/s"
