"""Uncertainty of scores: standard errors, 95 % intervals over seeds (Student's t) and over rows (bootstrap, 10,000
draws), p-values, Holm's correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.special import stdtr, stdtrit

BOOTSTRAP_SAMPLES = 10_000

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with its 95 % interval, and the two-sided p-value of the hypothesis that it is 0."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; the deviation of one value is None and not 0.

    >>> mean_sd([1.0, 3.0])
    (2.0, 1.4142135623730951)
    >>> mean_sd([1.0])
    (1.0, None)
    """
    if len(values) < 2:
        return fmean(values), None
    return fmean(values), stdev(values)


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of independent scores; 0 for one score.

    >>> standard_error([0.0, 100.0, 0.0, 100.0]).__round__(1)
    28.9
    """
    if len(values) < 2:
        return 0.0
    return stdev(values) / float(len(values) ** 0.5)


def seed_interval(differences: Sequence[float]) -> Interval | None:
    """Student's t interval of paired differences, one a seed.

    Args:
        differences: between two arms, of the seeds that both have.

    Returns:
        None for one seed, which does not show how seeds vary, and for several seeds that differ by exactly the same
        amount other than 0: of coarse scores such agreement is chance. Where no seed differs at all, as between a run
        and its control with λ = 0, the interval is the point 0.

    >>> seed_interval([1.0, 2.0, 3.0]).low.__round__(2)
    -0.48
    """
    if len(differences) < 2:
        return None
    mean = fmean(differences)
    error = standard_error(differences)
    if error == 0:
        return _interval_without_spread(mean)
    degrees = len(differences) - 1
    half_width = float(stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * error
    p = float(2 * stdtr(degrees, -abs(mean) / error))
    return Interval(mean, mean - half_width, mean + half_width, p)


def _interval_without_spread(mean: float) -> Interval | None:
    """The interval of seeds that all differ by `mean`: see `seed_interval`."""
    if mean != 0:
        return None
    return Interval(0.0, 0.0, 0.0, 1.0)


def bootstrap_interval(
    differences: Sequence[float], groups: Sequence[str], samples: int = BOOTSTRAP_SAMPLES
) -> Interval:
    """Paired bootstrap of differences, one a row, that draws whole groups.

    Rows of one premise or passage are not independent (Efron & Tibshirani 1993, §8; Koehn 2004 for paired test scores).

    Args:
        differences: of each row.
        groups: of each row, the premise or passage it belongs to.
        samples: how many times the groups are drawn.

    >>> bootstrap_interval([1.0] * 50 + [0.0] * 50, [str(i) for i in range(100)]).excludes_zero
    True
    """
    return mean_bootstrap_interval([(differences, groups)], samples)


class WeightedMean(NamedTuple):
    """A mean of rows that have weights, such as the F1 of all spans, which is that of rows weighted by their spans.

    Attributes:
        scores, weights: of each row.
        factor: of the mean, in a sum of several.
    """

    scores: Sequence[float]
    weights: Sequence[float]
    factor: float = 1.0

    @property
    def value(self) -> float:
        """The mean, without the factor; 0 where no row has weight."""
        weights = np.asarray(self.weights, float)
        whole = float(weights.sum())
        return float(weights @ np.asarray(self.scores, float)) / whole if whole else 0.0


RowStatistic = Sequence[float] | Sequence[WeightedMean]
"""What is computed of a set of rows: the mean of differences, or a sum of weighted means over the same rows."""


def mean_bootstrap_interval(
    strata: Sequence[tuple[RowStatistic, Sequence[str]]], samples: int = BOOTSTRAP_SAMPLES
) -> Interval:
    """The interval of the mean over several sets of rows, such as languages, each of which counts alike.

    Rows are drawn within each set (stratified bootstrap: Efron & Tibshirani 1993, §8). The weights of the drawn rows
    are summed in every draw, so that a ratio such as micro-F1 is that of these rows.

    Args:
        strata: of each set, the differences of its rows, or the weighted means whose sum is a difference (one with the
            factor 1, one with -1); and the rows' groups, as `bootstrap_interval` takes them.
        samples: how many times the groups are drawn.

    >>> interval = mean_bootstrap_interval([([1.0] * 9, list("abcdefghi")), ([2.0], ["a"])])
    >>> interval.mean, interval.low
    (1.5, 1.5)
    """
    generator = np.random.default_rng(0)
    drawn = []
    observed = []
    for statistic, groups in strata:
        drawn.append(_bootstrap_values(statistic, groups, samples, generator))
        observed.append(_observed(statistic))
    return interval_of_samples(fmean(observed), np.mean(drawn, axis=0))


def _observed(statistic: RowStatistic) -> float:
    """The statistic of the rows as they are."""
    value = 0.0
    for part in statistic:
        if not isinstance(part, WeightedMean):
            return float(np.mean(statistic))
        value += part.factor * part.value
    return value


def _bootstrap_values(
    statistic: RowStatistic, groups: Sequence[str], samples: int, generator: np.random.Generator
) -> Float64[ndarray, " samples"]:
    """The statistic of the rows of the drawn groups, one number a draw; arguments as in `mean_bootstrap_interval`."""
    # A row of `draws` says how often each group is drawn.
    group_of_row, draws = draw_groups(groups, samples, generator)
    values = np.zeros(samples)
    for part in statistic:
        if not isinstance(part, WeightedMean):
            group_sizes = np.bincount(group_of_row)
            means: Float64[ndarray, " samples"] = (draws @ _sums(statistic, group_of_row)) / (draws @ group_sizes)
            return means
        weights = np.asarray(part.weights, float)
        sums = draws @ _sums(weights * np.asarray(part.scores, float), group_of_row)
        whole = draws @ _sums(weights, group_of_row)
        values += part.factor * np.divide(sums, whole, out=np.zeros(samples), where=whole > 0)
    return values


def _sums(values: Any, group_of_row: Int64[ndarray, " rows"]) -> Float64[ndarray, " groups"]:
    """The sum of the rows' values in each group."""
    return np.bincount(group_of_row, weights=np.asarray(values, float))


def draw_groups(
    groups: Sequence[str], samples: int, generator: np.random.Generator
) -> tuple[Int64[ndarray, " rows"], Int64[ndarray, "samples groups"]]:
    """The number of each row's group, and how often each sample of a bootstrap draws each group."""
    numbers: dict[str, int] = {}  # of each group, in the order of first occurrence
    group_of_row = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    count = len(numbers)
    return group_of_row, generator.multinomial(count, np.full(count, 1 / count), size=samples)


def interval_of_samples(mean: float, values: Float64[ndarray, " samples"]) -> Interval:
    """The interval that holds 95 % of a bootstrap's values around `mean`, and the two-sided p-value of 0."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    # One is added to both counts, so that no p-value is 0 for want of samples.
    tail = (1 + min((values <= 0).sum(), (values >= 0).sum())) / (1 + len(values))
    return Interval(mean, float(low), float(high), float(min(1.0, 2 * tail)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the number of comparisons (Holm 1979), in the order of the arguments.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        scaled = (len(p_values) - rank) * p_values[i]
        largest = max(largest, min(1.0, scaled))
        adjusted[i] = largest
    return adjusted
