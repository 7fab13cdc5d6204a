"""docs/compatibility.md says what kdda does with every type of model that the tests build."""

import re

import pytest

from tests.models.kinds import KINDS
from tools.compatibility import PAGE, ROWS, row


def rows_of_page() -> dict[tuple[str, str], list[str]]:
    """Type and task → the cells of its row, with sentences in place of their numbers."""
    text = PAGE.read_text(encoding="utf-8")
    sentences = dict(re.findall(r"^(\d+)\. (.+)$", text, re.M))
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in KINDS:
            rows[cells[0], cells[1]] = [sentences.get(cell.strip("()"), cell) for cell in cells]
    return rows


def test_the_page_has_every_type_for_each_task() -> None:
    assert set(rows_of_page()) == {(kind, task) for kind in KINDS for task in ROWS}


@pytest.mark.parametrize(
    ("kind", "task"), [("albert", "nli"), ("bart", "qa"), ("eurobert", "qa"), ("t5", "nli"), ("distilbert", "tag")]
)
def test_a_row_of_the_page_is_what_kdda_does(kind: str, task: str) -> None:
    assert rows_of_page()[kind, task] == row(kind, task)
