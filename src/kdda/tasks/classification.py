"""`Classification`: tasks that label one text or a pair; its results, scores, route (/classify) and rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int32
from numpy import ndarray

from kdda.data.examples import Example, LabelledExample, RowConverter, Schema, labelled_converter
from kdda.errors import KddaError
from kdda.metrics.labels import accuracy, macro_f1, per_label_f1
from kdda.metrics.significance import standard_error
from kdda.runtime.numbers import count_of
from kdda.tasks.base import DIGITS, SMALLEST, Prediction, Result, Task
from kdda.tasks.features import Features
from kdda.text.encode import Window


@dataclass(frozen=True)
class LabelPrediction(Prediction):
    """The predicted label, beside the gold one.

    Attributes:
        gold: the row's label; empty for a row without one.
        probabilities: label name → its probability.
    """

    gold: str
    predicted: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class LabelResult(Result):
    """The likeliest label, and every label's probability by name."""

    label: str
    probabilities: dict[str, float]

    @property
    def decision(self) -> str:
        """The label alone: what two models must agree on."""
        return self.label

    @property
    def chosen(self) -> list[str]:
        """The predicted labels, which the page marks."""
        return [self.label]

    def __str__(self) -> str:
        """One line a label, the likeliest first, as `kdda predict` prints it."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        lines = []
        for label, probability in ranked:
            lines.append(f"{probability:7.1%}  {label}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Classification(Task):
    """A classification task over one text field or two.

    >>> Classification("sentiment", ("text",), labels=("negative", "positive")).describe()
    'labels texts: classify(text)'
    """

    _: KW_ONLY
    scores: tuple[str, ...] = ("accuracy", "macro_f1")
    methods: tuple[str, ...] = ("classify",)
    route: str = "/classify"
    summary: str = "Label a row: the likeliest label, and every label's probability"

    head: ClassVar[str] = "classification"
    gold_fields: ClassVar[tuple[str, ...] | None] = ("label",)
    labelled: ClassVar[bool] = True
    response_type: ClassVar[type] = LabelResult
    result_key: ClassVar[str] = "label"
    pipeline_tag: ClassVar[str] = "text-classification"
    most_fields: ClassVar[int] = 2  # texts of a row
    page_view: ClassVar[Literal["bars", "passage", "text", "options", "number"]] = "bars"
    purpose: ClassVar[str] = "labels texts"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fields) > self.most_fields:
            texts = ("one text or a pair of texts", "one text, two or three")[self.most_fields - 2]
            raise KddaError(f'task "{self.name}": got {count_of(len(self.fields), "field")}, expected {texts}')

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes an example of a row: its texts by field, and its label."""
        return labelled_converter(self.fields, schema)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        """The number of each example's label, as the argument `labels` of the model's forward."""
        index = _places(labels)
        golds = (index[gold_of(example)] for example in features.examples)
        return {"labels": np.fromiter(golds, np.int32, len(features.examples))}

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[list[float]]:
        """The probabilities of all labels, a row a window."""
        rows: list[list[float]] = outputs.logits.float().softmax(dim=-1).tolist()
        return rows

    def decode(
        self, features: Features, candidates: Sequence[Sequence[float]], labels: Sequence[str], language: str
    ) -> list[LabelPrediction]:
        """The likeliest label of each example, beside its gold label.

        Args:
            candidates: the probabilities of each example, in the order of `labels`.
        """
        predictions = []
        for example, row in zip(features.examples, candidates, strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            probabilities = dict(zip(labels, map(_rounded, row), strict=True))
            predictions.append(
                LabelPrediction(example.id, example.group, gold_of(example), labels[best], probabilities)
            )
        return predictions

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """Accuracy, F1 of each label and its mean, and the standard error of the accuracy; in per cent."""
        rows = list(map(_checked, predictions))
        gold, predicted, row_scores = [], [], []
        for row in rows:
            gold.append(row.gold)
            predicted.append(row.predicted)
            row_scores.append(100.0 * (row.gold == row.predicted))
        return {
            "rows": len(rows),
            "accuracy": accuracy(gold, predicted),
            "macro_f1": macro_f1(gold, predicted, labels),
            "per_label": per_label_f1(gold, predicted, labels),
            "standard_error": standard_error(row_scores),
        }

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[Float32[ndarray, "rows labels"], Int32[ndarray, " rows"]]:
        """Log-probabilities in the order of `labels`, and the golds' places in `labels`."""
        index = _places(labels)
        probabilities = np.zeros((len(predictions), len(labels)), np.float32)
        golds = np.zeros(len(predictions), np.int32)
        for row, prediction in enumerate(map(_checked, predictions)):
            golds[row] = index[prediction.gold]
            for label, value in prediction.probabilities.items():
                probabilities[row, index[label]] = value
        return np.log(np.maximum(probabilities, SMALLEST)), golds

    def result(self, prediction: Prediction, best: int = 5) -> LabelResult:
        """The label and the probabilities, without the gold."""
        row = _checked(prediction)
        return LabelResult(row.predicted, row.probabilities)


def gold_of(example: Example) -> str:
    """An example's label; empty for a row that is to be labelled."""
    return example.label if isinstance(example, LabelledExample) else ""


def _places(labels: Sequence[str]) -> dict[str, int]:
    """Label → its place among the labels, which is the number of the head's output."""
    return {label: i for i, label in enumerate(labels)}


def _rounded(probability: float) -> float:
    return round(probability, DIGITS)


def _checked(prediction: Prediction) -> LabelPrediction:
    """The same prediction, known to the type checker as one of this kind of tasks."""
    assert isinstance(prediction, LabelPrediction)
    return prediction
