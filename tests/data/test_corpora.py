"""The embedded corpus: sizes, balance, no premise in two splits, and no give-away of the label."""

import json
import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from kdda.data.sources import EMBEDDED_CORPORA

LEAST = {
    "vi": {"train": 600, "dev": 150, "test": 300},
    "en": {"train": 600, "dev": 150},
    "id": {"train": 400, "dev": 100, "test": 200},
}
LABELS = ("entailment", "neutral", "contradiction")


def rows(language: str, split: str) -> list[dict[str, Any]]:
    text = (EMBEDDED_CORPORA / "nli" / language / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def everything(language: str) -> list[dict[str, Any]]:
    return [row for split in LEAST[language] for row in rows(language, split)]


def scene(row: dict[str, Any]) -> str:
    return str(row["id"].rsplit("-", 1)[0])


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def overlap(row: dict[str, Any]) -> float:
    hypothesis = words(row["hypothesis"])
    return len(hypothesis & words(row["premise"])) / len(hypothesis)


def accuracy_without_the_other_text(model: Any, inputs: Any, language: str) -> float:
    """Cross-validated by scene, since rows of a scene share words."""
    found = everything(language)
    folds = GroupKFold(10)
    scores = cross_val_score(model, inputs, [r["label"] for r in found], groups=[scene(r) for r in found], cv=folds)
    return 100 * float(scores.mean())


@pytest.mark.parametrize("language", LEAST)
def test_splits_are_large_enough_and_balanced(language: str) -> None:
    for split, least in LEAST[language].items():
        found = rows(language, split)
        assert len(found) >= least
        assert len(set(Counter(r["label"] for r in found).values())) == 1


@pytest.mark.parametrize("language", LEAST)
def test_each_premise_has_one_hypothesis_of_each_label_in_one_split(language: str) -> None:
    places, labels = defaultdict(set), defaultdict(list)
    for split in LEAST[language]:
        for row in rows(language, split):
            places[row["premise"]].add(split)
            places[scene(row)].add(split)
            labels[row["premise"]].append(row["label"])
    assert all(len(splits) == 1 for splits in places.values())
    assert all(sorted(found) == sorted(LABELS) for found in labels.values())


@pytest.mark.parametrize("language", LEAST)
def test_texts_are_clean_and_ids_are_unique(language: str) -> None:
    found = everything(language)
    assert len({r["id"] for r in found}) == len(found)
    for text in (t for r in found for t in (r["premise"], r["hypothesis"])):
        assert text == " ".join(text.split()) and text[-1] in '.!?”"'
    assert {r["kind"] for r in found} == {"everyday", "encyclopaedic"}


@pytest.mark.parametrize("language", LEAST)
def test_the_hypothesis_alone_does_not_tell_the_label(language: str) -> None:
    model = make_pipeline(CountVectorizer(token_pattern=r"\w+", binary=True), LogisticRegression(C=0.3, max_iter=2000))
    assert accuracy_without_the_other_text(model, [r["hypothesis"] for r in everything(language)], language) <= 45


@pytest.mark.parametrize("language", LEAST)
def test_word_overlap_alone_does_not_tell_the_label(language: str) -> None:
    shares = np.array([[overlap(r)] for r in everything(language)])
    assert accuracy_without_the_other_text(LogisticRegression(C=100), shares, language) <= 50
