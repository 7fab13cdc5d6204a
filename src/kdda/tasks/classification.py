"""Classification of one text or a pair: natural language inference and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdda.data import Example
from kdda.evaluate import accuracy, macro_f1, per_label_f1
from kdda.tasks.base import Prediction
from kdda.text import Encoder, Features


@dataclass(frozen=True)
class Classification:
    """A classification task over the row's text fields.

    Args:
        name: what recipes call it.
        texts: one or two fields, in the order the model reads them.
        metric: the score that selects a model on the development rows.
    """

    name: str
    texts: tuple[str, ...]
    metric: str = "accuracy"

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> list[Features]:
        sides = [[example.texts[i] for example in examples] for i in range(len(self.texts))]
        return encoder.encode(*sides)

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> list[int]:
        index = {label: i for i, label in enumerate(labels)}
        return [index[example.label] for example in examples]

    def decode(
        self, examples: Sequence[Example], logits: Sequence[Sequence[float]], labels: Sequence[str]
    ) -> list[Prediction]:
        rows = torch.tensor(logits).softmax(dim=-1).tolist()
        best = [max(range(len(row)), key=row.__getitem__) for row in rows]
        return [
            Prediction(e.id, e.group, e.label, labels[i], dict(zip(labels, map(_short, row), strict=True)))
            for e, i, row in zip(examples, best, rows, strict=True)
        ]

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        gold, found = [p.gold for p in predictions], [p.predicted for p in predictions]
        return {
            "rows": len(predictions),
            "accuracy": accuracy(gold, found),
            "macro_f1": macro_f1(gold, found, labels),
            "per_label": per_label_f1(gold, found, labels),
        }


def _short(probability: float) -> float:
    return round(probability, 6)


NLI = Classification("nli", ("premise", "hypothesis"))
