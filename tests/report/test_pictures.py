"""Pictures and pages of a report cut nothing off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdda.report.build import report, write_report
from kdda.report.render import Figure
from tests.report.test_report import add_dev_and_teacher, write_run
from tests.serve.test_page import browsed, browser  # noqa: F401

LONG = "an-arm-that-is-distilled-from-a-teacher-with-a-long-name"


@pytest.fixture
def many_arms(tmp_path: Path) -> Path:
    """Runs whose report has every picture, and wide tables."""
    for seed in (1, 2):
        for share, weight in ((0.5, 0.1), (0.6, 0.3), (0.7, 1.0)):
            add_dev_and_teacher(write_run(tmp_path, f"{LONG}-{weight}", seed, share, weight=weight), 60.0)
        other = write_run(tmp_path, "other-teacher", seed, 0.9, weight=0.3, teachers={"vi": {"model": "t", "rows": 9}})
        add_dev_and_teacher(other, 70.0)
        add_dev_and_teacher(write_run(tmp_path, "da", seed, 0.4))
    return tmp_path


def figures(folder: Path) -> list[Figure]:
    return [part for part in report([folder]).parts if isinstance(part, Figure)]


def texts(drawing: Any) -> Iterator[Any]:
    from matplotlib.text import Text

    undrawn = ticks_out_of_view(drawing)
    for text in drawing.findobj(Text):
        if text.get_text() and text.get_visible() and text not in undrawn:
            yield text


def ticks_out_of_view(drawing: Any) -> set[Any]:
    """Labels of ticks beyond an axis' limits, which matplotlib does not draw."""
    labels = set()
    for axes in drawing.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    labels |= {tick.label1, tick.label2}
    return labels


def contains(box: Any, extent: Any) -> bool:
    """Whether an extent is inside a box, to the pixel."""
    return bool(
        extent.x0 >= box.x0 - 1 and extent.x1 <= box.x1 + 1 and extent.y0 >= box.y0 - 1 and extent.y1 <= box.y1 + 1
    )


def test_points_at_the_edge_of_a_chart_are_whole(many_arms: Path) -> None:
    pictures = figures(many_arms)
    assert len(pictures) >= 5
    for picture in pictures:
        picture.drawing.draw_without_rendering()
        for axes in picture.drawing.axes:
            for line in axes.lines:
                extent = line.get_window_extent()
                assert contains(picture.drawing.bbox, extent), picture.title
                whole = not line.get_clip_on() or contains(axes.bbox, extent)
                assert whole or (line.get_linestyle() != "None" and line.get_marker() == "None"), picture.title


def test_names_in_a_chart_are_whole(many_arms: Path) -> None:
    for picture in figures(many_arms):
        picture.drawing.draw_without_rendering()
        for text in texts(picture.drawing):
            assert contains(picture.drawing.bbox, text.get_window_extent()), (picture.title, text.get_text())


def test_every_table_of_a_page_scrolls_in_a_box_with_its_first_column_in_place(many_arms: Path) -> None:
    page = write_report([many_arms], many_arms / "r.html")
    boxes = re.findall(r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+"><table>', page)
    assert len(boxes) == page.count("<table>") >= 5
    assert "overflow-x: auto" in page and "position: sticky" in page


@pytest.mark.parametrize("width", [1280, 400])
@browsed[0]
@browsed[1]
def test_a_page_never_scrolls_sideways_and_shows_verdicts_on_a_desk(many_arms: Path, browser: Any, width: int) -> None:  # noqa: F811
    write_report([many_arms], many_arms / "r.html")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((many_arms / "r.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("table", has_text="verdict")
    box = page.locator(".scroll", has=table)
    fits = "box => box.scrollWidth <= box.clientWidth"
    assert box.evaluate(fits) == (width == 1280)
    if width == 400:  # the last column is reached, and the first stays
        box.evaluate("box => box.scrollLeft = box.scrollWidth")
        first, last = (table.locator("tbody tr").first.locator("td").nth(k).bounding_box() for k in (0, -1))
        assert first["x"] >= 0 and first["x"] + first["width"] <= last["x"] + 1 and last["x"] + last["width"] <= width
    page.close()
