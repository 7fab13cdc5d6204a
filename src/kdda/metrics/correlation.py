"""Correlations of predicted and gold scores, Pearson's and Spearman's, with a standard error and a paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from kdda.metrics.significance import BOOTSTRAP_SAMPLES, Interval, draw_groups, interval_of_samples

Scores = Sequence[float] | Float64[ndarray, " rows"]


def pearson(predictions: Scores, golds: Scores) -> float:
    """Pearson's r in per cent; 0 where one side does not vary, which tells nothing about the other.

    >>> round(pearson([0.1, 0.5, 0.6], [0.0, 1.0, 1.0]), 1)
    98.2
    """
    from scipy.stats import pearsonr  # takes half a second to import, which tasks without correlations need not wait

    if _is_constant(predictions) or _is_constant(golds):
        return 0.0
    return 100 * float(pearsonr(predictions, golds).statistic)


def spearman(predictions: Scores, golds: Scores) -> float:
    """Spearman's ρ in per cent, with mean ranks of ties; 0 where one side does not vary.

    >>> spearman([0.1, 0.5, 0.6], [0.0, 2.0, 5.0])
    100.0
    """
    from scipy.stats import spearmanr

    if _is_constant(predictions) or _is_constant(golds):
        return 0.0
    return 100 * float(spearmanr(predictions, golds).statistic)


def spearman_error(rho: float, rows: int) -> float:
    """The standard error of Spearman's ρ, both in per cent; 0 of fewer than four rows.

    Source: Bonett, Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 65(1), 2000: the variance of Fisher's z is (1 + ρ²/2) / (n − 3), here taken back to ρ.

    >>> round(spearman_error(80.0, 103), 2)
    4.14
    """
    if rows < 4:
        return 0.0
    part = rho / 100
    return float(100 * (1 - part**2) * ((1 + part**2 / 2) / (rows - 3)) ** 0.5)


class RankedRows(NamedTuple):
    """Rows of one set, such as a language, with what two systems predict for them.

    Attributes:
        golds: of each row.
        predictions: of each row, by each of a system's seeds, over which ρ is averaged.
        baselines: likewise of the system whose ρ is subtracted, paired by seed; none for ρ itself.
        groups: what each row belongs to; rows that share it are drawn together.
    """

    golds: Scores
    predictions: Sequence[Scores]
    baselines: Sequence[Scores]
    groups: Sequence[str]


def spearman_interval(sets: Sequence[RankedRows], samples: int = BOOTSTRAP_SAMPLES) -> Interval:
    """Spearman's ρ in per cent, or its difference between two systems, by a bootstrap that draws groups of rows.

    The ranks are those among all rows of a set; a draw decides how often a row counts.

    Args:
        sets: each counts alike in the mean, and rows are drawn within it.
        samples: how many times the groups are drawn.

    >>> golds = [float(i % 7) for i in range(70)]
    >>> rows = RankedRows(golds, [golds], [golds[::-1]], list(map(str, range(70))))
    >>> spearman_interval([rows], samples=100).excludes_zero
    True
    """
    generator = np.random.default_rng(0)
    values = np.zeros(samples)
    exact = 0.0
    for rows in sets:
        gold_ranks = _ranks(rows.golds)
        draws = draw_groups(rows.groups, samples, generator)
        for sign, system in ((1, rows.predictions), (-1, rows.baselines)):
            for scores in system:
                part = sign / len(system) / len(sets)
                values += part * _correlations(draws, _ranks(scores), gold_ranks)
                exact += part * spearman(scores, rows.golds)
    return interval_of_samples(exact, values)


def _correlations(
    draws: tuple[ndarray, ndarray], x: Float64[ndarray, " rows"], y: Float64[ndarray, " rows"]
) -> Float64[ndarray, " samples"]:
    """Pearson's r of x and y in per cent in each draw; 0 where one of them does not vary.

    Args:
        draws: the number of each row's group, and how often each sample draws each group, ``[samples, groups]``.
    """
    group_of_row, counts = draws
    x, y = x - x.mean(), y - y.mean()  # so that sums of squares keep their digits
    sums = []  # over the drawn rows, one number a sample: n, Σx, Σy, Σx², Σy², Σxy
    for terms in (np.ones_like(x), x, y, x * x, y * y, x * y):
        sums.append(counts @ np.bincount(group_of_row, weights=terms, minlength=counts.shape[1]))
    n, sum_x, sum_y, square_x, square_y, product = sums
    spread = (square_x - sum_x**2 / n) * (square_y - sum_y**2 / n)
    together = product - sum_x * sum_y / n
    varies = spread > 1e-9
    return np.where(varies, 100 * together / np.sqrt(np.where(varies, spread, 1.0)), 0.0)


def _ranks(values: Scores) -> Float64[ndarray, " rows"]:
    """The rank of each value, from 1; equal values get the mean of theirs."""
    _, places, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    last: Float64[ndarray, " distinct"] = counts.cumsum()  # rank of the last of each group of equal values
    ranks: Float64[ndarray, " rows"] = (last - (counts - 1) / 2)[places]
    return ranks


def _is_constant(values: Scores) -> bool:
    """Whether all values are the same, or there are none."""
    return len(values) == 0 or min(values) == max(values)
