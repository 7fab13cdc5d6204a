"""Classification scores in per cent: accuracy, and F1 of each label and its unweighted mean (macro-F1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Per cent of rows whose predicted label is the gold one.

    >>> accuracy(["a", "b"], ["a", "a"])
    50.0
    """
    return 100 * _correct_rows(gold, predicted).total() / len(gold)


def per_label_f1(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """F1 of each label, in per cent; 0 for a label that is neither a gold nor a predicted one.

    >>> per_label_f1(["a", "b", "b"], ["a", "a", "b"], ["a", "b"])["a"].__round__(1)
    66.7
    """
    hits = _correct_rows(gold, predicted)
    occurrences = Counter(gold) + Counter(predicted)
    scores = {}
    for label in labels:
        scores[label] = 0.0
        if occurrences[label]:
            scores[label] = 200 * hits[label] / occurrences[label]
    return scores


def _correct_rows(gold: Sequence[str], predicted: Sequence[str]) -> Counter[str]:
    """How many rows of each label are predicted right."""
    hits: Counter[str] = Counter()
    for gold_label, predicted_label in zip(gold, predicted, strict=True):
        hits[gold_label] += gold_label == predicted_label
    return hits


def macro_f1(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> float:
    """Unweighted mean of `per_label_f1`."""
    return sum(per_label_f1(gold, predicted, labels).values()) / len(labels)
