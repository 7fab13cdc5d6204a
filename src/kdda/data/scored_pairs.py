"""Rows of similarity: two texts, `sentence1` and `sentence2`, and a `score` in a stated range."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from kdda.data.examples import BadRowError, DroppedError, Example, RowConverter, Schema, row_id, text_of, value_of
from kdda.data.fields import is_missing, plain, shown
from kdda.data.sources import Row


@dataclass(frozen=True)
class ScoredPair(Example):
    """An example of similarity: two texts.

    Attributes:
        gold: their score as the source gives it.
    """

    gold: float


def pair_converter(schema: Schema, score_range: tuple[float, float]) -> RowConverter:
    """A converter of rows with `sentence1`, `sentence2` and a `score`.

    Args:
        schema: names of columns; its label map replaces scores, or drops rows by their score.
        score_range: the lowest and the highest score.
    """

    def convert(row: Row, repaired: Counter[str]) -> ScoredPair:
        """The row as an example; its group is the first text, which other rows may share."""
        texts = (text_of(row, schema.column("sentence1")), text_of(row, schema.column("sentence2")))
        return ScoredPair(row_id(row, schema), texts, texts[0], _score(row, schema, score_range))

    return convert


def _score(row: Row, schema: Schema, score_range: tuple[float, float]) -> float:
    """A row's score.

    Raises:
        DroppedError: the schema's map drops it.
        BadRowError: no number, or one outside the range.
    """
    column = schema.column("score")
    value: Any = plain(value_of(row, column))
    key = str(value).strip()
    if key in schema.label_map:
        value = schema.label_map[key]
        if value is None:
            raise DroppedError(f'score "{key}" dropped')
    if is_missing(value):
        raise BadRowError(f'"{column}" is empty')
    lowest, highest = score_range
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not lowest <= number <= highest:  # nan is in no range
        raise BadRowError(
            f'"{column}": got {shown(value)}, expected a number from {lowest:g} to {highest:g}; task_options: '
            "{range: [LOWEST, HIGHEST]} sets the range"
        )
    return number
