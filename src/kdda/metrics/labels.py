"""Classification scores in per cent: accuracy, F1 of each label and its unweighted mean (macro-F1); of sets of labels
the F1 of a row, and micro-F1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence


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


# -- any number of labels a row

LabelSets = Sequence[Collection[str]]  # the labels of each row


def set_f1(gold: Collection[str], predicted: Collection[str]) -> float:
    """F1 of a row's predicted labels, from 0 to 1; 1 where neither has any.

    >>> set_f1(["a", "b"], ["b"]).__round__(2), set_f1([], [])
    (0.67, 1.0)
    """
    if not gold and not predicted:
        return 1.0
    return 2 * len(set(gold) & set(predicted)) / (len(gold) + len(predicted))


def per_label_f1_of_sets(golds: LabelSets, predicted: LabelSets, labels: Sequence[str]) -> dict[str, float]:
    """F1 of each label over all rows, in per cent; 0 for a label that is neither a gold nor a predicted one.

    >>> per_label_f1_of_sets([["a", "b"], []], [["b"], ["a"]], ["a", "b"])
    {'a': 0.0, 'b': 100.0}
    """
    hits: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    for gold, chosen in zip(golds, predicted, strict=True):
        hits.update(set(gold) & set(chosen))
        occurrences.update(gold)
        occurrences.update(chosen)
    scores = {}
    for label in labels:
        scores[label] = 200 * hits[label] / occurrences[label] if occurrences[label] else 0.0
    return scores


def macro_f1_of_sets(golds: LabelSets, predicted: LabelSets, labels: Sequence[str]) -> float:
    """Unweighted mean of `per_label_f1_of_sets`."""
    return sum(per_label_f1_of_sets(golds, predicted, labels).values()) / len(labels)


def micro_f1_of_sets(golds: LabelSets, predicted: LabelSets) -> float:
    """F1 over all labels of all rows, in per cent; 0 where there are none.

    >>> micro_f1_of_sets([["a", "b"], []], [["b"], ["a"]])
    50.0
    """
    hits = 0
    occurrences = 0
    for gold, chosen in zip(golds, predicted, strict=True):
        hits += len(set(gold) & set(chosen))
        occurrences += len(gold) + len(chosen)
    return 200 * hits / occurrences if occurrences else 0.0
