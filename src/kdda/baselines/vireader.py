"""ViReader: a reader that is trained on, and reads, the sentences of a passage that are nearest to the question.

Nguyen, Nguyen, Nguyen and Nguyen, "ViReader: A Wikipedia-based Vietnamese reading comprehension system using transfer
learning", J. Intelligent & Fuzzy Systems 41(1), 2021. Vietnamese sentences are those of underthesea's `sent_tokenize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from kdda.baselines.sentence_selector import SentenceSelector
from kdda.baselines.shortened_context import ShortenedContext
from kdda.data.examples import Example, GoldAnswer, Question
from kdda.embeddings.encoder import MeanPoolingModel
from kdda.inference.predictor import Predictor
from kdda.inference.reader import Reader
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.recipe.schema import Sentences
from kdda.tasks.base import Prediction
from kdda.tasks.qa import AnswerPrediction, AnswerSpan
from kdda.text.segment import Span

# Fields of a saved model's config, which make `reader_of` read as the model was trained.
SENTENCES_KEPT = "kdda_sentences"
SENTENCE_MODEL = "kdda_sentence_model"
SENTENCE_LANGUAGE = "kdda_language"


@dataclass(frozen=True)
class ViReader:
    """Reads the selected sentences of each passage; its answers are spans of the whole passage.

    Attributes:
        reader: reads a question with a shortened passage.
        selector: shortens passages.
    """

    reader: Reader
    selector: SentenceSelector

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        """The best answer spans of each (question, passage) pair, best first."""
        contexts = self.selector.select(pairs)
        short_pairs = []
        for (question, _), context in zip(pairs, contexts, strict=True):
            short_pairs.append((question, context.text))
        spans = self.reader.answer_spans(short_pairs)
        return list(map(_spans_in_passage, spans, contexts))


def reader_of(predictor: Predictor) -> Reader:
    """A model as it was trained to read: a `ViReader` if the model's config says so, else the model itself.

    Raises:
        KddaError: a model that does not answer questions, or whose sentence encoder does not exist.
    """
    config = predictor.engine.config
    predictor.require("answer")
    keep = getattr(config, SENTENCES_KEPT, None)
    if not keep:
        return predictor
    language = getattr(config, SENTENCE_LANGUAGE, "")
    return ViReader(predictor, SentenceSelector.load(getattr(config, SENTENCE_MODEL), int(keep), language))


def config_fields(sentences: Sentences | None) -> dict[str, Any]:
    """What the config of a model that was trained on selected sentences stores."""
    if sentences is None:
        return {}
    return {SENTENCES_KEPT: sentences.keep, SENTENCE_MODEL: sentences.model}


@dataclass(frozen=True)
class ReaderRows:
    """The rows of one language as an arm's reader sees them: with whole passages, or with selected sentences.

    Attributes:
        language: of the rows, whose scoring rules hold.
        selector: shortens passages; `None` leaves rows and predictions as they are.
    """

    language: str
    selector: SentenceSelector | None = None

    @classmethod
    def of(cls, sentences: Sentences | None, language: str) -> ReaderRows:
        """The rows of an arm.

        Args:
            sentences: of the arm (`Recipe.sentences_of`); `None` for an arm that reads whole passages.
        """
        if sentences is None:
            return cls(language)
        return cls(language, _shared_selector(str(sentences.model), sentences.keep, language))

    def train(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Rows to train on: answers move with their sentences, and a row that loses all its answers is dropped."""
        if self.selector is None:
            return examples
        rows = []
        for example, context in self._shortened(self.selector, examples):
            row = _training_row(example, context)
            if row.answers or not _gold_answers(example):
                rows.append(row)
        return rows

    def evaluation(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Rows to be scored: none is dropped, and the golds are those of the whole passage.

        An answer that is not in the selected sentences is placed behind the end of the text: it is scored, and no
        window contains it.
        """
        if self.selector is None:
            return examples
        rows = []
        for example, context in self._shortened(self.selector, examples):
            rows.append(_evaluation_row(example, context))
        return rows

    def map_to_passage(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> Sequence[Prediction]:
        """Predictions on evaluation rows as predictions on the whole passages.

        Args:
            predictions: one for each row of `evaluation`.
            examples: the rows before they were shortened.
        """
        if self.selector is None:
            return predictions
        mapped = []
        pairs = self._shortened(self.selector, examples)
        for prediction, (_, context) in zip(predictions, pairs, strict=True):
            mapped.append(_prediction_in_passage(prediction, context, self.language))
        return mapped

    def _shortened(
        self, selector: SentenceSelector, examples: Sequence[Example]
    ) -> list[tuple[Example, ShortenedContext]]:
        """Each row with the shortened context that the selector makes of its passage."""
        pairs = []
        for example in examples:
            question, passage = example.texts[:2]  # the order of the task's fields
            pairs.append((question, passage))
        return list(zip(examples, selector.select(pairs), strict=True))


@lru_cache(maxsize=8)
def _shared_selector(model: str, keep: int, language: str) -> SentenceSelector:
    """One selector, with its cache of embeddings, for all runs and splits of a process."""
    return SentenceSelector(_shared_embedding_model(model), keep, language)


@lru_cache(maxsize=1)
def _shared_embedding_model(model: str) -> MeanPoolingModel:
    """The last used sentence encoder, which stays loaded."""
    return MeanPoolingModel.load(model)


def _gold_answers(example: Example) -> tuple[GoldAnswer, ...]:
    """The gold answers of a row; none of a row that is no question."""
    return example.answers if isinstance(example, Question) else ()


def _span_in_context(answer: GoldAnswer, context: ShortenedContext) -> Span | None:
    """The span of an answer of the passage in the shortened context, or None where it was not kept."""
    return context.to_short(answer.start, answer.start + len(answer.text))


def _training_row(example: Example, context: ShortenedContext) -> Question:
    """A row with the answers that are in the selected sentences."""
    answers = []
    for answer in _gold_answers(example):
        span = _span_in_context(answer, context)
        if span is not None:
            answers.append(GoldAnswer(answer.text, span[0]))
    return _shortened_row(example, context, answers)


def _evaluation_row(example: Example, context: ShortenedContext) -> Question:
    """A row with all answers, those that are not in the selected sentences behind the end."""
    answers = []
    for answer in _gold_answers(example):
        span = _span_in_context(answer, context) or (len(context.text) + 1, 0)
        answers.append(GoldAnswer(answer.text, span[0]))
    return _shortened_row(example, context, answers)


def _shortened_row(example: Example, context: ShortenedContext, answers: Sequence[GoldAnswer]) -> Question:
    """A row of the shortened context, with answers whose positions are those of its text."""
    question = example.texts[0]
    return Question(example.id, (question, context.text), example.group, tuple(answers))


def _prediction_in_passage(prediction: Prediction, context: ShortenedContext, language: str) -> Prediction:
    """A prediction on a shortened context as one on the passage: its spans moved, its scores computed anew."""
    assert isinstance(prediction, AnswerPrediction)
    start, end = context.to_raw(prediction.start, prediction.end)
    text = context.raw[start:end]
    return replace(
        prediction,
        predicted=text,
        start=start,
        end=end,
        exact_match=best_over_golds(exact_match, text, prediction.golds, language),
        f1=best_over_golds(answer_f1, text, prediction.golds, language),
        candidates=[_candidate_in_passage(candidate, context) for candidate in prediction.candidates],
    )


def _candidate_in_passage(candidate: dict[str, Any], context: ShortenedContext) -> dict[str, Any]:
    """One entry of `candidates`, with text, start and end as the passage has them."""
    start, end = context.to_raw(candidate["start"], candidate["end"])
    return {**candidate, "text": context.raw[start:end], "start": start, "end": end}


def _spans_in_passage(spans: Sequence[AnswerSpan], context: ShortenedContext) -> list[AnswerSpan]:
    """Spans of a shortened text as spans of the passage, each once with the score of the first."""
    mapped: dict[Span, AnswerSpan] = {}
    for span in spans:
        place = context.to_raw(span.start, span.end)
        mapped.setdefault(place, AnswerSpan(*place, span.score))
    return list(mapped.values())
