"""Files of classified texts (`recognise_classes`): a label a row, several in a cell or a list, or a column for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kdda.data.fields import canonical
from kdda.draft.columns import Recognised, label_column, pair_columns, text_column
from kdda.draft.names import CLAIMS, EVIDENCE, LABEL_COLUMNS
from kdda.draft.tables import FileTable
from kdda.tasks.classify import CLASSIFY, SEPARATORS

DECIMAL = re.compile(r"-?\d+,\d+")  # a number with a comma, which parts no labels

FLAGS = frozenset({"0", "1", "True", "False"})  # values of a column that says of one label whether a row has it


def recognise_classes(table: FileTable) -> Recognised | None:
    """One text, two or three with a label: a claim with its evidence, a pair of sentences, or one text."""
    flags = _flag_columns(table)
    if flags:
        return _flags(table, flags)
    label = label_column(table)
    if not label:
        return _label_lists(table)
    separator = _separator(table.values[label])
    if separator:
        return _label_sets(table, label, separator)
    counts = Counter(table.values[label])
    label_map: dict[str, str | None] = {}
    for value in ("-", ""):
        if counts.pop(value, 0):
            label_map[value] = None
    classes = {table.wishes.meaning(value) for value in counts}
    if len(classes - {None}) < 2:
        return None
    columns = _class_fields(table, label)
    if not columns:
        return None
    options: dict[str, Any] = {}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    commonest = ", ".join(f'"{value}"' for value, _ in counts.most_common(6))
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has {len(counts)} values, most often {commonest}")
    return Recognised("classify", {**columns, "label": label}, label_map, options, (), reasons)


def _flag_columns(table: FileTable) -> list[str]:
    """The columns of 1 or 0, or of true or false, where there are two or more and no other column is one of labels."""
    if table.header or table.first_of(LABEL_COLUMNS):
        return []
    flags = [column for column, counts in table.values.items() if _is_flag(counts)]
    others = [column for column in table.columns if column not in flags]
    if len(flags) < 2 or label_column(replace(table, columns=others)):
        return []
    return flags


def _is_flag(counts: Mapping[str, int]) -> bool:
    """Whether a column's values are 1 or 0, true or false, or nothing; not of a column without any."""
    values = set(map(canonical, counts)) - {""}
    return bool(values) and values <= FLAGS


def _flags(table: FileTable, flags: list[str]) -> Recognised | None:
    """Texts with a column a label, which has 1 or 0."""
    columns = _class_fields(table, "")
    if not columns:
        return None
    options: dict[str, Any] = {"multi_label": True}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    reasons = (f"text in {', '.join(columns.values())}", f"{', '.join(flags)} are labels with 1 or 0 each")
    return Recognised("classify", {**columns, "label": flags}, task_options=options, reasons=reasons)


def _label_lists(table: FileTable) -> Recognised | None:
    """Texts with any number of labels each: in lists, or in cells of more combinations than there are classes."""
    label = table.first_of(LABEL_COLUMNS)
    cells = table.cells(label)
    if cells and all(isinstance(cell, list) for cell in cells):
        if {len(cell) for cell in cells} == {1}:
            return _single_labels(table, label)
        return _label_sets(table, label)
    separator = ""
    if all(isinstance(cell, str) for cell in cells):
        separator = _separator(set(cells))
    if not separator:
        return None
    return _label_sets(table, label, separator)


def _single_labels(table: FileTable, label: str) -> Recognised | None:
    """Texts with a label each, in lists of one."""
    columns = _class_fields(table, label)
    if not columns:
        return None
    options = {}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has lists of one label")
    return Recognised("classify", {**columns, "label": label}, task_options=options, reasons=reasons)


def _separator(values: Iterable[str]) -> str:
    """What stands between the labels in cells of several; empty where cells hold one label each.

    Cells of several are made of fewer labels than there are different cells.

    >>> _separator(["joy;love", "love", "fear;joy", "fear", "joy"]), _separator(["art, music", "law", "sport"])
    (';', '')
    """
    cells = [value for value in values if value and not DECIMAL.fullmatch(value)]
    for separator in SEPARATORS:
        labels = set[str]()
        for cell in cells:
            labels.update(map(str.strip, cell.split(separator)))
        if any(separator in cell for cell in cells) and len(labels - {""}) < len(cells):
            return separator
    return ""


def _label_sets(table: FileTable, label: str, separator: str = "") -> Recognised | None:
    """Texts with any number of labels each, in lists or in cells with a separator."""
    columns = _class_fields(table, label)
    if not columns:
        return None
    options: dict[str, Any] = {"multi_label": True}
    if separator not in ("", CLASSIFY.separator):
        options["separator"] = separator
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    form = f'labels with "{separator}" between them' if separator else "lists of labels"
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has {form}")
    return Recognised("classify", {**columns, "label": label}, task_options=options, reasons=reasons)


def _class_fields(table: FileTable, label: str) -> dict[str, str]:
    """Field → column of the texts that a label is of."""
    claim, pair = table.first_of(CLAIMS), pair_columns(table)
    evidence = table.first_of(EVIDENCE)
    if claim and evidence and evidence != label:
        return {"claim": claim, evidence.lower(): evidence}
    if pair is not None and not table.header:
        return {pair[0].lower(): pair[0], pair[1].lower(): pair[1]}
    if pair is not None:
        return {"first": pair[0], "second": pair[1]}
    text = text_column(table)
    if not text or text == label:
        return {}
    return {"text": text}
