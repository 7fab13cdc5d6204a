"""Drawings by matplotlib: an empty one of some inches, and a finished one as SVG text that a page can hold."""

from __future__ import annotations

import io
from typing import Any

from kdda.errors import KddaError
from kdda.report.render import Figure


def empty_canvas(width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of so many inches, laid out by matplotlib, and its one pair of axes.

    Raises:
        KddaError: matplotlib is not installed.
    """
    drawing = _empty_drawing(width, height, layout="constrained")
    return drawing, drawing.subplots()


def bare_canvas(width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of so many inches, and the frameless axes that fill it, in which text can be measured.

    Raises:
        KddaError: matplotlib is not installed.
    """
    drawing = _empty_drawing(width, height)
    axes = drawing.add_axes((0.0, 0.0, 1.0, 1.0))  # left, bottom, width, height, as shares of the drawing
    axes.axis("off")
    return drawing, axes


def _empty_drawing(width: float, height: float, **options: Any) -> Any:
    """A matplotlib figure without pyplot, whose global state threads of a server would share.

    Args:
        options: of matplotlib's `Figure`.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawing
    except ImportError:
        raise KddaError("drawings need matplotlib: pip install matplotlib") from None
    drawing = Drawing(figsize=(width, height), **options)
    FigureCanvasAgg(drawing)  # becomes drawing.canvas, whose renderer measures text
    return drawing


def text_size(drawing: Any, text: Any) -> tuple[float, float]:
    """Width and height in inches of a matplotlib text in a drawing, rotated as it is drawn."""
    extent = text.get_window_extent(drawing.canvas.get_renderer())  # in pixels
    return float(extent.width / drawing.dpi), float(extent.height / drawing.dpi)


def as_figure(title: str, drawing: Any, tooltip: str = "") -> Figure:
    """The part of a report that a finished drawing makes, with its title.

    Args:
        tooltip: the ``<title>`` of the SVG, which browsers show where the pointer rests; none by default.
    """
    return Figure(title, _svg(drawing, tooltip), drawing)


def _svg(drawing: Any, tooltip: str) -> str:
    """The ``<svg>`` element of a drawing with a ``<title>``, without the XML declaration before it."""
    from matplotlib import rc_context

    # Letters stay text in the file and are not drawn as paths. A fixed salt for the ids, and no date: the same runs
    # give the same file.
    out = io.StringIO()
    metadata: dict[str, str | None] = {"Date": None}
    if tooltip:
        metadata["Title"] = tooltip
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kdda"}):
        drawing.savefig(out, format="svg", metadata=metadata)
    text = out.getvalue()
    return text[text.index("<svg") :]
