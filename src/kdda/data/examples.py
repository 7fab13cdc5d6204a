"""Rows become examples, or are refused with their place and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean

SHOWN = 5  # bad rows named in a message before "and … more"


@dataclass(frozen=True)
class Example:
    """One text or pair of texts. `group` ties rows that share a premise or a passage."""

    id: str
    texts: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Labelled(Example):
    """An example of a classification task, with its label's name."""

    label: str


class Answer(NamedTuple):
    """A gold answer: a slice of the context, and where it begins."""

    text: str
    start: int


@dataclass(frozen=True)
class Question(Example):
    """An example of reading: texts are the question and its context; without answers it cannot be answered."""

    answers: tuple[Answer, ...]


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


class Checked(NamedTuple):
    """The examples of the good rows, and how many rows were left out or mended, by reason."""

    examples: list[Example]
    left_out: Counter[str]
    mended: Counter[str]


class BadRowError(Exception):
    """A row that a person should look at."""


class DroppedError(Exception):
    """A row that is left out and counted, such as one whose label the recipe drops."""


Convert = Callable[[Row, Counter[str]], Example]


def check_rows(rows: Sequence[Row], convert: Convert, on_bad_row: Literal["raise", "skip"] = "raise") -> Checked:
    """Examples of all good rows.

    Args:
        convert: makes an example of a row, counts what it mended, and raises `BadRowError` or `DroppedError`.

    Raises:
        KddaError: a bad row under ``raise``, or no good row at all; names the first places.
    """
    found, bad = Checked([], Counter(), Counter()), []
    seen: Counter[str] = Counter()
    for row in rows:
        try:
            example = convert(row, found.mended)
            seen[example.id] += 1
            if seen[example.id] > 1:
                found.mended["ids repeated, numbered"] += 1
                example = replace(example, id=f"{example.id}#{seen[example.id]}")
            found.examples.append(example)
        except DroppedError as dropped:
            found.left_out[str(dropped)] += 1
        except BadRowError as error:
            bad.append(f"{row.where}: {error}")
            found.left_out["bad row"] += 1
    if bad and (on_bad_row == "raise" or not found.examples):
        raise KddaError(_summary(bad, len(rows)))
    if not found.examples:
        raise KddaError("no rows: the source is empty" if not rows else f"no rows left: {dict(found.left_out)}")
    return found


def _summary(bad: list[str], total: int) -> str:
    more = f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    shown = "\n  ".join(bad[:SHOWN])
    return f"{len(bad)} of {total} rows are bad (on_bad_row: skip leaves them out):\n  {shown}{more}"


def labelled(fields: Sequence[str], schema: Schema) -> Convert:
    """Rows of a classification task over these text fields."""

    def convert(row: Row, mended: Counter[str]) -> Labelled:
        label = _label(row, schema)
        texts = tuple(text_of(row, schema.column(name)) for name in fields)
        return Labelled(str(row.values.get("id", row.where)), texts, texts[0], label)

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
