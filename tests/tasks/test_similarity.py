"""Similarity: scores in a range, pooled vectors, correlations, and one tiny run through every interface."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kdda
from kdda.data.examples import Example, Schema, check_rows
from kdda.data.scored_pairs import ScoredPair
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.metrics.correlation import RankedRows, spearman, spearman_interval
from kdda.runs.events import read_metrics
from kdda.tasks.similarity import SIMILARITY, Similarity
from kdda.text.encode import Encoder
from tests.conftest import NOUNS, VERBS, Bench, make_tokenizer, write_rows

FIVE = SIMILARITY.with_options({"range": [0, 5]})


def make_pairs(language: str, count: int, seed: int) -> list[dict[str, Any]]:
    """From 0 to 5: 3 for the same noun and 2 for the same verb; rows of one id are translations in both languages."""
    chance, rows = random.Random(seed), []
    for i in range(count):
        nouns = chance.choices(range(4), k=2)
        verbs = chance.choices(range(2), k=2)
        texts = []
        for noun, verb in zip(nouns, verbs, strict=True):
            texts.append(f"{NOUNS[language][noun]} {VERBS[language][verb]}")
        score = 3.0 * (nouns[0] == nouns[1]) + 2.0 * (verbs[0] == verbs[1])
        rows.append({"id": f"p{i}", "sentence1": texts[0], "sentence2": texts[1], "score": score})
    return rows


def example_of(row: dict[str, Any], task: Any = FIVE, **schema: Any) -> ScoredPair:
    """The one example of a row."""
    (example,) = check_rows([Row("rows.jsonl:7", row)], task.convert(Schema(**schema))).examples
    assert isinstance(example, ScoredPair)
    return example


@pytest.mark.parametrize(
    ("score_range", "score", "cosine"),
    [([0, 5], 5, 1.0), ([0, 5], "2.5", 0.5), ([1, 5], 1.0, 0.0), ([0, 1], 0.25, 0.25), ([-1, 1], -0.5, -0.5)],
)
def test_scores_of_any_range_become_cosines(score_range: list[float], score: Any, cosine: float) -> None:
    task = SIMILARITY.with_options({"range": score_range})
    assert isinstance(task, Similarity)
    row = {"sentence1": "mèo", "sentence2": "chó", "score": score}
    assert task.cosine_of(example_of(row, task)) == cosine


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (5.1, r"got 5\.1, expected a number from 0 to 5; task_options: {range: \[LOWEST, HIGHEST\]} sets the range"),
        (-1, "got -1, expected a number from 0 to 5"),
        ("high", "got 'high', expected a number"),
        (True, "got True, expected a number"),
        ("nan", "got 'nan', expected a number"),
        (None, "is empty"),
    ],
)
def test_a_score_outside_its_range_is_refused_with_its_place(score: Any, message: str) -> None:
    with pytest.raises(KddaError, match=rf'rows\.jsonl:7: "score":? {message}'):
        example_of({"sentence1": "mèo", "sentence2": "chó", "score": score})


def test_rows_of_some_scores_may_be_dropped() -> None:
    with pytest.raises(KddaError, match='1 × score "-" dropped'):
        example_of({"sentence1": "mèo", "sentence2": "chó", "score": "-"}, label_map={"-": None})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": [5, 0]}, "expected two numbers that rise"),
        ({"range": 5}, "expected two numbers that rise"),
        ({"pooling": "max"}, 'pooling.*"max"'),
        ({"rang": [0, 5]}, 'did you mean "range"'),
    ],
)
def test_options_of_the_task_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=message):
        SIMILARITY.with_options(options)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_vector_does_not_depend_on_padding(pooling: str) -> None:
    from types import SimpleNamespace

    task = SIMILARITY.with_options({"pooling": pooling})
    encoder = Encoder(make_tokenizer())
    windows = list(task.encode([Example("0", ("mèo", "mèo ngủ rất"), "")], encoder).windows)
    states = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    short, _ = task.candidates(SimpleNamespace(last_hidden_state=states), windows)
    (alone,) = task.candidates(SimpleNamespace(last_hidden_state=states[:1, :3]), windows[:1])
    assert np.allclose(short, alone) and np.linalg.norm(short) == pytest.approx(1)


def test_an_interval_of_spearmans_correlation_holds_it() -> None:
    chance = random.Random(0)
    golds = [float(chance.randrange(6)) for _ in range(200)]
    near = [gold + chance.gauss(0, 2) for gold in golds]
    far = [gold + chance.gauss(0, 8) for gold in golds]
    rows = list(map(str, range(200)))
    interval = spearman_interval([RankedRows(golds, [near], [], rows)], samples=500)
    assert interval.mean == pytest.approx(spearman(near, golds)) and interval.low < interval.mean < interval.high
    gain = spearman_interval([RankedRows(golds, [near, near], [far, far], rows)], samples=500)
    assert gain.mean == pytest.approx(spearman(near, golds) - spearman(far, golds)) and gain.low > 0
    same = spearman_interval([RankedRows(golds, [near], [near], rows)] * 2, samples=500)
    assert (same.mean, same.low, same.high) == (0, 0, 0) and spearman([1.0, 1.0], [0.0, 1.0]) == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that a recipe has trained, with a teacher of each language."""
    from kdda.experiment.run import Experiment
    from kdda.recipe.load import load_recipe

    bench = Bench(tmp_path_factory.mktemp("similarity"))
    bench.values |= {"task": "similarity", "arms": {"student": {}, "student-kdda": {"distill": True}}}
    bench.values["task_options"] = {"range": [0, 5]}
    bench.values["training"]["epochs"] = 1
    bench.values["teachers"].pop("bb")
    for language, data in bench.values["data"].items():
        for seed, split in enumerate(("train", "dev", "test")):
            rows = make_pairs(language, 24 if split == "train" else 10, seed)
            data[split] = write_rows(bench.folder / f"{language}.pairs.{split}.jsonl", rows)
    Experiment(load_recipe(str(bench.write())), bench.folder / "runs").run()
    return bench.folder / "runs" / "similarity" / "student-kdda" / "seed-1" / "model"


def test_a_recipe_trains_it_and_its_report_compares_correlations(model: Path, command: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["kdda_task"] == "similarity" and config["architectures"] == ["BertModel"]
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "sentence-similarity" in card and "test spearman" in card
    code, out, err = command("report", model.parents[3])
    assert code == 0 and "student-kdda − student" in out and "Δ spearman" in out, err
    assert "Translation retrieval, development rows" in out and "aa → bb" in out
    (event,) = [event for event in read_metrics(model.parent / "metrics.jsonl") if event["event"] == "final-retrieval"]
    assert (event["language"], event["other"]) == ("aa", "bb") and 2 <= event["pairs"] <= 10
    assert 0 <= event["src_to_tgt"] <= 100


def test_its_model_compares_texts_in_python(model: Path) -> None:
    predictor = kdda.load(model, precision="fp32")
    assert predictor.task == FIVE
    result = predictor.similarity("mèo ngủ", "gà chạy")
    vectors = predictor.encode(["mèo ngủ", "gà chạy"])
    assert result.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    assert predictor.similarity("mèo", "mèo").similarity == pytest.approx(1, abs=1e-5)
    assert predictor.similarity("mèo ngủ", ["gà chạy", "mèo"])[0].similarity == pytest.approx(
        result.similarity, abs=1e-5
    )
    with pytest.raises(KddaError, match=r"says how alike two texts are: similarity\(sentence1, sentence2\)"):
        predictor.classify("a", "b")
    for texts, message in (([], "expected a list"), ("mèo", "expected a list"), (["mèo", " "], "text 1 is empty")):
        with pytest.raises(KddaError, match=message):
            predictor.encode(texts)


def test_commands_predict_and_evaluate_it(model: Path, tmp_path: Path, command: Any) -> None:
    texts = ("--text", "sentence1=mèo ngủ", "--text", "sentence2=gà chạy")
    code, out, err = command("predict", model, *texts, "--json")
    assert code == 0 and -1 <= json.loads(out)["similarity"] <= 1, err
    source = write_rows(tmp_path / "in.jsonl", make_pairs("aa", 6, 3))
    code, _, err = command("predict", model, "--input", source, "--output", tmp_path / "out.jsonl")
    assert code == 0 and len((tmp_path / "out.jsonl").read_text().splitlines()) == 6, err
    code, out, err = command("evaluate", model, "--data", source, "--out", tmp_path / "p.jsonl", "--json")
    assert code == 0 and {"pearson", "spearman", "squared_error"} <= set(json.loads(out)), err


def test_sentence_transformers_opens_its_folder_and_gives_the_same_vectors(model: Path, command: Any) -> None:
    modules = json.loads((model / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]
    pooling = json.loads((model / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] and not pooling["pooling_mode_cls_token"]
    assert pooling["word_embedding_dimension"] == 16
    limits = json.loads((model / "sentence_bert_config.json").read_text())
    assert limits == {"max_seq_length": 64, "do_lower_case": False}
    code, out, err = command("push", model, "somebody/similarity")
    assert code == 0 and "modules.json" in out and "1_Pooling/config.json" in out, err
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["mèo ngủ", "gà chạy rất", "cá " * 100]
    theirs = sentence_transformers.SentenceTransformer(str(model), device="cpu").encode(texts)
    assert np.allclose(theirs, kdda.load(model, precision="fp32").encode(texts), atol=1e-5)


def test_a_server_has_its_route_and_the_page_shows_a_number(model: Path) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')
    pytest.importorskip("gradio", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from kdda.serve.page.markup import result_html
    from kdda.serve.page.words import WORDS
    from tests.serve.live import serving

    predictor = kdda.load(model, precision="fp32")
    with serving([predictor], Limits()) as live:
        answer = live.ask("POST", "/similarity", {"sentence1": "mèo ngủ", "sentence2": "gà"}).json
        result = predictor.similarity("mèo ngủ", "gà")
        assert answer == {"similarity": pytest.approx(result.similarity, abs=1e-5)}
    page = result_html("number", result, ("mèo ngủ", "gà"), next(iter(WORDS.values())), {})
    assert f"<strong>{result.similarity:.2f}</strong>" in page and "%<" not in page  # a cosine is no share


@pytest.mark.slow
def test_it_is_exported_where_rows_are_given(model: Path, tmp_path: Path, command: Any) -> None:
    pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')
    rows = write_rows(tmp_path / "rows.jsonl", make_pairs("aa", 5, 5))
    code, out, err = command("export", model, tmp_path / "onnx", "--data", rows)
    assert code == 0 and "5 real rows" in out, err
    ours, theirs = kdda.load(model, precision="fp32"), kdda.load(tmp_path / "onnx")
    assert np.allclose(ours.encode(["mèo ngủ", "gà"]), theirs.encode(["mèo ngủ", "gà"]), atol=1e-4)
