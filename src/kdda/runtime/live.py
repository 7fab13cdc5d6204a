"""The live picture of long work on a terminal: of each job a bar, its rate, time left, curves; drawn twice a second.

A job is told what happens by `tell`, wherever in the process it happens; nothing is drawn unless a `LiveView` is open.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, TypedDict

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdda.runtime.shorten import shorten
from kdda.runtime.verbosity import progress_console
from kdda.runtime.wording import worded

DRAWN_A_SECOND = 2.0  # each drawing takes a few milliseconds of one core

BRIEF = 1.0  # seconds before work that is often short is drawn

BAR_WIDTH = 16  # characters of a bar

CURVE_WIDTH = 16  # characters of a curve, each the mean of the values that fall to it

BESIDE_NAME = 58  # characters that bar, count, rate and time left take; a longer name stands above them

TYPED = 4  # characters that a person's keys may write behind the last line, such as ^C, before it gets a second line

SPARKS = "▁▂▃▄▅▆▇█"

ASCII_SPARKS = "_.-~=+*#"  # where the terminal's encoding lacks the others


class Update(TypedDict, total=False):
    """What has become known of a job, as JSON can hold it; what is not there stays as it was.

    A `done` comes with `total` (None where it is not known), `unit` and `stage`, of which they count.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    points: dict[str, float]
    note: str
    score: float


Receiver = Callable[[Update], None]

_receivers: list[Receiver] = []  # of this process; the last one is told


@contextmanager
def updates_to(receiver: Receiver) -> Iterator[None]:
    """Give the updates of this process to `receiver` inside the block."""
    _receivers.append(receiver)
    try:
        yield
    finally:
        _receivers.remove(receiver)


def has_receiver() -> bool:
    """Whether somebody is told of the work of this process."""
    return bool(_receivers)


def tell(update: Update) -> None:
    """Give an update to the one who is told of this process' work; nothing happens where there is none."""
    if _receivers:
        _receivers[-1](update)


def tell_count(done: int, total: int | None, unit: str, stage: str = "") -> None:
    """Tell how much is done.

    Args:
        total: None where it is not known.
        unit: what is counted, in the plural.
        stage: the part of the job that is counted; the job itself by default.
    """
    tell({"stage": stage, "done": done, "total": total, "unit": unit})


def tell_stage(stage: str) -> None:
    """Tell which part of a job begins, of which nothing is counted."""
    tell_count(0, None, "", stage)


class Job:
    """One job, as its updates describe it."""

    def __init__(self, name: str):
        self.name = name
        self.stage = ""
        self.unit = ""
        self.done = 0
        self.total: int | None = None
        self.note = ""
        self.score: float | None = None  # what came out of it, where it says so
        self.curves: dict[str, list[float]] = {}  # name → values, oldest first
        self._created = time.monotonic()
        self._begun: dict[str, tuple[int, float]] = {}  # stage → what was done when it began, and the time of it

    def update(self, update: Update) -> None:
        """Take in what has become known."""
        if "done" in update:
            self.stage = update.get("stage", "")
            self.done = update["done"]
            self.total = update.get("total")
            self.unit = update.get("unit", "")
            first, _ = self._begun.get(self.stage, (self.done, 0.0))
            if self.stage not in self._begun or self.done < first or not self.done:
                self._begun[self.stage] = (self.done, time.monotonic())
        for name, value in update.get("points", {}).items():
            if math.isfinite(value):
                self.curves.setdefault(name, []).append(value)
        self.note = update.get("note", self.note)
        self.score = update.get("score", self.score)

    @property
    def rate(self) -> float:
        """Units a second since the stage began; 0 before anything is done."""
        first, begun = self._begun.get(self.stage, (self.done, 0.0))
        if self.done <= first:
            return 0.0
        return (self.done - first) / max(time.monotonic() - begun, 1e-9)  # never a division by 0

    @property
    def seconds(self) -> float:
        """Since the stage began; of a job of which nothing was told yet, since it did."""
        _, begun = self._begun.get(self.stage, (0, self._created))
        return time.monotonic() - begun

    @property
    def seconds_left(self) -> float | None:
        """Of the stage, at the rate so far; None before it is known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


class LiveView:
    """A picture of jobs in the last lines of a terminal; whatever is printed meanwhile stands above it.

    Nothing is drawn where there is no terminal, on one that cannot move its cursor, and under --quiet. A terminal is
    left as it was, however the block ends: even a killed process leaves its cursor visible.

    Args:
        console: standard error by default.
        delay: seconds before the picture is drawn, so that none flickers for short work.
    """

    def __init__(self, console: Console | None = None, delay: float = 0.0):
        self.console = console or progress_console()
        self.can_draw = self.console.is_terminal and not self.console.is_dumb_terminal and not self.console.quiet
        self.delay = delay
        self.notes: Sequence[str] = ()  # lines below the jobs
        self.after_job: Callable[[], None] | None = None  # called after each job, to renew `notes`
        self.scores: dict[str, float] = {}  # of the finished jobs that have said theirs
        self._jobs: list[Job] = []
        self._waiting: list[str] = []
        self._expected = 0
        self._finished = 0
        self._lock = threading.RLock()  # of the four above: worker threads change them, the drawing thread reads
        self._live: Live | None = None
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []  # with their streams outside of the block

    @property
    def is_drawn(self) -> bool:
        """Whether the picture is on the terminal now."""
        return self._live is not None

    def __enter__(self) -> LiveView:
        """Begin to draw, on a terminal alone."""
        self.started = time.monotonic()
        if self.can_draw:
            self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the picture; errors pass through."""
        if self._live is not None:
            self._stop(self._live)

    def _start(self) -> None:
        """Draw, and let what others print to the terminal go above the picture."""
        streams = (sys.stdout, sys.stderr)
        self._live = Live(
            console=self.console,
            transient=True,
            refresh_per_second=DRAWN_A_SECOND,
            get_renderable=self.render,
            redirect_stdout=sys.stdout.isatty(),  # lines of a file or pipe stay there
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)
        self.console.show_cursor(True)
        for before, now in zip(streams, (sys.stdout, sys.stderr), strict=True):
            if now is not before:
                self._redirect_log_handlers(before, now)

    def _stop(self, live: Live) -> None:
        """Remove the picture; log handlers have their streams again."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers.clear()
        live.stop()
        self._live = None

    def _redirect_log_handlers(self, before: Any, now: Any) -> None:
        """Let log handlers that write to a stream of the terminal write to what stands in its place now."""
        for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]:
            for handler in getattr(logger, "handlers", ()):  # a name that is only the beginning of others has none
                if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                    handler.setStream(now)
                    self._handlers.append((handler, before))

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the picture inside the block, in which something is printed by other means."""
        if self._live is None:
            yield
            return
        self._stop(self._live)
        try:
            yield
        finally:
            self._start()

    def print_above(self, text: str, console: Console) -> None:
        """Print a line to a console; above the picture, where both are on the terminal."""
        if self.is_drawn and console.is_terminal:
            console = self.console  # another one would write into the picture
        print_line(console, text)

    def expect(self, names: Sequence[str]) -> None:
        """Add jobs that are to come, in their order."""
        with self._lock:
            self._waiting.extend(names)
            self._expected += len(names)

    @contextmanager
    def job(self, name: str) -> Iterator[Job]:
        """Show a job inside the block, which is not waited for any more."""
        job = Job(name)
        with self._lock:
            if name in self._waiting:
                self._waiting.remove(name)
            self._jobs.append(job)
        try:
            yield job
        finally:
            with self._lock:
                self._jobs.remove(job)
                self._finished += 1
            if job.score is not None:
                self.scores[name] = job.score
            if self.is_drawn and self.after_job is not None:
                self.after_job()

    def forget(self, names: Iterable[str]) -> None:
        """Leave out jobs that do not come after all; of the names, those that are waited for."""
        with self._lock:
            for name in names:
                if name in self._waiting:
                    self._waiting.remove(name)
                    self._expected -= 1

    # -- the picture

    def render(self) -> RenderableType:
        """The picture as it is now, as high as the terminal at most."""
        if time.monotonic() - self.started < self.delay:
            return Text()
        with self._lock:
            jobs = list(self._jobs)
            footer = self._footer()
        lines: list[RenderableType] = []
        is_roomy = 4 * len(jobs) + len(self.notes) + 1 <= self.console.height
        name_width = self._name_width(jobs)
        for job in jobs:
            lines += self._job_lines(job, name_width, is_roomy)
        for note in self.notes:
            lines.append(self._line(f"  {worded(note)}", "bold"))
        if footer:
            lines.append(Text(shorten(footer, self.console.width - TYPED), "dim"))
        return Group(*lines)

    def _name_width(self, jobs: Sequence[Job]) -> int:
        """Characters of the longest name; 0 where names are too long to stand beside the bars."""
        longest = 0
        for job in jobs:
            longest = max(longest, cell_len(worded(job.name)))
        return longest if longest <= self.console.width - BESIDE_NAME else 0

    def _job_lines(self, job: Job, name_width: int, is_roomy: bool) -> list[RenderableType]:
        """A job's name, bar, count, rate and time left; where there is room for them, its curves and its note, too.

        Args:
            name_width: 0 for a name above the bar.
        """
        lines: list[RenderableType] = []
        title = worded(job.name)
        if not name_width:
            lines.append(self._line(title, "bold"))
            title = ""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=name_width or 1, no_wrap=True)
        grid.add_column(width=BAR_WIDTH)
        grid.add_column(no_wrap=True)
        total = None if job.total is None else float(job.total)
        bar = ProgressBar(total=total, completed=job.done, width=BAR_WIDTH)  # moves to and fro without a total
        grid.add_row(Text(title, "bold"), bar, _count(job))
        lines.append(grid)
        if is_roomy and job.curves:
            lines.append(self._curves_line(job.curves))
        if is_roomy and job.note:
            lines.append(Text(f"  {worded(job.note)}"))
        return lines

    def _curves_line(self, curves: Mapping[str, Sequence[float]]) -> Text:
        """Every curve of a job with its name and its last value."""
        sparks = ASCII_SPARKS if self.console.options.ascii_only else SPARKS
        parts = []
        for name, values in curves.items():
            parts.append(f"{name} {sparkline(values, CURVE_WIDTH, sparks)} {values[-1]:.3g}")
        return self._line(f"  {'   '.join(parts)}", "cyan")

    def _line(self, text: str, style: str) -> Text:
        """A line that is shortened to the terminal's width."""
        return Text(shorten(text, self.console.width), style, no_wrap=True)

    def _footer(self) -> str:
        """Time so far, how many of the expected jobs have finished, and which come next; empty for a single job."""
        if not self._expected:
            return ""
        elapsed = timedelta(seconds=round(time.monotonic() - self.started))
        parts = [worded(f"{self._finished} of {self._expected} finished")]
        if self._waiting:
            waiting = map(worded, self._waiting)
            parts.append(worded(f"{len(self._waiting)} to come") + f": {'; '.join(waiting)}")
        return f"{elapsed}  {'; '.join(parts)}"


def print_line(console: Console, text: str) -> None:
    """Print a line, in the command line's language: brackets are no markup, numbers not coloured, no line is broken."""
    console.print(worded(text), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def showing(name: str, console: Console | None = None, delay: float = 0.0) -> Iterator[None]:
    """Show what this process tells of a job inside the block: on a terminal, unless it is a part of a job shown there.

    Args:
        name: of the job.
        console, delay: as of `LiveView`.
    """
    if has_receiver():
        yield
        return
    with LiveView(console, delay) as view:
        if not view.is_drawn:
            yield
            return
        with view.job(name) as job, updates_to(job.update):
            yield


def _count(job: Job) -> Text:
    """The part of a job that is done now, how much of it is done, its rate, and the time left."""
    parts = [worded(job.stage)] if job.stage else []
    unit = worded(job.unit)
    rate = job.rate
    pace = ""
    if rate:
        digits = 1 if rate >= 10 else 2
        pace = f"{rate:,.{digits}f} {unit}/s"
    if job.total is not None and pace:
        parts += [f"{job.done:,}/{job.total:,}", pace]
    elif job.total is not None:
        parts.append(f"{job.done:,}/{job.total:,} {unit}")
    elif job.done:
        parts += [f"{job.done:,} {unit}", pace]
    seconds = job.seconds_left
    if seconds is not None:
        parts.append(f"{timedelta(seconds=round(seconds))} {worded('left')}")
    elif job.total is None:
        parts.append(str(timedelta(seconds=round(job.seconds))))
    return Text("  ".join(filter(None, parts)))


def sparkline(values: Sequence[float], width: int = CURVE_WIDTH, sparks: str = SPARKS) -> str:
    """Values as a curve of one line, the smallest as the lowest character and the largest as the highest.

    Args:
        values: oldest first; of more than `width`, each character is the mean of its part.
        sparks: the characters, lowest first.

    >>> sparkline([3.0, 2.0, 1.0, 0.0])
    '█▆▃▁'
    """
    means = []
    count = min(width, len(values))
    for number in range(count):
        part = values[number * len(values) // count : (number + 1) * len(values) // count]
        means.append(sum(part) / len(part))
    low = min(means, default=0.0)
    span = max(means, default=0.0) - low
    line = ""
    for mean in means:
        height = (mean - low) / span if span else 0.0
        line += sparks[round(height * (len(sparks) - 1))]
    return line
