"""Rows become examples, or are refused with their place and the reason."""

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

from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean
from kdda.runtime.disk_sequence import DiskSequence

NAMED_ROWS = 5  # bad rows named in a message before "and … more"


@dataclass(frozen=True)
class Example:
    """One text or pair of texts. `group` ties rows that share a premise or a passage."""

    id: str
    texts: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class LabelledExample(Example):
    """An example of a classification task, with its label's name."""

    label: str


class GoldAnswer(NamedTuple):
    """A gold answer: a slice of the context, and where it begins."""

    text: str
    start: int


@dataclass(frozen=True)
class Question(Example):
    """An example of reading: texts are the question and its context; without answers it cannot be answered."""

    answers: tuple[GoldAnswer, ...]


@dataclass(frozen=True)
class Schema:
    """How a source names what a task asks of a row.

    Args:
        labels: the task's label names; none for tasks without labels.
        columns: task field → the source's column, where they differ.
        label_map: the source's label value (as text) → label name, or None to drop such rows.
    """

    labels: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    label_map: Mapping[str, str | None] = field(default_factory=dict)

    def column(self, name: str) -> str:
        return self.columns.get(name, name)


class CheckedRows(NamedTuple):
    """The examples of the good rows, and how many rows were left out or repaired, by reason."""

    examples: Sequence[Example]
    skipped: Counter[str]
    repaired: Counter[str]


class BadRowError(Exception):
    """A row that a person should look at."""


class DroppedError(Exception):
    """A row that is left out and counted, such as one whose label the recipe drops."""


RowConverter = Callable[[Row, Counter[str]], Example]


def check_rows(
    rows: Iterable[Row], convert: RowConverter, on_bad_row: Literal["raise", "skip"] = "raise"
) -> CheckedRows:
    """Examples of all good rows, kept on disk where they are many.

    Args:
        convert: makes an example of a row, counts what it repaired, and raises `BadRowError` or `DroppedError`.

    Raises:
        KddaError: a bad row under ``raise``, or no good row at all; names the first places.
    """
    check = _Check(convert)
    examples: Sequence[Example] = DiskSequence(check.examples(rows))
    if check.bad and (on_bad_row == "raise" or not examples):
        raise KddaError(check.summary())
    if not examples:
        raise KddaError(f"no rows left: {dict(check.skipped)}" if check.rows else "no rows: the source is empty")
    return CheckedRows(check.numbered(examples), check.skipped, check.repaired)


class _Check:
    """Rows on their way to examples: what is counted of them, and a number of 8 bytes for each one's id."""

    def __init__(self, convert: RowConverter):
        self.convert = convert
        self.skipped: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.rows = 0
        self.bad: list[str] = []
        self.ids = array("Q")

    def examples(self, rows: Iterable[Row]) -> Iterator[Example]:
        for row in rows:
            self.rows += 1
            try:
                example = self.convert(row, self.repaired)
            except DroppedError as dropped:
                self.skipped[str(dropped)] += 1
            except BadRowError as error:
                self.skipped["bad row"] += 1
                if len(self.bad) < NAMED_ROWS:
                    self.bad.append(f"{row.where}: {error}")
            else:
                self.ids.append(_number_of(example.id))
                yield example

    def summary(self) -> str:
        count = self.skipped["bad row"]
        more = f"\n  … and {count - NAMED_ROWS} more" if count > NAMED_ROWS else ""
        shown = "\n  ".join(self.bad)
        return f"{count} of {self.rows} rows are bad (on_bad_row: skip leaves them out):\n  {shown}{more}"

    def numbered(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Examples whose ids differ: the k-th of an id is called ``id#k``, but for the first."""
        times = _times(np.frombuffer(self.ids, np.uint64))
        if times is None:
            return examples
        self.repaired["ids repeated, numbered"] += int((times > 1).sum())
        return DiskSequence(
            own if k == 1 else replace(own, id=f"{own.id}#{k}") for own, k in zip(examples, times, strict=True)
        )


def _number_of(name: str) -> int:
    """A million ids are a million numbers, but for a chance of 1 in 37 million (n² / 2⁶⁵) that two share one."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _times(names: UInt64[ndarray, "_"]) -> Int32[ndarray, "_"] | None:
    """How many times each has occurred so far, itself included; None where none occurs twice.

    >>> _times(np.array([7, 5, 7, 7], np.uint64)).tolist()
    [1, 1, 2, 3]
    """
    inorder = np.sort(names)
    if not (inorder[1:] == inorder[:-1]).any():
        return None
    order = np.argsort(names, kind="stable")
    first = np.append(True, inorder[1:] != inorder[:-1])
    begins = np.maximum.accumulate(np.where(first, np.arange(len(names)), 0))
    times = np.empty(len(names), np.int32)
    times[order] = np.arange(len(names)) - begins + 1
    return times


def labelled_converter(fields: Sequence[str], schema: Schema) -> RowConverter:
    """Rows of a classification task over these text fields."""

    def convert(row: Row, repaired: Counter[str]) -> LabelledExample:
        label = _label(row, schema)
        texts = tuple(text_of(row, schema.column(name)) for name in fields)
        return LabelledExample(str(row.values.get("id", row.where)), texts, texts[0], label)

    return convert


def value_of(row: Row, column: str) -> Any:
    """A field that must be there."""
    if column not in row.values:
        hint = did_you_mean(column, map(str, row.values))
        raise BadRowError(f'no field "{column}"{hint}; found {", ".join(map(str, row.values))}')
    return row.values[column]


def text_of(row: Row, column: str) -> str:
    """A field that must hold more than white space, without the white space around it."""
    return raw_text(row, column).strip()


def raw_text(row: Row, column: str) -> str:
    """A field that must hold more than white space, to the character."""
    value = value_of(row, column)
    if not isinstance(value, str):
        raise BadRowError(f'"{column}": found {value!r}, expected text')
    if not value.strip():
        raise BadRowError(f'"{column}" is empty')
    return value


def _label(row: Row, schema: Schema) -> str:
    column = schema.column("label")
    found = str(value_of(row, column)).strip()
    label = schema.label_map.get(found, found)
    if label is None:
        raise DroppedError(f'label "{found}" dropped')
    if label not in schema.labels:
        # An integer means another thing in another dataset, so it is never guessed.
        raise BadRowError(
            f'"{column}": label {found!r} is not one of {", ".join(schema.labels)}'
            f'{did_you_mean(found, schema.labels)}; map it under labels: {{"{found}": {schema.labels[0]}}}'
        )
    return label
