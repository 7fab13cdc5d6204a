"""An empty drawing, and a finished one as SVG text that a page can hold."""

from __future__ import annotations

import io
from typing import Any

from kdda.errors import KddaError
from kdda.report.render import Figure


def empty_canvas(width: float, height: float) -> tuple[Any, Any]:
    """A drawing of so many inches, laid out by matplotlib, and its one pair of axes.

    Raises:
        KddaError: matplotlib is not installed.
    """
    figure = _figure(width, height, layout="constrained")
    return figure, figure.subplots()


def bare_canvas(width: float, height: float) -> tuple[Any, Any]:
    """A drawing of so many inches, all of it one pair of axes without frame, and room to measure text in.

    Raises:
        KddaError: matplotlib is not installed.
    """
    figure = _figure(width, height)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    return figure, axes


def _figure(width: float, height: float, **options: Any) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawing
    except ImportError:
        raise KddaError("drawings need matplotlib: pip install matplotlib") from None
    figure = Drawing(figsize=(width, height), **options)
    FigureCanvasAgg(figure)  # it measures text
    return figure


def text_size(figure: Any, text: Any) -> tuple[float, float]:
    """Width and height in inches of a text in a drawing, as it is turned."""
    extent = text.get_window_extent(figure.canvas.get_renderer())
    return float(extent.width / figure.dpi), float(extent.height / figure.dpi)


def finished(title: str, figure: Any) -> Figure:
    """A finished drawing with its title."""
    return Figure(title, _svg(figure), figure)


def _svg(figure: Any) -> str:
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kdda"}):  # text stays text; the same runs, the same file
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
