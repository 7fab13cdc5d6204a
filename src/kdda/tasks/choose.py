"""The task `choose`, multiple choice: a number for every option of a question, any number of them, of any length.

A window reads an option after its question, and then the context; the head gives it one number. The softmax over a
row's options is computed here, so that all windows of a row stand in one part of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from statistics import fmean
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32
from numpy import ndarray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from kdda.data.choices import FIRST_OPTION, NO_GOLD, Choice, choice_converter, problem_of
from kdda.data.examples import Example, RowConverter, Schema
from kdda.errors import KddaError
from kdda.metrics.significance import standard_error
from kdda.runtime.disk_sequence import LazySequence
from kdda.tasks.base import DIGITS, SMALLEST, PageWords, Prediction, Result, Task
from kdda.tasks.features import Features, TextSpan
from kdda.tasks.pooling import check_long_texts, pooled
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window


@dataclass(frozen=True)
class ChoicePrediction(Prediction):
    """The predicted option, beside the right one.

    Attributes:
        gold, predicted: numbers of options, from 0; a gold of -1 is unknown.
        probabilities: one an option.
        options: their texts.
    """

    gold: int
    predicted: int
    probabilities: list[float]
    options: list[str]


@dataclass(frozen=True)
class ChoiceResult(Result):
    """The likeliest option, and every option's probability.

    Attributes:
        choice: its number, from 0.
        option: its text.
        probabilities: of all options, in their order.
        options: their texts.
    """

    choice: int
    option: str
    probabilities: list[float]
    options: list[str]

    @property
    def decision(self) -> int:
        """The option's number alone: what two models must agree on."""
        return self.choice

    def as_row(self) -> dict[str, Any]:
        """The fields of a line of `kdda predict --output`: without the texts of all options, which the input has."""
        return {"choice": self.choice, "option": self.option, "probabilities": self.probabilities}

    def as_response(self) -> dict[str, Any]:
        """The body of an HTTP response."""
        return self.as_row()

    def __str__(self) -> str:
        """One line an option, the likeliest first, as `kdda predict` prints it."""
        ranked = sorted(zip(self.probabilities, self.options, strict=True), key=lambda pair: -pair[0])
        lines = []
        for probability, option in ranked:
            lines.append(f"{probability:7.1%}  {option}")
        return "\n".join(lines)


@dataclass(frozen=True)
class ChoiceResponse:
    """The likeliest option by its number, from 0, and text; and the probabilities of all options, in their order."""

    choice: int
    option: str
    probabilities: list[float]


@dataclass(frozen=True)
class MultipleChoice(Task):
    """Questions with options to choose from.

    Args:
        long_texts: ``cut`` truncates a context that does not fit a window beside an option, and counts it; ``mean``
            and ``max`` read it in as many windows as it takes, and take the mean or the largest of an option's numbers.
        questions: what a question is replaced by before it is read, such as ``{"cause": "Vì sao?"}``; others are read
            as they are.
    """

    fields: tuple[str, ...] = ("context", "options", "question")
    _: KW_ONLY
    long_texts: str = "cut"
    questions: Mapping[str, str] = field(default_factory=dict, hash=False)
    methods: tuple[str, ...] = ("choose",)
    summary: str = "Choose one of several options: the likeliest one, and every option's probability"
    short_fields: tuple[str, ...] = ("question",)

    list_fields: ClassVar[tuple[str, ...]] = ("options",)
    optional_fields: ClassVar[tuple[str, ...]] = ("question",)
    gold_fields: ClassVar[tuple[str, ...] | None] = ("label",)
    head: ClassVar[str] = "classification"
    response_type: ClassVar[type] = ChoiceResponse
    result_key: ClassVar[str] = "choice"
    pipeline_tag: ClassVar[str] = "multiple-choice"
    breakdown: ClassVar[Literal["label", "answer length", "none"]] = "none"
    page_view: ClassVar[Literal["bars", "passage", "text", "options", "number"]] = "options"
    purpose: ClassVar[str] = "chooses one of several options"
    option_names: ClassVar[tuple[str, ...]] = ("long_texts", "questions")

    def check_option(self, name: str, value: Any) -> Any:
        """The value of `long_texts` or `questions`, with texts around which there is no white space."""
        if name == "long_texts":
            return check_long_texts(value)
        if not isinstance(value, Mapping):
            raise KddaError(f"task_options.questions: got {value!r:.80}, expected question: what is read in its place")
        phrases = {}
        for question, phrase in value.items():
            check_text(phrase, f"task_options.questions.{question}")
            phrases[str(question).strip()] = phrase.strip()
        return phrases

    def output_names(self, labels: Sequence[str]) -> Sequence[str]:
        """The one number that a head gives an option."""
        return ["score"]

    def check_outputs(self, config: Any, name: str) -> None:
        """Refuse a head that gives an option more numbers than one."""
        if config.num_labels != 1:
            raise KddaError(f'"{name}": its head gives {config.num_labels} numbers a text; an option has one')

    # -- from rows to predictions

    def texts_of(self, values: Mapping[str, Any], name: Callable[[str], str] = str) -> tuple[str, ...]:
        """Context, question (empty without one) and options of a row from outside."""
        context, options, question = values["context"], values["options"], values.get("question") or ""
        check_text(context, name("context"))
        if question:
            check_text(question, name("question"))
        if isinstance(options, str) or not isinstance(options, Sequence):
            raise KddaError(f"{name('options')}: got {options!r:.80}, expected a list of texts")
        problem = problem_of(options)
        if problem:
            raise KddaError(f"{name('options')}: {problem}")
        return context, question, *options

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes a `Choice` of a row."""
        return choice_converter(schema)

    def convert_unlabelled(self, schema: Schema) -> RowConverter:
        """The same of a row without a label, of which no option is known to be right."""
        return choice_converter(schema, is_labelled=False)

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """The windows of each example's options, option after option; contexts that are cut are counted."""

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The windows of each example of a chunk."""
            texts: list[str] = []
            for example in chunk:
                texts += [example.texts[0], *self._options_as_read(example)]
            encoder.tokenize(texts)  # fills the encoder's cache, all at once: fast tokenizers use every core
            for example in chunk:
                yield self._windows(example, encoder)

        return Features(examples, Windows(in_chunks(examples, read)), whole_rows=True)

    def _options_as_read(self, example: Example) -> list[str]:
        """Each option after its question, or after what replaces the question."""
        question = example.texts[1].strip()
        question = self.questions.get(question, question)
        return [f"{question} {option}".strip() for option in example.texts[FIRST_OPTION:]]

    def _windows(self, example: Example, encoder: Encoder) -> list[Window]:
        """The windows of one example."""
        options, context = self._options_as_read(example), example.texts[0]
        if self.long_texts == "cut":
            return encoder.encode(options, [context] * len(options))
        windows: list[Window] = []
        for option in options:
            windows += encoder.windows((option, context))
        return windows

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """Option and context of each window, and, of a context in several windows, the characters that it holds."""

        def text_span(k: int) -> TextSpan:
            window = features.windows[k]
            option, context = window.parts
            span = None if self.long_texts == "cut" else window.context_span
            return TextSpan((option.text, context.text), span)

        return LazySequence(len(features.windows), text_span)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        """The number of each window's row and option, and the number of the row's right option."""
        rows, options, golds = [], [], []
        for row, (example, windows) in enumerate(zip(features.examples, features.windows.by_row, strict=True)):
            numbers = _option_numbers(windows)
            rows += [row] * len(numbers)
            options += numbers
            golds += [_gold(example)] * len(numbers)
        return {
            "row": np.array(rows, np.int32),
            "option": np.array(options, np.int32),
            "gold": np.array(golds, np.int32),
        }

    def outputs_with_loss(self, model: Any, inputs: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Any:
        """The head's numbers, and the cross-entropy of the softmax over each row's options."""
        outputs = model(**inputs)
        numbers = outputs.logits.float().squeeze(-1)
        # windows stand row by row and option by option: runs of equal neighbours are the windows of each option …
        most = targets["option"].max() + 1
        options, first_windows = _runs(targets["row"] * most + targets["option"])
        scores = self._pooled(numbers, options)
        # … and then the options of each row
        rows, first_options = _runs(targets["row"][first_windows])
        options_a_row = rows.bincount().tolist()
        parts = list(torch.split(scores, options_a_row))  # type: ignore[no-untyped-call]
        table = pad_sequence(parts, batch_first=True, padding_value=-torch.inf)
        golds = targets["gold"][first_windows[first_options]]
        outputs.loss = functional.cross_entropy(table, golds)
        return outputs

    def _pooled(
        self, numbers: Float[Tensor, " windows"], options: Int[Tensor, " windows"]
    ) -> Float[Tensor, " options"]:
        """One number an option, of those of its windows.

        Args:
            options: the number of each window's option, from 0, none left out.
        """
        return pooled(numbers[:, None], options, self.long_texts)[:, 0]

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[float]:
        """The head's number of each window."""
        numbers: list[float] = outputs.logits.float().squeeze(-1).tolist()
        return numbers

    def decode(
        self, features: Features, candidates: Sequence[float], labels: Sequence[str], language: str
    ) -> list[ChoicePrediction]:
        """The likeliest option of each example.

        Args:
            candidates: the number of each window.
        """
        predictions = []
        start = 0
        for example, windows in zip(features.examples, features.windows.by_row, strict=True):
            numbers = torch.tensor(candidates[start : start + len(windows)])
            start += len(windows)
            options_of_windows = torch.tensor(_option_numbers(windows))
            probabilities = self._pooled(numbers, options_of_windows).softmax(dim=0).tolist()
            predicted = max(range(len(probabilities)), key=probabilities.__getitem__)
            rounded = [round(probability, DIGITS) for probability in probabilities]
            options = list(example.texts[FIRST_OPTION:])
            predictions.append(ChoicePrediction(example.id, example.group, _gold(example), predicted, rounded, options))
        return predictions

    # -- scores and results

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """Accuracy, that of choosing at random, and the accuracy's standard error; in per cent."""
        correct, by_chance = [], []
        for row in map(_checked, predictions):
            correct.append(100.0 * (row.gold == row.predicted))
            by_chance.append(100.0 / len(row.options))
        return {
            "rows": len(correct),
            "accuracy": fmean(correct),
            "chance": fmean(by_chance),
            "standard_error": standard_error(correct),
        }

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[Float32[ndarray, "rows options"], Int32[ndarray, " rows"]]:
        """Log-probabilities of the options, those of rows with fewer options padded, and the golds' numbers."""
        rows = list(map(_checked, predictions))
        most = max((len(row.options) for row in rows), default=0)
        probabilities = np.zeros((len(rows), most), np.float32)
        for number, row in enumerate(rows):
            probabilities[number, : len(row.probabilities)] = row.probabilities
        golds = np.array([row.gold for row in rows], np.int32)
        return np.log(np.maximum(probabilities, SMALLEST)), golds

    def result(self, prediction: Prediction, best: int = 5) -> ChoiceResult:
        """The choice and all probabilities, without the gold."""
        row = _checked(prediction)
        return ChoiceResult(row.predicted, row.options[row.predicted], row.probabilities, row.options)


def _gold(example: Example) -> int:
    """The number of an example's right option; `NO_GOLD` of a row that is only to be predicted."""
    return example.gold if isinstance(example, Choice) else NO_GOLD


def _option_numbers(windows: Sequence[Window]) -> list[int]:
    """The number of the option that each window of a row reads; windows of one option stand together."""
    numbers = []
    number = -1
    before = None
    for window in windows:
        option = window.parts[0]
        number += option is not before
        before = option
        numbers.append(number)
    return numbers


def _runs(values: Int[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " runs"]]:
    """Runs of equal neighbours: the number of each value's run, from 0, and the place of each run's first value."""
    _, numbers, counts = torch.unique_consecutive(  # type: ignore[no-untyped-call]
        values, return_inverse=True, return_counts=True
    )
    return numbers, counts.cumsum(0) - counts


def _checked(prediction: Prediction) -> ChoicePrediction:
    """The same prediction, known to the type checker as one of this task."""
    assert isinstance(prediction, ChoicePrediction)
    return prediction


CHOOSE = MultipleChoice(
    "choose",
    samples=("Trời mưa to suốt đêm.", "Sáng ra đường ngập nước.\nSáng ra đường khô ráo.", "Chuyện gì xảy ra sau đó?"),
    page_words={
        "vi": PageWords(
            tab="Trắc nghiệm",
            button="Chọn",
            fields={
                "context": "Ngữ cảnh",
                "question": "Câu hỏi (có thể bỏ trống)",
                "options": "Các lựa chọn, mỗi dòng một lựa chọn",
            },
        ),
        "en": PageWords(
            tab="Choose",
            button="Choose",
            fields={
                "context": "Context",
                "question": "Question (may be empty)",
                "options": "Options, one a line",
            },
        ),
    },
)
