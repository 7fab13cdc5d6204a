"""Rows become examples, or are refused with their place and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean

SHOWN = 5  # bad rows named in a message before "and … more"


@dataclass(frozen=True)
class Example:
    """One text or pair of texts with its label's name. `group` ties rows that share a premise."""

    id: str
    texts: tuple[str, ...]
    label: str
    group: str


@dataclass(frozen=True)
class Schema:
    """What a task asks of a row, and how this source names it.

    Args:
        texts: the task's text fields, in order, such as ``("premise", "hypothesis")``.
        labels: the task's label names.
        columns: task field → the source's column, where they differ.
        label_map: the source's label value (as text) → label name, or None to drop such rows.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    label_map: Mapping[str, str | None] = field(default_factory=dict)

    def column(self, name: str) -> str:
        return self.columns.get(name, name)


class _BadRowError(Exception):
    pass


class _DroppedError(Exception):
    pass


def check_rows(
    rows: Sequence[Row], schema: Schema, on_bad_row: Literal["raise", "skip"] = "raise"
) -> tuple[list[Example], Counter[str]]:
    """Examples of all good rows, and how many rows were left out for which reason.

    Raises:
        KddaError: a bad row under ``raise``, or no good row at all; names the first places.
    """
    good: list[Example] = []
    bad: list[str] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        try:
            good.append(_example(row, schema))
        except _DroppedError as dropped:
            left_out[str(dropped)] += 1
        except _BadRowError as error:
            bad.append(f"{row.where}: {error}")
            left_out["bad row"] += 1
    if bad and (on_bad_row == "raise" or not good):
        raise KddaError(_summary(bad, len(rows)))
    if not good:
        raise KddaError("no rows: the source is empty" if not rows else f"no rows left: {dict(left_out)}")
    return good, left_out


def _summary(bad: list[str], total: int) -> str:
    more = f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    shown = "\n  ".join(bad[:SHOWN])
    return f"{len(bad)} of {total} rows are bad (on_bad_row: skip leaves them out):\n  {shown}{more}"


def _example(row: Row, schema: Schema) -> Example:
    label = _label(row, schema)
    texts = tuple(_text(row, schema.column(name)) for name in schema.texts)
    return Example(str(row.values.get("id", row.where)), texts, label, texts[0])


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        hint = did_you_mean(column, map(str, row.values))
        raise _BadRowError(f'no field "{column}"{hint}; found {", ".join(map(str, row.values))}')
    return row.values[column]


def _text(row: Row, column: str) -> str:
    value = _value(row, column)
    if not isinstance(value, str):
        raise _BadRowError(f'"{column}": found {value!r}, expected text')
    if not value.strip():
        raise _BadRowError(f'"{column}" is empty')
    return value.strip()


def _label(row: Row, schema: Schema) -> str:
    column = schema.column("label")
    found = str(_value(row, column)).strip()
    label = schema.label_map.get(found, found)
    if label is None:
        raise _DroppedError(f'label "{found}" dropped')
    if label not in schema.labels:
        # An integer means another thing in another dataset, so it is never guessed.
        raise _BadRowError(
            f'"{column}": label {found!r} is not one of {", ".join(schema.labels)}'
            f'{did_you_mean(found, schema.labels)}; map it under labels: {{"{found}": {schema.labels[0]}}}'
        )
    return label
