"""Multiple choice: rows of any number of options, their loss and windows, and one tiny run through every interface."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import kdda
from kdda import DistillationConfig, DistillationTrainer
from kdda.data.choices import Choice
from kdda.data.examples import Schema, check_rows
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.runs.events import read_metrics
from kdda.tasks.choose import CHOOSE, MultipleChoice
from kdda.text.encode import Encoder
from tests.conftest import NOUNS, VERBS, Bench, make_model, make_tokenizer, write_rows


def make_choices(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """The right option repeats the context; two to four options a row."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        texts = [f"{noun} {verb}" for noun in NOUNS[language] for verb in VERBS[language]]
        options = chance.sample(texts, chance.choice([2, 3, 4]))
        gold = chance.randrange(len(options))
        rows.append({"id": f"c{i}", "context": options[gold], "options": options, "label": gold})
    return rows


def example_of(row: dict[str, Any], **schema: Any) -> Choice:
    """The one example of a row."""
    (example,) = check_rows([Row("rows.jsonl:7", row)], CHOOSE.convert(Schema(**schema))).examples
    assert isinstance(example, Choice)
    return example


BARE = {"context": "mèo ngủ", "options": ["chó", "gà", "cá"]}


@pytest.mark.parametrize(
    ("label", "gold"), [(0, 0), (2, 2), ("1", 1), (1.0, 1), ("B", 1), ("c", 2), ("gà", 1), (" cá ", 2)]
)
def test_the_right_option_is_given_by_number_letter_or_text(label: Any, gold: int) -> None:
    assert example_of({**BARE, "label": label}).gold == gold


@pytest.mark.parametrize(
    ("row", "texts", "gold"),
    [
        (
            {"premise": "mèo", "choice1": "chó", "choice2": "gà", "question": "cause", "label": 1},
            ("mèo", "cause", "chó", "gà"),
            1,
        ),
        ({"premise": "mèo", "choice1": "chó", "choice2": "gà", "label": "choice2"}, ("mèo", "", "chó", "gà"), 1),
        ({"premise": "mèo", "ending0": "chó", "ending1": "gà", "label": "0"}, ("mèo", "", "chó", "gà"), 0),
        ({"premise": "mèo", "options": "['chó', 'gà']", "label": "A"}, ("mèo", "", "chó", "gà"), 0),
        (
            {"premise": "mèo", "options": {"text": ["chó", "gà"], "label": ["1", "2"]}, "label": "2"},
            ("mèo", "", "chó", "gà"),
            1,
        ),
        (
            {"premise": "mèo", "option_a": "chó", "option_b": "gà", "option_c": None, "label": "b"},
            ("mèo", "", "chó", "gà"),
            1,
        ),
    ],
)
def test_options_stand_in_one_column_or_several(row: dict[str, Any], texts: tuple[str, ...], gold: int) -> None:
    example = example_of(row, columns={"context": "premise"})
    assert (example.texts, example.gold) == (texts, gold)


def test_a_recipe_names_the_columns_of_options() -> None:
    row = {"mở": "mèo", "x": "chó", "y": "gà", "label": 0}
    assert example_of(row, columns={"context": "mở", "options": ["y", "x"]}).texts == ("mèo", "", "gà", "chó")
    with pytest.raises(KddaError, match=r"columns\.context: got 2 columns, and this field is read from one"):
        example_of(row, columns={"context": ["mở", "x"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ["chó"]}, '"options": got 1 option, expected two or more'),
        ({"options": ["chó", "gà", " chó"]}, "options 1 and 3 are equal: 'chó'"),
        ({"options": ["chó", " "]}, "option 2 is empty"),
        ({"options": ["chó", 5]}, "option 2: got 5, expected text"),
        ({"options": "chó"}, "got 'chó', expected a list of texts, or a column for each option"),
        ({"options": None}, "got None, expected a list of texts"),
        ({"label": 3}, r'"label": got \'3\', expected the number of an option, 0 to 2; a letter, A to C'),
        ({"label": -1}, "got '-1', expected the number"),
        ({"label": None}, '"label" is empty'),
        ({"options": ["1", "0"], "label": "1"}, "'1' is the number of an option and the text of another one"),
        ({"context": ""}, '"context" is empty'),
    ],
)
def test_a_bad_row_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=rf"rows\.jsonl:7: .*{message}"):
        example_of({**BARE, "label": 0, **changes})


def test_a_row_without_labels_has_its_options_alone() -> None:
    row = {"context": "mèo", "choice1": "chó", "choice2": "gà"}
    (example,) = check_rows([Row("", row)], CHOOSE.convert_unlabelled(Schema())).examples
    assert isinstance(example, Choice) and (example.texts, example.gold) == (("mèo", "", "chó", "gà"), -1)


def test_a_map_of_labels_numbers_options_from_one_or_drops_rows() -> None:
    assert example_of({**BARE, "label": 1}, label_map={"1": "0", "2": "1"}).gold == 0
    with pytest.raises(KddaError, match='1 × label "-" dropped'):
        example_of({**BARE, "label": "-"}, label_map={"-": None})


def test_a_long_context_is_cut_and_counted_or_read_in_windows() -> None:
    rows = [{"context": "mèo chó gà cá " * 6, "question": "cat", "options": ["chó", "gà ngủ"], "label": 1}]
    examples = check_rows([Row("", row) for row in rows], CHOOSE.convert(Schema())).examples
    encoder = Encoder(make_tokenizer(), max_length=16, overlap=4)
    cut = CHOOSE.encode(examples, encoder)
    assert [len(window) for window in cut.windows] == [16, 16]
    assert encoder.counts["texts of more than 16 tokens (max_length), whose ends are not read"] == 2
    assert [span.texts[0] for span in CHOOSE.text_spans(cut)] == ["cat chó", "cat gà ngủ"]
    task = MultipleChoice("choose", long_texts="max")
    split = task.encode(examples, encoder)
    targets = task.targets(split, [])
    options = targets["option"].tolist()
    assert options.count(0) > 1 and options == sorted(options) and set(options) == {0, 1}
    assert set(targets["gold"].tolist()) == {1} and len(split.item_lengths) == 1
    assert task.text_spans(split)[1].span not in (None, task.text_spans(split)[0].span)
    numbers = [float(k) for k in range(len(split.windows))]
    (prediction,) = task.decode(split, numbers, [], "")
    assert prediction.predicted == 1 and sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_question_may_be_replaced_by_a_phrase() -> None:
    task = CHOOSE.with_options({"questions": {"cause": "rất"}})
    row = {**BARE, "label": 0}
    examples = check_rows(
        [Row("", {**row, "question": question}) for question in ("cause", "not", None)], task.convert(Schema())
    ).examples
    spans = task.text_spans(task.encode(examples, Encoder(make_tokenizer())))
    assert [spans[k].texts[0] for k in (0, 3, 6)] == ["rất chó", "not chó", "chó"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_texts": "all"}, 'long_texts: got "all"|expected one of: cut, mean, max'),
        ({"questions": ["cause"]}, "questions: got .*expected question: what is read in its place"),
        ({"questions": {"cause": ""}}, "task_options.questions.cause is empty"),
        ({"question": {}}, 'did you mean "questions"'),
    ],
)
def test_options_of_the_task_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=message):
        CHOOSE.with_options(options)


class Numbers(torch.nn.Module):
    """A stand-in for a model: its logits are given."""

    def __init__(self, numbers: Sequence[float]):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor(numbers)[:, None])

    def forward(self) -> Any:
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self.numbers)


@pytest.mark.parametrize(("how", "pooled"), [("mean", [1.5, 0.0, 3.0, 2.0, 1.0]), ("max", [2.0, 0.0, 3.0, 2.0, 1.0])])
def test_the_loss_is_the_cross_entropy_over_a_rows_options(how: str, pooled: list[float]) -> None:
    model = Numbers([1.0, 2.0, 0.0, 3.0, 2.0, 1.0])  # the first option has two windows
    targets = {
        "row": torch.tensor([4, 4, 4, 9, 9, 9]),
        "option": torch.tensor([0, 0, 1, 0, 1, 2]),
        "gold": torch.tensor([1, 1, 1, 0, 0, 0]),
    }
    loss = MultipleChoice("choose", long_texts=how).outputs_with_loss(model, {}, targets).loss
    first, second = torch.tensor(pooled[:2]), torch.tensor(pooled[2:])
    expected = -(first.log_softmax(0)[1] + second.log_softmax(0)[0]) / 2
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert bool(model.numbers.grad.isfinite().all())


def test_parts_of_a_batch_never_cut_a_row_and_give_the_whole_batchs_gradient(tmp_path: Path) -> None:
    student, teacher = make_model(tmp_path / "student"), make_model(tmp_path / "teacher", seed=1)
    logged = []
    for size in (1, 7):
        folder = tmp_path / str(size)
        args = DistillationConfig(
            str(folder), per_device_train_batch_size=7, micro_batch_size=size, precision="fp32", seed=1, logging_steps=1
        )
        args.max_steps = 1
        trainer = DistillationTrainer(
            student,
            {"aa": kdda.Teacher(teacher, random=True)},
            task=CHOOSE,
            train_dataset={"aa": make_choices("aa", 7, 0)},
            args=args,
            say=lambda _: None,
        )
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer.train()
        assert trainer.batches.lengths["aa"].shape == (7,)  # rows, which have two to four windows each
        events = {event["event"]: event for event in read_metrics(folder / "metrics.jsonl")}
        logged.append([events["train"]["task"], events["train"]["transport"], events["step"]["grad_norm"]])
    assert logged[0] == pytest.approx(logged[1], rel=1e-4) and all(logged[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that a recipe has trained, with a teacher of each language."""
    from kdda.experiment.run import Experiment
    from kdda.recipe.load import load_recipe

    bench = Bench(tmp_path_factory.mktemp("choose"))
    bench.values |= {"task": "choose", "arms": {"student": {}, "student-kdda": {"distill": True}}}
    bench.values["task_options"] = {"long_texts": "max", "questions": {"cause": "rất"}}
    bench.values["training"]["epochs"] = 1
    bench.values["teachers"].pop("bb")
    for language, data in bench.values["data"].items():
        for seed, split in enumerate(("train", "dev", "test")):
            rows = make_choices(language, 16 if split == "train" else 6, seed)
            data[split] = write_rows(bench.folder / f"{language}.choose.{split}.jsonl", rows)
    Experiment(load_recipe(str(bench.write())), bench.folder / "runs").run()
    return bench.folder / "runs" / "choose" / "student-kdda" / "seed-1" / "model"


def test_a_recipe_trains_it_and_its_report_compares_rows(model: Path, command: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["kdda_task"] == "choose" and config["id2label"] == {"0": "score"}
    assert kdda.load(model).task == CHOOSE.with_options({"long_texts": "max", "questions": {"cause": "rất"}})
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "multiple-choice" in card and "test accuracy" in card
    rows = [json.loads(line) for line in (model.parent / "predictions.jsonl").read_text().splitlines()]
    assert {len(row["probabilities"]) for row in rows} <= {2, 3, 4}
    runs = model.parents[3]
    code, out, err = command("report", runs)
    assert code == 0 and "student-kdda − student" in out and "accuracy" in out, err
    assert "F1 by" not in out


def test_its_model_chooses_in_python(model: Path) -> None:
    predictor = kdda.load(model, precision="fp32")
    result = predictor.choose("mèo ngủ", ["mèo ngủ", "gà chạy", "cá ngủ"])
    assert result.option == ["mèo ngủ", "gà chạy", "cá ngủ"][result.choice]
    assert len(result.probabilities) == 3 and sum(result.probabilities) == pytest.approx(1, abs=1e-5)
    several = predictor.choose(["mèo ngủ", "chó"], [["mèo ngủ", "gà chạy", "cá ngủ"], ["a", "b"]], question=["", "gà"])
    assert several[0] == result and len(several[1].probabilities) == 2
    assert predictor(context="mèo ngủ", options=["mèo ngủ", "gà chạy", "cá ngủ"]) == result
    assert predictor.choose("mèo ngủ", [["a", "b"], ["b", "a"]])[1].options == ["b", "a"]
    for options, message in (
        (["a"], "got 1 option"),
        (["a", "a"], "are equal"),
        (["a", ""], "is empty"),
        ("ab", "list"),
    ):
        with pytest.raises(KddaError, match=message):
            predictor.choose("mèo", options)
    with pytest.raises(KddaError, match=r"chooses one of several options: choose\(context, options, question\)"):
        predictor.answer("a", "b")


def test_commands_predict_and_evaluate_it(model: Path, tmp_path: Path, command: Any) -> None:
    options = ("--text", "options=gà", "--text", "options=chó")
    code, out, err = command("predict", model, "--text", "context=mèo ngủ", *options, "--json")
    assert code == 0 and json.loads(out)["option"] in ("gà", "chó"), err
    source = write_rows(tmp_path / "in.jsonl", make_choices("aa", 4, 3))
    code, _, err = command("predict", model, "--input", source, "--output", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert code == 0 and [line["id"] for line in lines] == ["c0", "c1", "c2", "c3"] and "choice" in lines[0], err
    code, out, err = command("evaluate", model, "--data", source, "--out", tmp_path / "p.jsonl", "--json")
    scores = json.loads(out)
    assert code == 0 and scores["task"] == "choose" and scores["chance"] > 0, err
    code, _, err = command("predict", model, "--text", "question=gì", *options)
    assert code == 2 and "got options, question, expected each of its fields: kdda predict" in err
    assert '[--question "…"]' in err
    code, _, err = command("predict", model, "--text", "txt=gì")
    assert code == 2 and "kdda: got txt: " in err
    bad = write_rows(tmp_path / "bad.jsonl", [{"context": "a", "options": ["b"]}])
    code, _, err = command("predict", model, "--input", bad, "--output", tmp_path / "none.jsonl")
    assert code == 2 and 'bad.jsonl:1: "options": got 1 option' in err


def test_a_server_and_its_page_have_it(model: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    pytest.importorskip("gradio", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from tests.serve.live import serving

    predictor = kdda.load(model, precision="fp32")
    with serving([predictor], Limits(), page=True) as live:
        body = {"context": "mèo ngủ", "options": ["gà", "chó"]}
        answer = live.ask("POST", "/choose", body).json
        assert answer == predictor.choose("mèo ngủ", ["gà", "chó"]).as_response()
        assert live.ask("POST", "/choose", {**body, "options": ["gà"]}).status == 422
        assert live.ask("POST", "/choose", {**body, "options": "gà"}).status == 422
        assert "list of at most 100 texts" in live.ask("GET", "/docs").body.decode()
        assert "choose-options" in live.ask("GET", "/config").body.decode()


def test_the_page_shows_a_bar_for_each_option(model: Path) -> None:
    pytest.importorskip("gradio", reason='needs pip install "kdda[serve]"')
    from kdda.serve.page.markup import result_html
    from kdda.serve.page.words import WORDS

    result = kdda.load(model, precision="fp32").choose("mèo", ["<gà>", "chó"])
    page = result_html("options", result, ("mèo",), next(iter(WORDS.values())), {})
    assert page.count('class="bar') == 3 and "&lt;gà&gt;" in page and page.count("bar best") == 1


def test_an_export_is_checked_on_rows_with_options(
    model: Path, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')
    from kdda.inference.onnx import Exported, export

    bad = write_rows(tmp_path / "bad.jsonl", [{"context": "mèo", "options": ["gà"]}])
    code, _, err = command("export", model, tmp_path / "onnx", "--data", bad)
    assert code == 2 and 'bad.jsonl:1: "options": got 1 option, expected two or more' in err
    read: list[
        Sequence[tuple[str, ...]]
    ] = []  # in place of the tracing, which takes seconds and is alike for all heads
    monkeypatch.setattr("kdda.inference.onnx._write", lambda predictor, out, int8, rows: read.append(rows))
    record = Exported("", int8=False, rows=3, max_logit_difference=0.0, agreement=100.0, megabytes=0.0)
    monkeypatch.setattr("kdda.inference.onnx._check", lambda *_: record)
    rows = write_rows(tmp_path / "rows.jsonl", make_choices("aa", 3, 5))
    assert export(str(model), tmp_path / "onnx", data=rows) == record
    assert {len(row) - 2 for row in read[0]} <= {2, 3, 4} and len(read[0]) == 3
