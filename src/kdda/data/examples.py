"""Rows to examples: texts, ids (repeated ones get ``#2``), mapped labels; bad rows are refused or skipped, by place."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt64
from numpy import ndarray

from kdda.data.class_labels import ClassName
from kdda.data.fields import (
    LONGEST_VALUE,
    BadFieldError,
    canonical,
    check_surrogates,
    identifier,
    is_missing,
    plain,
    shown,
)
from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean, unknown_choice
from kdda.runtime.disk_sequence import DiskSequence
from kdda.runtime.numbers import count_of
from kdda.runtime.reasons import NAMED_REASONS, Reasons


@dataclass(frozen=True)
class Example:
    """The texts of one row.

    Attributes:
        id: names the example in predictions; unique within its split.
        texts: what the model reads, one text, two or three.
        group: the same for examples that share a premise or a passage, which are not independent.
    """

    id: str
    texts: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class LabelledExample(Example):
    """An example of a classification task, with the name of its gold label."""

    label: str


class LabelledSpan(NamedTuple):
    """Characters of a text, from `start` up to `end`, with their label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class TaggedExample(Example):
    """An example of tagging: its one text, and the gold spans in order, without overlap."""

    spans: tuple[LabelledSpan, ...]


class GoldAnswer(NamedTuple):
    """A gold answer: a slice of the context, and the character of the context at which it begins."""

    text: str
    start: int


@dataclass(frozen=True)
class Question(Example):
    """An example of question answering: the texts are question and context; without answers it is unanswerable."""

    answers: tuple[GoldAnswer, ...]


@dataclass(frozen=True)
class RowAdvice:
    """What messages about rows may advise: only what the command or function that reads them takes.

    Attributes:
        skip: how bad rows are skipped; empty where they cannot be.
        labels: how rows with a label value are left out, or the value mapped, with VALUE in its place; empty where
            neither can be.
    """

    skip: str = ""
    labels: str = ""


RECIPE_ADVICE = RowAdvice(
    skip="on_bad_row: skip skips them",
    labels='labels: {"VALUE": null} leaves such rows out, and labels: {"VALUE": NAME} reads them as a label',
)

OPTION_ADVICE = RowAdvice(
    labels='--labels "VALUE=null" leaves such rows out, and --labels "VALUE=NAME" reads them as a label'
)

ARGUMENT_ADVICE = RowAdvice(
    labels='labels={"VALUE": None} leaves such rows out, and labels={"VALUE": "NAME"} reads them as a label'
)


@dataclass(frozen=True)
class Schema:
    """How a source names the fields and labels of a task.

    Args:
        labels: the task's label names; none for tasks without labels.
        columns: the source's column by task field, where their names differ; of a field that holds a list, such as
            the options of a choice, a column, or several with one of its texts each.
        label_map: the task's label name by the source's label value (as text); None drops such rows. A value that is
            missing is the empty text.
        advice: what messages may advise.
    """

    labels: tuple[str, ...] = ()
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    advice: RowAdvice = RowAdvice()

    def column(self, name: str) -> str:
        """The source's column for a task field.

        Raises:
            KddaError: the field was given several columns.
        """
        columns = self.columns_of(name)
        if len(columns) != 1:
            raise KddaError(f"columns.{name}: got {count_of(len(columns), 'column')}, and this field is read from one")
        return columns[0]

    def columns_of(self, name: str) -> Sequence[str]:
        """The source's columns for a task field that holds a list; one for most."""
        columns = self.columns.get(name, name)
        return [columns] if isinstance(columns, str) else columns


class CheckedRows(NamedTuple):
    """The examples of the good rows, and the numbers of rows that were skipped or repaired, by reason."""

    examples: Sequence[Example]
    skipped: Counter[str]
    repaired: Counter[str]


class BadRowError(Exception):
    """A row that cannot be used as it is and that the user should look at."""


class NoFieldError(BadRowError):
    """A row without the column of a field; all rows of its file may lack it."""


class DroppedError(Exception):
    """A row that is skipped and counted on purpose, such as one whose label the recipe drops."""


RowConverter = Callable[[Row, Counter[str]], Example]  # (row, counter of repairs) → example

"""Makes an example of a row and counts what it repaired by reason; raises `BadRowError` or `DroppedError`."""


def check_rows(
    rows: Iterable[Row],
    convert: RowConverter,
    on_bad_row: Literal["raise", "skip"] = "raise",
    advice: RowAdvice = RowAdvice(),
) -> CheckedRows:
    """The examples of all good rows, on disk where they are many.

    Args:
        rows: read once.
        convert: makes an example of a row and counts what it repaired.
        on_bad_row: whether a bad row stops everything or is skipped and counted.
        advice: what the message about bad rows may advise.

    Raises:
        KddaError: a bad row under ``raise``, or no good row at all; names the first bad rows with their places.
    """
    checker = _RowChecker(convert)
    examples: Sequence[Example] = DiskSequence(checker.examples(rows))
    if checker.bad.count and (on_bad_row == "raise" or not examples):
        raise KddaError(checker.summary(advice.skip))
    if not checker.rows:
        raise KddaError("no rows: the source is empty")
    if not examples:
        reasons = []
        for reason, count in checker.skipped.items():
            reasons.append(f"{count} × {reason} (the first: {checker.first_skipped[reason]})")
        raise KddaError(f"all rows were skipped: {', '.join(reasons)}")
    return CheckedRows(checker.with_unique_ids(examples), checker.skipped, checker.repaired)


def bad_of(bad: int, rows: int) -> str:
    """How many of some rows are bad, for a message: ``1 of 3 rows is bad``."""
    if bad == 1:
        return f"1 of {count_of(rows, 'row')} is bad"
    return f"{bad:,} of {count_of(rows, 'row')} are bad"


class _RowChecker:
    """Converts rows and counts what happens to them; of each example's id it keeps a hash of 8 bytes."""

    def __init__(self, convert: RowConverter):
        """Start at no row; `bad` holds the reasons of bad rows, `id_hashes` a number a good row."""
        self.convert = convert
        self.skipped: Counter[str] = Counter()
        self.first_skipped: dict[str, str] = {}  # reason → the place of the first such row
        self.repaired: Counter[str] = Counter()
        self.rows = 0
        self.bad = Reasons()
        self.id_hashes = array("Q")

    def examples(self, rows: Iterable[Row]) -> Iterator[Example]:
        """The examples of the good rows, one after another; the others are counted."""
        for row in rows:
            self.rows += 1
            try:
                example = self.convert(row, self.repaired)
            except DroppedError as reason:
                self.skipped[str(reason)] += 1
                self.first_skipped.setdefault(str(reason), row.where)
            except (BadRowError, BadFieldError) as reason:
                self.skipped["bad row"] += 1
                self.first_skipped.setdefault("bad row", row.where)
                self.bad.add(row.where, str(reason))
            else:
                self.id_hashes.append(_hash_of_id(example.id))
                yield example

    def summary(self, advice: str) -> str:
        """The message about all bad rows, a line a reason; `advice` tells how they are skipped."""
        heading = bad_of(self.bad.count, self.rows)
        if advice:
            heading += f" ({advice})"
        return "\n  ".join([f"{heading}:", *self.bad.lines(NAMED_REASONS)])

    def with_unique_ids(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The examples under ids that differ: the k-th example of an id is called ``id#k``, except the first."""
        occurrences = _count_up(np.frombuffer(self.id_hashes, np.uint64))
        if occurrences is None:
            return examples
        self.repaired["ids repeated, numbered"] += int((occurrences > 1).sum())
        return DiskSequence(_numbered(examples, occurrences))


def _numbered(examples: Sequence[Example], occurrences: Int32[ndarray, "_"]) -> Iterator[Example]:
    """The examples, those whose id has occurred before with its number behind it.

    Args:
        occurrences: for each example, how many times its id has occurred up to it.
    """
    for example, k in zip(examples, occurrences, strict=True):
        if k == 1:
            yield example
        else:
            yield replace(example, id=f"{example.id}#{k}")


def _hash_of_id(name: str) -> int:
    """A hash of 64 bits. Of n ids two collide with probability n² / 2⁶⁵: 1 in 37 million for a million ids."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _count_up(hashes: UInt64[ndarray, "_"]) -> Int32[ndarray, "_"] | None:
    """How many times each hash has occurred so far, itself included; None where none occurs twice.

    >>> _count_up(np.array([7, 5, 7, 7], np.uint64)).tolist()
    [1, 1, 2, 3]
    """
    # In sorted order equal hashes stand together, and with a stable sort in the order of their rows: a hash's
    # occurrence is its distance from the first of its kind there.
    in_order = np.sort(hashes)
    is_repeat = in_order[1:] == in_order[:-1]
    if not is_repeat.any():
        return None
    order = np.argsort(hashes, kind="stable")
    position = np.arange(len(hashes))
    is_first = np.append(True, ~is_repeat)
    first_position = np.maximum.accumulate(np.where(is_first, position, 0))
    occurrences = np.empty(len(hashes), np.int32)
    occurrences[order] = position - first_position + 1
    return occurrences


def labelled_converter(fields: Sequence[str], schema: Schema) -> RowConverter:
    """A converter of the rows of a classification task.

    Args:
        fields: the task's text fields, in the order in which the model reads them.
        schema: names of columns and labels.
    """

    def convert(row: Row, repaired: Counter[str]) -> LabelledExample:
        """The row as an example; its group is the first text, such as the premise, which other rows may share."""
        column = schema.column("label")
        label = checked_label(value_of(row, column), column, schema)
        texts = tuple(text_of(row, schema.column(name)) for name in fields)
        return LabelledExample(row_id(row, schema), texts, texts[0], label)

    return convert


def row_id(row: Row, schema: Schema) -> str:
    """A row's id; its place where it has none, or null for one."""
    column = schema.column("id")
    try:
        return identifier(row.values.get(column), row.where)
    except BadFieldError as error:
        raise BadRowError(f'"{column}": {error}') from None


def value_of(row: Row, column: str) -> Any:
    """The value of a field that the row must have; `NoFieldError` names the columns of a row that lacks it."""
    if column not in row.values:
        columns = [str(name) for name in row.values]
        has = ", ".join(columns) or "no fields"
        raise NoFieldError(f'no field "{column}"{did_you_mean(column, columns)}; the row has {has}')
    return row.values[column]


def text_of(row: Row, column: str) -> str:
    """The text of a field, which must hold more than white space, without the white space around it."""
    return raw_text(row, column).strip()


def raw_text(row: Row, column: str) -> str:
    """The text of a field, which must hold more than white space, unchanged."""
    value = value_of(row, column)
    if is_missing(value):
        raise BadRowError(f'"{column}" is empty')
    if not isinstance(value, str):
        raise BadRowError(f'"{column}": got {shown(value)}, expected text')
    try:
        check_surrogates(value)
    except BadFieldError as error:
        raise BadRowError(f'"{column}": {error}') from None
    return value


def checked_label(raw: Any, column: str, schema: Schema) -> str:
    """A row's label as the task names it, by way of the schema's map.

    Args:
        raw: the label as the source has it.
        column: where it stands, for messages.

    Raises:
        DroppedError: the map says None of it.
        BadRowError: the task has no such label.
    """
    value = _written_label(raw, schema)
    known = _known_label(value, schema)
    if known is None:
        raise DroppedError(f'label "{value}" dropped')
    if known in schema.labels:
        return known
    if known != value:
        raise BadRowError(unknown_choice(f'"{column}": what "{value}" is mapped to', known, schema.labels))
    # Datasets number their labels differently, so an integer is never guessed.
    refusal = f'"{column}" is empty' if not value else unknown_choice(f'"{column}"', value, schema.labels)
    if schema.advice.labels and len(value) <= LONGEST_VALUE:
        refusal += f"; {schema.advice.labels.replace('VALUE', value)}"
    raise BadRowError(refusal)


def mapped_label(raw: Any, schema: Schema) -> str:
    """A label by way of the schema's map, whatever labels a task has; empty where the field or the map says nothing."""
    return _known_label(_written_label(raw, schema), schema) or ""


def _written_label(raw: Any, schema: Schema) -> str:
    """A label as text: a name of an integer as the integer, where the schema maps integers and not names.

    A list of one label, as annotation tools export it, is that label.
    """
    raw = plain(raw)
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, ClassName) and str(raw.number) in schema.label_map:
        return str(raw.number)
    return label_text(raw)


def label_text(value: Any) -> str:
    """A label as text; empty where the field says nothing."""
    if is_missing(value):
        return ""
    text = str(value).strip()
    try:
        check_surrogates(text)
    except BadFieldError as error:
        raise BadRowError(f"label: {error}") from None
    return text


def _known_label(value: str, schema: Schema) -> str | None:
    """The label that the schema's map has for a value, or the value itself.

    Where neither the map nor the labels know it as it is written, they may know it as another format writes it: ``0``
    for ``0.0``, ``True`` for ``true``, the other normal form of Unicode; and null for a missing one.
    """
    if value in schema.label_map:
        return schema.label_map[value]
    if value in schema.labels:
        return value
    for key, label in schema.label_map.items():
        if canonical(key) == canonical(value) or (not value and key in ("null", "None")):
            return label
    for label in schema.labels:
        if canonical(label) == canonical(value):
            return label
    return value
