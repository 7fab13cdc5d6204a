"""A transport plan as a heat map and as lines between two columns of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from kdda.report.figures import drawn, empty_canvas
from kdda.report.render import Figure

SEEN = 0.01  # shares below leave no line

INK = "#1f4e9c"

BETWEEN, LETTER = 2.5, 0.13  # inches between the columns, and of a letter


def plan_figures(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str], epsilon: float
) -> list[Figure]:
    """Both pictures of one plan.

    Args:
        shares: row i says which share of token i goes to each token of the second model; rows sum to 1.
        names: of the two models.
    """
    return [_heat(first, second, shares, names, epsilon), _lines(first, second, shares, names, epsilon)]


def short(name: str, letters: int = 28) -> str:
    """A model's name, or the end of its path.

    >>> short("runs/nli/student-kdda/seed-1/model")
    '…/student-kdda/seed-1/model'
    """
    parts = name.split("/")
    while len(parts) > 1 and len("/".join(parts)) > letters - 2:
        parts = parts[1:]
    tail = "/".join(parts)
    return tail if tail == name else f"…/{tail}"


def _heat(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str], epsilon: float
) -> Figure:
    figure, axes = empty_canvas(2.2 + 0.26 * len(second), 1.8 + 0.26 * len(first))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(len(second)), second, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(first)), first, parse_math=False)
    axes.set_xlabel(short(names[1]), parse_math=False)
    axes.set_ylabel(short(names[0]), parse_math=False)
    figure.colorbar(image, ax=axes, label="share of a token's mass", shrink=0.7)
    return drawn(f"Transport plan, ε = {epsilon:g}: heat map", figure)


def _lines(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str], epsilon: float
) -> Figure:
    longest = max(len(first), len(second))
    names = (short(names[0]), short(names[1]))
    room = [LETTER * max(map(len, [name, *side])) for name, side in zip(names, (first, second), strict=True)]
    figure, axes = empty_canvas(BETWEEN + sum(room) + 0.4, 1.0 + 0.24 * longest)
    axes.set(xlim=(-0.05 - room[0] / BETWEEN, 1.05 + room[1] / BETWEEN), ylim=(longest - 0.3, -1.6))
    axes.axis("off")
    heights = [np.linspace(0, longest - 1, len(side)) if len(side) > 1 else np.zeros(1) for side in (first, second)]
    for i, j in np.argwhere(shares > SEEN):
        share = float(min(1.0, shares[i, j]))
        ends = heights[0][i], heights[1][j]
        axes.plot([0, 1], ends, color=INK, alpha=0.15 + 0.8 * share, linewidth=0.3 + 3 * share, solid_capstyle="round")
    for side, (tokens, at, name) in enumerate(zip((first, second), heights, names, strict=True)):
        _column(axes, side, tokens, at, name)
    return drawn(f"Transport plan, ε = {epsilon:g}: lines", figure)


def _column(axes: Any, side: int, tokens: Sequence[str], heights: Float[ndarray, "_"], name: str) -> None:
    place = {"ha": "left" if side else "right", "va": "center", "parse_math": False}
    at = side + (0.03 if side else -0.03)
    axes.text(at, -1.1, name, fontweight="bold", **place)
    for token, height in zip(tokens, heights, strict=True):
        axes.text(at, height, token, **place)
