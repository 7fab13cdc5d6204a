"""A recipe's rows by split (train, dev, test; held out), read, limited and checked for its task; counts of bad rows."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Literal

from kdda.data.examples import (
    RECIPE_ADVICE,
    BadRowError,
    CheckedRows,
    DroppedError,
    Example,
    RowConverter,
    Schema,
    check_rows,
)
from kdda.data.fields import BadFieldError
from kdda.data.sources import DiskRows, Row, Source, read_rows, sample
from kdda.errors import KddaError
from kdda.experiment.missing import refusal_of_rows
from kdda.recipe.schema import Recipe
from kdda.runtime.numbers import count_of
from kdda.tasks.base import Task

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

Splits = dict[str, Sequence[Example]]  # a language's examples by split; without a split that the recipe lacks


class SplitReader:
    """Reads and checks the sources of a recipe. A source that arms or teachers draw from is parsed once.

    Args:
        recipe: its `data`, `labels` and limits are used.
        task: makes an example of a row.
    """

    def __init__(self, recipe: Recipe, task: Task):
        self.recipe, self.task = recipe, task
        for language, data in recipe.data.items():
            task.check_columns(data.columns, f"data.{language}.columns")
        self._parsed: dict[tuple[str, Split], Sequence[Row]] = {}
        self._drawn: dict[tuple[str, Split, int], Sequence[Example]] = {}
        self._divided: dict[str, dict[Split, Sequence[Row]]] = {}  # of languages whose recipe holds rows out

    def read_all(self) -> tuple[dict[str, Splits], dict[str, str]]:
        """Every language's splits, and its warnings: how many rows were skipped or repaired, as text.

        Raises:
            KddaError: bad rows.
        """
        data: dict[str, Splits] = {}
        warnings: dict[str, str] = {}
        for language in self.recipe.data:
            data[language], warnings[language] = self.read_language(language)
        return data, warnings

    def read_language(self, language: str, limited: bool = True) -> tuple[Splits, str]:
        """One language's splits and its warnings.

        Args:
            limited: whether the recipe's limits hold; else all rows are read.

        Raises:
            KddaError: bad rows.
        """
        data = self.recipe.data[language]
        splits: Splits = {}
        checks = []
        for split in SPLITS:
            if getattr(data, split) is None and split not in data.holdout:  # the split has no source
                continue
            limit = data.limit.get(split) if limited else None
            checked = self._check(language, split, limit)
            splits[split] = checked.examples
            checks.append(checked)
        return splits, _warnings(checks)

    def training_labels(self) -> list[str]:
        """The labels that the training rows of all languages have, whatever the limits are, in the order of outputs.

        Raises:
            KddaError: a source that cannot be read, or fewer than two labels.
        """
        return self.task.labels_of(self._training_rows())

    def _training_rows(self) -> Iterator[tuple[Row, Schema]]:
        """Every training row with a label, of every language, unchecked, with the schema of its source."""
        for language, data in self.recipe.data.items():
            if not data.has_labels:
                continue
            schema = self._schema(language)
            with self._naming(language, "train"):
                rows = self._read(language, "train")
            for row in rows:
                yield row, schema

    def draw(self, language: str, split: Split, count: int, field: str) -> Sequence[Example]:
        """Draw so many rows of a split, whatever the recipe's limit is; the same ones at each call.

        Args:
            field: of the recipe, that asks for them; the message of an error names it.

        Raises:
            KddaError: the source has fewer.
        """
        key = language, split, count
        if key not in self._drawn:
            checked = self._check(language, split, count)
            rows = len(checked.examples) + checked.skipped.total()  # skipped rows were drawn, too
            if rows < count:
                source = getattr(self.recipe.data[language], split)
                raise KddaError(f"{field}: got {count:,}, but {source} has {rows:,}")
            self._drawn[key] = checked.examples
        return self._drawn[key]

    def _check(self, language: str, split: Split, limit: int | None) -> CheckedRows:
        """Examples of a split's rows, of up to `limit` drawn rows, or of all.

        Raises:
            KddaError: bad rows, with the field of the recipe and its hint how to get the rows.
        """
        on_bad_row = self.recipe.data[language].on_bad_row
        with self._naming(language, split):
            rows = sample(self._parse(language, split), limit, language)
            is_unlabelled = split == "train" and self.recipe.data[language].is_unlabelled
            convert = self.task.convert_unlabelled if is_unlabelled else self.task.convert
            return check_rows(rows, convert(self._schema(language)), on_bad_row, RECIPE_ADVICE)

    def _schema(self, language: str) -> Schema:
        """How a language's sources name columns and labels."""
        data = self.recipe.data[language]
        return Schema(tuple(self.recipe.labels), data.columns, data.label_map, RECIPE_ADVICE)

    @contextmanager
    def _naming(self, language: str, split: Split) -> Iterator[None]:
        """Lead a `KddaError` of the block by the field of the recipe, and end it by the hint how to get the rows."""
        try:
            yield
        except KddaError as error:
            raise KddaError(refusal_of_rows(error, self.recipe.data[language], language, split)) from None

    def _parse(self, language: str, split: Split) -> Sequence[Row]:
        """All rows of a split's source, unchecked; stored for the next call where more will be drawn from them."""
        key = language, split
        if key in self._parsed:
            return self._parsed[key]
        if self.recipe.data[language].holdout and split in ("train", *self.recipe.data[language].holdout):
            return self._divide(language)[split]
        rows = self._read(language, split)
        if split == "train" and self._is_drawn_from(language):  # no others: rows may be many, and are on disk then
            self._parsed[key] = rows
        return rows

    def _read(self, language: str, split: Split) -> Sequence[Row]:
        """All rows of a split's source or sources, those that are held out included."""
        data = self.recipe.data[language]
        names = getattr(data, split)
        select = data.selection(split)
        if isinstance(names, str):
            return read_rows(Source(names, data.header, select))
        parts = [read_rows(Source(name, data.header, select)) for name in names]
        return DiskRows(itertools.chain.from_iterable(parts))

    def _divide(self, language: str) -> dict[Split, Sequence[Row]]:
        """A language's training rows divided into those that stay and those that the recipe holds out, by split."""
        if language not in self._divided:
            rows = self._read(language, "train")
            convert = self.task.convert(self._schema(language))
            groups = [_group(row, convert) for row in rows]
            self._divided[language] = hold_out(rows, groups, self.recipe.data[language].holdout)
        return self._divided[language]

    def _is_drawn_from(self, language: str) -> bool:
        """Whether an arm or a teacher asks for its number of training rows."""
        for arm, settings in self.recipe.arms.items():
            if language in settings.rows:
                return True
            for teacher_language, teacher in self.recipe.teachers_of(arm):
                if language == (teacher.train or teacher_language) and teacher.rows:
                    return True
        return False


def _group(row: Row, convert: RowConverter) -> int:
    """A number for the group of a row, whose rows stay together: the rows of a premise or passage; a bad row's place.

    The number orders the groups at random, and is always the same for a group.
    """
    try:
        group = convert(row, Counter()).group
    except (BadRowError, BadFieldError, DroppedError):
        group = row.where
    return int.from_bytes(blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def hold_out(
    rows: Sequence[Row], groups: Sequence[int], shares: Mapping[Literal["dev", "test"], float]
) -> dict[Split, Sequence[Row]]:
    """Rows by split: whole groups, in the order of their numbers, until a split has its share; the rest is train.

    Args:
        groups: the number of each row's group.
        shares: split → its share of the rows.

    Raises:
        KddaError: too few groups for the splits.
    """
    sizes = Counter(groups)
    remaining = deque(sorted(sizes))
    split_of_group: dict[int, Split] = {}
    for split, share in shares.items():
        count = 0
        while remaining and count < share * len(rows):
            group = remaining.popleft()
            split_of_group[group] = split
            count += sizes[group]
    if not remaining or len(set(split_of_group.values())) < len(shares):
        names = ", ".join(shares)
        raise KddaError(
            f"holdout: {count_of(len(rows), 'row')} in {count_of(len(sizes), 'group')} (of one premise, passage or "
            f"text each) are too few to divide into train, {names}; give more rows, or files for {names}"
        )
    divided: dict[Split, Sequence[Row]] = {}
    splits: tuple[Split, ...] = ("train", *shares)
    for name in splits:
        chosen = [split_of_group.get(group, "train") == name for group in groups]
        divided[name] = DiskRows(itertools.compress(rows, chosen))
    return divided


def _warnings(checks: Iterable[CheckedRows]) -> str:
    """How many rows of some splits were skipped and repaired, by reason; empty where all were good.

    Such as "; skipped: 2 × empty text; repaired: 1 × answer moved".
    """
    skipped: Counter[str] = Counter()
    repaired: Counter[str] = Counter()
    for checked in checks:
        skipped += checked.skipped
        repaired += checked.repaired
    return _counts("skipped", skipped) + _counts("repaired", repaired)


def _counts(name: str, counts: Counter[str]) -> str:
    """Counts by reason as a part of a sentence, led by their name; empty without any."""
    if not counts:
        return ""
    parts = []
    for reason, count in counts.items():
        parts.append(f"{count} × {reason}")
    return f"; {name}: {', '.join(parts)}"
