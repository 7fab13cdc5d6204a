"""The embedded reading corpus: sizes, slices, no passage in two splits, and no answer by word overlap."""

import re
from collections import Counter
from typing import cast

import pytest

from kdda.data.examples import Question, Schema, check_rows
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.metrics.answers import answer_f1, best_over_golds, human_score

SPLITS = ("train", "dev", "test")
PASSAGES, QUESTIONS = {"vi": 90, "en": 60}, {"vi": 360, "en": 240}
FUNCTION = """là của và có được ở trong nào gì ai bao nhiêu khi cho với những các một thì mà đã từ do vì sao như thế
ra để the a an of in on at to is are was were what which who when where why how much many did do does for with by"""
FUNCTION_WORDS = frozenset(FUNCTION.split())


def rows(language: str, split: str) -> list[Question]:
    found = check_rows(read_rows(Source(f"embedded:reading/{language}/{split}")), question_converter(Schema()))
    assert not found.skipped and not found.repaired
    return [cast(Question, example) for example in found.examples]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - FUNCTION_WORDS


def overlap_answer(example: Question) -> str:
    """The sentence that shares most words with the question, less what they share at its two ends."""
    asked, context = words(example.texts[0]), example.texts[1]
    sentences = re.findall(r"[^.!?…]+[.!?…]*", context)
    best = max(sentences, key=lambda sentence: len(asked & words(sentence)))
    stretches = re.split("|".join(rf"\b{re.escape(word)}\b" for word in asked) or "$^", best, flags=re.IGNORECASE)
    return max(stretches, key=len).strip(" ,.;:")


@pytest.mark.parametrize("language", PASSAGES)
def test_there_is_enough_of_it(language: str) -> None:
    found = [row for split in SPLITS for row in rows(language, split)]
    assert len({row.group for row in found}) >= PASSAGES[language]
    assert len(found) >= QUESTIONS[language] and len({row.id for row in found}) == len(found)
    lengths = [len(context.split()) for context in {row.group for row in found}]
    assert min(lengths) >= 80 and max(lengths) <= 200


@pytest.mark.parametrize("language", PASSAGES)
def test_every_gold_is_a_slice_and_no_passage_stands_in_two_splits(language: str) -> None:
    places: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in rows(language, split):
            places.setdefault(row.group, set()).add(split)
            assert len(row.answers) == (1 if split == "train" else 2)
            for gold in row.answers:
                assert row.group[gold.start : gold.start + len(gold.text)] == gold.text == gold.text.strip()
    assert all(len(splits) == 1 for splits in places.values())


@pytest.mark.parametrize("language", PASSAGES)
def test_answers_vary_in_length_and_type(language: str) -> None:
    source = [row.values for split in SPLITS for row in read_rows(Source(f"embedded:reading/{language}/{split}"))]
    types = Counter(row["type"] for row in source)
    assert len(types) >= 8 and max(types.values()) < 0.25 * len(source)
    lengths = Counter(min(len(row["answers"][0]["text"].split()), 7) for row in source)
    assert lengths[7] > 0.15 * len(source) and lengths[1] + lengths[2] > 0.25 * len(source)


@pytest.mark.parametrize("language", PASSAGES)
def test_two_readers_agree(language: str) -> None:
    golds = [[gold.text for gold in row.answers] for split in ("dev", "test") for row in rows(language, split)]
    assert human_score(golds, language)["f1"] > 90


@pytest.mark.parametrize("language", PASSAGES)
def test_word_overlap_does_not_give_the_answer(language: str) -> None:
    test = rows(language, "test")
    scores = [
        best_over_golds(answer_f1, overlap_answer(row), [gold.text for gold in row.answers], language) for row in test
    ]
    assert 100 * sum(scores) / len(scores) < 25
