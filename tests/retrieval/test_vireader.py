"""ViReader shows a reader the sentences that are nearest to the question, and keeps every place."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdda.baselines.vireader import SentenceSelector, ShortenedContext, ViReader
from kdda.data.examples import GoldAnswer, Question
from kdda.inference.reader import Reader
from kdda.tasks.qa import AnswerSpan
from tests.retrieval.corpus import Letters

RAW = "aaa one. bbb two. ccc three. ddd four. eee five. fff six."


def chooser(keep: int) -> SentenceSelector:
    return SentenceSelector(Letters(), keep, "")


def chosen(question: str, keep: int, raw: str = RAW) -> ShortenedContext:
    (found,) = chooser(keep).choose([(question, raw)])
    return found


def test_the_nearest_sentences_are_kept_in_the_passages_order() -> None:
    assert chosen("fff and bbb", 2).text == "bbb two. fff six."
    assert chosen("bbb ccc", 2).text == "bbb two. ccc three."


def test_a_passage_of_no_more_sentences_is_left_as_it_is() -> None:
    raw = "  aaa one.  bbb two.\n"
    found = chosen("bbb", 2, raw)
    assert found.text == raw and found.to_raw(2, 5) == (2, 5)


def test_the_cosine_of_vectors_decides() -> None:
    sentences = [RAW[a:b] for a, b in [(0, 8), (9, 17), (18, 28), (29, 38), (39, 48), (49, 57)]]
    vectors = Letters().encode(["three", *sentences])
    best = sentences[int(np.argmax(vectors[1:] @ vectors[0]))]
    assert chosen("three", 1).text == best


@given(st.data())
def test_a_slice_inside_a_kept_stretch_reads_the_same_in_the_passage(data: st.DataObject) -> None:
    spans = [match.span() for match in re.finditer(r"\w+ \w+\.", RAW)]
    kept = sorted(data.draw(st.sets(st.sampled_from(spans), min_size=1)))
    short = ShortenedContext.of(RAW, kept)
    start = data.draw(st.integers(0, len(short.text) - 1))
    end = data.draw(st.integers(start + 1, len(short.text)))
    a, b = short.to_raw(start, end)
    assert RAW[a:b] in short.text[start:end]
    if short.to_short(a, b) == (start, end):
        assert RAW[a:b] == short.text[start:end]
    inside = any(x <= a and b <= y for x, y in short.spans)
    assert inside or (a == b and not short.text[start:end].strip())


def test_a_slice_across_a_join_becomes_its_longer_part() -> None:
    short = ShortenedContext.of(RAW, [(0, 8), (18, 28)])
    assert short.text == "aaa one. ccc three."
    a, b = short.to_raw(4, 19)
    assert RAW[a:b] == "ccc three."
    assert RAW[slice(*short.to_raw(0, 9))] == "aaa one."


def question(asked: str, *golds: str) -> Question:
    return Question(asked, (asked, RAW), RAW, tuple(GoldAnswer(gold, RAW.index(gold)) for gold in golds))


def test_training_rows_move_with_their_sentences_and_are_dropped_with_them() -> None:
    rows = [question("ccc", "three"), question("ccc", "six"), question("fff")]
    kept, unanswerable = chooser(1).training_rows(rows)
    assert isinstance(kept, Question) and kept.texts[1] == "ccc three." and kept.answers == (GoldAnswer("three", 4),)
    assert unanswerable.id == "fff"


def test_no_row_that_is_scored_is_dropped_and_its_golds_stay() -> None:
    rows = chooser(1).rows([question("ccc", "three"), question("ccc", "six", "ccc three")])
    assert [own.texts[1] for own in rows] == ["ccc three."] * 2
    assert [gold.text for own in rows for gold in own.answers] == ["three", "six", "ccc three"]
    assert rows[1].group == RAW and rows[1].answers[0].start > len(rows[1].texts[1])


class First:
    """Reads the second word of whatever it is shown."""

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        found = [re.search(r"\w+ (\w+)", text) for _, text in pairs]
        return [[AnswerSpan(*own.span(1), 1.0)] if own else [] for own in found]


@pytest.mark.parametrize(("asked", "answer"), [("ccc", "three"), ("fff", "six")])
def test_the_system_answers_with_slices_of_the_passage(asked: str, answer: str) -> None:
    own = ViReader(First(), chooser(1))
    assert isinstance(own, Reader)
    ((found,),) = own.answer_spans([(asked, RAW)])
    assert RAW[found.start : found.end] == answer
