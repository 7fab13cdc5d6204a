"""`kdda try`: tables with intervals, the teacher check, a transport plan and commands that work as they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from kdda.cli import first_try
from kdda.recipe.load import load_recipe
from tests.conftest import Bench


@pytest.fixture
def tiny(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """The command with tiny models in place of its recipe's, in an empty folder."""
    values = bench.values
    del values["teachers"]["bb"], values["data"]["bb"]
    values["arms"] = {"student": {}, "student-kdda": {"distill": True}}
    values["teachers"]["aa"] = {"model": values["teachers"]["aa"], "rows": 45}
    values["student"] = {"model": values["student"], "layers": 1}
    values["data"]["aa"]["limit"] = {"train": 15}
    values["training"]["epochs"] = 1
    values["seeds"] = [1]
    monkeypatch.setattr(first_try, "RECIPE", str(bench.write()))
    monkeypatch.setattr(first_try, "SENTENCE", "mèo ngủ rất")
    monkeypatch.setenv("TQDM_DISABLE", "1")  # which the command sets, too
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return bench


def test_a_first_try_shows_intervals_teachers_and_a_plan_and_its_next_command_works(tiny: Bench, command: Any) -> None:
    code, text, errors = command("try")
    assert code == 0, errors
    introduction = text.split("\n\n")[0].splitlines()
    assert len(introduction) == 5 and "45 short" in introduction[1] and "labels of 15" in introduction[2]
    for part in ("Teacher check", "95 % by row", "student-kdda − student"):
        assert part in text
    drawn = text[text.index("Transport plan") : text.index("What to type next")]
    assert "1 [CLS]" in drawn and "columns: 1 [CLS], 2 mèo, 3 ngủ, 4 rất, 5 [SEP]" in drawn
    (asked,) = [line.strip() for line in text.splitlines() if "kdda predict" in line]
    _, _, model, *_ = shlex.split(asked)
    assert (Path(model) / "model.safetensors").is_file()

    code, again, _ = command("try")  # nothing is trained again
    assert code == 0 and "finished already" in again and again.endswith(text[text.index("Teacher check") :])


def test_the_recipe_of_the_first_try_is_what_its_introduction_says() -> None:
    recipe = load_recipe(first_try.RECIPE)
    (teacher,) = recipe.teachers_by_language()["en"]
    assert recipe.student.model == teacher.model and teacher.layers is None and recipe.student.layers < 6
    assert teacher.rows is not None and teacher.rows > 5 * recipe.data["en"].limit["train"]
    assert list(recipe.arms) == ["student", first_try.TAUGHT, "random-teachers"]
    assert all(spec.random for _, spec in recipe.teachers_of("random-teachers"))
    assert len(recipe.seeds) > 1


def test_a_folder_of_another_experiment_is_refused(tiny: Bench, command: Any) -> None:
    command("run", tiny.write(), "--out", "runs-try", "--arms", "student", "--seeds", "1", "--set", "training.epochs=2")
    code, _, errors = command("try")
    assert code == 2 and "choose another --out" in errors and "Traceback" not in errors
