"""How sure a number is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

ROUNDS = 10_000

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with its 95 % interval, and the two-sided p-value of its being 0."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; one value has no spread, which is None and not 0.

    >>> mean_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    >>> mean_sd([1.0])
    (1.0, None)
    """
    return fmean(values), stdev(values) if len(values) > 1 else None


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of independent rows' scores; 0 for one row.

    >>> standard_error([0.0, 100.0, 0.0, 100.0]).__round__(1)
    28.9
    """
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def seed_interval(differences: Sequence[float]) -> Interval | None:
    """Student's t interval of paired differences, one a seed; None for a single seed, which says nothing of others.

    Some seeds that differ by the very same amount say as little: their spread is the chance of coarse scores. Only
    where no seed differs at all, as between a run and its control with λ = 0, is the interval one point.

    >>> seed_interval([1.0, 2.0, 3.0]).low.__round__(2)
    -0.48
    """
    if len(differences) < 2:
        return None
    mean, error = fmean(differences), standard_error(differences)
    if error == 0:
        return Interval(0.0, 0.0, 0.0, 1.0) if mean == 0 else None
    reach = float(stdtrit(len(differences) - 1, 0.5 + LEVEL / 2)) * error
    p = float(2 * stdtr(len(differences) - 1, -abs(mean) / error))
    return Interval(mean, mean - reach, mean + reach, p)


def bootstrap_interval(differences: Sequence[float], groups: Sequence[str], rounds: int = ROUNDS) -> Interval:
    """Paired bootstrap of differences, one a row, that draws whole groups: rows of one premise or passage are not
    independent (Efron & Tibshirani 1993, §8; Koehn 2004 for paired test scores).

    >>> bootstrap_interval([1.0] * 50 + [0.0] * 50, [str(i) for i in range(100)]).excludes_zero
    True
    """
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    which = np.array([index[group] for group in groups])
    sums = np.bincount(which, weights=np.asarray(differences, float), minlength=len(index))
    counts = np.bincount(which, minlength=len(index))
    drawn = np.random.default_rng(0).multinomial(len(index), np.full(len(index), 1 / len(index)), size=rounds)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = (1 + min((means <= 0).sum(), (means >= 0).sum())) / (1 + rounds)
    return Interval(float(np.mean(differences)), float(low), float(high), float(min(1.0, 2 * tail)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in their order (Holm 1979): none is significant because there are many.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
