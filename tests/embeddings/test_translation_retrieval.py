"""Translations are retrieved by a model's embeddings, in both directions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from kdda.embeddings.translation_retrieval import evaluate_translation_retrieval
from tests.conftest import make_model, write_rows


class Given:
    """Vectors by text."""

    name = "given"
    fingerprint = "given"

    def __init__(self, **vectors: tuple[float, float]):
        self.known = vectors

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        vectors = np.array([self.known[text] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_model_that_maps_both_languages_alike_finds_every_translation() -> None:
    model = Given(a=(1, 0), b=(0, 1), c=(-1, 0), x=(1, 0.1), y=(0.1, 1), z=(-1, -0.1))
    scores = evaluate_translation_retrieval(model, ["a", "b", "c"], ["x", "y", "z"])
    assert (scores.pairs, scores.src_to_tgt, scores.tgt_to_src) == (3, 100.0, 100.0) and scores.margin > 100


def test_the_two_ways_are_counted_apart() -> None:
    model = Given(a=(1, 0), b=(0.9, 0.5), x=(1, 0.02), y=(1, -0.5))
    scores = evaluate_translation_retrieval(model, ["a", "b"], ["x", "y"])
    assert (scores.src_to_tgt, scores.tgt_to_src) == (50.0, 50.0)
    other = evaluate_translation_retrieval(Given(a=(1, 0), b=(0, 1), x=(1, 0.1), y=(1, 0.2)), ["a", "b"], ["x", "y"])
    assert (other.src_to_tgt, other.tgt_to_src) == (100.0, 50.0)


def test_cosines_are_those_of_pairs_and_of_all_others() -> None:
    scores = evaluate_translation_retrieval(Given(a=(1, 0), b=(0, 1), x=(1, 1), y=(-1, 1)), ["a", "b"], ["x", "y"])
    half = 100 * 2**-0.5
    assert scores.translation_cosine == pytest.approx(half) and scores.other_cosine == pytest.approx(0, abs=1e-5)
    assert scores.margin == pytest.approx(half)


def test_the_command_holds_models_against_each_other(tmp_path: Path, command: Any) -> None:
    models = [make_model(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    rows = [{"vi": "cat runs", "en": "dog"}, {"vi": "hen", "en": "hen"}, {"vi": "fish", "en": "not fish"}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    code, text, _ = command("translation-retrieval", *models, "--data", data)
    assert code == 0 and all(f"| {model} " in text for model in models) and "vi → en" in text
    _, text, _ = command("translation-retrieval", models[0], "--data", data, "--json")
    (scores,) = json.loads(text)
    assert scores["model"] == models[0] and scores["pairs"] == 3 and 0 <= scores["src_to_tgt"] <= 100
    unnamed = tmp_path / "pairs.tsv"
    unnamed.write_text("".join(f"{row['vi']}\t{row['en']}\n" for row in rows), encoding="utf-8")
    _, again, _ = command("translation-retrieval", models[0], "--data", unnamed, "--header", "vi,en", "--json")
    assert json.loads(again) == json.loads(text)
    _, text, _ = command("translation-retrieval", models[0], "--data", data, "--columns", "en,en", "--json")
    assert json.loads(text)[0]["src_to_tgt"] == 100  # every text is its own nearest


def test_a_model_can_be_held_as_shallow_as_a_student_begins(tmp_path: Path, command: Any) -> None:
    deep = make_model(tmp_path / "deep")
    rows = [{"vi": "cat runs", "en": "dog"}, {"vi": "hen", "en": "hen"}, {"vi": "fish", "en": "not fish"}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)

    def scores(*options: str) -> Any:
        return json.loads(command("translation-retrieval", deep, "--data", data, "--json", *options)[1])[0]

    assert scores("--layers", "2") == scores() != scores("--layers", "1")
    code, _, error = command("translation-retrieval", deep, "--data", data, "--layers", "3")
    assert code != 0 and "expected 1 to 2" in error


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{"vi": "cat", "en": "dog"}, {"vi": "hen", "en": " "}], "vi,en", ':2: "en" is empty'),
        ([{"vi": "cat", "en": "dog"}] * 2, "vi,en", ":2: the same vi as"),
        ([{"vi": "cat", "en": "dog"}], "vi,en", "got 1 row,"),
        ([{"vi": "cat", "en": "dog"}], "vi,fr", 'no field "fr"; the row has vi, en'),
        ([{"vi": "cat", "en": "dog"}], "vi", "expected two names"),
    ],
)
def test_what_is_no_file_of_translations_is_refused(
    tmp_path: Path, command: Any, rows: list[dict[str, str]], columns: str, message: str
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    code, _, err = command("translation-retrieval", make_model(tmp_path / "m"), "--data", data, "--columns", columns)
    assert code == 2 and message in err and "Traceback" not in err
