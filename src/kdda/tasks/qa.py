"""Extractive reading comprehension: the answer is a slice of the context, to the character."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray

from kdda.data.examples import Example, GoldAnswer, Question, RowConverter, Schema
from kdda.data.questions import question_converter
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.metrics.significance import standard_error
from kdda.runtime.disk_sequence import LazySequence
from kdda.tasks.base import Features, Prediction, TextSpan
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.encode import Encoder, Window

BEST = 20  # starts and ends of a window that are paired

SHOWN = 5  # candidates that a prediction keeps

LIMIT = 400  # characters of an answer, for models that say nothing of the answers they were trained on

LONGEST = "kdda_longest_answer"

NO_ANSWER = "kdda_no_answer"


class AnswerSpan(NamedTuple):
    """A slice of the context, with the sum of its two logits; the empty slice says that there is no answer."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class AnswerPrediction(Prediction):
    """The answer found and the golds it is held against, from 0 to 1.

    Attributes:
        probability: the answer's share among the candidates of all windows.
        oracle_exact_match, oracle_f1: of the best answer that the model's tokens and windows allow.
    """

    golds: list[str]
    predicted: str
    start: int
    end: int
    probability: float
    exact_match: float
    f1: float
    oracle_exact_match: float
    oracle_f1: float
    candidates: list[dict[str, Any]]


@dataclass(frozen=True)
class QuestionAnswering:
    """Questions on contexts.

    Args:
        longest: characters of the longest answer to look for.
        no_answer: whether a question may have none.
        shown: candidates that a prediction keeps.
    """

    name: str
    longest: int = LIMIT
    no_answer: bool = False
    shown: int = SHOWN
    metric: str = "f1"
    scores: tuple[str, ...] = ("exact_match", "f1")
    head: str = "question-answering"
    labelled: bool = False

    def convert(self, schema: Schema) -> RowConverter:
        return question_converter(schema)

    def fitted(self, examples: Iterable[Example]) -> QuestionAnswering:
        """Answers may be a half longer than the longest in training; none is an answer if training says so."""
        longest, unanswered = -1, False
        for example in examples:
            if isinstance(example, Question):
                longest = max([longest, *(len(answer.text) for answer in example.answers)])
                unanswered = unanswered or not example.answers
        longest = LIMIT if longest < 0 else longest
        return replace(self, longest=longest * 3 // 2 + 1, no_answer=unanswered)

    def settings(self) -> dict[str, Any]:
        return {LONGEST: self.longest, NO_ANSWER: self.no_answer}

    def with_settings(self, config: Mapping[str, Any]) -> QuestionAnswering:
        own = int(config.get(LONGEST) or LIMIT), bool(config.get(NO_ANSWER, self.no_answer))
        return replace(self, longest=own[0], no_answer=own[1])

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        def read(some: Sequence[Example]) -> Iterator[list[Window]]:
            encoder.tokenize([text for example in some for text in example.texts])
            for example in some:
                windows = encoder.windows(example.texts)
                encoder.counts["answers truncated"] += _is_cut(example, windows)
                yield windows

        return Features(examples, Windows(in_chunks(examples, read)))

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        def excerpt(k: int) -> TextSpan:
            return TextSpan(features.examples[features.owners[k]].texts, features.windows[k].context_span)

        return LazySequence(len(features.windows), excerpt)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        """The tokens of the first gold that a window holds whole; the first token of all where it holds none."""
        starts, ends = array("i"), array("i")
        for example, windows in zip(features.examples, features.windows.by_row, strict=True):
            for window in windows:
                start, end = next(filter(None, (token_span(window, gold) for gold in _golds(example))), (0, 0))
                starts.append(start)
                ends.append(end)
        return {"start_positions": np.array(starts, np.int32), "end_positions": np.array(ends, np.int32)}

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[list[AnswerSpan]]:
        starts, ends = outputs.start_logits.float().cpu().numpy(), outputs.end_logits.float().cpu().numpy()
        return [self._best(window, *row) for window, *row in zip(windows, starts, ends, strict=True)]

    def _best(self, window: Window, starts: Float32[ndarray, "_"], ends: Float32[ndarray, "_"]) -> list[AnswerSpan]:
        """The best slices of one window, best first, and last the score of no answer."""
        first, (begin, stop) = window.context_start, window.ranges[-1]
        part, count = window.parts[-1], stop - begin
        nothing = AnswerSpan(0, 0, float(starts[0] + ends[0]))
        if not count:
            return [nothing]
        starts, ends = starts[first : first + count], ends[first : first + count]
        a, b = _largest(starts, BEST), _largest(ends, BEST)
        left, right = part.starts[begin + a][:, None], part.ends[begin + b][None, :]
        fits: Bool[ndarray, "starts ends"] = (a[:, None] <= b) & (left < right) & (right - left <= self.longest)
        total = np.where(fits, starts[a][:, None] + ends[b], -np.inf).ravel()
        best = _largest(total, BEST)
        rows, columns = np.divmod(best[np.isfinite(total[best])], len(b))
        found = zip(left[rows, 0].tolist(), right[0, columns].tolist(), total[rows * len(b) + columns], strict=True)
        return [*(AnswerSpan(start, end, float(score)) for start, end, score in found), nothing]

    def decode(
        self, features: Features, candidates: Sequence[Sequence[AnswerSpan]], labels: Sequence[str], language: str
    ) -> list[AnswerPrediction]:
        return [
            self._prediction(example, found, oracle(example, windows), language)
            for example, windows, found in zip(
                features.examples, features.windows.by_row, _by_row(features, candidates), strict=True
            )
        ]

    def answer_spans(self, features: Features, candidates: Sequence[Sequence[AnswerSpan]]) -> list[list[AnswerSpan]]:
        """Each example's best slices, best first, whose scores compare over examples that ask the same question.

        Of a model that may answer with nothing they are what a slice scores above no answer.
        """
        return [self._above(found) for found in _by_row(features, candidates)]

    def _above(self, windows: Sequence[Sequence[AnswerSpan]]) -> list[AnswerSpan]:
        ranked = self._ranked(windows)
        nothing = next((own.score for own in ranked if own.start == own.end), 0.0) if self.no_answer else 0.0
        return [own._replace(score=own.score - nothing) for own in ranked if own.start < own.end]

    def _prediction(
        self, example: Example, windows: Sequence[Sequence[AnswerSpan]], best_possible: str, language: str
    ) -> AnswerPrediction:
        ranked = self._ranked(windows)
        shares = _softmax([candidate.score for candidate in ranked])
        context, golds = example.texts[1], [gold.text for gold in _golds(example)]
        texts = [context[candidate.start : candidate.end] for candidate in ranked]
        shown = [
            {"text": text, "start": own.start, "end": own.end, "probability": round(share, 6)}
            for text, own, share in list(zip(texts, ranked, shares, strict=True))[: self.shown]
        ]
        best = ranked[0]
        return AnswerPrediction(
            id=example.id,
            group=example.group,
            golds=golds,
            predicted=texts[0],
            start=best.start,
            end=best.end,
            probability=round(shares[0], 6),
            exact_match=best_over_golds(exact_match, texts[0], golds, language),
            f1=best_over_golds(answer_f1, texts[0], golds, language),
            oracle_exact_match=best_over_golds(exact_match, best_possible, golds, language),
            oracle_f1=best_over_golds(answer_f1, best_possible, golds, language),
            candidates=shown,
        )

    def _ranked(self, windows: Sequence[Sequence[AnswerSpan]]) -> list[AnswerSpan]:
        """Candidates of all windows, each slice once; the empty one only where it may be the answer.

        A window without the answer says "nothing here" with confidence, so no answer scores what the least sure says.
        """
        best: dict[tuple[int, int], AnswerSpan] = {}
        for own in (candidate for window in windows for candidate in window[:-1]):
            key = (own.start, own.end)
            best[key] = max(best.get(key, own), own, key=lambda candidate: candidate.score)
        nothing = AnswerSpan(0, 0, min(window[-1].score for window in windows))
        slices = sorted(best.values(), key=lambda candidate: -candidate.score)[:BEST]
        if self.no_answer or not slices:
            slices = sorted([*slices, nothing], key=lambda candidate: -candidate.score)
        return slices

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        found = [p for p in predictions if isinstance(p, AnswerPrediction)]
        names = ("exact_match", "f1", "oracle_exact_match", "oracle_f1")
        means = {name: 100 * fmean(getattr(p, name) for p in found) for name in names}
        return {"rows": len(found), **means, "standard_error": standard_error([100 * p.f1 for p in found])}


def _by_row(features: Features, candidates: Sequence[Sequence[AnswerSpan]]) -> Iterator[list[Sequence[AnswerSpan]]]:
    """What belongs to each row's windows."""
    left = iter(candidates)
    return (list(islice(left, len(windows))) for windows in features.windows.by_row)


def token_span(window: Window, answer: GoldAnswer) -> tuple[int, int] | None:
    """The window's tokens that hold an answer, first and last; None where the window does not hold all of it."""
    part, (begin, stop) = window.parts[-1], window.ranges[-1]
    start, end = part.within(answer.start, answer.start + len(answer.text))
    if start < begin or end > stop or start == end:
        return None
    return window.context_start + start - begin, window.context_start + end - 1 - begin


def oracle(example: Example, windows: Sequence[Window]) -> str:
    """The best answer that these windows' tokens can give: tokens cut inside a gold's edge give more than the gold."""
    return next(_aligned(example, windows), "")


def _aligned(example: Example, windows: Sequence[Window]) -> Iterator[str]:
    context = example.texts[1]
    slices = []
    for gold in _golds(example):
        for window in windows:
            part, (begin, stop) = window.parts[-1], window.ranges[-1]
            start, end = part.within(gold.start, gold.start + len(gold.text))
            start, end = max(start, begin), min(end, stop)
            if start < end:
                slices.append((context[part.starts[start] : part.ends[end - 1]], gold.text))
    yield from (text for text, _ in sorted(slices, key=lambda pair: abs(len(pair[0]) - len(pair[1]))))


def _golds(example: Example) -> tuple[GoldAnswer, ...]:
    return example.answers if isinstance(example, Question) else ()


def _is_cut(example: Example, windows: Sequence[Window]) -> bool:
    """Whether no window holds any of the golds whole."""
    golds = _golds(example)
    return bool(golds) and not any(token_span(window, gold) for window in windows for gold in golds)


def _largest(values: Float32[ndarray, "_"], count: int) -> Any:
    """Where the largest are, largest first."""
    if len(values) <= count:
        return np.argsort(-values, kind="stable")
    few = np.argpartition(-values, count)[:count]
    return few[np.argsort(-values[few], kind="stable")]


def _softmax(scores: Sequence[float]) -> list[float]:
    powers = np.exp(np.array(scores) - max(scores))
    shares: list[float] = (powers / powers.sum()).tolist()
    return shares


QA = QuestionAnswering("qa")
