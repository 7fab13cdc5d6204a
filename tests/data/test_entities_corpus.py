"""The embedded named-entity corpus: sizes, clean spans, labels, no text twice, no labels by memory or capitals."""

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
import regex

from kdda.data.sources import EMBEDDED_CORPORA

LEAST = {"vi": {"train": 400, "dev": 100, "test": 200}, "en": {"train": 400, "dev": 100}}
SCORED = {"vi": "test", "en": "dev"}
LABELS = {"PER", "LOC", "ORG", "DATE"}
SPLITS = [(language, split) for language, splits in LEAST.items() for split in splits]
Entity = tuple[int, int, int, str]  # row, start, end, label


def rows(language: str, split: str) -> list[dict[str, Any]]:
    text = (EMBEDDED_CORPORA / "entities" / language / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def entities(found: list[dict[str, Any]]) -> set[Entity]:
    return {(i, s["start"], s["end"], s["label"]) for i, row in enumerate(found) for s in row["spans"]}


def entity_f1(gold: set[Entity], predicted: set[Entity]) -> float:
    return 200 * len(gold & predicted) / (len(gold) + len(predicted))


def most_frequent_label(found: list[dict[str, Any]]) -> str:
    return Counter(entity[3] for entity in entities(found)).most_common(1)[0][0]


@pytest.mark.parametrize(("language", "split"), SPLITS)
def test_splits_are_large_enough_and_every_label_is_well_represented(language: str, split: str) -> None:
    found = rows(language, split)
    assert len(found) >= LEAST[language][split]
    labels = Counter(entity[3] for entity in entities(found))
    assert set(labels) == LABELS
    assert min(labels.values()) > 0.17 * labels.total() and max(labels.values()) < 0.35 * labels.total()
    assert 0.12 < sum(not row["spans"] for row in found) / len(found) < 0.2


@pytest.mark.parametrize(("language", "split"), SPLITS)
def test_spans_are_clean_slices_in_order_that_do_not_overlap(language: str, split: str) -> None:
    for row in rows(language, split):
        assert set(row) == {"id", "text", "spans"} and row["text"] == " ".join(row["text"].split())
        assert len(row["spans"]) <= 5
        last = 0
        for span in row["spans"]:
            assert set(span) == {"start", "end", "label"} and span["label"] in LABELS
            assert last <= span["start"] < span["end"] <= len(row["text"])
            name = row["text"][span["start"] : span["end"]]
            assert name == name.strip(" ,;:") and regex.search(r"\w", name)
            around = f" {row['text']} "[span["start"]], f" {row['text']} "[span["end"] + 1]
            assert not any(character.isalnum() for character in around)
            last = span["end"]


@pytest.mark.parametrize("language", LEAST)
def test_texts_and_ids_are_unique_across_splits(language: str) -> None:
    found = [row for split in LEAST[language] for row in rows(language, split)]
    assert len({row["id"] for row in found}) == len({row["text"].lower() for row in found}) == len(found)


@pytest.mark.parametrize("language", LEAST)
def test_a_dictionary_of_the_training_names_does_not_give_the_entities(language: str) -> None:
    train, scored = rows(language, "train"), rows(language, SCORED[language])
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for i, start, end, label in entities(train):
        labels[train[i]["text"][start:end]][label] += 1
    names = "|".join(regex.escape(name) for name in sorted(labels, key=len, reverse=True))
    guessed = set()
    for i, row in enumerate(scored):
        for match in regex.finditer(rf"\b(?:{names})\b", row["text"]):
            guessed.add((i, *match.span(), labels[match.group()].most_common(1)[0][0]))
    assert entity_f1(entities(scored), guessed) <= 20


@pytest.mark.parametrize("language", LEAST)
def test_runs_of_capitals_do_not_give_the_entities(language: str) -> None:
    scored, label = rows(language, SCORED[language]), most_frequent_label(rows(language, "train"))
    guessed = set()
    for i, row in enumerate(scored):
        for match in regex.finditer(r"\b\p{Lu}[\w'-]*(?: \p{Lu}[\w'-]*)*", row["text"]):
            guessed.add((i, *match.span(), label))
    assert entity_f1(entities(scored), guessed) <= 30
