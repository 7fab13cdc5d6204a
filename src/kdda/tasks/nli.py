"""Classification of one text or a pair: natural language inference and its kin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.data.examples import Example, LabelledExample, RowConverter, Schema, labelled_converter
from kdda.metrics.labels import accuracy, macro_f1, per_label_f1
from kdda.metrics.significance import standard_error
from kdda.runtime.disk_sequence import LazySequence
from kdda.tasks.base import Features, Prediction, TextSpan
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.encode import Encoder, Window


@dataclass(frozen=True)
class LabelPrediction(Prediction):
    """The label found, beside its gold."""

    gold: str
    predicted: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Classification:
    """A classification task over the row's text fields.

    Args:
        name: what recipes call it.
        texts: one or two fields, in the order the model reads them.
    """

    name: str
    texts: tuple[str, ...]
    metric: str = "accuracy"
    scores: tuple[str, ...] = ("accuracy", "macro_f1")
    head: str = "classification"
    labelled: bool = True

    def convert(self, schema: Schema) -> RowConverter:
        return labelled_converter(self.texts, schema)

    def fitted(self, examples: Iterable[Example]) -> Classification:
        return self

    def settings(self) -> dict[str, Any]:
        return {}

    def with_settings(self, config: Mapping[str, Any]) -> Classification:
        return self

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        def read(some: Sequence[Example]) -> list[list[Window]]:
            sides = [[example.texts[i] for example in some] for i in range(len(self.texts))]
            return [[window] for window in encoder.encode(*sides)]

        return Features(examples, Windows(in_chunks(examples, read)))

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        return LazySequence(len(features.examples), lambda i: TextSpan(features.examples[i].texts, None))

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        index = {label: i for i, label in enumerate(labels)}
        golds = (index[_gold(example)] for example in features.examples)
        return {"labels": np.fromiter(golds, np.int32, len(features.examples))}

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[list[float]]:
        rows: list[list[float]] = outputs.logits.float().softmax(dim=-1).tolist()
        return rows

    def decode(
        self, features: Features, candidates: Sequence[Sequence[float]], labels: Sequence[str], language: str
    ) -> list[LabelPrediction]:
        best = [max(range(len(row)), key=row.__getitem__) for row in candidates]
        return [
            LabelPrediction(e.id, e.group, _gold(e), labels[i], dict(zip(labels, map(_short, row), strict=True)))
            for e, i, row in zip(features.examples, best, candidates, strict=True)
        ]

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        found = [p for p in predictions if isinstance(p, LabelPrediction)]
        gold, predicted = [p.gold for p in found], [p.predicted for p in found]
        return {
            "rows": len(found),
            "accuracy": accuracy(gold, predicted),
            "macro_f1": macro_f1(gold, predicted, labels),
            "per_label": per_label_f1(gold, predicted, labels),
            "standard_error": standard_error([100.0 * (g == p) for g, p in zip(gold, predicted, strict=True)]),
        }


def _gold(example: Example) -> str:
    """Its label; a row that only asks has none."""
    return example.label if isinstance(example, LabelledExample) else ""


def _short(probability: float) -> float:
    return round(probability, 6)


NLI = Classification("nli", ("premise", "hypothesis"))
