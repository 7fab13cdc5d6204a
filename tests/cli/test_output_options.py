"""Every command takes --quiet and --verbose; NO_COLOR leaves no colour."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import kdda.cli
from kdda.runtime.progress import Progress
from kdda.runtime.verbosity import QUIET, VERBOSITY_VARIABLE, progress_console
from tests.conftest import Bench


@pytest.fixture(autouse=True)
def log_level_of_the_test_alone() -> Iterator[None]:
    """The level that --verbose sets ends with the test."""
    level = logging.getLogger("kdda").level
    yield
    logging.getLogger("kdda").setLevel(level)


def test_every_command_has_both_options() -> None:
    commands: Any = get_command(kdda.cli.app)
    for name, command in commands.commands.items():
        options = [option for parameter in command.params for option in parameter.opts]
        assert {"--quiet", "--verbose"} <= set(options), name


def test_both_together_are_refused(command: Any) -> None:
    code, _, errors = command("recipes", "--quiet", "--verbose")
    assert code == 2 and "--quiet and --verbose exclude each other" in errors


def test_a_quiet_run_prints_its_table_alone(command: Any, bench: Bench, tmp_path: Path) -> None:
    bench.values["training"]["epochs"] = 1
    code, text, errors = command("run", bench.write(), "--arms", "student", "--out", tmp_path / "runs", "--quiet")
    assert code == 0 and text.startswith("\n") and "| student |" in text.replace("  ", "")
    assert "finished" not in text and "seed 1" not in text and "step" not in errors


def test_a_verbose_refusal_has_its_traceback(command: Any) -> None:
    code, _, errors = command("recipes", "--show", "none", "--verbose")
    assert code == 2 and "Traceback" in errors and errors.splitlines()[-1] == "See docs/recipes.md"
    assert "Traceback" not in command("recipes", "--show", "none", "--quiet")[2]


def test_progress_is_silent_under_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("kdda.runtime.progress.PLAIN_EVERY", 0.0)
    for level, is_printed in (("", True), (QUIET, False)):
        monkeypatch.setenv(VERBOSITY_VARIABLE, level)
        with Progress("rows", 2) as progress:
            progress.begin(0)
            progress.advance(1)
        assert ("1 of 2 rows" in capsys.readouterr().err) is is_printed


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    progress_console().print("text", style="red")
    assert "31m" not in capsys.readouterr().err
