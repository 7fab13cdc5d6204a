"""Integer labels that have names (`ClassLabel` of datasets): their names by column, in the place of the integers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdda.data.fields import plain

# A file's columns whose integers have names → these names, in the order of the integers.
LabelNames = Mapping[str, Sequence[str]]


class ClassName(str):
    """The name of an integer label, which remembers the integer, so that a recipe may name either.

    >>> name = ClassName("neutral", 1)
    >>> name == "neutral", name.number
    (True, 1)
    """

    number: int

    def __new__(cls, name: str, number: int) -> ClassName:
        """The name as a text, with the integer beside it."""
        text = super().__new__(cls, name)
        text.number = number
        return text

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        """What `__new__` gets when the name is unpickled."""
        return str(self), self.number


def names_of_features(features: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The names of integer labels by column, of a `datasets.Features`; those of lists of labels, too."""
    labels = {}
    for column, feature in (features or {}).items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names:
            labels[column] = list(names)
    return labels


def names_of_parquet(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """The names of integer labels by column, that datasets writes into the metadata of a Parquet file's schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        columns = dict(features)
    except (KeyError, ValueError, TypeError):  # written by another program, or by one that names no labels
        return {}
    labels = {}
    for column, feature in columns.items():
        names = _names(feature)
        if names:
            labels[column] = names
    return labels


def _names(feature: Any) -> list[str]:
    """The names in the JSON of a feature: a label's, or those of a list of labels; none of other features."""
    if not isinstance(feature, Mapping):
        return []
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list):
        return [str(name) for name in names]
    return _names(feature.get("feature"))


def with_names(values: Mapping[str, Any], labels: LabelNames) -> dict[str, Any]:
    """A row's values in Python's types; integers of a column whose labels have names become these names."""
    named = {}
    for column, value in values.items():
        value = plain(value)
        names = labels.get(column)
        named[column] = _named(value, names) if names else value
    return named


def _named(value: Any, names: Sequence[str]) -> Any:
    """An integer label, or each of a list, as its name; what has no name as it is, such as -1 for "no label"."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return ClassName(names[value], value)
    return value
