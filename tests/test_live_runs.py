"""`kdda run` on a terminal: one picture of all runs, and every line that a pipe gets above it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

import kdda.runtime.live
from kdda.experiment.run import Experiment
from kdda.recipe.load import load_recipe
from kdda.runtime.live import Job, LiveView, Update
from tests.conftest import Bench
from tests.forks import Command, run_kdda


def pictures_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The picture after each update of an experiment's runs, and what was printed."""
    console = Console(force_terminal=True, width=100, height=40, file=io.StringIO(), color_system=None)
    experiment = Experiment(load_recipe(str(bench.write()), []), bench.folder / "runs", console=console)
    pictures: list[str] = []
    update_job = Job.update

    def update(job: Job, update: Update) -> None:
        update_job(job, update)
        drawn = Console(width=100, file=io.StringIO())
        drawn.print(experiment.view.render())
        pictures.append(drawn.file.getvalue())  # type: ignore[attr-defined]

    monkeypatch.setattr(Job, "update", update)
    assert not experiment.run()
    assert isinstance(console.file, io.StringIO)
    return pictures, console.file.getvalue()


def first(pictures: list[str], condition: Callable[[str], bool]) -> str:
    """The first picture that a condition holds for."""
    return next(picture for picture in pictures if condition(picture))


def test_a_terminal_shows_every_run_its_curves_and_the_teacher_check(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.values["training"] |= {"epochs": 1, "log_every": 1}
    bench.values["arms"] = {"student-da": {}, "student-kdda": {"distill": True}}
    pictures, printed = pictures_of(bench, monkeypatch)
    assert "preparing" in pictures[0] and "0 of 4 finished; 3 to come: teacher bb" in pictures[0]
    student = first(pictures, lambda text: "student-da, seed 1 ━" in text and "steps/s" in text and "loss" in text)
    assert "transport" not in student and " left" in student and "to come: student-kdda, seed 1" in student
    distilled = first(pictures, lambda text: "transport" in text and "its teacher" in text)
    assert "student-kdda, seed 1 ━" in distilled and "/12" in distilled
    assert "teacher check, aa: " in distilled  # before its student is trained
    assert any("teacher states  0/45 rows" in picture for picture in pictures)
    last = pictures[-1]
    assert "teacher check, aa: " in last and "scoring" in last and "to come" not in last
    for run in ("student-da, seed 1", "student-kdda, seed 1"):  # the lines that a pipe gets
        assert f"  {run}: accuracy" in printed and f"  {run}: aa 45 rows" in printed
    assert "  student-kdda, seed 1: epoch 1, accuracy on development rows" in printed


def run_on_a_terminal(*arguments: str) -> None:
    """The command line, as on a terminal, where every update is drawn: a short run may end between two drawings."""
    start, update_job = LiveView._start, Job.update
    views: list[LiveView] = []

    def start_and_keep(view: LiveView) -> None:
        start(view)
        views.append(view)

    def update_and_draw(job: Job, update: Update) -> None:
        update_job(job, update)
        live = views[-1]._live
        if live is not None:
            live.refresh()

    vars(kdda.runtime.live).update(progress_console=forced_terminal)
    LiveView._start = start_and_keep  # type: ignore[assignment]
    Job.update = update_and_draw  # type: ignore[assignment]
    run_kdda(*arguments)


def forced_terminal() -> Console:
    """Standard error, as if it were a terminal."""
    return Console(stderr=True, force_terminal=True, width=100, height=40, color_system=None)


def test_worker_processes_tell_the_picture_of_their_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench.values["training"] |= {"epochs": 1, "log_every": 1}
    arguments = ["run", bench.write(), "--arms", "student-da", "--workers", "2", "--out", bench.folder / "runs"]
    command = Command(list(map(str, arguments)), run_on_a_terminal)
    printed, drawn = command.communicate()
    assert command.returncode == 0, drawn
    assert "preparing" in drawn and "loss █" in drawn and "/12" in drawn and "0 of 1 finished" in drawn
    assert "\x1e" not in printed + drawn and "  student-da, seed 1: accuracy" in printed


def test_the_picture_ends_with_a_run_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.values["arms"] = {"student": {"train": "target"}}
    monkeypatch.setattr("kdda.experiment.context.RunContext._trainer", lambda *_: 1 / 0)
    console = Console(force_terminal=True, width=80, file=io.StringIO())
    experiment = Experiment(load_recipe(str(bench.write()), []), bench.folder / "runs", console=console)
    failures = experiment.run()
    assert "ZeroDivisionError" in failures["student, seed 1"] and not experiment.view.is_drawn
    assert "student, seed 1: FAILED: ZeroDivisionError" in console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_terminal_there_is_no_picture(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.values["arms"] = {"student": {"train": "target"}}

    def no_start(view: Any) -> None:
        raise AssertionError("a picture in a pipe")

    monkeypatch.setattr(LiveView, "_start", no_start)
    console = Console(file=io.StringIO())
    Experiment(load_recipe(str(bench.write()), []), bench.folder / "runs", console=console).run()
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_says_how_to_go_on(bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdda.recipe.load.load_recipe", interrupt)
    code, _, errors = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 130 and errors.count("kdda: interrupted; the same command continues") == 1
