"""Scores agree with an independent implementation."""

import random

from sklearn.metrics import accuracy_score, f1_score

from kdda.metrics.labels import accuracy, macro_f1
from kdda.metrics.significance import mean_sd


def test_scores_agree_with_scikit_learn() -> None:
    chance, labels = random.Random(0), ["e", "n", "c"]
    gold, found = ([chance.choice(labels) for _ in range(200)] for _ in range(2))
    assert abs(accuracy(gold, found) - 100 * accuracy_score(gold, found)) < 1e-9
    assert abs(macro_f1(gold, found, labels) - 100 * f1_score(gold, found, labels=labels, average="macro")) < 1e-9


def test_one_value_has_no_spread() -> None:
    assert mean_sd([5.0]) == (5.0, None)
