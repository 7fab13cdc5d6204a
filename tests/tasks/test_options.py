"""What a recipe says of a task: `task_options`, and the labels of its training rows where nobody names labels."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import pytest

from kdda.data.examples import Schema
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.experiment.run import Experiment
from kdda.recipe.load import load_recipe
from kdda.tasks.classification import Classification
from kdda.tasks.nli import NLI
from kdda.tasks.registry import TASKS
from kdda.training.data import TrainingData
from tests.conftest import Bench, write_rows


@dataclass(frozen=True)
class Rated(Classification):
    """A task with one option."""

    _: KW_ONLY
    steps: tuple[int, ...] = (1, 5)
    option_names: ClassVar[tuple[str, ...]] = ("steps",)

    def check_option(self, name: str, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise KddaError(f"task_options.{name}: got {value!r}, expected a list")
        return tuple(value)


def rows_of(*labels: Any) -> list[tuple[Row, Schema]]:
    schema = Schema((), {}, {"-": None, "pos": "positive"})
    return [(Row(f"rows:{i}", {"text": "a", "label": label}), schema) for i, label in enumerate(labels, 1)]


def test_a_model_remembers_the_options_of_its_task() -> None:
    task = Rated("rated", ("text",)).with_options({"steps": [1, 2, 3]})
    assert task.steps == (1, 2, 3)  # type: ignore[attr-defined]
    assert Rated("rated", ("text",)).with_settings(task.settings()) == task
    assert NLI.settings() == {} and NLI.with_settings({}) is NLI is NLI.with_options({})


def test_unknown_options_and_values_are_refused() -> None:
    with pytest.raises(KddaError, match='task "nli" has no options, got "fields"'):
        NLI.with_options({"fields": ["a"]})
    with pytest.raises(KddaError, match='task "rated": got "step", expected one of: steps — did you mean "steps"'):
        Rated("rated", ("text",)).with_options({"step": 1})
    with pytest.raises(KddaError, match="steps: got 3, expected a list"):
        Rated("rated", ("text",)).with_options({"steps": 3})


def test_a_recipe_with_unknown_options_is_refused_before_anything_is_read(bench: Bench) -> None:
    bench.values["task_options"] = {"fields": ["text"]}
    bench.values["data"]["aa"]["train"] = "missing.jsonl"
    with pytest.raises(KddaError, match='task_options: task "nli" has no options, got "fields"'):
        Experiment(load_recipe(str(bench.write())), bench.folder / "runs")


def test_labels_of_rows_are_sorted_and_numbers_by_their_size() -> None:
    task = Classification("mood", ("text",))
    assert task.labels_of(rows_of("pos", "negative", "-", None, "positive", " negative ")) == ["negative", "positive"]
    assert task.labels_of(rows_of(10, "2", 1.0, "1")) == ["1.0", "2", "10"]
    with pytest.raises(KddaError, match=r"fewer than two labels \(calm\)"):
        task.labels_of(rows_of("calm", "-"))
    with pytest.raises(KddaError, match=r'two labels \(none\); rows:1: no field "label".*the row has text'):
        task.labels_of([(Row("rows:1", {"text": "a"}), Schema())])


def test_a_label_that_only_other_rows_have_is_refused_with_its_place(bench: Bench, command: Any) -> None:
    TASKS["mood"] = Classification("mood", ("text",))
    try:
        bench.values |= {"task": "mood", "teachers": {}, "arms": {"student-da": {}}}
        data = bench.values["data"]
        for language in ("aa", "bb"):
            for split in ("train", "dev", "test"):
                rows = [{"text": "a", "label": "calm"}, {"text": "b", "label": f"lively {language}"}]
                data[language][split] = write_rows(bench.folder / f"{language}.mood.{split}.jsonl", rows)
        experiment = Experiment(load_recipe(str(bench.write())), bench.folder / "runs")
        assert experiment.recipe.labels == ["calm", "lively aa", "lively bb"]
        data["aa"]["test"] = write_rows(bench.folder / "test.jsonl", [{"text": "a", "label": "sad"}])
        code, out, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
        assert code == 1 and "Labels: calm, lively aa, lively bb." in out
        assert "MISSING: data.aa.test: 1 of 1 row is bad" in out and 'test.jsonl:1: "label": got "sad"' in out
    finally:
        del TASKS["mood"]


def test_labels_of_rows_in_python() -> None:
    rows = [{"text": "a", "label": 2}, {"text": "b", "label": 10}, {"text": "c", "label": 2}]
    data = TrainingData.from_datasets(Classification("stars", ("text",)), {"vi": rows}, {"vi": rows})
    assert data.labels == ["2", "10"]
    with pytest.raises(KddaError, match=r'"label": got "3", expected one of: 2, 10'):
        TrainingData.from_datasets(
            Classification("stars", ("text",)), {"vi": rows}, {"vi": [{"text": "a", "label": 3}]}
        )
