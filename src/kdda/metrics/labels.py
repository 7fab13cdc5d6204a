"""Classification scores, in per cent. (The field reports accuracy and the unweighted mean of the labels' F1.)"""

from __future__ import annotations

from collections.abc import Sequence


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Per cent of rows that are right.

    >>> accuracy(["a", "b"], ["a", "a"])
    50.0
    """
    return 100 * sum(g == p for g, p in zip(gold, predicted, strict=True)) / len(gold)


def per_label_f1(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """F1 of each label, in per cent; 0 for a label that is neither there nor predicted.

    >>> per_label_f1(["a", "b", "b"], ["a", "a", "b"], ["a", "b"])["a"].__round__(1)
    66.7
    """
    scores = {}
    for label in labels:
        hits = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
        named = sum(g == label for g in gold) + sum(p == label for p in predicted)
        scores[label] = 200 * hits / named if named else 0.0
    return scores


def macro_f1(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> float:
    """Unweighted mean of `per_label_f1`."""
    return sum(per_label_f1(gold, predicted, labels).values()) / len(labels)
