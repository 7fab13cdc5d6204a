"""A task is one file and one line of registration: it is trained, loaded, predicted, evaluated, served and exported."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kdda
from kdda.errors import KddaError
from kdda.runtime.plugins import import_plugins
from kdda.tasks.base import Task
from kdda.tasks.classification import Classification, LabelPrediction
from kdda.tasks.nli import NLI
from kdda.tasks.qa import QA, AnswerPrediction
from kdda.tasks.registry import TASKS, register_task, task_named
from tests.conftest import NOUNS, VERBS, Bench, write_rows

PLUGIN = """
from kdda import register_task
from kdda.tasks.classification import Classification

register_task(Classification("mood", ("text",), labels=("calm", "lively"), samples=("cat sleeps",)))
"""

LABELS = {"ngủ": "calm", "sleeps": "calm", "chạy": "lively", "runs": "lively"}


def make_moods(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """The label is that of the verb."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        verb = chance.choice(VERBS[language])
        rows.append({"id": f"m{i}", "text": f"{chance.choice(NOUNS[language])} {verb}", "label": LABELS[verb]})
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of a user with the plugin, which is importable from there."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "mood_plugin.py").write_text(PLUGIN, encoding="utf-8")
    path = list(sys.path)
    sys.path.append(str(folder))
    yield folder
    sys.path[:] = path
    sys.modules.pop("mood_plugin", None)
    TASKS.pop("mood", None)


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    """A student that a recipe with the plugin has trained."""
    from kdda.experiment.run import Experiment
    from kdda.recipe.load import load_recipe

    bench = Bench(place)
    bench.values |= {"task": "mood", "plugins": ["mood_plugin"], "arms": {"student-kdda": {"distill": True}}}
    for language, data in bench.values["data"].items():
        for seed, split in enumerate(("train", "dev", "test")):
            rows = make_moods(language, 40 if split == "train" else 16, seed)
            data[split] = write_rows(place / f"{language}.mood.{split}.jsonl", rows)
    Experiment(load_recipe(str(bench.write())), place / "runs").run()
    return place / "runs" / "mood" / "student-kdda" / "seed-1" / "model"


def test_a_recipe_trains_it_with_the_labels_of_the_task(model: Path) -> None:
    events = [json.loads(line) for line in (model.parent / "metrics.jsonl").read_text().splitlines()]
    (facts,) = [event for event in events if event["event"] == "task"]
    assert (facts["task"], facts["metric"], facts["row_score"], facts["breakdown"]) == (
        "mood",
        "accuracy",
        "accuracy",
        "label",
    )
    assert json.loads((model / "config.json").read_text())["kdda_task"] == "mood"
    assert "text-classification" in (model / "README.md").read_text(encoding="utf-8")


def test_its_model_opens_as_what_it_is(model: Path) -> None:
    predictor = kdda.load(model)
    result = predictor.classify("mèo ngủ")
    assert set(result.probabilities) == {"calm", "lively"} and predictor.task is TASKS["mood"]
    assert predictor("mèo ngủ") == predictor(text="mèo ngủ") == predictor.predict_texts("mèo ngủ") == result
    assert [row.label for row in predictor(["mèo ngủ", "cá chạy"])] == [
        predictor(text).label for text in ("mèo ngủ", "cá chạy")
    ]
    for call in (lambda: predictor.entails("a", "b"), lambda: predictor.answer("a", "b")):
        with pytest.raises(KddaError, match=r"labels texts: classify\(text\)"):
            call()
    with pytest.raises(KddaError, match="got 2 texts, expected 1: text"):
        predictor("a", "b")


def test_a_model_of_a_task_that_is_not_registered_says_what_to_import(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(TASKS, "mood")
    with pytest.raises(KddaError, match=r'of task "mood".*--plugin MODULE'):
        kdda.load(model)


def test_commands_predict_and_evaluate_it(model: Path, place: Path, command: Any) -> None:
    plugin = ("--plugin", "mood_plugin")
    code, out, err = command("predict", model, "--text", "text=mèo ngủ", "--json", *plugin)
    printed = out
    assert code == 0 and set(json.loads(out)["probabilities"]) == {"calm", "lively"}, err
    source = write_rows(place / "in.jsonl", make_moods("aa", 5, 3))
    code, _, err = command("predict", model, "--input", source, "--output", place / "out.jsonl", *plugin)
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    assert code == 0 and [line["id"] for line in lines] == [f"m{i}" for i in range(5)], err
    code, out, err = command("evaluate", model, "--data", source, "--out", place / "p.jsonl", "--json", *plugin)
    assert code == 0 and json.loads(out)["task"] == "mood" and json.loads(out)["rows"] == 5, err
    for texts in (("--question", "a", "--context", "b"), ("--text", "txt=a")):
        code, _, err = command("predict", model, *texts, *plugin)
        assert code == 2 and "labels texts: classify(text)" in err
    assert command("predict", model, "--text", "mèo ngủ", "--json", *plugin)[:2] == (0, printed)


def test_python_evaluates_it_on_dicts_and_datasets(model: Path) -> None:
    import datasets

    rows = make_moods("aa", 6, 4)
    evaluation = kdda.evaluate(model, rows)
    other = [{"sentence": row["text"], "gold": str(i)} for i, row in enumerate(rows)]
    named = {str(i): row["label"] for i, row in enumerate(rows)}
    again = kdda.evaluate(
        model, datasets.Dataset.from_list(other), columns={"text": "sentence", "label": "gold"}, labels=named
    )
    assert len(evaluation.predictions) == 6 and again.scores["accuracy"] == evaluation.scores["accuracy"]


def test_a_server_has_its_route(model: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from tests.serve.live import serving

    predictor = kdda.load(model, precision="fp32")
    with serving([predictor], Limits()) as live:
        assert live.ask("GET", "/health").json == {"status": "ok", "routes": {"mood": "/classify"}}
        assert live.ask("POST", "/classify", {"text": "mèo ngủ"}).json["label"] == predictor("mèo ngủ").label
        assert live.ask("POST", "/classify", {"txt": "mèo ngủ"}).status == 422
        assert live.ask("POST", "/entails", {"premise": "a", "hypothesis": "b"}).status == 404
        assert "cat sleeps" in live.ask("GET", "/docs").body.decode()


@pytest.mark.slow
def test_the_page_has_its_tab(model: Path) -> None:
    pytest.importorskip("gradio", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from tests.serve.live import serving

    with serving([kdda.load(model)], Limits(), page=True) as live:
        config = live.ask("GET", "/config").body.decode()
        assert "mood-text" in config and "mood-button" in config and "qa-question" not in config


@pytest.mark.slow
def test_it_is_exported_where_rows_are_given(model: Path, place: Path, command: Any) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')
    code, _, err = command("export", model, place / "onnx", "--plugin", "mood_plugin")
    assert code == 2 and "give --data FILE" in err
    rows = write_rows(place / "rows.jsonl", make_moods("aa", 9, 5))
    code, out, err = command("export", model, place / "onnx", "--plugin", "mood_plugin", "--data", rows)
    assert code == 0 and "9 real rows" in out, err
    ours, theirs = kdda.load(model, precision="fp32"), kdda.load(place / "onnx")
    assert ours("mèo ngủ").label == theirs("mèo ngủ").label


def test_a_name_is_taken_once(place: Path) -> None:
    import_plugins(["mood_plugin"])
    assert register_task(NLI) is NLI  # the same again changes nothing
    with pytest.raises(KddaError, match='"nli" is registered already'):
        register_task(Classification("nli", ("text",)))
    with pytest.raises(KddaError, match=r'expected one of: nli, qa.* did you mean "nli"'):
        task_named("nlj")
    assert task_named("mood").labels == ("calm", "lively") and isinstance(task_named("mood"), Task)


def test_two_tasks_of_one_route_are_not_served_together(model: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from kdda.serve.site import Site, make_application

    other = Classification("tone", ("text",), labels=("calm", "lively"))
    predictors = [kdda.load(model), kdda.load(model, task=other)]
    with pytest.raises(KddaError, match="have one route, /classify"):
        make_application(Site(["a", "b"], Limits(), page=False), predictors)


def test_predictions_have_the_shape_of_transformers_metrics() -> None:
    labels = list(NLI.labels)
    sure = LabelPrediction("1", "g", "neutral", "neutral", dict(zip(labels, (0.25, 0.75, 0.0), strict=True)))
    scores, golds = NLI.eval_prediction([sure], labels)
    assert scores.shape == (1, 3) and golds.tolist() == [1] and np.isfinite(scores).all()
    assert np.exp(scores[0, :2]) == pytest.approx([0.25, 0.75])
    answer = AnswerPrediction("q1", "g", ["Huế"], "Huế", 0, 3, 1.0, 1.0, 1.0, 1.0, 1.0, [])
    answers, references = QA.eval_prediction([answer], [])
    assert answers == [{"id": "q1", "prediction_text": "Huế"}]
    assert references == [{"id": "q1", "answers": {"text": ["Huế"], "answer_start": [0]}}]
