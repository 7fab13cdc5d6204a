"""ViReader's sentences: a question is read beside the sentences of its passage that are nearest to it.

Nguyen, Nguyen, Nguyen and Nguyen, "ViReader: A Wikipedia-based Vietnamese reading comprehension system using transfer
learning", J. Intelligent & Fuzzy Systems 41(1), 2021. The sentences are those of underthesea's `sent_tokenize`, the
nearest ones by cosine are kept in the passage's order, and a passage of no more sentences is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.data.examples import Example, GoldAnswer, Question
from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from kdda.inference.predictor import Predictor
from kdda.inference.reader import Reader
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.tasks.base import Prediction
from kdda.tasks.qa import AnswerPrediction, AnswerSpan
from kdda.text.segment import Span
from kdda.text.sentences import sentences


@dataclass(frozen=True)
class ViReader:
    """Reads the sentences of each passage that are nearest to the question; slices are the passage's own."""

    predictor: Reader
    chooser: SentenceSelector

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        shortened = self.chooser.choose(pairs)
        read = self.predictor.answer_spans(
            [(asked, own.text) for (asked, _), own in zip(pairs, shortened, strict=True)]
        )
        return [map_slices_to_passage(*pair) for pair in zip(read, shortened, strict=True)]


def reader_of(predictor: Predictor) -> Reader:
    """A model as it was trained to read: one of ViReader's says so in its config.

    Raises:
        KddaError: a model that does not answer, or whose sentence encoder is not there.
    """
    config = predictor.engine.config
    keep = getattr(config, SENTENCES_KEPT, None)
    predictor.require("answer")
    if not keep:
        return predictor
    return ViReader(
        predictor,
        SentenceSelector.load(getattr(config, SENTENCE_MODEL), int(keep), getattr(config, SENTENCE_LANGUAGE, "")),
    )


# What a model's config remembers.
SENTENCES_KEPT = "kdda_sentences"
SENTENCE_MODEL = "kdda_sentence_model"
SENTENCE_LANGUAGE = "kdda_language"

KNOWN = 100_000  # vectors that are kept

Vector = Float32[ndarray, " width"]


@dataclass(frozen=True)
class ShortenedContext:
    """Some sentences of a passage, and the way back.

    Attributes:
        text: the kept stretches of the passage, joined by one space.
        raw: the passage.
        spans: of the stretches in the passage; neighbouring sentences are one stretch, white space between included.
    """

    text: str
    raw: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, raw: str, kept: Sequence[Span]) -> ShortenedContext:
        """A passage's kept sentences.

        >>> ShortenedContext.of("A b. C d. E f.", [(0, 4), (10, 14)]).text
        'A b. E f.'
        """
        spans: list[Span] = []
        for start, end in kept:
            if spans and not raw[spans[-1][1] : start].strip():
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return cls(" ".join(raw[start:end] for start, end in spans), raw, tuple(spans))

    @property
    def _places(self) -> list[tuple[int, int, int]]:
        """Each stretch: where it begins and ends in the short text, and how far it stands from its place."""
        found, at = [], 0
        for start, end in self.spans:
            found.append((at, at + end - start, start - at))
            at += end - start + 1
        return found

    def to_raw(self, start: int, end: int) -> Span:
        """A slice of the short text as a slice of the passage that reads the same.

        One that crosses a join is nowhere in the passage: it becomes the longest part of it that is, of equals the
        first. One that is a join and no more becomes an empty slice.

        >>> short = ShortenedContext.of("A b. C d. E f.", [(0, 4), (10, 14)])
        >>> short.to_raw(5, 6), short.to_raw(2, 9)
        ((10, 11), (10, 14))
        """
        parts = [(max(start, a) + gap, min(end, b) + gap) for a, b, gap in self._places if start < b and a < end]
        return max(parts, key=lambda own: own[1] - own[0], default=(0, 0))

    def to_short(self, start: int, end: int) -> Span | None:
        """A slice of the passage in the short text, None where not all of it was kept."""
        found = ((start - gap, end - gap) for a, b, gap in self._places if a + gap <= start and end <= b + gap)
        return next(found, None)


class SentenceSelector:
    """Chooses the sentences that are nearest to a question.

    Args:
        keep: how many; the paper's best is 5.
        language: whose sentences (`kdda.text.sentences`).
    """

    def __init__(self, embedding_model: EmbeddingModel, keep: int = 5, language: str = "vi"):
        self.embedding_model, self.keep, self.language = embedding_model, keep, language
        self._known: dict[str, Vector] = {}

    @classmethod
    def load(cls, model: str, keep: int, language: str) -> SentenceSelector:
        return cls(MeanPoolingModel.load(model), keep, language)

    def choose(self, pairs: Sequence[tuple[str, str]]) -> list[ShortenedContext]:
        """The shortened passage of each question; sentences that many questions share are embedded once."""
        found = {raw: sentences(raw, self.language) for _, raw in pairs}
        long = {raw for raw, spans in found.items() if len(spans) > self.keep}
        texts = [text for asked, raw in pairs if raw in long for text in (asked, *_slices(raw, found[raw]))]
        vectors = self._vectors(texts)
        return [
            self._chosen(raw, found[raw], vectors[asked], [vectors[own] for own in _slices(raw, found[raw])])
            if raw in long
            else ShortenedContext(raw, raw, ((0, len(raw)),))
            for asked, raw in pairs
        ]

    def _vectors(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Each text's vector, kept because the same rows are chosen for again; a server must not keep them all."""
        if len(self._known) > KNOWN:
            self._known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self.embedding_model.encode(new), strict=True))
        return {text: self._known[text] for text in texts}

    def _chosen(self, raw: str, spans: Sequence[Span], asked: Vector, vectors: Sequence[Vector]) -> ShortenedContext:
        nearness = np.stack(vectors) @ asked
        kept = np.sort(np.argsort(-nearness, kind="stable")[: self.keep])
        return ShortenedContext.of(raw, [spans[i] for i in kept])

    def training_rows(self, examples: Sequence[Example]) -> list[Example]:
        """Rows to train on: answers move with their sentences; a row whose answers were all dropped is dropped."""
        shortened = self.choose([_pair(own) for own in examples])
        rows = [_moved(own, short) for own, short in zip(examples, shortened, strict=True)]
        return [row for own, row in zip(examples, rows, strict=True) if row.answers or not _answers(own)]

    def rows(self, examples: Sequence[Example]) -> list[Example]:
        """Rows to be scored: none is dropped, and the golds are those of the whole passage.

        An answer that was dropped stands behind the end of the text: it is scored, and no window holds it.
        """
        shortened = self.choose([_pair(own) for own in examples])
        return [_scored(own, short) for own, short in zip(examples, shortened, strict=True)]

    def map_to_passage(
        self, predictions: Sequence[Prediction], examples: Sequence[Example], language: str
    ) -> list[Prediction]:
        """Predictions on shortened passages, with their slices in the whole ones.

        Args:
            examples: the rows of `predictions` before they were shortened.
        """
        shortened = self.choose([_pair(own) for own in examples])
        return [_restored(own, short, language) for own, short in zip(predictions, shortened, strict=True)]


def _slices(raw: str, spans: Sequence[Span]) -> list[str]:
    return [raw[start:end] for start, end in spans]


def _pair(example: Example) -> tuple[str, str]:
    return example.texts[0], example.texts[1]


def _answers(example: Example) -> tuple[GoldAnswer, ...]:
    return example.answers if isinstance(example, Question) else ()


def _moved(example: Example, short: ShortenedContext) -> Question:
    places = [(gold.text, short.to_short(gold.start, gold.start + len(gold.text))) for gold in _answers(example)]
    answers = tuple(GoldAnswer(text, place[0]) for text, place in places if place)
    return Question(example.id, (example.texts[0], short.text), example.group, answers)


def _scored(example: Example, short: ShortenedContext) -> Question:
    places = [(gold.text, short.to_short(gold.start, gold.start + len(gold.text))) for gold in _answers(example)]
    answers = tuple(GoldAnswer(text, place[0] if place else len(short.text) + 1) for text, place in places)
    return Question(example.id, (example.texts[0], short.text), example.group, answers)


def _restored(own: Prediction, short: ShortenedContext, language: str) -> Prediction:
    assert isinstance(own, AnswerPrediction)
    start, end = short.to_raw(own.start, own.end)
    text = short.raw[start:end]
    candidates = []
    for one in own.candidates:
        a, b = short.to_raw(one["start"], one["end"])
        candidates.append({**one, "text": short.raw[a:b], "start": a, "end": b})
    return replace(
        own,
        predicted=text,
        start=start,
        end=end,
        exact_match=best_over_golds(exact_match, text, own.golds, language),
        f1=best_over_golds(answer_f1, text, own.golds, language),
        candidates=candidates,
    )


def map_slices_to_passage(slices: Sequence[AnswerSpan], short: ShortenedContext) -> list[AnswerSpan]:
    """A reader's slices of a short text as slices of the passage; each once."""
    best: dict[Span, AnswerSpan] = {}
    for own in slices:
        span = short.to_raw(own.start, own.end)
        best.setdefault(span, AnswerSpan(*span, own.score))
    return list(best.values())
