"""The task `qa`, extractive reading comprehension: answer spans, their longest, scores, route, words on the page."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import islice
from operator import attrgetter
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray
from pydantic import Field

from kdda.data.examples import Example, GoldAnswer, Question, RowConverter, Schema
from kdda.data.questions import question_converter
from kdda.errors import KddaError
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.metrics.significance import standard_error
from kdda.runtime.numbers import count_of
from kdda.tasks.base import DIGITS, PageWords, Prediction, Result, Task
from kdda.tasks.features import Features, TextSpan, spans_of_windows
from kdda.tasks.places import LogitPlaces
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.encode import Encoder, Window

BEST = 20  # most probable starts and ends of a window that are paired, and spans of it that are kept

MAX_CANDIDATES = 5  # answers, the best first, that a line of predictions.jsonl lists

LIMIT = 400  # characters of an answer, for models whose config does not store how long their training answers were

# Fields of a model's config that store the settings of the task
LONGEST = "kdda_longest_answer"
NO_ANSWER = "kdda_no_answer"

NO_ANSWER_TEXT = "(no answer)"

NOWHERE = (-1, 0)  # [start, end) that stands for no answer in the window, before the context's first character


class AnswerSpan(NamedTuple):
    """A span of the context, with the sum of its two logits; the empty span stands for no answer."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class AnswerPrediction(Prediction):
    """The predicted answer, the golds, and its scores against them, from 0 to 1.

    Attributes:
        golds: texts of the gold answers; none where the question cannot be answered.
        probability: the answer's share among the candidates of all windows.
        oracle_exact_match, oracle_f1: of the best answer that the model's tokens and windows allow.
        candidates: the best ones, the answer first: dicts of text, start, end and probability.
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
class AnswerResult(Result):
    """What a model answers.

    Attributes:
        text: `context[start:end]`, to the character; empty where the model predicts that there is no answer.
        score: the answer's probability among the candidates of all windows.
        candidates: the best ones, the answer first: dicts of text, start, end and probability.
        no_answer: the probability that there is none; None of models that always answer.
    """

    text: str
    start: int
    end: int
    score: float
    candidates: list[dict[str, Any]]
    no_answer: float | None

    @property
    def decision(self) -> tuple[int, int]:
        """The answer's place: what two models must agree on."""
        return self.start, self.end

    def as_row(self) -> dict[str, Any]:
        """The fields of a line of `kdda predict --output`."""
        return {"answer": self.text, "start": self.start, "end": self.end, "score": self.score}

    def as_response(self) -> dict[str, Any]:
        """The body of an HTTP response."""
        return {**self.as_row(), "candidates": self.candidates, "no_answer": self.no_answer}

    def __str__(self) -> str:
        """One line a candidate, the best first, as `kdda predict` prints it."""
        lines = []
        for candidate in self.candidates:
            lines.append(f"{candidate['probability']:7.1%}  {candidate['text'] or NO_ANSWER_TEXT}")
        return "\n".join(lines)


@dataclass(frozen=True)
class AnswerCandidate:
    """A span of the context."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class AnswerResponse:
    """An answer, which is `context[start:end]`; empty where the model predicts that there is none."""

    answer: str
    start: int
    end: int
    score: float
    candidates: list[AnswerCandidate]
    no_answer: Annotated[
        float | None, Field(description="The probability that there is none; null of models that always answer.")
    ]


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Questions on contexts.

    Args:
        longest: characters of the longest answer to look for.
        no_answer: whether a question may have none.
        max_candidates: that a prediction has.
    """

    fields: tuple[str, ...] = ("question", "context")
    _: KW_ONLY
    longest: int = LIMIT
    no_answer: bool = False
    max_candidates: int = MAX_CANDIDATES
    metric: str = "f1"
    scores: tuple[str, ...] = ("exact_match", "f1")
    methods: tuple[str, ...] = ("answer",)
    route: str = "/answer"
    summary: str = "Answer a question on a passage"
    short_fields: tuple[str, ...] = ("question",)

    gold_fields: ClassVar[tuple[str, ...] | None] = ("answers", "answer", "answer_start", "is_impossible")
    head: ClassVar[str] = "question-answering"
    states_read: ClassVar[Literal["first token", "all tokens"]] = "all tokens"
    outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    logits_of: ClassVar[Literal["text", "token"]] = "token"
    compares_token_logits: ClassVar[bool] = True
    logit_edges: ClassVar[tuple[Literal["first", "last"], ...]] = ("first", "last")  # of starts, and of ends
    response_type: ClassVar[type] = AnswerResponse
    result_key: ClassVar[str] = "answer"
    pipeline_tag: ClassVar[str] = "question-answering"
    row_score: ClassVar[Literal["f1", "accuracy", "spearman"]] = "f1"
    breakdown: ClassVar[Literal["label", "answer length", "none"]] = "answer length"
    page_view: ClassVar[Literal["bars", "passage", "text", "options", "number"]] = "passage"
    purpose: ClassVar[str] = "answers questions"
    distillation: ClassVar[Mapping[str, Any]] = {"objective": "kd-logits", "lambda": 1.0}  # best in reading

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fields) != 2:
            raise KddaError(
                f'task "{self.name}": got {count_of(len(self.fields), "field")}, expected a question and a context'
            )

    # -- settings

    def fitted(self, examples: Iterable[Example]) -> QuestionAnswering:
        """Answers may be half as long again as the longest in training; a question may have none if training has such.

        Where no row has an answer, `LIMIT` takes the longest one's place.
        """
        longest = -1
        has_unanswered = False
        for example in examples:
            if isinstance(example, Question):
                has_unanswered = has_unanswered or not example.answers
                for answer in example.answers:
                    longest = max(longest, len(answer.text))
        if longest < 0:
            longest = LIMIT
        return replace(self, longest=longest * 3 // 2 + 1, no_answer=has_unanswered)

    def settings(self) -> dict[str, Any]:
        """What a model's config stores: the longest answer, and whether there may be none."""
        return {LONGEST: self.longest, NO_ANSWER: self.no_answer}

    def with_settings(self, config: Mapping[str, Any]) -> QuestionAnswering:
        """The task with the settings of a model's config; `LIMIT` where it stores none."""
        longest = int(config.get(LONGEST) or LIMIT)
        return replace(self, longest=longest, no_answer=bool(config.get(NO_ANSWER, self.no_answer)))

    def for_inference(self, no_answer: bool | None = None) -> QuestionAnswering:
        """With all candidates, and "no answer" among them."""
        task = replace(self, max_candidates=1 + BEST)
        if no_answer is None:
            return task
        return replace(task, no_answer=no_answer)

    def check_outputs(self, config: Any, name: str) -> None:
        """Refuse a head that does not give every token a start and an end."""
        if config.num_labels != 2:
            raise KddaError(
                f'"{name}": its head gives {config.num_labels} numbers a token; an answer has a start and an end'
            )

    # -- from rows to predictions

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes a `Question` of a row, its golds placed in the context."""
        return question_converter(schema)

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """Questions with as many windows as their context takes; counts answers that no window holds whole."""

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The windows of each example of a chunk."""
            texts: list[str] = []
            for example in chunk:
                texts += example.texts
            encoder.tokenize(texts)  # fills the encoder's cache, all at once: fast tokenizers use every core
            for example in chunk:
                windows = encoder.windows(example.texts)
                encoder.counts["answers that no part of their context holds whole (max_length)"] += _is_cut(
                    example, windows
                )
                yield windows

        return Features(examples, Windows(in_chunks(examples, read)))

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """Question and context of each window, and the characters of the context that the window holds."""
        return spans_of_windows(features)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        """First and last token of the first gold that a window holds whole; 0 and 0 where it holds none."""
        starts = array("i")
        ends = array("i")
        for example, windows in zip(features.examples, features.windows.by_row, strict=True):
            for window in windows:
                start, end = _first_span(window, _golds(example))
                starts.append(start)
                ends.append(end)
        return {"start_positions": np.array(starts, np.int32), "end_positions": np.array(ends, np.int32)}

    def logit_places(self, window: Window) -> LogitPlaces:
        """The tokens of the context with their characters; before them the first token, for no answer here."""
        begin, stop = window.ranges[-1]
        context = window.parts[-1]
        characters = np.stack([context.starts[begin:stop], context.ends[begin:stop]], axis=1).astype(np.int64)
        tokens = np.arange(window.context_start, window.context_start + stop - begin)
        characters = np.concatenate([np.array([NOWHERE]), characters])
        return LogitPlaces(np.insert(tokens, 0, 0), characters)

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[list[AnswerSpan]]:
        """The best spans of each window, and the score of no answer, from the logits of starts and ends."""
        starts = outputs.start_logits.float().cpu().numpy()
        ends = outputs.end_logits.float().cpu().numpy()
        return list(map(self._best_spans, windows, starts, ends))

    def _best_spans(
        self, window: Window, starts: Float32[ndarray, "_"], ends: Float32[ndarray, "_"]
    ) -> list[AnswerSpan]:
        """The best spans of one window, best first, and last the score of no answer.

        A span's score is the sum of its start's and its end's logit; of no answer, that of the window's first token.

        Args:
            starts, ends: the logits of the window's tokens, padding after them.
        """
        no_answer = AnswerSpan(0, 0, float(starts[0] + ends[0]))
        begin, stop = window.ranges[-1]  # the tokens of the context that the window holds
        if begin == stop:
            return [no_answer]
        tokens = slice(window.context_start, window.context_start + stop - begin)
        starts, ends = starts[tokens], ends[tokens]
        first, last = _largest(starts, BEST), _largest(ends, BEST)
        context = window.parts[-1]
        from_character = context.starts[begin + first][:, None]
        to_character = context.ends[begin + last][None, :]
        lengths = to_character - from_character  # [starts, ends]: every start with every end
        fits = (first[:, None] <= last) & (lengths > 0) & (lengths <= self.longest)
        scores = np.where(fits, starts[first][:, None] + ends[last], -np.inf).ravel()
        best = _largest(scores, BEST)
        best = best[np.isfinite(scores[best])]
        rows, columns = np.divmod(best, len(last))  # places in the flattened table as (start, end)
        span_starts = from_character[rows, 0].tolist()
        span_ends = to_character[0, columns].tolist()
        return [*map(AnswerSpan, span_starts, span_ends, scores[best].tolist()), no_answer]

    def decode(
        self, features: Features, candidates: Sequence[Sequence[AnswerSpan]], labels: Sequence[str], language: str
    ) -> list[AnswerPrediction]:
        """The best answer of each example over all its windows, scored by a language's rules."""
        rows = zip(features.examples, features.windows.by_row, _by_row(features, candidates), strict=True)
        predictions = []
        for example, windows, spans in rows:
            predictions.append(self._prediction(example, spans, oracle(example, windows), language))
        return predictions

    def answer_spans(self, features: Features, candidates: Sequence[Sequence[AnswerSpan]]) -> list[list[AnswerSpan]]:
        """Each example's best spans, best first, whose scores compare over examples that ask the same question.

        Where a question may have no answer, a span's score is what it has above no answer's.
        """
        return list(map(self._above_no_answer, _by_row(features, candidates)))

    def _above_no_answer(self, windows: Sequence[Sequence[AnswerSpan]]) -> list[AnswerSpan]:
        """The spans of an example's windows, best first, each with its score less that of no answer."""
        ranked = self._ranked(windows)
        threshold = 0.0
        answers = []
        for span in ranked:
            if span.start < span.end:
                answers.append(span)
            elif self.no_answer:
                threshold = span.score
        return [span._replace(score=span.score - threshold) for span in answers]

    def _prediction(
        self, example: Example, windows: Sequence[Sequence[AnswerSpan]], best_possible: str, language: str
    ) -> AnswerPrediction:
        """The prediction for one example.

        Args:
            windows: the candidates of each of its windows.
            best_possible: the best answer that the model's tokens allow (see `oracle`).
        """
        ranked = self._ranked(windows)
        probabilities = _softmax([span.score for span in ranked])
        context = example.texts[1]
        golds = [gold.text for gold in _golds(example)]
        candidates = []
        for span, probability in islice(zip(ranked, probabilities, strict=True), self.max_candidates):
            candidates.append(
                {
                    "text": context[span.start : span.end],
                    "start": span.start,
                    "end": span.end,
                    "probability": round(probability, DIGITS),
                }
            )
        best = ranked[0]
        text = context[best.start : best.end]
        return AnswerPrediction(
            id=example.id,
            group=example.group,
            golds=golds,
            predicted=text,
            start=best.start,
            end=best.end,
            probability=round(probabilities[0], DIGITS),
            exact_match=best_over_golds(exact_match, text, golds, language),
            f1=best_over_golds(answer_f1, text, golds, language),
            oracle_exact_match=best_over_golds(exact_match, best_possible, golds, language),
            oracle_f1=best_over_golds(answer_f1, best_possible, golds, language),
            candidates=candidates,
        )

    def _ranked(self, windows: Sequence[Sequence[AnswerSpan]]) -> list[AnswerSpan]:
        """Candidates of all windows, each span once; the empty one only where it may be the answer.

        A window without the answer predicts "no answer" with confidence, so no answer has the score of the window that
        is least sure of it.
        """
        best: dict[tuple[int, int], AnswerSpan] = {}
        for window in windows:
            for span in window[:-1]:  # the last one is "no answer"
                known = best.get((span.start, span.end))
                if known is None or span.score > known.score:
                    best[span.start, span.end] = span
        ranked = sorted(best.values(), key=_negative_score)[:BEST]
        if self.no_answer or not ranked:
            no_answer = AnswerSpan(0, 0, min(window[-1].score for window in windows))
            ranked = sorted([*ranked, no_answer], key=_negative_score)
        return ranked

    # -- scores and results

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """Means of exact match and F1, of predictions and of oracles, and the standard error of F1; in per cent."""
        rows = list(map(_checked, predictions))
        scores: dict[str, Any] = {"rows": len(rows)}
        for name in ("exact_match", "f1", "oracle_exact_match", "oracle_f1"):
            scores[name] = 100 * fmean(map(attrgetter(name), rows))
        scores["standard_error"] = standard_error([100 * row.f1 for row in rows])
        return scores

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Lists as the `squad` metric takes them: ``{id, prediction_text}``, and ``{id, answers: {text: […]}}``."""
        answers = []
        golds = []
        for row in map(_checked, predictions):
            answers.append({"id": row.id, "prediction_text": row.predicted})
            golds.append({"id": row.id, "answers": {"text": row.golds, "answer_start": [0] * len(row.golds)}})
        return answers, golds

    def result(self, prediction: Prediction, best: int = MAX_CANDIDATES) -> AnswerResult:
        """The answer with the `best` first candidates, without golds and scores."""
        row = _checked(prediction)
        no_answer = None
        for candidate in row.candidates:
            if not candidate["text"] and no_answer is None:
                no_answer = candidate["probability"]
        candidates = row.candidates[: max(1, best)]
        return AnswerResult(row.predicted, row.start, row.end, row.probability, candidates, no_answer)


def _checked(prediction: Prediction) -> AnswerPrediction:
    """The same prediction, known to the type checker as one of this task."""
    assert isinstance(prediction, AnswerPrediction)
    return prediction


def _negative_score(span: AnswerSpan) -> float:
    """A sort key that puts the largest score first."""
    return -span.score


def _by_row(features: Features, candidates: Sequence[Sequence[AnswerSpan]]) -> Iterator[list[Sequence[AnswerSpan]]]:
    """The candidates of each example's windows.

    Args:
        candidates: of all windows of all examples, in their order.
    """
    remaining = iter(candidates)
    for windows in features.windows.by_row:
        yield list(islice(remaining, len(windows)))


def token_span(window: Window, answer: GoldAnswer) -> tuple[int, int] | None:
    """The window's tokens that hold an answer, first and last; None where the window does not hold all of it."""
    begin, stop = window.ranges[-1]  # the tokens of the context that the window holds
    start, end = window.parts[-1].within(answer.start, answer.start + len(answer.text))
    if start < begin or end > stop or start == end:
        return None
    return window.context_start + start - begin, window.context_start + end - 1 - begin


def _first_span(window: Window, golds: Sequence[GoldAnswer]) -> tuple[int, int]:
    """First and last token of the first gold that the window holds whole; 0 and 0, the first token, for none."""
    for gold in golds:
        span = token_span(window, gold)
        if span is not None:
            return span
    return 0, 0


def oracle(example: Example, windows: Sequence[Window]) -> str:
    """The best answer that these windows' tokens can give: tokens that cross a gold's edge give more than the gold."""
    best = ""
    smallest = None
    for gold in _golds(example):
        for window in windows:
            text = _overlapping_text(window, gold, example.texts[1])
            if text is None:
                continue
            difference = abs(len(text) - len(gold.text))
            if smallest is None or difference < smallest:
                best = text
                smallest = difference
    return best


def _overlapping_text(window: Window, gold: GoldAnswer, context: str) -> str | None:
    """The text of a window's tokens that hold any of a gold; None where none does."""
    part = window.parts[-1]
    begin, stop = window.ranges[-1]
    start, end = part.within(gold.start, gold.start + len(gold.text))
    start, end = max(start, begin), min(end, stop)
    if start >= end:
        return None
    return context[part.starts[start] : part.ends[end - 1]]


def _golds(example: Example) -> tuple[GoldAnswer, ...]:
    """The gold answers of a question; none of an example without golds, which is only to be answered."""
    return example.answers if isinstance(example, Question) else ()


def _is_cut(example: Example, windows: Sequence[Window]) -> bool:
    """Whether there are golds, and no window holds any of them whole."""
    golds = _golds(example)
    for window in windows:
        for gold in golds:
            if token_span(window, gold) is not None:
                return False
    return bool(golds)


def _largest(values: Float32[ndarray, "_"], count: int) -> Any:
    """Places of the largest values, largest first."""
    if len(values) <= count:
        return np.argsort(-values, kind="stable")
    few = np.argpartition(-values, count)[:count]  # the largest, in no order: cheaper than sorting all
    return few[np.argsort(-values[few], kind="stable")]


def _softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities in proportion to exp(score)."""
    powers = np.exp(np.array(scores) - max(scores))
    probabilities: list[float] = (powers / powers.sum()).tolist()
    return probabilities


QA = QuestionAnswering(
    "qa",
    samples=(
        "Vua Lý Thái Tổ dời đô vào năm nào?",
        "Hà Nội là thủ đô của Việt Nam, nằm bên bờ sông Hồng. Năm 1010, vua Lý Thái Tổ dời đô từ Hoa Lư ra đây và đặt "
        "tên là Thăng Long.",
    ),
    export_rows=("reading/vi/test", "reading/en/test"),
    page_words={
        "vi": PageWords(tab="Hỏi đáp", button="Trả lời", fields={"context": "Đoạn văn", "question": "Câu hỏi"}),
        "en": PageWords(tab="Ask", button="Answer", fields={"context": "Passage", "question": "Question"}),
    },
)
