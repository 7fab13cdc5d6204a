"""Scores agree with an independent implementation."""

import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from kdda.metrics.entities import SpanCounts, total
from kdda.metrics.labels import accuracy, macro_f1
from kdda.metrics.significance import WeightedMean, bootstrap_interval, mean_bootstrap_interval, mean_sd


def test_scores_agree_with_scikit_learn() -> None:
    chance, labels = random.Random(0), ["e", "n", "c"]
    gold, found = ([chance.choice(labels) for _ in range(200)] for _ in range(2))
    assert abs(accuracy(gold, found) - 100 * accuracy_score(gold, found)) < 1e-9
    assert abs(macro_f1(gold, found, labels) - 100 * f1_score(gold, found, labels=labels, average="macro")) < 1e-9


def test_one_value_has_no_spread() -> None:
    assert mean_sd([5.0]) == (5.0, None)


def test_a_bootstrap_of_weighted_means_is_that_of_means_where_all_weights_are_alike() -> None:
    chance = random.Random(5)
    ours, theirs = ([chance.random() for _ in range(40)] for _ in range(2))
    groups = [str(i // 2) for i in range(40)]
    plain = bootstrap_interval([a - b for a, b in zip(ours, theirs, strict=True)], groups, samples=500)
    means = [WeightedMean(ours, [3.0] * 40), WeightedMean(theirs, [3.0] * 40, -1.0)]
    assert mean_bootstrap_interval([(means, groups)], samples=500) == pytest.approx(plain)


def test_a_bootstrap_of_micro_f1_is_that_of_the_drawn_rows_spans() -> None:
    counts = [SpanCounts(i % 3, i % 3 + i % 2, i % 5 + i % 3) for i in range(30)]
    mean = WeightedMean([row.f1 for row in counts], [row.weight for row in counts])
    interval = mean_bootstrap_interval([([mean], [str(i) for i in range(30)])], samples=300)
    assert interval.mean == pytest.approx(total(counts).f1)
    draws = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=300)
    drawn = [total(row for row, times in zip(counts, draw, strict=True) for _ in range(times)).f1 for draw in draws]
    assert [interval.low, interval.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())
