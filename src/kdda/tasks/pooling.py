"""Long texts (`LONG_TEXTS`: ``cut``, ``mean``, ``max``): the logits of a row's windows as those of the row."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from kdda.errors import KddaError, unknown_choice

LONG_TEXTS = ("cut", "mean", "max")


def check_long_texts(value: Any) -> Any:
    """The value of the option `long_texts`.

    Raises:
        KddaError: it is not one of `LONG_TEXTS`.
    """
    if value not in LONG_TEXTS:
        raise KddaError(unknown_choice("task_options.long_texts", str(value), LONG_TEXTS))
    return value


def pooled(
    logits: Float[Tensor, "windows outputs"], rows: Int[Tensor, " windows"], long_texts: str
) -> Float[Tensor, "rows outputs"]:
    """The logits of each row: the mean, or the largest, of those of its windows.

    Args:
        rows: the number of each window's row, from 0, none left out.
        long_texts: ``cut``, where a row has one window, ``mean`` or ``max``.
    """
    if long_texts == "cut":
        return logits
    result = logits.new_zeros(int(rows[-1]) + 1, logits.shape[1])
    pooling = "mean" if long_texts == "mean" else "amax"
    return result.scatter_reduce(0, rows[:, None].expand_as(logits), logits, pooling, include_self=False)
