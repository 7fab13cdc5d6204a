"""TranslationRetrieval find each other by a model's vectors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32
from numpy import ndarray

from kdda.embeddings.translation_retrieval import translation_retrieval
from tests.conftest import make_model, write_rows


class Given:
    """Vectors by text."""

    name = "given"

    def __init__(self, **vectors: tuple[float, float]):
        self.known = vectors

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        found = np.array([self.known[text] for text in texts], np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_model_that_maps_both_languages_alike_finds_every_translation() -> None:
    own = Given(a=(1, 0), b=(0, 1), c=(-1, 0), x=(1, 0.1), y=(0.1, 1), z=(-1, -0.1))
    found = translation_retrieval(own, ["a", "b", "c"], ["x", "y", "z"])
    assert (found.pairs, found.src_to_tgt, found.tgt_to_src) == (3, 100.0, 100.0) and found.margin > 100


def test_the_two_ways_are_counted_apart() -> None:
    own = Given(a=(1, 0), b=(0.9, 0.5), x=(1, 0.02), y=(1, -0.5))
    found = translation_retrieval(own, ["a", "b"], ["x", "y"])
    assert (found.src_to_tgt, found.tgt_to_src) == (50.0, 50.0)
    other = translation_retrieval(Given(a=(1, 0), b=(0, 1), x=(1, 0.1), y=(1, 0.2)), ["a", "b"], ["x", "y"])
    assert (other.src_to_tgt, other.tgt_to_src) == (100.0, 50.0)


def test_cosines_are_those_of_pairs_and_of_all_others() -> None:
    found = translation_retrieval(Given(a=(1, 0), b=(0, 1), x=(1, 1), y=(-1, 1)), ["a", "b"], ["x", "y"])
    half = 100 * 2**-0.5
    assert found.similarity == pytest.approx(half) and found.others == pytest.approx(0, abs=1e-5)
    assert found.margin == pytest.approx(half)


def test_the_command_holds_models_against_each_other(tmp_path: Path, command: Any) -> None:
    models = [make_model(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    rows = [{"vi": "cat runs", "en": "dog"}, {"vi": "hen", "en": "hen"}, {"vi": "fish", "en": "not fish"}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    code, text, _ = command("translations", *models, "--data", data)
    assert code == 0 and all(f"| {model} " in text for model in models) and "vi → en" in text
    _, text, _ = command("translations", models[0], "--data", data, "--json")
    (found,) = json.loads(text)
    assert found["model"] == models[0] and found["pairs"] == 3 and 0 <= found["src_to_tgt"] <= 100
    _, text, _ = command("translations", models[0], "--data", data, "--columns", "en,en", "--json")
    assert json.loads(text)[0]["src_to_tgt"] == 100  # every text is its own nearest


def test_a_model_can_be_held_as_shallow_as_a_student_begins(tmp_path: Path, command: Any) -> None:
    deep = make_model(tmp_path / "deep")
    rows = [{"vi": "cat runs", "en": "dog"}, {"vi": "hen", "en": "hen"}, {"vi": "fish", "en": "not fish"}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)

    def said(*options: str) -> Any:
        return json.loads(command("translations", deep, "--data", data, "--json", *options)[1])[0]

    assert said("--layers", "2") == said() != said("--layers", "1")
    code, _, error = command("translations", deep, "--data", data, "--layers", "3")
    assert code != 0 and "expected 1 to 2" in error


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([{"vi": "cat", "en": "dog"}, {"vi": "hen", "en": " "}], "vi,en", ':2: no text in the column "en"'),
        ([{"vi": "cat", "en": "dog"}] * 2, "vi,en", ":2: the same vi as"),
        ([{"vi": "cat", "en": "dog"}], "vi,en", "found 1 rows"),
        ([{"vi": "cat", "en": "dog"}], "vi,fr", 'no text in the column "fr"; the row has vi, en'),
        ([{"vi": "cat", "en": "dog"}], "vi", "expected two names"),
    ],
)
def test_what_is_no_file_of_translations_is_refused(
    tmp_path: Path, command: Any, rows: list[dict[str, str]], columns: str, said: str
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    code, _, message = command("translations", make_model(tmp_path / "m"), "--data", data, "--columns", columns)
    assert code == 2 and said in message and "Traceback" not in message
