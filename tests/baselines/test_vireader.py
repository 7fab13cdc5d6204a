"""ViReader selects the sentences that are nearest to the question, and keeps every position."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdda.baselines.sentence_selector import SentenceSelector
from kdda.baselines.shortened_context import ShortenedContext
from kdda.baselines.vireader import ReaderRows, ViReader
from kdda.data.examples import GoldAnswer, Question
from kdda.inference.reader import Reader
from kdda.tasks.qa import AnswerSpan
from tests.retrieval.corpus import Letters

RAW = "aaa one. bbb two. ccc three. ddd four. eee five. fff six."


def selector(keep: int) -> SentenceSelector:
    return SentenceSelector(Letters(), keep, "")


def select(question: str, keep: int, raw: str = RAW) -> ShortenedContext:
    (context,) = selector(keep).select([(question, raw)])
    return context


def test_the_nearest_sentences_stay_in_the_order_of_the_passage() -> None:
    assert select("fff and bbb", 2).text == "bbb two. fff six."
    assert select("bbb ccc", 2).text == "bbb two. ccc three."


def test_a_passage_of_no_more_sentences_is_left_as_it_is() -> None:
    raw = "  aaa one.  bbb two.\n"
    context = select("bbb", 2, raw)
    assert context.text == raw and context.to_raw(2, 5) == (2, 5)


def test_the_cosine_of_embeddings_decides() -> None:
    sentences = [RAW[a:b] for a, b in [(0, 8), (9, 17), (18, 28), (29, 38), (39, 48), (49, 57)]]
    vectors = Letters().encode(["three", *sentences])
    best = sentences[int(np.argmax(vectors[1:] @ vectors[0]))]
    assert select("three", 1).text == best


@given(st.data())
def test_a_span_inside_a_kept_stretch_has_the_same_text_in_the_passage(data: st.DataObject) -> None:
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


def test_a_span_across_a_join_becomes_its_longer_part() -> None:
    short = ShortenedContext.of(RAW, [(0, 8), (18, 28)])
    assert short.text == "aaa one. ccc three."
    a, b = short.to_raw(4, 19)
    assert RAW[a:b] == "ccc three."
    assert RAW[slice(*short.to_raw(0, 9))] == "aaa one."
    assert RAW[slice(*short.to_raw(8, 9))] == ""


def question(text: str, *golds: str) -> Question:
    return Question(text, (text, RAW), RAW, tuple(GoldAnswer(gold, RAW.index(gold)) for gold in golds))


def test_training_rows_move_with_their_sentences_and_are_dropped_with_them() -> None:
    rows = [question("ccc", "three"), question("ccc", "six"), question("fff")]
    answerable, unanswerable = ReaderRows("", selector(1)).train(rows)
    assert isinstance(answerable, Question) and answerable.texts[1] == "ccc three."
    assert answerable.answers == (GoldAnswer("three", 4),)
    assert unanswerable.id == "fff"


def test_no_evaluation_row_is_dropped_and_its_golds_stay() -> None:
    rows = ReaderRows("", selector(1)).evaluation([question("ccc", "three"), question("ccc", "six", "ccc three")])
    assert [row.texts[1] for row in rows] == ["ccc three."] * 2
    assert isinstance(rows[0], Question) and isinstance(rows[1], Question)
    assert [gold.text for gold in (*rows[0].answers, *rows[1].answers)] == ["three", "six", "ccc three"]
    assert rows[1].group == RAW and rows[1].answers[0].start > len(rows[1].texts[1])


def test_an_arm_without_sentences_reads_whole_passages() -> None:
    rows = [question("ccc", "three")]
    whole = ReaderRows.of(None, "vi")
    assert whole.train(rows) is rows and whole.evaluation(rows) is rows


class SecondWord:
    """A reader whose answer is the second word of a text."""

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        matches = [re.search(r"\w+ (\w+)", text) for _, text in pairs]
        return [[AnswerSpan(*match.span(1), 1.0)] if match else [] for match in matches]


@pytest.mark.parametrize(("text", "answer"), [("ccc", "three"), ("fff", "six")])
def test_answers_are_spans_of_the_whole_passage(text: str, answer: str) -> None:
    vireader = ViReader(SecondWord(), selector(1))
    assert isinstance(vireader, Reader)
    ((span,),) = vireader.answer_spans([(text, RAW)])
    assert RAW[span.start : span.end] == answer
