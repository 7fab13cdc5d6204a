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
