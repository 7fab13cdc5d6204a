"""Scores of labelled spans, in per cent: precision, recall, F1 of whole spans, as seqeval and conlleval count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kdda.metrics.significance import standard_error


class SpanCounts(NamedTuple):
    """How many spans are right, are predicted, and are gold ones."""

    correct: int = 0
    predicted: int = 0
    gold: int = 0

    @classmethod
    def of(cls, predicted: Iterable[Any], gold: Iterable[Any]) -> SpanCounts:
        """The counts of one text; a span is right if start, end and label are.

        >>> SpanCounts.of([(0, 3, "PER"), (4, 7, "LOC")], [(0, 3, "PER"), (4, 8, "LOC")])
        SpanCounts(correct=1, predicted=2, gold=2)
        """
        predictions = set(predicted)
        golds = set(gold)
        return cls(len(predictions & golds), len(predictions), len(golds))

    @property
    def weight(self) -> int:
        """What a text's F1 counts in the mean over texts that is the F1 of all of them: its spans of both kinds."""
        return self.predicted + self.gold

    @property
    def precision(self) -> float:
        """Per cent of the predicted spans that are right; 0 without any."""
        return 100 * self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Per cent of the gold spans that are predicted; 0 without any."""
        return 100 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, in per cent; 0 without any span."""
        return 200 * self.correct / self.weight if self.weight else 0.0


def total(counts: Iterable[SpanCounts]) -> SpanCounts:
    """The counts of all texts together, whose scores are the micro average.

    >>> total([SpanCounts(1, 2, 2), SpanCounts(1, 1, 1)]).f1.__round__(1)
    66.7
    """
    sums = [0, 0, 0]
    for each in counts:
        for place, number in enumerate(each):
            sums[place] += number
    return SpanCounts(*sums)


def f1_standard_error(counts: Sequence[SpanCounts]) -> float:
    """The standard error of the F1 of all texts, by linearization: of a ratio of two means (Cochran 1977, §6).

    Args:
        counts: one a text.
    """
    whole = total(counts)
    if not whole.weight:
        return 0.0
    mean_weight = whole.weight / len(counts)
    deviations = []
    for text in counts:
        deviations.append((200 * text.correct - whole.f1 * text.weight) / mean_weight)
    return standard_error(deviations)
