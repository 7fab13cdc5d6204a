"""How sure a number is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


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
