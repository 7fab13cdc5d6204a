"""Datasets as people have them in Python, as rows: lists of dicts, a `datasets.Dataset` with `ClassLabel`, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdda.data.fields import plain
from kdda.data.sources import DiskRows, Row, Source, errors_as_messages, read_rows
from kdda.errors import KddaError


def to_rows(dataset: Any, name: str = "dataset") -> Sequence[Row]:
    """The rows of a dataset, unchecked.

    Args:
        dataset: a `datasets.Dataset`, a sequence of dicts, a `Source`, or a file as `Source` names it: a path,
            ``hub:owner/dataset:split`` or ``embedded:nli/vi/train``. Integer labels of a `datasets.Dataset` that has
            names for them (`ClassLabel`) become these names.
        name: what messages call it.

    Raises:
        KddaError: something else, or a file that cannot be read.

    >>> to_rows([{"premise": "a", "hypothesis": "b", "label": "neutral"}], "train")[0].where
    'train, row 1'
    """
    if isinstance(dataset, Source):
        return read_rows(dataset)
    if isinstance(dataset, str | Path):
        return read_rows(Source(str(dataset)))
    if isinstance(dataset, Sequence) and not dataset:
        raise KddaError(f"{name} is empty")
    if hasattr(dataset, "features") or isinstance(dataset, Sequence):
        return DiskRows(_records(dataset, name))
    kind = type(dataset).__name__
    raise KddaError(f"{name}: got {kind}, expected a datasets.Dataset, a list of dicts, or a file")


def _records(dataset: Any, name: str) -> Iterator[Row]:
    """The rows of a sequence of dicts or a `datasets.Dataset`, with the names of integer labels in their place."""
    labels = _class_labels(dataset)
    with errors_as_messages(name):
        for number, values in enumerate(dataset, 1):
            where = f"{name}, row {number}"
            if not isinstance(values, Mapping):
                raise KddaError(f"{where}: got {type(values).__name__}, expected a dict")
            yield Row(where, _named_values(values, labels))


def _named_values(values: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row's values in Python's types; an integer of a column whose labels have names becomes its name."""
    named = {}
    for column, value in values.items():
        value = plain(value)
        names = labels.get(column, ())
        if isinstance(value, int) and 0 <= value < len(names):
            value = names[value]
        named[column] = value
    return named


def _class_labels(dataset: Any) -> dict[str, list[str]]:
    """The columns of a `datasets.Dataset` whose integers have names, with these names; none of a list of dicts."""
    labels = {}
    for column, feature in (getattr(dataset, "features", None) or {}).items():
        names = getattr(feature, "names", None)
        if names:
            labels[column] = list(names)
    return labels
