"""Which task a file's columns are for: a recogniser a task (`RECOGNISERS`), by columns' usual names and their values.

A task of a plugin is recognised by columns that are called as its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from kdda.draft.classes import recognise_classes
from kdda.draft.columns import Recognised
from kdda.draft.names import LABEL_COLUMNS
from kdda.draft.pairs import recognise_inference, recognise_similarity, why_not_inference
from kdda.draft.questions import recognise_choice, recognise_questions
from kdda.draft.tables import FileTable
from kdda.draft.tags import recognise_tags
from kdda.tasks.registry import TASKS

Recogniser = Callable[[FileTable], Recognised | None]


def recognise(table: FileTable, task: str = "") -> Recognised | None:
    """The task that a file is for, of all or of a given one; None where its columns fit none."""
    names = [task]
    if not task:
        names = [*dict.fromkeys([*RECOGNISERS, *TASKS])]
    renamed = {column: field for field, column in table.wishes.columns.items() if column in table.columns}
    columns_of = {field: column for column, field in renamed.items()}
    if renamed:
        others = {*columns_of, *LABEL_COLUMNS} if "label" in columns_of else set(columns_of)
        table = table.with_names(renamed, others)
    for name in names:
        recognised = RECOGNISERS.get(name, _by_field_names(name))(table)
        if recognised is not None:
            why = why_not_inference(table) if name == "classify" and not task else ""
            if why:
                recognised = replace(recognised, reasons=(*recognised.reasons, why))
            return _with_columns(recognised, columns_of)
    return None


def _with_columns(recognised: Recognised, columns_of: Mapping[str, str]) -> Recognised:
    """What was recognised in a table whose columns a user has named, with the columns as the file calls them.

    Args:
        columns_of: the name by which a column was recognised → its name in the file.
    """
    columns: dict[str, Any] = {}
    for field_name, column in recognised.columns.items():
        if isinstance(column, list):
            columns[field_name] = [columns_of.get(part, part) for part in column]
        else:
            columns[field_name] = columns_of.get(column, column)
    return replace(recognised, columns=columns)


def _by_field_names(task: str) -> Recogniser:
    """The recogniser of a task that is none of `RECOGNISERS`."""
    return partial(_by_fields, task)


def _by_fields(task: str, table: FileTable) -> Recognised | None:
    """A task of a plugin, whose fields are columns."""
    known = TASKS.get(task)
    if known is None:
        return None
    columns = {name: table.first_of((name,)) for name in known.fields}
    if not all(columns.values()):
        return None
    label = table.first_of(LABEL_COLUMNS)
    if known.labelled and label:
        columns["label"] = label
    return Recognised(task, columns, reasons=(f"columns {', '.join(columns.values())}",))


# Task → its recogniser, in the order in which a file is tried: the most special ones first.
RECOGNISERS: dict[str, Recogniser] = {
    "choose": recognise_choice,
    "qa": recognise_questions,
    "tag": recognise_tags,
    "nli": recognise_inference,
    "similarity": recognise_similarity,
    "classify": recognise_classes,
}
