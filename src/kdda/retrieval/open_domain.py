"""XLMRQA-style: answers out of many passages, by what the reader and the retriever say together.

After Nguyen, Do, Nguyen, Huynh and Nguyen, "XLMRQA: Open-domain question answering on Vietnamese Wikipedia-based
textual knowledge source", ACIIDS 2022, whose internals are not public: hence "-style". What we chose
stands in docs/retrieval.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kdda.inference.reader import Reader
from kdda.retrieval.passages import Passage
from kdda.retrieval.retrievers import Hit, Retriever
from kdda.tasks.qa import AnswerSpan


@dataclass(frozen=True)
class ReadPassage:
    """A passage that was found for a question, and what the reader found in it."""

    hit: Hit
    slices: Sequence[AnswerSpan]


@dataclass(frozen=True)
class CorpusAnswer:
    """A slice of a passage: `answer == passage.text[start:end]`, with a score from 0 to 1."""

    answer: str
    score: float
    passage: Passage
    start: int
    end: int

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it stands in its document: passages overlap."""
        return self.passage.document, self.passage.start + self.start, self.passage.start + self.end

    def as_dict(self) -> dict[str, Any]:
        """What `kdda ask --json` prints."""
        source, text = self.passage.source, self.passage.text
        score = round(self.score, 6)
        return {
            "answer": self.answer,
            "score": score,
            "source": source,
            "passage": text,
            "start": self.start,
            "end": self.end,
        }


def read_passages(
    retriever: Retriever, reader: Reader, questions: Sequence[str], count: int, more: int = 0
) -> list[list[ReadPassage]]:
    """The best passages of each question, read; all of them in batches of like length.

    Args:
        count: passages that are read.
        more: passages that are retrieved, where these are more; nothing is found in those that are not read.
    """
    found = [retriever.search(question, max(count, more)) for question in questions]
    pairs = [(asked, hit.passage.text) for asked, hits in zip(questions, found, strict=True) for hit in hits[:count]]
    read = iter(reader.answer_spans(pairs) if pairs else [])
    return [[ReadPassage(hit, next(read) if at < count else []) for at, hit in enumerate(hits)] for hits in found]


def answers(read: Sequence[ReadPassage], mu: float, best: int = 1) -> list[CorpusAnswer]:
    """The best answers of a question, by μ·reader + (1 − μ)·retrieval.

    Both sides are 1 for the best there is: a slice's probability is divided by the likeliest slice's of all passages,
    exp(logits − most), and a passage's retrieval score by the best passage's. Of equals, what was retrieved first wins.
    A place is given once, though overlapping passages or slices hold it.

    Args:
        mu: 1 hears the reader alone, 0 takes the reader's best slice of the first passage.
    """
    most = max((own.score for passage in read for own in passage.slices), default=0.0)
    top = max((passage.hit.score for passage in read), default=0.0)
    scored = [
        _answer(passage.hit, own, mu * math.exp(own.score - most) + (1 - mu) * _share(passage.hit.score, top))
        for passage in read
        for own in passage.slices
    ]
    scored.sort(key=lambda own: -own.score)  # stable: retrieval's and the reader's order decide between equals
    return list(_apart(scored, best))


def _share(score: float, top: float) -> float:
    return max(score, 0.0) / top if top > 0 else 0.0


def _answer(hit: Hit, own: AnswerSpan, score: float) -> CorpusAnswer:
    return CorpusAnswer(hit.passage.text[own.start : own.end], score, hit.passage, own.start, own.end)


def _apart(ranked: Sequence[CorpusAnswer], count: int) -> Iterator[CorpusAnswer]:
    """The first answers that share no letter of a document."""
    given: list[tuple[str, int, int]] = []
    for own in ranked:
        name, start, end = own.place
        if len(given) == count:
            return
        if not any(name == other and start < b and a < end for other, a, b in given):
            given.append(own.place)
            yield own
