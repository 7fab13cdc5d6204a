"""What a file of rows looks like: columns, 400 rows spread over it, and the values of columns that have few.

`LOOKED_AT`: rows of the sample; `MOST_VALUES`: different values, above which a column's are not counted.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kdda.data.compressed import DECOMPRESSORS
from kdda.data.conll import looks_like_conll
from kdda.data.delimited import Quoting, delimiter_of
from kdda.data.fields import canonical, is_missing, plain_name
from kdda.data.sources import Row, Source, format_of, read_rows
from kdda.data.text_lines import text_lines
from kdda.draft.names import ID_COLUMNS, USUAL_NAMES, is_called

LOOKED_AT = 400

MOST_VALUES = 200

LONGEST_LABEL = 60  # characters; a longer value is a text

HEADER_WORDS = 5  # a cell with more words is no name of a column

UNNAMED = "column"  # columns of a file without a line of names are called column1, column2, …


CONLL = (".conll", ".bio", ".iob")


@dataclass(frozen=True)
class Wishes:
    """What a user says of the rows in all files, where it is not guessed.

    Attributes:
        columns: field of the task → the column that it is in.
        labels: the data's label → the task's, or None to leave such rows out.
    """

    task: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str | None] = field(default_factory=dict)

    def meaning(self, value: str) -> str | None:
        """What a value of the labels is for the task: the user's word for it, or the value itself; None if left out."""
        for label, meaning in self.labels.items():
            if canonical(label) == canonical(value):
                return meaning
        return value


NO_WISHES = Wishes()


@dataclass(frozen=True)
class FileTable:
    """A file, as far as a recipe's draft needs to know it.

    Attributes:
        name: the source's, as a user would write it.
        columns: of all rows that were looked at.
        count: of the rows.
        sample: rows spread evenly over the file.
        values: column → its values as text, and how often each is there; without columns that have many, or long ones.
        header: names for a file without a line of names; else None.
        select: column → the value of it that the rows have, of all rows of the file.
        wishes: what a user says of the rows.
        id_columns: the columns that are called as ids and have another value in each row.
        is_conll: whether a line of the file is a word, and what is counted are sentences.
    """

    name: str
    columns: list[str]
    count: int
    sample: list[dict[str, Any]]
    values: Mapping[str, Counter[str]]
    header: list[str] | None = None
    select: Mapping[str, str] = field(default_factory=dict)
    wishes: Wishes = NO_WISHES
    id_columns: Sequence[str] = ()
    is_conll: bool = False

    @cached_property
    def by_plain_name(self) -> dict[str, str]:
        """Columns by their plain names; of two that differ only in how they are written, the first."""
        columns: dict[str, str] = {}
        for column in self.columns:
            columns.setdefault(plain_name(column), column)
        return columns

    def all_of(self, names: Sequence[str]) -> list[str]:
        """The columns that are called by one of some names, however it is written, in the order of the names."""
        columns: dict[str, None] = {}
        for name in names:
            column = self.by_plain_name.get(plain_name(name))
            if column is not None:
                columns[column] = None
        return list(columns)

    def first_of(self, names: Sequence[str]) -> str:
        """The first of some names that is a column's, however it is written; empty where none is."""
        return next(iter(self.all_of(names)), "")

    @property
    def unit(self) -> str:
        """What the rows are called by those who made the file, in the singular."""
        return "sentence" if self.is_conll else "row"

    def cells(self, column: str) -> list[Any]:
        """The values of a column in the sample, without those that say nothing."""
        cells = []
        for values in self.sample:
            value = values.get(column)
            if not is_missing(value):
                cells.append(value)
        return cells

    def is_text(self, column: str) -> bool:
        """Whether a column holds texts in most rows of the sample."""
        texts = [cell for cell in self.cells(column) if isinstance(cell, str)]
        return len(texts) > len(self.sample) / 2

    def words(self, column: str) -> float:
        """The mean number of words in a column's texts; 0 without texts."""
        texts = [cell for cell in self.cells(column) if isinstance(cell, str)]
        return sum(len(text.split()) for text in texts) / max(len(texts), 1)

    def numbers(self, column: str) -> list[float]:
        """The values of a column as numbers; none where one of them is not."""
        numbers = []
        for cell in self.cells(column):
            try:
                numbers.append(float(cell))
            except (TypeError, ValueError):
                return []
        return [number for number in numbers if math.isfinite(number)]

    def with_names(self, names: Mapping[str, str], without: Collection[str]) -> FileTable:
        """The same table with other names of some columns, and without some columns.

        Args:
            names: column → its new name.
            without: names of columns that are left out, however they are written, unless they get another name.
        """
        dropped = set(map(plain_name, without))
        kept = [column for column in self.columns if column in names or plain_name(column) not in dropped]
        new_names = {column: names.get(column, column) for column in kept}
        sample = []
        for row in self.sample:
            sample.append({name: row[column] for column, name in new_names.items() if column in row})
        values = {name: self.values[column] for column, name in new_names.items() if column in self.values}
        return replace(self, columns=list(new_names.values()), sample=sample, values=values)


def look_at(
    name: str,
    select: Mapping[str, str] | None = None,
    header: Sequence[str] | None = None,
    wishes: Wishes = NO_WISHES,
) -> FileTable:
    """What a source of rows looks like.

    Args:
        name: a file, or ``folder:split``.
        select: rows of a file of several languages.
        header: names of the columns of a file without a line of names; guessed by default.
        wishes: what a user says of the rows.

    Raises:
        KddaError: a file that cannot be read.
    """
    if header is None:
        header = _names_of_unnamed(Path(name))
    rows = read_rows(Source(name, header, select or {}))
    sample: list[Row] = []
    step = max(len(rows) // LOOKED_AT, 1)
    columns: dict[str, None] = {}
    values: dict[str, Counter[str]] = {}
    ids: dict[str, set[str]] = {}
    for number, row in enumerate(rows):
        for column, value in row.values.items():
            if column not in columns:
                columns[column] = None
                values[column] = Counter()
                if is_called(column, ID_COLUMNS):
                    ids[column] = set()
            _count(values, column, value)
            if column in ids and isinstance(value, str | int):
                ids[column].add(str(value))
        if number % step == 0 and len(sample) < LOOKED_AT:
            sample.append(row)
    with_name = [column for column in columns if column]
    cells = [row.values for row in sample]
    names = list(header) if header else None
    id_columns = [column for column in ids if len(ids[column] - {""}) == len(rows)]
    return FileTable(
        name, with_name, len(rows), cells, values, names, select or {}, wishes, id_columns, _is_conll(Path(name))
    )


def _is_conll(path: Path) -> bool:
    """Whether a file has a word and its tag a line."""
    suffix = format_of(path)
    return suffix in CONLL or (suffix == ".txt" and path.is_file() and looks_like_conll(path))


def _count(values: dict[str, Counter[str]], column: str, value: Any) -> None:
    """Count a value of a column; the column is taken out once it has too many values, or one that is no label."""
    counts = values.get(column)
    if counts is None:
        return
    is_label = value is None or isinstance(value, str | int | float)
    text = ""
    if not is_missing(value):
        text = str(value).strip()
    if not is_label or len(text) > LONGEST_LABEL:
        del values[column]
        return
    counts[text] += 1
    if len(counts) > MOST_VALUES:
        del values[column]


def _names_of_unnamed(path: Path) -> list[str] | None:
    """Names for the columns of a table whose first line is a row and no line of names; None of other files."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in DECOMPRESSORS:
        suffixes.pop()
    if not path.is_file() or not suffixes or suffixes[-1] not in (".csv", ".tsv", ".txt"):
        return None
    is_csv = suffixes[-1] == ".csv"
    if suffixes[-1] == ".txt" and looks_like_conll(path):
        return None
    delimiter = delimiter_of(path, None) if is_csv else "\t"
    for line in text_lines(path):
        if line.strip():
            quoting: Quoting = csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE
            try:
                cells = next(csv.reader([line], delimiter=delimiter, quoting=quoting), [])
            except csv.Error:  # which reading the rows names with its line
                return None
            has_names = any(is_called(cell, USUAL_NAMES) for cell in cells)
            if len(cells) > 1 and not has_names and any(_is_a_text(cell) for cell in cells):
                return [f"{UNNAMED}{number}" for number in range(1, len(cells) + 1)]
            return None
    return None


def _is_a_text(cell: str) -> bool:
    """Whether a cell of a file's first line is a text and hardly a column's name."""
    return len(cell.split()) > HEADER_WORDS or cell.rstrip().endswith((".", "?", "!"))
