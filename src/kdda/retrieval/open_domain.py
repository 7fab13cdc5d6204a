"""XLMRQA-style answers from many passages, by μ · the reader's score + (1 − μ) · the retriever's.

After Nguyen, Do, Nguyen, Huynh and Nguyen, "XLMRQA: Open-domain question answering on Vietnamese Wikipedia-based
textual knowledge source", ACIIDS 2022, whose internals are not public: hence "-style". docs/retrieval.md lists our
choices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdda.inference.reader import Reader
from kdda.retrieval.base import Hit, Retriever
from kdda.retrieval.passages import Passage
from kdda.tasks.qa import AnswerSpan

# What the number beside an answer is, in the languages of the command line and of the page.
SCORE_IN_WORDS = {
    "en": "Score in brackets: {reader:g} × reader + {retriever:g} × retriever, each divided by its best for this "
    "question; not the probability that the answer is right.",
    "vi": "Điểm trong ngoặc: {reader:g} × điểm của mô hình đọc + {retriever:g} × điểm của bộ truy hồi, mỗi điểm đã "
    "chia cho điểm cao nhất của câu hỏi này; đây không phải xác suất câu trả lời đúng.",
}


@dataclass(frozen=True)
class ReadPassage:
    """A retrieved passage, and the answer spans that the reader finds in it."""

    hit: Hit
    spans: Sequence[AnswerSpan]


@dataclass(frozen=True)
class CorpusAnswer:
    """An answer in a passage: `answer == passage.text[start:end]`, with a score from 0 to 1."""

    answer: str
    score: float
    passage: Passage
    start: int
    end: int

    @property
    def place(self) -> tuple[str, int, int]:
        """Document, start and end in the document, which overlapping passages share."""
        offset = self.passage.start
        return self.passage.document, offset + self.start, offset + self.end

    @property
    def around(self) -> tuple[str, str]:
        """The passage before and behind the answer, with "…" where it is cut out of a sentence."""
        before = self.passage.text[: self.start]
        after = self.passage.text[self.end :]
        if self.passage.begins_inside:
            before = f"…{before}"
        if self.passage.ends_inside:
            after = f"{after}…"
        return before, after

    def as_dict(self) -> dict[str, Any]:
        """What ``kdda ask --json`` prints."""
        return {
            "answer": self.answer,
            "score": round(self.score, 6),
            "source": self.passage.source,
            "passage": self.passage.text,
            "start": self.start,
            "end": self.end,
        }


def read_passages(
    retriever: Retriever, reader: Reader, questions: Sequence[str], count: int, retrieve: int = 0
) -> list[list[ReadPassage]]:
    """Retrieve passages for each question and read them, all questions in batches of similar length.

    Args:
        count: passages of a question that are read.
        retrieve: passages of a question that are retrieved, if more than are read; the rest have no answer spans.
    """
    retrieved = [retriever.search(question, max(count, retrieve)) for question in questions]
    pairs = []
    for question, hits in zip(questions, retrieved, strict=True):
        pairs += [(question, hit.passage.text) for hit in hits[:count]]
    spans: list[list[AnswerSpan]] = []
    if pairs:
        spans = reader.answer_spans(pairs)
    return _beside_hits(spans, retrieved, count)


def _beside_hits(
    spans: Sequence[Sequence[AnswerSpan]], retrieved: Sequence[Sequence[Hit]], count: int
) -> list[list[ReadPassage]]:
    """The first `count` hits of each question with their spans, the others without.

    Args:
        spans: of all passages that were read, question after question.
        retrieved: the hits of each question.
    """
    remaining = iter(spans)
    questions = []
    for hits in retrieved:
        passages = []
        for rank, hit in enumerate(hits):
            hit_spans = next(remaining) if rank < count else []
            passages.append(ReadPassage(hit, hit_spans))
        questions.append(passages)
    return questions


def best_answers(passages: Sequence[ReadPassage], mu: float, best: int = 1) -> list[CorpusAnswer]:
    """The best answers to a question, by μ·reader + (1 − μ)·retrieval.

    Both scores are 1 for the best candidate: a span's probability is divided by that of the most probable span of all
    passages, exp(logits − largest logits), and a passage's retrieval score by that of the best passage. Of equal
    answers, the one that was retrieved first wins. Overlapping passages or spans give one answer.

    Args:
        passages: of one question, in the order of retrieval.
        mu: 1 counts the reader alone; 0 takes the reader's best span in the first passage.
        best: number of answers at most.
    """
    top = max((passage.hit.score for passage in passages), default=0.0)
    largest = _largest_logits(passages)
    candidates = []
    for passage in passages:
        retrieval = _relative(passage.hit.score, top)
        for span in passage.spans:
            score = mu * math.exp(span.score - largest) + (1 - mu) * retrieval
            candidates.append(_answer(passage.hit.passage, span, score))
    candidates.sort(key=lambda answer: -answer.score)  # stable: the order of retrieval and reader decides ties
    return _without_overlaps(candidates, best)


def _largest_logits(passages: Sequence[ReadPassage]) -> float:
    """The score of the most probable span of all passages; 0 without any."""
    logits: list[float] = []
    for passage in passages:
        logits += [span.score for span in passage.spans]
    return max(logits, default=0.0)


def _relative(score: float, top: float) -> float:
    """A retrieval score divided by the best one, from 0 to 1; 0 where even the best is not above 0."""
    if top <= 0:
        return 0.0
    return max(score, 0.0) / top


def _answer(passage: Passage, span: AnswerSpan, score: float) -> CorpusAnswer:
    """A span of a passage as an answer."""
    return CorpusAnswer(passage.text[span.start : span.end], score, passage, span.start, span.end)


def _without_overlaps(ranked: Sequence[CorpusAnswer], count: int) -> list[CorpusAnswer]:
    """At most `count` answers, in the order of `ranked`, of which no two share a character of a document."""
    chosen: list[CorpusAnswer] = []
    for answer in ranked:
        if len(chosen) == count:
            break
        if not any(_overlap(answer.place, other.place) for other in chosen):
            chosen.append(answer)
    return chosen


def _overlap(place: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    """Whether two places (document, start, end) share a character."""
    document, start, end = place
    other_document, other_start, other_end = other
    return document == other_document and start < other_end and other_start < end
