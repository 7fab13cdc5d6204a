"""The task classify: three texts under any names, long texts in windows, several labels a row; through everything."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import kdda
from kdda.data.examples import BadRowError, LabelledExample, Schema
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.tasks.classify import CLASSIFY, LabelSetClassification, LabelSetExample, LabelSetPrediction
from kdda.tasks.registry import TASKS, task_named
from kdda.text.encode import TEXT_COUNTS, Encoder
from kdda.training.config import DistillationConfig
from kdda.training.prepare import Teacher
from kdda.training.trainer import DistillationTrainer
from tests.conftest import NOUNS, VERBS, Bench, make_model, make_tokenizer, write_rows

FIELDS = ["claim", "evidence", "context"]
EMOTIONS = ("fear", "joy", "love")


def make_claims(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Claims about long contexts, of which several have the same, in the columns of ISE-DSC01."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        nouns, verbs = NOUNS[language], VERBS[language]
        context = " ".join(f"{nouns[(i // 3 + k) % 4]} {verbs[k % 2]}" for k in range(12))
        claim = f"{chance.choice(nouns)} {chance.choice(verbs)}"
        verdict = ("SUPPORTED", "REFUTED", "NEI")[i % 3]
        rows.append({"context": context, "claim": claim, "verdict": verdict, "evidence": context[:12]})
    return rows


def as_object(path: Path, rows: list[dict[str, Any]]) -> str:
    """A file that is one object of rows by their ids."""
    path.write_text(json.dumps({str(i): row for i, row in enumerate(rows)}, ensure_ascii=False), encoding="utf-8")
    return str(path)


def claims_bench(folder: Path) -> Bench:
    """Recipe and files of fact checking in two languages, as a user would write them."""
    bench = Bench(folder)
    options = {"fields": FIELDS, "long_texts": "mean"}
    bench.values |= {"task": "classify", "task_options": options, "arms": {"student-kdda": {"distill": True}}}
    bench.values["training"] |= {"max_length": 16, "stride": 2, "epochs": 1}
    for language, data in bench.values["data"].items():
        bench.values["teachers"][language] = {"model": bench.values["teachers"][language], "random": True}
        data["columns"] = {"label": "verdict"}
        for seed, split in enumerate(("train", "dev", "test")):
            rows = make_claims(language, 12 if split == "train" else 6, seed)
            data[split] = as_object(folder / f"{language}.claims.{split}.json", rows)
    return bench


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of fact checking in its run folder."""
    from kdda.experiment.run import Experiment
    from kdda.recipe.load import load_recipe

    folder = tmp_path_factory.mktemp("facts")
    Experiment(load_recipe(str(claims_bench(folder).write())), folder / "runs").run()
    return folder / "runs" / "classify" / "student-kdda" / "seed-1" / "model"


@pytest.fixture(scope="module")
def emotions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that gives any number of labels, from Python."""
    folder = tmp_path_factory.mktemp("emotions")
    rows = [
        {"text": "cat runs 😀", "label": ["joy", "love"]},
        {"text": "😀", "label": "joy; fear"},
        {"text": "dog sleeps", "label": '["love"]'},
        {"text": "hen sleeps", "label": None},
    ]
    trainer = DistillationTrainer(
        make_model(folder / "student"),
        {"en": Teacher(make_model(folder / "teacher", seed=1), random=True)},
        task="classify",
        task_options={"multi_label": True, "separator": ";"},
        train_dataset={"en": rows},
        eval_dataset={"en": rows},
        args=DistillationConfig(str(folder / "out"), num_train_epochs=1, precision="fp32"),
        say=lambda _: None,
    )
    trainer.train()
    trainer.save_model(str(folder / "model"))
    return folder / "model"


# -- fact checking


def test_a_model_remembers_its_fields_labels_and_windows(facts: Path) -> None:
    config = json.loads((facts / "config.json").read_text())
    assert config["kdda_task_options"] == {
        "fields": FIELDS,
        "multi_label": False,
        "separator": ",",
        "long_texts": "mean",
    }
    assert list(config["label2id"]) == ["NEI", "REFUTED", "SUPPORTED"]
    card = (facts / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification" in card and "Labels: NEI, REFUTED, SUPPORTED." in card
    assert "it labels texts, `kdda.load(…).classify(claim, evidence, context)`" in card
    lines = (facts.parent / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    groups = {json.loads(line)["group"] for line in lines if json.loads(line)["language"] == "aa"}
    assert len(lines) == 12 and len(groups) == 2  # the contexts, which claims share


def test_three_texts_are_labelled_from_python_and_commands(facts: Path, command: Any) -> None:
    predictor = kdda.load(facts)
    row = make_claims("aa", 1, 5)[0]
    texts = [row[name] for name in FIELDS]
    result = predictor.classify(*texts)
    assert set(result.probabilities) == {"NEI", "REFUTED", "SUPPORTED"}
    assert predictor(context=texts[2], claim=texts[0], evidence=texts[1]) == result
    assert any(
        line.startswith("2 × texts of more than ") and line.endswith("read in parts") for line in predictor.warnings
    )
    with pytest.raises(KddaError, match="got 2 texts, expected 3: claim, evidence, context"):
        predictor.classify("a", "b")
    options = [part for name in FIELDS for part in ("--text", f"{name}={row[name]}")]
    code, out, err = command("predict", facts, *options, "--json")
    assert code == 0 and json.loads(out)["label"] == result.label, err


def test_options_of_a_command_take_the_place_of_stored_ones(facts: Path, command: Any) -> None:
    texts = [make_claims("aa", 1, 5)[0][name] for name in FIELDS]
    options = ("--task-options", "{fields: [a, b, c], long_texts: cut}")
    code, _, err = command("predict", facts, "--text", f"a={texts[0]}", "--text", f"b={texts[1]}", *options)
    assert code == 2 and '--text "a=…" --text "b=…" --text "c=…"' in err
    predictor = kdda.load(facts, task_options={"fields": ["a", "b", "c"], "long_texts": "cut"})
    predictor(a=texts[0], b=texts[1], c=texts[2])
    assert predictor.warnings == ["1 × texts of more than 16 tokens (max_length), whose ends are not read"]
    for text, message in (("[a]", "expected a mapping"), ("{lang: 1}", 'got "lang", expected one of: fields')):
        code, _, err = command("predict", facts, "--text", "a=b", "--task-options", text)
        assert code == 2 and message in err


def test_a_row_that_lacks_a_text_is_refused_by_its_place(facts: Path, command: Any, tmp_path: Path) -> None:
    rows = make_claims("aa", 3, 4)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    code, _, err = command("predict", facts, "--input", write_rows(source, rows), "--output", out)
    assert code == 0 and len(out.read_text().splitlines()) == 3, err
    del rows[1]["evidence"]
    code, _, err = command("predict", facts, "--input", write_rows(source, rows), "--output", tmp_path / "other.jsonl")
    assert code == 2 and 'in.jsonl:2: no field "evidence"' in err
    code, _, err = command("evaluate", facts, "--data", source, "--columns", "label=verdict", "--out", out)
    assert code == 2 and 'in.jsonl:2: no field "evidence"; the row has context, claim, verdict' in err


def test_its_scores_and_report(facts: Path, command: Any, tmp_path: Path) -> None:
    source = as_object(tmp_path / "data.json", make_claims("bb", 9, 3))
    columns = ("--columns", "label=verdict", "--out", tmp_path / "p.jsonl")
    code, out, err = command("evaluate", facts, "--data", source, "--json", *columns)
    scores = json.loads(out)
    assert code == 0 and scores["rows"] == 9 and set(scores["per_label"]) == {"NEI", "REFUTED", "SUPPORTED"}, err
    code, out, err = command("evaluate", facts, "--data", source, *columns)
    for label, score in scores["per_label"].items():  # a line each, and not the dictionary
        assert f"{label}, F1".ljust(20) + f" {score:.1f}\n" in out, err
    code, out, err = command("report", facts.parents[2])
    assert code == 0 and "student-kdda" in out and "macro-f1" in out, err


def test_a_server_has_a_field_for_each_text(facts: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from tests.serve.live import serving

    predictor = kdda.load(facts, precision="fp32")
    row = dict.fromkeys(FIELDS, "cat runs")
    with serving([predictor], Limits()) as live:
        assert live.ask("POST", "/classify", row).json["label"] == predictor(**row).label
        assert live.ask("POST", "/classify", {"claim": "a", "evidence": "b"}).status == 422


@pytest.mark.slow
def test_an_export_reads_the_same_windows(facts: Path, command: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')
    rows = write_rows(tmp_path / "rows.jsonl", make_claims("aa", 4, 5))
    code, _, err = command("export", facts, tmp_path / "onnx")
    assert code == 2 and "give --data FILE" in err
    code, out, err = command("export", facts, tmp_path / "onnx", "--data", rows)
    assert code == 0 and "4 real rows" in out, err
    texts = [make_claims("bb", 1, 6)[0][name] for name in FIELDS]
    ours = kdda.load(facts, precision="fp32").classify(*texts).probabilities
    assert kdda.load(tmp_path / "onnx").classify(*texts).probabilities == pytest.approx(ours, abs=1e-4)


def test_the_built_in_recipe_reads_its_rows() -> None:
    from kdda.experiment.context import task_of, with_labels
    from kdda.experiment.splits import SplitReader
    from kdda.recipe.load import load_recipe

    recipe = load_recipe("mini-sentiment")
    data, warnings = SplitReader(recipe, task_of(recipe)).read_all()
    assert {split: len(rows) for split, rows in data["vi"].items()} == {"train": 660, "dev": 150, "test": 300}
    assert with_labels(recipe.model_copy(update={"labels": []})).labels == recipe.labels and not any(warnings.values())


# -- any number of labels


def test_any_number_of_labels(emotions: Path) -> None:
    predictor = kdda.load(emotions)
    result = predictor.classify("😀")
    assert tuple(result.probabilities) == EMOTIONS and predictor.labels == list(EMOTIONS)
    assert result.labels == [label for label, share in result.probabilities.items() if share >= 0.5]
    assert len(str(result).splitlines()) == 3 and result.as_row()["labels"] == result.labels == result.decision
    config = json.loads((emotions / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"  # what transformers' pipeline reads
    assert isinstance(
        task_named("classify").with_settings({"problem_type": config["problem_type"]}), LabelSetClassification
    )
    rows = [{"text": "cat", "label": "joy;love"}, {"text": "dog", "label": ""}, {"text": "hen", "label": ["fear"]}]
    evaluation = kdda.evaluate(emotions, rows)
    assert {"f1", "micro_f1", "macro_f1", "accuracy"} <= set(evaluation.scores)
    assert evaluation.predictions[1].gold == []  # type: ignore[attr-defined]


def test_a_server_and_a_page_mark_all_predicted_labels(emotions: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from kdda.serve.page.markup import label_html
    from kdda.tasks.classify import LabelSetResult
    from tests.serve.live import serving

    predictor = kdda.load(emotions, precision="fp32")
    with serving([predictor], Limits()) as live:
        assert live.ask("POST", "/classify", {"text": "😀"}).json["labels"] == predictor("😀").labels
    result = LabelSetResult(["joy", "love"], {"fear": 0.1, "joy": 0.9, "love": 0.6})
    assert label_html(result, {}).count('class="bar best"') == 2


def test_scores_of_label_sets() -> None:
    task = CLASSIFY.with_options({"multi_label": True})
    shares = dict.fromkeys(EMOTIONS, 0.5)
    rows = [
        LabelSetPrediction("1", "", ["joy", "love"], ["joy"], shares, 2 / 3),
        LabelSetPrediction("2", "", [], [], shares, 1.0),
        LabelSetPrediction("3", "", ["fear"], ["love"], shares, 0.0),
    ]
    scores = task.score(rows, EMOTIONS)
    assert scores["f1"] == pytest.approx(100 * (2 / 3 + 1) / 3) and scores["accuracy"] == pytest.approx(100 / 3)
    assert scores["micro_f1"] == pytest.approx(100 * 2 / 5) and scores["macro_f1"] == pytest.approx(100 / 3)
    odds, golds = task.eval_prediction(rows, EMOTIONS)
    assert golds.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]] and not odds.any()


def convert(task: Any, label: Any) -> Any:
    schema = Schema(EMOTIONS, {}, {"0": "joy", "-": None})
    return task.convert(schema)(Row("rows:1", {"text": "a", "label": label}), Counter())


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        (["love", "joy", "joy"], ("joy", "love")),
        ("love, joy", ("joy", "love")),
        ("['joy', 'fear']", ("fear", "joy")),
        ("[]", ()),
        ("", ()),
        (float("nan"), ()),
        ("-,0", ("joy",)),
        (0, ("joy",)),
    ],
)
def test_labels_are_a_list_or_a_cell(cell: Any, labels: tuple[str, ...]) -> None:
    example = convert(CLASSIFY.with_options({"multi_label": True}), cell)
    assert isinstance(example, LabelSetExample) and example.labels == labels


def test_a_list_of_one_label_is_that_label() -> None:
    assert convert(CLASSIFY, ["joy"]).label == convert(CLASSIFY, [0]).label == "joy"
    with pytest.raises(BadRowError, match="got \"\\['joy', 'love'\\]\""):
        convert(CLASSIFY, ["joy", "love"])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("joy, lov", '"label": got "lov", expected one of: fear, joy, love — did you mean "love"'),
        ("joy;love", 'got "joy;love".*; task_options: {separator: ";"} splits cells at ;'),
        ({"joy": 1}, "expected labels: a list, or a text with ',' between them"),
        ("[joy", r'"label": .*joy'),
    ],
)
def test_cells_that_hold_other_labels_are_refused(cell: Any, message: str) -> None:
    with pytest.raises(BadRowError, match=message):
        convert(CLASSIFY.with_options({"multi_label": True}), cell)


def marked(row: dict[str, Any], task: Any = None, **label_map: str | None) -> Any:
    """The labels of a row that has a column for each."""
    task = task or CLASSIFY.with_options({"multi_label": True})
    schema = Schema(EMOTIONS, {"label": ["joy", "sợ", "love"]}, {"sợ": "fear", **label_map})
    return task.convert(schema)(Row("rows:1", {"text": "a", **row}), Counter()).labels


def test_a_column_for_each_label_says_yes_or_no() -> None:
    assert marked({"joy": 1, "sợ": "1.0", "love": 0}) == ("fear", "joy")
    assert marked({"joy": None, "sợ": "no", "love": True}) == ("love",)
    assert marked({"joy": "0", "sợ": "", "love": 1}, love=None) == ()
    with pytest.raises(BadRowError, match=r'"joy": 0\.7 is neither true nor false; a column for a label has 1 or 0'):
        marked({"joy": 0.7, "sợ": 0, "love": 0})
    with pytest.raises(BadRowError, match='no field "love"; the row has text, joy, sợ'):
        marked({"joy": 1, "sợ": 0})
    with pytest.raises(KddaError, match=r"columns\.label: got 3 columns.*task_options: \{multi_label: true\}"):
        marked({"joy": 1, "sợ": 0, "love": 0}, CLASSIFY)


def test_the_columns_of_labels_are_the_labels_whether_a_row_has_them_or_not(emotions: Path, command: Any) -> None:
    schema = Schema(columns={"label": ["joy", "sợ", "love"]}, label_map={"sợ": "fear"})
    row = Row("rows:1", {"text": "a", "joy": 1, "sợ": 0, "love": 0})
    assert CLASSIFY.with_options({"multi_label": True}).labels_of([(row, schema)]) == list(EMOTIONS)
    with pytest.raises(KddaError, match=r"columns\.label: got 3 columns"):
        CLASSIFY.labels_of([(row, schema)])
    path = emotions.parent / "rows.csv"
    path.write_text("text,joy,love,sợ\nx,1,1,0\ny,,0,true\n", encoding="utf-8")
    options = ("--columns", "label=joy,love,sợ", "--labels", "sợ=fear", "--out", emotions.parent / "p.jsonl")
    code, _, error = command("evaluate", emotions, "--data", path, *options)
    assert code == 0, error
    lines = (emotions.parent / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["gold"] for line in lines] == [["joy", "love"], ["fear"]]


# -- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feilds": ["a"]}, 'got "feilds", expected one of: fields, .* did you mean "fields"'),
        ({"fields": ["a", "b", "c", "d"]}, "expected one to 3 different names of text columns"),
        ({"fields": ["a", "a"]}, "one to 3 different names"),
        ({"fields": ["text", "label"]}, "other than id and label"),
        ({"multi_label": "yes"}, "multi_label: got 'yes', expected true or false"),
        ({"long_texts": "min"}, 'got "min", expected one of: cut, mean, max'),
        ({"separator": ""}, "separator: got '', expected a text"),
    ],
)
def test_options_that_it_does_not_have_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=message):
        CLASSIFY.with_options(options)


def test_options_lead_there_and_back() -> None:
    several = CLASSIFY.with_options({"multi_label": True, "fields": ["title", "body"]})
    assert several.metric == "f1" and several.fields == ("title", "body") and not several.compares_logits
    assert several.page_words["vi"].fields == {"title": "title", "body": "body"} and not several.samples
    assert CLASSIFY.with_settings(several.settings()) == several
    one = several.with_options({"multi_label": False})
    assert one.metric == "accuracy" and one.compares_logits
    assert TASKS["classify"].with_options({}) is CLASSIFY
    assert CLASSIFY.with_settings(CLASSIFY.settings()) == CLASSIFY


def test_logits_cannot_be_compared_where_a_text_has_several_labels(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    with pytest.raises(KddaError, match=r"example_weighting needs a teacher's logits.*any number of labels"):
        DistillationTrainer(
            model,
            {"en": Teacher(model, random=True)},
            task=CLASSIFY.with_options({"multi_label": True}),
            train_dataset={"en": [{"text": "a", "label": ["x", "y"]}]},
            args=DistillationConfig(str(tmp_path), example_weighting="teacher_correct"),
        )


def test_a_teacher_of_other_labels_is_refused_before_anything_is_trained(facts: Path, tmp_path: Path) -> None:
    from kdda.experiment.run import Experiment
    from kdda.recipe.load import load_recipe

    bench = claims_bench(tmp_path)
    bench.values["teachers"]["bb"] = {"model": str(facts), "finetuned": True}
    for data in bench.values["data"].values():
        data["labels"] = {"NEI": "unknown"}
    with pytest.raises(KddaError, match=r"teachers\.bb: .*its labels are NEI, REFUTED, SUPPORTED; the task's are"):
        Experiment(load_recipe(str(bench.write())), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# -- windows and their logits


def examples() -> list[LabelledExample]:
    long = "cat runs very dog sleeps not hen fish runs cat sleeps"
    return [
        LabelledExample("1", ("hen", "dog", long), "hen", "b"),
        LabelledExample("2", ("hen", "dog", "cat"), "hen", "a"),
    ]


@pytest.mark.parametrize(("how", "pool"), [("mean", np.mean), ("max", np.max)])
def test_logits_of_a_rows_windows_are_pooled_in_training_and_prediction(how: str, pool: Any) -> None:
    task = CLASSIFY.with_options({"fields": FIELDS, "long_texts": how})
    features = task.encode(examples(), Encoder(make_tokenizer(), max_length=10, overlap=1))
    owners = list(features.owners)
    assert features.whole_rows and owners.count(0) > 2 and owners.count(1) == 1
    logits = torch.randn(len(owners), 2, generator=torch.Generator().manual_seed(0))
    pooled = np.stack([pool(logits[: len(owners) - 1].numpy(), axis=0), logits[-1].numpy()])
    targets = {name: torch.from_numpy(value).long() for name, value in task.targets(features, ["a", "b"]).items()}
    output = task.outputs_with_loss(lambda: SimpleNamespace(logits=logits), {}, targets)
    assert float(output.loss) == pytest.approx(
        float(torch.nn.functional.cross_entropy(torch.from_numpy(pooled), torch.tensor([1, 0])))
    )
    candidates = task.candidates(SimpleNamespace(logits=logits), list(features.windows))
    predictions = task.decode(features, candidates, ["a", "b"], "vi")
    shares = torch.from_numpy(pooled).softmax(dim=1)[:, 1].tolist()
    assert [row.probabilities["b"] for row in predictions] == pytest.approx(shares, abs=1e-5)  # type: ignore[attr-defined]


def test_a_long_text_is_read_to_its_end_in_windows_and_cut_without_them() -> None:
    encoder = Encoder(make_tokenizer(), max_length=10, overlap=1)
    features = CLASSIFY.with_options({"fields": FIELDS, "long_texts": "max"}).encode(examples(), encoder)
    spans = [span.span for span in CLASSIFY.with_options({"long_texts": "max"}).text_spans(features)]
    assert spans[0] is not None and spans[-2] is not None and spans[-2][1] == len(examples()[0].texts[2])
    assert encoder.counts[TEXT_COUNTS[1].format(tokens=encoder.max_length)] == 1
    cut = CLASSIFY.with_options({"fields": FIELDS}).encode(examples(), encoder)
    assert (
        len(cut.windows) == 2
        and encoder.counts["texts of more than 10 tokens (max_length), whose ends are not read"] == 1
    )
