"""How a file is read for a task (`Recognised`), and which of its columns hold labels, one text or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdda.draft.names import LABEL_COLUMNS, TEXT_COLUMNS, TEXT_PAIRS, names_an_id
from kdda.draft.tables import UNNAMED, FileTable

MOST_CLASSES = 60  # different values of a column, above which they are no labels


@dataclass(frozen=True)
class Recognised:
    """How a file is read for a task.

    Attributes:
        task: its name.
        columns: field of the task → the file's column or columns, where their names differ.
        label_map: the file's label → the task's; None leaves such rows out.
        task_options: what a recipe sets of the task.
        unknown: labels, such as numbers, whose meaning for the task nobody tells.
        reasons: what was seen, a phrase each.
    """

    task: str
    columns: dict[str, Any] = field(default_factory=dict)
    label_map: dict[str, str | None] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def text_columns(self) -> list[str]:
        """The columns whose texts a model reads."""
        columns = []
        for name, column in self.columns.items():
            if name in ("label", "id", "answers", "answer", "answer_start", "tags", "spans", "score"):
                continue
            if isinstance(column, list):
                columns += column
            else:
                columns.append(column)
        return columns


def as_words(columns: str | Sequence[str]) -> str:
    """A column's name, or those of several, for messages."""
    if isinstance(columns, str):
        return columns
    return " + ".join(columns)


def pair_columns(table: FileTable) -> tuple[str, str] | None:
    """The columns of two texts, by their names; or the first two texts of a file without names."""
    for names in TEXT_PAIRS:
        first, second = table.first_of(names[:1]), table.first_of(names[1:])
        if first and second:
            return first, second
    if table.header:
        texts = [column for column in table.columns if column.startswith(UNNAMED) and is_long(table, column)]
        if len(texts) >= 2:
            return texts[0], texts[1]
    return None


def text_columns(table: FileTable) -> list[str]:
    """The columns that hold sentences, in the file's order."""
    return [column for column in table.columns if is_long(table, column) and not names_an_id(column)]


def is_long(table: FileTable, column: str) -> bool:
    """Whether a column holds sentences and no labels."""
    return table.is_text(column) and table.words(column) > 2


def label_column(table: FileTable) -> str:
    """The column of labels: one that is called so, or the last with few values that are no texts; empty without one."""
    for column in table.all_of(LABEL_COLUMNS):
        if is_label(table, column):
            return column
    for column in reversed(table.columns):
        if not names_an_id(column) and is_label(table, column) and table.words(column) <= 3:
            counts = table.values[column]
            if 2 <= len(counts) <= max(table.count / 4, 2):
                return column
    return ""


def is_label(table: FileTable, column: str) -> bool:
    """Whether a column has few different values."""
    return column in table.values and 1 <= len(table.values[column]) <= MOST_CLASSES


def text_column(table: FileTable) -> str:
    """The column of the text: one that is called so, or the one with the longest texts."""
    for column in table.all_of(TEXT_COLUMNS):
        if table.is_text(column):
            return column
    texts = [column for column in table.columns if is_long(table, column)]
    return max(texts, key=table.words, default="")
