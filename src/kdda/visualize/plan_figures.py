"""A transport plan as a heat map, and as lines between tokens: inches, colours, short names of models (28 letters)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from kdda.report.canvas import as_figure, bare_canvas, empty_canvas, text_size
from kdda.report.render import Figure
from kdda.runs.folder import MODEL_FOLDER

SHORT = 28  # letters of a model's name beside a picture; a part of a path that is longer stays whole

LEAST_SHARE = 0.01  # of a token's mass; smaller shares are not drawn as lines

INK = "#1f4e9c"  # the colour of lines

# inches
MARGIN = 0.2
BETWEEN = 2.5  # the two columns
GAP = 0.08  # from a token to its lines
LINE = 0.24  # the height of a token
CELL = 0.26  # a square of the heat map
BAR = 1.8  # the bar that explains its colours
LEAST_HEIGHT = 2.6  # that this bar needs

SLACK = 1.1  # a browser's font may be wider than the one that was measured


def plan_figures(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str], epsilon: float
) -> list[Figure]:
    """Both pictures of one plan.

    Args:
        first, second: the tokens of the two models.
        shares: row i says which share of token i goes to each token of the second model; rows sum to 1.
        names: of the two models; the pictures show their ends where they are long, and whole as the SVG's title.
        epsilon: of the plan.
    """
    shown = short_names(*names)
    whole = f"{names[0]} → {names[1]}"
    heat_map = _heat_map(first, second, shares, shown)
    lines = _lines(first, second, shares, shown)
    title = f"Transport plan, ε = {epsilon:g}"
    return [as_figure(f"{title}: heat map", heat_map, whole), as_figure(f"{title}: lines", lines, whole)]


def short_names(first: str, second: str) -> tuple[str, str]:
    """The names of two models, short and different where the models are."""
    letters = SHORT
    while first != second and short(first, letters) == short(second, letters):
        letters += 10  # ends where the longer name fits whole
    return short(first, letters), short(second, letters)


def short(name: str, letters: int = SHORT) -> str:
    """A model's name; of a path or an id that is longer than so many letters, the last parts, without a run's "model".

    >>> short("runs/nli/2026-11/student-kdda/seed-1/model")
    '2026-11/student-kdda/seed-1'
    """
    if len(name) <= letters:
        return name
    parts = name.rstrip("/").split("/")
    if len(parts) > 1 and parts[-1] == MODEL_FOLDER:
        parts.pop()
    end = parts.pop()
    while parts and len(parts[-1]) + 1 + len(end) <= letters:
        end = f"{parts.pop()}/{end}"
    return end


def _heat_map(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str]
) -> Any:
    """A square for each pair of tokens, as dark as its share; the drawing grows with what is written beside it."""
    figure, axes = empty_canvas(1.0, 1.0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(len(second)), second, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(first)), first, parse_math=False)
    name = figure.supylabel(names[0], fontsize="medium", parse_math=False)
    name_below = figure.supxlabel(names[1], fontsize="medium", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of mass", shrink=0.7)
    _, tokens_height = _largest(figure, axes.get_xticklabels())
    tokens_width, _ = _largest(figure, axes.get_yticklabels())
    width = CELL * len(second) + tokens_width + BAR
    height = CELL * len(first) + tokens_height + 1.0
    name_width, _ = text_size(figure, name_below)
    _, name_height = text_size(figure, name)
    figure.set_size_inches(max(width, name_width + 2 * MARGIN), max(height, name_height + 2 * MARGIN, LEAST_HEIGHT))
    return figure


def _largest(figure: Any, texts: Iterable[Any]) -> tuple[float, float]:
    """The greatest width and the greatest height of some texts, in inches."""
    widths, heights = [], []
    for text in texts:
        width, height = text_size(figure, text)
        widths.append(width)
        heights.append(height)
    return max(widths), max(heights)


def _lines(first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], names: tuple[str, str]) -> Any:
    """Two columns of tokens with lines between them, as wide as each share; the axes count inches."""
    longest = max(len(first), len(second))
    figure, axes = bare_canvas(1.0, 1.0)
    left = _Column(axes, first, names[0], longest, "right")
    right = _Column(axes, second, names[1], longest, "left")
    left_width = SLACK * left.width(figure)
    right_width = SLACK * right.width(figure)
    starts = MARGIN + left_width + GAP  # x of all lines' left ends
    ends = starts + BETWEEN
    left.move(starts - GAP)
    right.move(ends + GAP)
    for i, j in np.argwhere(shares > LEAST_SHARE):
        share = float(min(1.0, shares[i, j]))
        heights = [left.heights[i], right.heights[j]]
        alpha = 0.15 + 0.8 * share
        points = 0.3 + 3 * share
        axes.plot([starts, ends], heights, color=INK, alpha=alpha, linewidth=points, solid_capstyle="round")
    width = ends + GAP + right_width + MARGIN
    height = LINE * (longest + 1) + 2 * MARGIN
    figure.set_size_inches(width, height)
    axes.set(xlim=(0, width), ylim=(height, 0))  # y grows downwards, as lines of text do
    return figure


class _Column:
    """A model's name above its tokens.

    Args:
        tokens: spread over the height of `longest` tokens.
        side: the side of the column on which its texts end: "left" or "right".
    """

    def __init__(self, axes: Any, tokens: Sequence[str], name: str, longest: int, side: str):
        """Place the texts at x = 0, one below the other; `move` puts them where they belong."""
        top = MARGIN + LINE / 2
        self.heights = np.linspace(top + LINE, top + LINE * longest, len(tokens))
        if len(tokens) == 1:
            self.heights = np.array([top + LINE])
        options: dict[str, Any] = {"ha": side, "va": "center", "parse_math": False}
        self.texts = [axes.text(0, top, name, fontweight="bold", **options)]
        for token, height in zip(tokens, self.heights, strict=True):
            self.texts.append(axes.text(0, height, token, **options))

    def width(self, figure: Any) -> float:
        """The width in inches of the widest text."""
        return _largest(figure, self.texts)[0]

    def move(self, x: float) -> None:
        """Put the column's edge at x inches."""
        for text in self.texts:
            text.set_x(x)
