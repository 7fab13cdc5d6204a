"""The live picture of long work: what it shows, that nothing is lost beside it, and that the terminal stays whole."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console

from kdda.runtime.live import LiveView, showing, sparkline, tell, tell_count, updates_to
from kdda.runtime.progress import Progress
from kdda.runtime.verbosity import QUIET, VERBOSITY_VARIABLE

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(width: int = 100) -> Console:
    return Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None, height=30)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def picture(view: LiveView) -> str:
    """What a view shows now."""
    console = Console(
        force_terminal=True,
        width=view.console.width,
        height=view.console.height,
        file=io.StringIO(),
        color_system=view.console.color_system,  # type: ignore[arg-type]
    )
    console.print(view.render())
    return text_of(console)


class Clock:
    """What the picture uses of the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def told_view(width: int, clock: Clock) -> str:
    view = LiveView(terminal(width))
    view.expect(["student, seed 1", "student-da, seed 1", "student-kdda, seed 1"])
    with view, view.job("student, seed 1") as job, updates_to(job.update):
        tell_count(0, 1200, "steps")
        for step in range(40):
            tell({"points": {"loss": 4.0 - step / 10, "transport": 0.05}})
        clock.now = 100.0
        tell_count(300, 1200, "steps")
        tell({"note": "epoch 1: aa 55.6, its teacher 61.1 (it leads)"})
        view.notes = ["teacher check, aa: teacher 61.1, student 55.6"]
        return picture(view)


@pytest.mark.parametrize("width", [80, 100])
def test_a_picture_shows_bars_rates_time_left_curves_and_what_is_to_come(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("kdda.runtime.live.time", clock)
    text = told_view(width, clock)
    first, curves, lead, check, footer = text.splitlines()
    assert (
        first.startswith("student, seed 1 ━")
        and "━" in first
        and first.rstrip().endswith("300/1,200  3.00 steps/s  0:05:00 left")
    )
    assert "loss █" in curves and "▁ 0.1 " in curves and "transport ▁" in curves
    assert "its teacher 61.1 (it leads)" in lead and "teacher check, aa" in check
    assert footer.startswith("0:01:40  0 of 3 finished; 2 to come: student-da, seed 1; student-kdda, seed")
    assert max(map(len, text.splitlines())) <= width


def test_no_line_of_a_picture_is_cut_inside_a_word() -> None:
    view = LiveView(terminal(40))
    view.expect(["student-kdda, seed 1", "student-kdda, seed 2"])
    with view, view.job("student, seed 1"):
        view.notes = ["teacher check, vi: teacher 66.7, student 53.3"]
        lines = [line.rstrip() for line in picture(view).splitlines()]
    assert "  teacher check, vi: teacher 66.7,…" in lines
    assert lines[-1].startswith("0:00:0") and lines[-1].endswith("; 2 to…")


def test_a_low_terminal_shows_bars_alone() -> None:
    view = LiveView(Console(force_terminal=True, width=80, height=6, file=io.StringIO()))
    with view, view.job("one") as one, view.job("two") as two:
        for job in (one, two):
            job.update({"points": {"loss": 1.0}})
        assert "one" in picture(view) and "two" in picture(view) and "loss" not in picture(view)


def test_printed_lines_and_logs_stand_above_the_picture_and_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    handler = logging.StreamHandler()  # which keeps the stream that it has been made with
    logger = logging.getLogger("kdda.of-this-test")
    logger.addHandler(handler)
    console = terminal()
    outside = Console(force_terminal=True, width=100, file=Terminal())
    with LiveView(console) as view:
        print("a line of a library")
        print("a warning", file=sys.stderr)
        logger.warning("a logged line")
        view.print_above("a line of [kdda]", outside)
    for line in ("a line of a library", "a warning", "a logged line", "a line of [kdda]"):
        assert text_of(console).count(line) == 1
    logger.warning("after it")
    logger.removeHandler(handler)
    assert "after it" not in text_of(console)


def test_lines_of_a_file_stay_in_the_file() -> None:
    file = Console(file=io.StringIO())
    with LiveView(terminal()) as view:
        view.print_above("a line", file)
    assert text_of(file) == "a line\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_errors_leave_a_whole_terminal(error: type[BaseException]) -> None:
    console = terminal()
    stderr = sys.stderr
    with pytest.raises(error), showing("a job", console):
        begun = text_of(console)
        raise error
    # visible already while it is drawn: a process that is killed has no time to show it again
    assert begun.rfind(SHOW_CURSOR) > begun.rfind(HIDE_CURSOR) >= 0
    with showing("another job", console):  # the first one has let the console go
        assert "another job" not in text_of(console).rpartition(SHOW_CURSOR)[2]
    assert text_of(console).endswith(f"{SHOW_CURSOR}\r") and sys.stderr is stderr


def test_nothing_is_drawn_without_a_terminal_under_quiet_and_on_a_terminal_that_cannot_move_its_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consoles = [Console(file=io.StringIO()), Console(force_terminal=True, quiet=True, file=io.StringIO())]
    monkeypatch.setenv("TERM", "dumb")
    consoles.append(terminal())
    monkeypatch.setenv(VERBOSITY_VARIABLE, QUIET)
    consoles.append(LiveView().console)
    for console in consoles:
        with showing("a job", console):
            tell_count(1, 2, "rows")
        if isinstance(console.file, io.StringIO):
            assert not text_of(console)
        assert not LiveView(console).can_draw


def test_no_color_leaves_no_colour_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = {}
    for value in ("", "1"):
        monkeypatch.setenv("NO_COLOR", value)
        console = Console(force_terminal=True, width=100, file=io.StringIO(), color_system="standard")
        with LiveView(console) as view, view.job("a job") as job:
            job.update({"done": 1, "total": 2, "unit": "rows", "points": {"loss": 1.0}})
            colours[value] = "\x1b[36m" in picture(view)
    assert colours == {"": True, "1": False}


def test_short_work_is_not_drawn() -> None:
    view = LiveView(terminal(), delay=1000.0)
    with view, view.job("report"):
        assert not picture(view).strip()


def test_progress_of_rows_is_drawn_and_a_job_within_a_drawn_one_is_no_second_picture() -> None:
    console = terminal()
    with LiveView(console) as view, view.job("a run") as job, updates_to(job.update):
        with Progress("rows", 10, console) as progress:
            progress.begin(2)
            progress.advance(3)
        assert "a run" in picture(view) and "5/10" in picture(view)


def test_curves_of_many_values_are_means_and_odd_values_are_no_end() -> None:
    assert sparkline([1.0, 1.0, 3.0, 3.0], width=2) == "▁█"
    assert sparkline([]) == "" and sparkline([2.0, 2.0]) == "▁▁"
    view = LiveView(terminal())
    with view, view.job("a job") as job:
        job.update({"points": {"loss": float("nan")}})
        assert "loss" not in picture(view)
