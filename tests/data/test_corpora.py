"""The embedded corpus: sizes, balance, no premise in two splits, and no give-away of the label."""

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.corpora import accuracy_by_scenes, bag_of_words, corpus_rows, scene

LEAST = {
    "vi": {"train": 600, "dev": 150, "test": 300},
    "en": {"train": 600, "dev": 150},
    "id": {"train": 400, "dev": 100, "test": 200},
}
LABELS = ("entailment", "neutral", "contradiction")


def rows(language: str, split: str) -> list[dict[str, Any]]:
    return corpus_rows("nli", language, split)


def everything(language: str) -> list[dict[str, Any]]:
    return corpus_rows("nli", language, *LEAST[language])


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def overlap(row: dict[str, Any]) -> float:
    hypothesis = words(row["hypothesis"])
    return len(hypothesis & words(row["premise"])) / len(hypothesis)


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
    found = everything(language)
    assert accuracy_by_scenes(bag_of_words(), [r["hypothesis"] for r in found], found) <= 45


@pytest.mark.parametrize("language", LEAST)
def test_word_overlap_alone_does_not_tell_the_label(language: str) -> None:
    found = everything(language)
    shares = np.array([[overlap(r)] for r in found])
    assert accuracy_by_scenes(LogisticRegression(C=100), shares, found) <= 50
