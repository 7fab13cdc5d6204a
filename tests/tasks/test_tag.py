"""The task `tag`: labels through every tokenizer and window, a trained model in all its forms, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import kdda
from kdda import DistillationConfig, DistillationTrainer
from kdda.data.examples import Example, LabelledSpan, Schema, TaggedExample, check_rows
from kdda.data.sources import Row
from kdda.data.tag_schemes import output_names
from kdda.errors import KddaError
from kdda.experiment.run import Experiment
from kdda.recipe.load import load_recipe
from kdda.runs.events import read_metrics
from kdda.tasks.features import Features
from kdda.tasks.registry import task_named
from kdda.tasks.tag import TAG, TagPrediction, TagResult
from kdda.text.encode import TEXT_COUNTS, Encoder
from kdda.training.data import TrainingData
from tests.conftest import Bench, make_model, make_sentences, make_tokenizer, write_rows
from tests.text.phobert import make_phobert_tokenizer

LABELS = output_names(["LOC", "PER"])

NEWS = "Bà Lê Hoa, 40 tuổi, sống ở Hà Nội (Việt Nam) từ 2015; ông Nam sống ở Huế."

GOLDS = [("Lê Hoa", "PER"), ("Hà Nội", "LOC"), ("Việt Nam", "LOC"), ("Nam", "PER"), ("Huế", "LOC")]


def tagged(text: str, golds: list[tuple[str, str]], name: str = "1") -> TaggedExample:
    """An example whose golds are the first occurrences of texts behind the gold before."""
    spans = []
    end = 0
    for part, label in golds:
        start = text.index(part, end)
        end = start + len(part)
        spans.append(LabelledSpan(start, end, label))
    return TaggedExample(name, (text,), text, tuple(spans))


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token: all words but those of one letter have continuations, and an emoji has four."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["[PAD]", "[CLS]", "[SEP]", *alphabet])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str]]:
    """Tokenizers with the segmenter that each expects: of bytes, of words between spaces, and PhoBERT's."""
    sentences = ["Bà Lê_Hoa sống ở Hà_Nội , Việt_Nam , và ở Huế từ 2015 .", "ông Nam ( 40 tuổi )"]
    phobert = make_phobert_tokenizer(tmp_path_factory.mktemp("phobert"), sentences)
    return {"bytes": (byte_tokenizer(), "none"), "words": (make_tokenizer(), "none"), "phobert": (phobert, "vi")}


def gold_logits(features: Features, encoder: Encoder, batch: list[int]) -> SimpleNamespace:
    """Outputs of a model that gives every token that has one its gold tag, and all others a random one."""
    windows = [features.windows[k] for k in batch]
    tokens = encoder.pad(windows)["input_ids"].shape[1]
    golds = TAG.batch_targets(TAG.targets(features, LABELS), batch, tokens)["labels"]
    chance = torch.Generator().manual_seed(0)
    noise = torch.randint(len(LABELS), golds.shape, generator=chance)
    chosen = torch.where(golds == -100, noise, golds)
    return SimpleNamespace(logits=10 * torch.nn.functional.one_hot(chosen, len(LABELS)).float())


def decoded(features: Features, encoder: Encoder) -> list[TagPrediction]:
    everything = list(range(len(features.windows)))
    outputs = gold_logits(features, encoder, everything)
    candidates = TAG.candidates(outputs, list(features.windows))
    return TAG.decode(features, candidates, LABELS, "vi")


def places(prediction: TagPrediction) -> list[tuple[str, str]]:
    return [(span["text"], span["label"]) for span in prediction.predicted]


@pytest.mark.parametrize("longest", [8, 13, 40, 512])
@pytest.mark.parametrize("name", ["bytes", "phobert", "words"])
def test_golds_become_tags_of_tokens_and_spans_again_whatever_the_windows(
    name: str, longest: int, tokenizers: dict[str, tuple[Any, str]]
) -> None:
    tokenizer, segmenter = tokenizers[name]
    encoder = Encoder(tokenizer, segmenter, longest, 4)
    examples = [tagged(NEWS, GOLDS), tagged("😀", []), tagged("Huế", [("Huế", "LOC")], "3"), tagged(NEWS, [], "4")]
    features = TAG.encode(examples, encoder)
    news, emoji, one, nothing = decoded(features, encoder)
    assert places(emoji) == places(nothing) == [] and places(one) == [("Huế", "LOC")]
    if name == "words":  # tokens between spaces hold punctuation, too: what they give is counted, and the oracle's
        assert places(news) == [
            ("Lê Hoa,", "PER"),
            ("Hà Nội", "LOC"),
            ("(Việt Nam)", "LOC"),
            *GOLDS[3:4],
            ("Huế.", "LOC"),
        ]
        assert encoder.counts["gold spans that the tokens cannot give exactly"] == 3
    else:
        assert places(news) == GOLDS and encoder.counts["gold spans that the tokens cannot give exactly"] == 0
    scores = TAG.score([news, emoji, one, nothing], LABELS)
    assert scores["f1"] == pytest.approx(scores["oracle_f1"])
    assert scores["f1"] == pytest.approx(50.0 if name == "words" else 100.0)
    for span in news.predicted:
        assert NEWS[span["start"] : span["end"]] == span["text"] and span["probability"] > 0.99
    assert (encoder.counts[TEXT_COUNTS[1].format(tokens=encoder.max_length)] > 0) == (
        longest < 40 or (name == "bytes" and longest == 40)
    )


def test_a_token_belongs_to_the_window_where_it_has_most_context(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["bytes"][0], "none", 18, 8)
    features = TAG.encode([tagged(NEWS, GOLDS)], encoder)
    outputs = gold_logits(features, encoder, list(range(len(features.windows))))
    count = len(features.windows[0].parts[0])
    contexts = []  # of each window: token → how many tokens it has on its shorter side, in the text's places
    for window in features.windows:
        start, stop = window.ranges[0]
        sides = {k: (k - start if start else 999, stop - 1 - k if stop < count else 999) for k in range(start, stop)}
        contexts.append({k: min(both) for k, both in sides.items()})
    for number, (window, context) in enumerate(zip(features.windows, contexts, strict=True)):
        start, _ = window.ranges[0]
        for k, here in context.items():
            if any(other.get(k, -1) > here for other in contexts):
                outputs.logits[number, window.context_start + k - start] = torch.tensor([0.0, 50, 0, 0, 0])
    (prediction,) = TAG.decode(features, TAG.candidates(outputs, list(features.windows)), LABELS, "vi")
    assert places(prediction) == GOLDS and len(features.windows) > 4


def test_a_word_that_a_span_cuts_is_of_the_span_with_most_of_it(tmp_path: Path) -> None:
    encoder = Encoder(make_phobert_tokenizer(tmp_path, ["nhà_văn_hoá Huế"]), "vi", 64)
    features = TAG.encode([tagged("aaab ccc", [("aaa", "PER"), ("b", "LOC"), ("ccc", "LOC")])], encoder)
    (prediction,) = decoded(features, encoder)
    assert places(prediction) == [("aaab", "PER"), ("ccc", "LOC")]
    assert encoder.counts["gold spans that the tokens cannot give exactly"] == 2
    assert prediction.f1 == prediction.oracle_f1 == pytest.approx(2 / 5) and prediction.oracle_spans == 5


def test_a_mark_that_a_token_has_behind_a_number_is_no_part_of_the_word(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["words"][0], "none", 64)  # tokens are what stands between spaces
    features = TAG.encode([tagged("ở Huế năm 2015. Từ 3, 5%", [("2015", "LOC"), ("3", "LOC"), ("5%", "PER")])], encoder)
    (prediction,) = decoded(features, encoder)
    assert places(prediction) == [("2015", "LOC"), ("3", "LOC"), ("5%", "PER")] and prediction.oracle_f1 == 1


def test_special_tokens_continuations_and_padding_have_no_target(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["bytes"][0], "none", 64)
    features = TAG.encode([tagged("ab c", [("c", "PER")]), tagged("a", [])], encoder)
    targets = TAG.targets(features, LABELS)
    rows = TAG.batch_targets(targets, [1, 0], 8)["labels"].tolist()
    ignored = -100
    assert rows == [[ignored, 0] + [ignored] * 6, [ignored, 0, ignored, ignored, LABELS.index("B-PER")] + [ignored] * 3]
    assert TAG.count_targets(targets, [0, 1]) == 3


def test_a_window_without_a_word_has_a_target_all_the_same(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["bytes"][0], "none", 8, 2)
    features = TAG.encode([tagged("a" * 30, [])], encoder)
    targets = TAG.targets(features, LABELS)
    assert len(features.windows) > 3
    assert all(TAG.count_targets(targets, [window]) == 1 for window in range(len(features.windows)))


def test_scripts_without_spaces_have_a_word_a_token(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["bytes"][0], "none", 64)
    features = TAG.encode([tagged("我在北京", [("北京", "LOC")])], encoder)
    (prediction,) = decoded(features, encoder)
    assert places(prediction) == [("北京", "LOC")]


# -- a trained model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of a recipe that names no labels; one language has a teacher."""
    folder = tmp_path_factory.mktemp("tag")
    bench = Bench(folder)
    arms = {"student-da": {}, "student-kdda": {"distill": True, "teachers": {"bb": None}}}
    bench.values |= {"task": "tag", "arms": arms}
    bench.values["training"] |= {"max_length": 8, "stride": 2, "head": "standardized", "epochs": 3}
    for language, data in bench.values["data"].items():
        for seed, split in enumerate(("train", "dev", "test")):
            rows = make_sentences(language, 40 if split == "train" else 12, seed)
            data[split] = write_rows(folder / f"{language}.tag.{split}.jsonl", rows)
    Experiment(load_recipe(str(bench.write())), folder / "runs").run()
    return folder / "runs" / "tag"


@pytest.fixture(scope="module")
def model(runs: Path) -> Path:
    return runs / "student-kdda" / "seed-1" / "model"


TEXT = "mèo rất ngủ chó rất chạy gà rất ngủ"


def test_a_recipe_trains_it_and_a_report_compares_it(runs: Path, command: Any) -> None:
    folder = runs / "student-kdda" / "seed-1"
    events = read_metrics(folder / "metrics.jsonl")
    (facts,) = [event for event in events if event["event"] == "task"]
    assert (facts["metric"], facts["row_score"], facts["row_weight"]) == ("f1", "f1", "spans")
    assert facts["data"]["aa"]["windows"] > facts["data"]["aa"]["rows"]  # texts longer than a window
    (test,) = [event for event in events if event["event"] == "final-test" and event["language"] == "aa"]
    assert test["f1"] > 60 and test["oracle_f1"] == 100 and set(test["per_label"]) == {"ACT", "ANIMAL"}
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    ours = [line for line in lines if line["language"] == "aa"]
    weighted = sum(line["f1"] * line["spans"] for line in ours) / sum(line["spans"] for line in ours)
    assert test["f1"] == pytest.approx(100 * weighted)
    code, report, err = command("report", runs)
    assert code == 0 and "student-kdda − student-da" in report and "ANIMAL" in report, err
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: token-classification" in card and "test f1" in card


def test_its_model_labels_spans_of_texts(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["kdda_task"] == "tag" and list(config["id2label"].values()) == output_names(["ACT", "ANIMAL"])
    predictor = kdda.load(model, precision="fp32")
    result = predictor.tag(TEXT)
    assert isinstance(result, TagResult) and [(s.text, s.label) for s in result.spans][:2] == [
        ("mèo", "ANIMAL"),
        ("rất ngủ", "ACT"),
    ]
    for span in result.spans:
        assert TEXT[span.start : span.end] == span.text and 0 < span.probability <= 1
    again, emoji = predictor.tag([TEXT, "😀"])
    assert again == result and {span.text for span in emoji.spans} <= {"😀"}
    assert str(TagResult([])) == "(no spans)"
    assert "ANIMAL  mèo  (0 to 3)" in str(result)
    with pytest.raises(KddaError, match=r"labels spans of texts: tag\(text\)"):
        predictor.classify(TEXT)


def test_transformers_opens_it_as_a_token_classifier(model: Path) -> None:
    from transformers import AutoModelForTokenClassification

    opened = AutoModelForTokenClassification.from_pretrained(model)
    assert opened.config.id2label[1] == "B-ACT"


def test_commands_predict_and_evaluate_it(model: Path, tmp_path: Path, command: Any) -> None:
    code, out, err = command("predict", model, "--text", f"text={TEXT}", "--json")
    assert code == 0 and json.loads(out)["spans"][0]["text"] == "mèo", err
    rows = make_sentences("aa", 6, 9)
    texts = write_rows(tmp_path / "in.jsonl", [row for row in rows if "text" in row])
    code, _, err = command("predict", model, "--input", texts, "--output", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert code == 0 and len(lines) == 3 and {"id", "spans"} == set(lines[0]), err
    data = write_rows(tmp_path / "data.jsonl", rows)
    code, out, err = command("evaluate", model, "--data", data, "--out", tmp_path / "p.jsonl", "--json")
    assert code == 0 and json.loads(out)["rows"] == 6 and json.loads(out)["oracle_f1"] == 100.0, err


def test_scores_as_seqeval_takes_them_are_the_same_spans(model: Path) -> None:
    evaluation = kdda.evaluate(model, make_sentences("aa", 5, 3))
    predicted, golds = TAG.eval_prediction(evaluation.predictions, [])
    assert [len(row) for row in predicted] == [len(row) for row in golds]
    assert sum(tag.startswith("B-") for row in golds for tag in row) == evaluation.scores["spans"]


def test_a_server_has_its_route_and_the_page_marks_its_spans(model: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from kdda.serve.page.markup import result_html
    from kdda.serve.page.words import ENGLISH, WORDS
    from tests.serve.live import serving

    predictor = kdda.load(model, precision="fp32")
    with serving([predictor], Limits()) as live:
        assert live.ask("GET", "/health").json["routes"] == {"tag": "/tag"}
        assert live.ask("POST", "/tag", {"text": TEXT}).json["spans"][0]["label"] == "ANIMAL"
    words = WORDS[ENGLISH]
    html = result_html("spans", predictor.tag(TEXT), (TEXT,), words, {"animal": "a <b>"})
    assert "<mark>mèo <small" in html and "[ANIMAL]" in html and "a &lt;b&gt;" in html
    assert "No part of the text has a label" in result_html("spans", TagResult([]), ("<x>",), words, {})


@pytest.mark.slow
def test_it_is_exported(model: Path, tmp_path: Path, command: Any) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')
    rows = write_rows(tmp_path / "rows.jsonl", [row for row in make_sentences("aa", 8, 5) if "text" in row])
    code, out, err = command("export", model, tmp_path / "onnx", "--data", rows)
    assert code == 0 and "4 real rows" in out, err
    assert kdda.load(tmp_path / "onnx").tag(TEXT).decision == kdda.load(model, precision="fp32").tag(TEXT).decision


# -- training in Python


def trainer(folder: Path, distilled: bool = True, **arguments: Any) -> DistillationTrainer:
    made = {name: make_model(folder / name, seed=seed) for seed, name in enumerate(("student", "teacher"))}
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 6, "learning_rate": 1e-3, "precision": "fp32"}
    args = DistillationConfig(str(folder / "out"), max_length=16, seed=1, **{**options, **arguments})
    rows = {"aa": make_sentences("aa", 12, 0)}
    teachers = {"aa": made["teacher"]} if distilled else {}
    return DistillationTrainer(made["student"], teachers, task="tag", train_dataset=rows, args=args)


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    weights = []
    for size in (None, 2):
        training = trainer(tmp_path / str(size), distilled=False, micro_batch_size=size, adam_epsilon=1.0)
        for module in training.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        training.train()
        weights.append(torch.cat([weight.detach().flatten() for weight in training.model.parameters()]))
    assert torch.allclose(*weights, atol=1e-7)  # Adam's steps are then in proportion to its gradients


def test_labels_that_are_named_are_those_of_the_head() -> None:
    rows = [{"text": "Huế", "spans": [[0, 3, "LOC"]]}]
    data = TrainingData.from_datasets(TAG, {"vi": rows}, labels=["PER", "LOC"])
    assert data.labels == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    one = TrainingData.from_datasets(TAG, {"vi": [{"text": "Ngu", "spans": "[0, 1, 2]"}]})
    assert one.labels == ["O", "B-SPAN", "I-SPAN"]


def test_rows_without_labels_have_a_text_or_words() -> None:
    labelled = [{"text": "Huế", "spans": [[0, 3, "LOC"]]}]
    unlabelled = [{"tokens": ["Hà_Nội", "", "Huế"]}, {"tokens": "Hà_Nội Huế", "text": " "}, {"text": "Hà_Nội"}]
    task = TAG.with_options({"underscores": "spaces"})
    data = TrainingData.from_datasets(task, {"vi": labelled, "en": unlabelled}, unlabelled=["en"])
    assert [example.texts for example in data.train["en"]] == [("Hà Nội Huế",), ("Hà Nội Huế",), ("Hà_Nội",)]


# -- bad input


def test_a_label_that_only_the_test_split_has_is_refused_with_its_place(bench: Bench, command: Any) -> None:
    bench.values |= {"task": "tag", "arms": {"student": {"train": "target"}}, "teachers": {}}
    data = {}
    for split, label in (("train", "LOC"), ("dev", "LOC"), ("test", "ORG")):
        rows = [{"text": "mèo ngủ", "spans": [[0, 3, label]]}]
        data[split] = write_rows(bench.folder / f"{split}.jsonl", rows)
    bench.values["data"] = {"aa": data}
    code, _, err = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "data.aa.test" in err and "test.jsonl:1" in err and 'got "ORG", expected one of: LOC' in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "bilou"}, 'task_options.scheme: got "bilou", expected one of: bio, bioes, io, spans'),
        ({"schema": "bio"}, "did you mean"),
        ({"label": " "}, "task_options.label: got ' ', expected the name of a label"),
        ({"underscores": True}, 'task_options.underscores: got "True", expected one of: keep, spaces'),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=message):
        TAG.with_options(options)


def test_options_are_those_of_the_saved_model() -> None:
    task = TAG.with_options({"label": "HATE", "scheme": "spans", "underscores": "spaces"})
    assert task_named("tag").with_settings(task.settings()) == task
    rows = [Row("rows:1", {"text": "ngu quá", "tags": ["O"], "spans": "[0, 1, 2]"})]
    (example,) = check_rows(rows, task.convert(Schema(("O", "B-HATE", "I-HATE")))).examples
    assert isinstance(example, TaggedExample) and example.spans == ((0, 3, "HATE"),)


def test_a_head_whose_labels_are_no_tags_is_refused() -> None:
    with pytest.raises(KddaError, match=r"\(LABEL_0, LABEL_1\) are no tags, expected O, B-LABEL"):
        TAG.check_outputs(SimpleNamespace(id2label={0: "LABEL_0", 1: "LABEL_1"}), "model")
    TAG.check_outputs(SimpleNamespace(id2label={0: "O", 1: "PER"}), "model")


def test_an_example_without_golds_is_only_labelled(tokenizers: dict[str, tuple[Any, str]]) -> None:
    encoder = Encoder(tokenizers["bytes"][0], "none", 64)
    features = TAG.encode([Example("1", ("Huế",), "")], encoder)
    outputs = SimpleNamespace(logits=torch.zeros(1, 7, 2))
    outputs.logits[0, 1, 1] = np.log(3)
    (prediction,) = TAG.decode(features, TAG.candidates(outputs, list(features.windows)), ["O", "LOC"], "")
    assert prediction.golds == [] and prediction.predicted == [
        {"text": "Huế", "start": 0, "end": 3, "label": "LOC", "probability": 0.75}
    ]
