"""Tables say how sure their numbers are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdda.report.comparison import TaskScores, compare
from kdda.report.render import Table, to_markdown
from kdda.report.tables import comparison_table
from kdda.runs.events import read_metrics
from kdda.runs.folder import Run

NLI = TaskScores("accuracy", ("accuracy", "macro_f1"))


def run(arm: str, seed: int, score: float) -> Run:
    return Run(
        Path(),
        arm,
        seed,
        {"vi": {"rows": 400, "accuracy": score, "macro_f1": score - 1, "standard_error": 2.5}},
        {},
        12.0,
    )


def table(*runs: Run, arms: Sequence[str] = ("student", "student-da", "student-kdda")) -> Table:
    return comparison_table(compare(runs, "vi", NLI, arms))


def test_one_seed_is_called_one_seed() -> None:
    text = to_markdown(table(run("student", 1, 50.0), run("student-da", 1, 54.0)))
    assert "One seed" in text and "±" not in text
    assert "+4.0" in text and "standard error of about 2.5 points" in text


def test_rows_of_one_score_tell_no_standard_error() -> None:
    right = run("student", 1, 100.0)
    right.test["vi"]["standard_error"] = 0.0
    text = to_markdown(table(right))
    assert "standard error" not in text and "400 test rows: all have the same score, so that nothing tells" in text


def test_several_seeds_have_a_spread_and_differences_are_paired() -> None:
    found = table(*(run("student", s, 50.0 + s) for s in (1, 2)), *(run("student-da", s, 52.0 + s) for s in (1, 2)))
    row = next(r for r in found.rows if r[0] == "student-da")
    assert row[1] == "53.5 ± 0.7" and row[3] == "+2.0 ± 0.0"


def test_arms_with_other_seeds_are_compared_over_the_common_ones_and_said_so() -> None:
    found = table(run("student", 1, 50.0), run("student", 2, 51.0), run("student-da", 2, 53.0))
    row = next(r for r in found.rows if r[0] == "student-da")
    assert row[3] == "+2.0" and any("Seeds differ" in note for note in found.notes)


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "st')
    assert read_metrics(path) == [{"event": "step", "step": 1}]
    assert read_metrics(tmp_path / "none") == []


def distilled(arm: str, model: str, settings: dict[str, Any] | bool = True) -> Run:
    """A run of an arm that is distilled from one teacher."""
    teacher = {"event": "final-teacher", "language": "vi", "model": model, "seconds": 1.0}
    recipe = {"arms": {arm: {"distill": settings}}, "distill": {"shuffle_teacher": False}}
    return replace(run(arm, 1, 50.0), recipe=recipe, events=[teacher])


def test_arms_of_teachers_that_know_nothing_of_a_row_are_marked_as_controls() -> None:
    found = table(
        run("student", 1, 50.0),
        distilled("student-kdda", "t"),
        distilled("random", "t with random weights"),
        distilled("shuffled", "t", {"shuffle_teacher": True}),
        arms=(),
    )
    assert {row[0] for row in found.rows} == {"student", "student-kdda", "random (control)", "shuffled (control)"}
    assert any(note.startswith("control: ") for note in found.notes)
    assert not any("control" in note for note in table(run("student", 1, 50.0)).notes)
