"""The columns of a file whose names are not a task's fields: as a model was trained on (`kdda_columns`), or a guess."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdda.data.examples import ARGUMENT_ADVICE, BadRowError, NoFieldError, Schema
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.tasks.base import Task

# What the config of a model that `kdda run` saved stores: for each different naming among its training data a mapping,
# field → column or columns, as `data.<language>.columns` of a recipe has it.
COLUMNS = "kdda_columns"

Columns = Mapping[str, str | Sequence[str]]  # field of the task → the file's column, or several of a list field


def config_of_columns(namings: Sequence[Columns]) -> dict[str, Any]:
    """What a model's config stores of the columns of its training data; empty where they are called as the fields.

    Args:
        namings: `columns` of a recipe's data, one a language.
    """
    different: list[dict[str, Any]] = []
    for naming in namings:
        if naming and dict(naming) not in different:
            different.append(dict(naming))
    return {COLUMNS: different} if different else {}


def columns_in_training(config: Any, task: Task, row: Mapping[str, Any], with_golds: bool = False) -> dict[str, Any]:
    """The columns by which a file is read as the training data were; empty where it is not named as they were.

    A file is if it has all columns of exactly one of the stored namings, and none that is called as a renamed field.

    Args:
        config: the model's.
        row: the file's first row.
        with_golds: whether gold fields are read, too, as an evaluation does.
    """
    fitting: list[dict[str, Any]] = []
    for stored in getattr(config, COLUMNS, None) or ():
        for naming in _parts(stored, task, with_golds):
            if naming and naming not in fitting and _fits(naming, row):
                fitting.append(naming)
                break
    return fitting[0] if len(fitting) == 1 else {}


def _parts(naming: Columns, task: Task, with_golds: bool) -> list[dict[str, Any]]:
    """The parts of a naming to be tried, each with the rows' ids first, and without them where a file has none.

    Without golds that of the text fields comes before the whole, which rows of tagging need that have words alone.
    """
    texts: dict[str, Any] = {}
    for field in task.fields:  # transformers stores the mapping in the order of the alphabet
        if field in naming:
            texts[field] = naming[field]
    whole = {**texts, **naming}
    if not set(whole) <= {"id", *task.fields, *(task.gold_fields or whole)}:
        return []  # of an earlier training of the same weights, on another task
    parts = []
    for part in [whole] if with_golds else [texts, whole]:
        without_id = dict(part)
        without_id.pop("id", None)
        if "id" in naming:
            parts.append({"id": naming["id"], **without_id})
        parts.append(without_id)
    return parts


def _fits(naming: Columns, row: Mapping[str, Any]) -> bool:
    """Whether a row has all columns of a naming, and none that is called as one of its fields but is read otherwise."""
    used = set(_all_columns(naming))
    return used <= set(row) and not (set(naming) - used) & set(row)


def _all_columns(naming: Columns) -> list[str]:
    """All columns that a naming reads."""
    names: list[str] = []
    for columns in naming.values():
        names.extend([columns] if isinstance(columns, str) else columns)
    return names


def with_columns_in_training(schema: Schema, config: Any, task: Task, row: Row, with_golds: bool = False) -> Schema:
    """A schema that reads a file as the training data were, if their columns fit and a user named the ids' at most.

    Args:
        row: the file's first; `with_golds` as of `columns_in_training`.
    """
    if not set(schema.columns) <= {"id"}:
        return schema
    return replace(schema, columns={**columns_in_training(config, task, row.values, with_golds), **schema.columns})


def in_words(columns: Columns) -> str:
    """A mapping as `--columns` takes it.

    >>> in_words({"text": "comment", "options": ["a", "b"]})
    'text=comment,options=a,b'
    """
    parts = []
    for field, names in columns.items():
        parts.append(f"{field}={names if isinstance(names, str) else ','.join(names)}")
    return ",".join(parts)


def missing_columns(
    place: str, schema: Schema, config: Any, task: Task, row: Row, labels: Sequence[str], with_golds: bool = False
) -> KddaError | None:
    """The refusal of a file whose first row lacks a field of the task, with what would read it; None if none lacks.

    Args:
        place: the file, for the message.
        schema: by which the row was read.
        config: of the model.
        labels: of the model; a column that holds one is no text.
        with_golds: whether rows must have a label, too.
    """
    missing = []
    try:
        task.texts_of_row(row, schema)
    except NoFieldError:
        for field in task.fields:
            if field not in task.optional_fields and not _is_there(field, schema, row):
                missing.append(field)
    except BadRowError:  # the columns are there, and one of them holds what is no text
        return None
    label_is_read = with_golds and task.labelled and "label" in (task.gold_fields or ())
    if label_is_read and len(schema.columns_of("label")) == 1 and not _is_there("label", schema, row):
        missing.append("label")
    if not missing or not row.values:
        return None
    columns = {**schema.columns, **dict.fromkeys(missing, "COLUMN"), **_guess(missing, config, task, row, labels)}
    return KddaError(
        f"{place}: no column for {', '.join(missing)}, and the columns are {', '.join(row.values)}; "
        f"{_as_option(columns, schema)} says which is which"
    )


def _as_option(columns: Columns, schema: Schema) -> str:
    """A mapping as the command line takes it, or as an argument of Python where the schema came from one."""
    if schema.advice is ARGUMENT_ADVICE:
        return f"columns={dict(columns)}"
    return f"--columns {shlex.quote(in_words(columns))}"


def _is_there(field: str, schema: Schema, row: Row) -> bool:
    """Whether a row has the column of a field, or all of its columns."""
    return set(schema.columns_of(field)) <= set(row.values)


def _guess(missing: Sequence[str], config: Any, task: Task, row: Row, labels: Sequence[str]) -> dict[str, Any]:
    """Columns for missing fields: those of the training data that are there, else by what the row's values look like.

    Texts are taken in their order; where one text field is missing, the longest. A label is the column that holds one.
    """
    guess: dict[str, Any] = {}
    for stored in getattr(config, COLUMNS, None) or ():
        for field in missing:
            columns = stored.get(field)
            if columns and set(_all_columns({field: columns})) <= set(row.values):
                guess.setdefault(field, columns)
    if "label" in missing and "label" not in guess:
        for name, value in row.values.items():
            if str(value) in labels:
                guess["label"] = name
    fields = [field for field in missing if field in task.fields and field not in guess]
    texts = _text_columns(row.values, {*labels, *task.labels}, task.fields, _all_columns(guess))
    if len(fields) == 1 and texts:
        guess[fields[0]] = max(texts, key=lambda name: len(row.values[name]))
    elif len(fields) == len(texts):
        guess.update(zip(fields, texts, strict=True))
    return guess


def _text_columns(row: Mapping[str, Any], labels: set[str], *taken: Sequence[str]) -> list[str]:
    """A row's columns that hold texts: no label, no id, none of those that are taken already."""
    others = {"id", "label"}.union(*taken)
    names = []
    for name, value in row.items():
        is_text = isinstance(value, str) and any(map(str.isalpha, value)) and value not in labels
        if is_text and name not in others:
            names.append(name)
    return names
