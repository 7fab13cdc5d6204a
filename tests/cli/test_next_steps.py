"""What to type next, at the end of `kdda run`: commands that work as they are printed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from kdda.cli.next_steps import predict_command
from kdda.tasks.registry import task_named
from tests.conftest import Bench

NEXT = "What to type next:"


@pytest.fixture
def small(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """A recipe of a student and a control, of few steps, in a folder of its own."""
    del bench.values["teachers"]["bb"], bench.values["data"]["bb"]
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "random": True}
    bench.values["arms"] = {"student": {}, "random-teachers": {"distill": True}}
    bench.values["training"]["epochs"] = 1
    bench.values["seeds"] = [1]
    (tmp_path / "a place").mkdir()
    monkeypatch.chdir(tmp_path / "a place")
    return bench


def commands(text: str) -> list[list[str]]:
    """The commands to type next, as a shell reads them."""
    lines = text[text.index(NEXT) :].splitlines()[1:]
    return [shlex.split(line)[1:] for line in lines if line.startswith("  kdda ")]


def test_a_run_ends_with_commands_for_the_best_saved_model_and_for_the_report(small: Bench, command: Any) -> None:
    code, text, errors = command("run", small.write(), "--out", "my runs")
    assert code == 0, errors
    predict, serve, report = commands(text)
    model = "my runs/nli/student/seed-1/model"  # a control is for nobody's use
    assert predict == ["predict", model, "--premise", "…", "--hypothesis", "…"]
    assert serve == ["serve", model, "--runs", "my runs"]
    assert "ask the best saved model: student, seed 1, chosen on development rows" in text
    assert report == ["report", "my runs/nli", "--out", "report.html"]
    assert command(*predict)[0] == 0


def test_without_a_saved_model_only_the_report_is_named(small: Bench, command: Any) -> None:
    _, text, _ = command("run", small.write(), "--save", "none", "--arms", "student")
    assert [words[0] for words in commands(text)] == ["report"]
    _, text, _ = command("run", small.write(), "--arms", "student")  # the models of which are missed now
    assert "finished already, in runs/nli/student/seed-1; it has no model, its scores and predictions stand" in text
    _, text, _ = command("run", small.write(), "--arms", "student", "--quiet")
    assert NEXT not in text


def test_the_last_lines_of_a_run_are_vietnamese(small: Bench, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDDA_LANG", "vi")
    _, text, _ = command("run", small.write(), "--arms", "student")
    assert "Có thể gõ tiếp:" in text and "hỏi mô hình tốt nhất đã lưu: student, seed 1" in text


@pytest.mark.parametrize(
    ("task", "options"),
    [("qa", '--question "…" --context "…"'), ("classify", '--text "…"'), ("nli", '--premise "…" --hypothesis "…"')],
)
def test_a_model_is_asked_with_an_option_for_each_field_of_its_task(task: str, options: str) -> None:
    assert predict_command("a b/model", task_named(task)) == f"kdda predict 'a b/model' {options}"
