"""Datasets as people have them in Python, as rows: lists of dicts, a `datasets.Dataset` with `ClassLabel`, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdda.data.sources import DiskRows, Row, Source, dataset_rows, read_rows
from kdda.errors import KddaError


def to_rows(dataset: Any, name: str = "dataset") -> Sequence[Row]:
    """The rows of a dataset, unchecked.

    Args:
        dataset: a `datasets.Dataset`, a sequence of dicts, a `Source`, or a file as `Source` names it: a path,
            ``folder:split``, ``hub:owner/dataset:split`` or ``embedded:nli/vi/train``. Integer labels of a
            `datasets.Dataset` that has names for them (`ClassLabel`) become these names.
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
        return DiskRows(dataset_rows(dataset, name))
    kind = type(dataset).__name__
    raise KddaError(f"{name}: got {kind}, expected a datasets.Dataset, a list of dicts, or a file")
