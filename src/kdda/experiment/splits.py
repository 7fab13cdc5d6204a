"""A recipe's rows, read and checked for its task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from kdda.data.examples import CheckedRows, Example, Schema, check_rows
from kdda.data.sources import Source, read_rows, sample
from kdda.errors import KddaError
from kdda.recipe.schema import Data, Recipe
from kdda.tasks.base import Task

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

Splits = dict[str, Sequence[Example]]


def read_all(recipe: Recipe, task: Task) -> tuple[dict[str, Splits], dict[str, str]]:
    """Every language's splits, and in words what was left out or repaired on the way."""
    data: dict[str, Splits] = {}
    warnings: dict[str, str] = {}
    for language, own in recipe.data.items():
        data[language], warnings[language] = read_splits(own, language, recipe, task)
    if "test" not in data[recipe.target]:
        raise KddaError(f"data.{recipe.target}.test is missing: the target language's test rows make the table")
    return data, warnings


def read_splits(own: Data, language: str, recipe: Recipe, task: Task) -> tuple[Splits, str]:
    """One language's splits, and in words what was left out or repaired on the way."""
    found = {split: _read(own, split, language, recipe, task) for split in SPLITS if getattr(own, split) is not None}
    return {split: checked.examples for split, checked in found.items()}, _remarks(list(found.values()))


def read_split(recipe: Recipe, split: Split, language: str, task: Task, rows: int, field: str) -> Sequence[Example]:
    """So many rows of a split, whatever the recipe's limit is.

    Args:
        field: of the recipe, that asks for them.

    Raises:
        KddaError: there are fewer.
    """
    own = recipe.data[language]
    found = _read(own.model_copy(update={"limit": {split: rows}}), split, language, recipe, task)
    there = len(found.examples) + found.skipped.total()  # rows that are left out were drawn, too
    if there < rows:
        raise KddaError(f"{field}: found {rows:,}, but {getattr(own, split)} has {there:,}")
    return found.examples


def _read(own: Data, split: Split, language: str, recipe: Recipe, task: Task) -> CheckedRows:
    schema = Schema(tuple(recipe.labels), own.columns, own.labels)
    try:
        rows = read_rows(Source(getattr(own, split), own.header))
        return check_rows(sample(rows, own.limit.get(split), language), task.convert(schema), own.on_bad_row)
    except KddaError as error:
        access = f"\n  how to get these rows: {own.access}" if own.access else ""
        raise KddaError(f"data.{language}.{split}: {error}{access}") from None


def _remarks(found: list[CheckedRows]) -> str:
    skipped = sum((checked.skipped for checked in found), Counter[str]())
    repaired = sum((checked.repaired for checked in found), Counter[str]())
    parts = [(name, counts) for name, counts in (("left out", skipped), ("repaired", repaired)) if counts]
    return "".join(
        f"; {name}: " + ", ".join(f"{count} × {why}" for why, count in counts.items()) for name, counts in parts
    )
