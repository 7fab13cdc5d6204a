"""CSV and TSV: the delimiter, records with their lines; open quotes, stray carriage returns, a column named twice."""

from __future__ import annotations

import csv
import logging
import re
from bisect import insort
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from kdda.data.text_lines import text_lines
from kdda.errors import KddaError
from kdda.runtime.numbers import count_of
from kdda.runtime.text_files import printable

LARGEST_CELL = 2**25  # characters; what csv holds of a cell takes four bytes each

# A cell that holds line ends and delimiters, and is so many times longer than the median of its column, has probably
# swallowed other records.
SUSPICIOUS_LENGTH = 5

MEDIAN_CELLS = 10_000  # cells of a column, the first ones, whose lengths are kept for its median

DELIMITERS = (",", ";", "\t", "|")  # of CSV files; spreadsheets of many languages write ";", where "," is in numbers

LEAST_CELLS = 3  # cells without which a median says nothing

# The end of a cell that began with a quote: the next quote that is not doubled.
CLOSING_QUOTE = re.compile(r'(?:[^"]++|"")*+"')

# `csv.QUOTE_MINIMAL` for cells that may be quoted, `csv.QUOTE_NONE` where a quote is a character as any other.
Quoting = Literal[0, 3]

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """A record's cells by column, and the number of the file's line in which it begins."""

    line: int
    cells: dict[str, str]


def read_records(path: Path, delimiter: str, quoting: Quoting, header: Sequence[str] | None) -> Iterator[Record]:
    """The records of a CSV or TSV file, one after another; blank lines between them are left out.

    A warning is logged of cells that have probably swallowed other records.

    Args:
        delimiter: between cells.
        quoting: whether cells may be quoted.
        header: names of the columns; those of the first record by default.

    Raises:
        KddaError: not UTF-8, not of this format, or a column named twice; names the line.
    """
    lines = _RecordLines(text_lines(path))
    records = _cells_of_records(path, lines, delimiter, quoting)
    names = list(header or next(records, []))
    check_names(names, f"{printable(path)}:{lines.begin or 1}")
    lengths = _CellLengths(names, delimiter)
    for cells in records:
        if len(cells) != len(names):
            raise KddaError(_wrong_count(path, lines, cells, names))
        lengths.add(lines.begin, cells)
        yield Record(lines.begin, dict(zip(names, cells, strict=True)))
    warning = lengths.warning()
    if warning:
        logger.warning("%s: %s", printable(path), warning)


def delimiter_of(path: Path, header: Sequence[str] | None) -> str:
    """The delimiter of a CSV file, told by its first line that is not blank, once for the whole file.

    It is the one of `DELIMITERS` that stands most often outside quotes in the line of names; of a file without one, the
    first that divides the line into as many cells as there are names. "," where none does.

    Args:
        header: names of the columns of a file that has no line of names.
    """
    counts = dict.fromkeys(DELIMITERS, 0)
    for line in text_lines(path):
        if line.strip():
            counts = _count_delimiters(line)
            break
    if header is None:
        return max(DELIMITERS, key=counts.__getitem__)  # of equal ones the first
    for delimiter, count in counts.items():
        if count == len(header) - 1:
            return delimiter
    return ","


def _count_delimiters(line: str) -> dict[str, int]:
    """How often each of `DELIMITERS` stands in a line outside quotes."""
    counts = {}
    unquoted = "".join(line.split('"')[::2])  # every second part is inside quotes; doubled quotes are an empty one
    for delimiter in DELIMITERS:
        counts[delimiter] = unquoted.count(delimiter)
    return counts


class _RecordLines:
    """Lines for `csv.reader`: those inside a quoted cell as they are, without the blank ones between records.

    Attributes:
        number: of the file's line that was read last.
        begin: number of the line in which the current record begins.
        in_record: whether the reader has begun a record that it has not finished.
        at_end: whether the file has no more lines.
    """

    def __init__(self, lines: Iterator[str]):
        self._lines = lines
        self.number = 0
        self.begin = 0
        self.in_record = False
        self.at_end = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line that belongs to a record."""
        line = self._next_line()
        if self.in_record:
            return line
        while not line.strip():
            line = self._next_line()
        self.begin = self.number
        self.in_record = True
        return line

    def _next_line(self) -> str:
        """The file's next line, counted."""
        try:
            line = next(self._lines)
        except StopIteration:
            self.at_end = True
            raise
        self.number += 1
        return line


def _cells_of_records(path: Path, lines: _RecordLines, delimiter: str, quoting: Quoting) -> Iterator[list[str]]:
    """The cells of each record; tells `lines` where a record ends.

    `csv.reader` is strict: else it ends a quoted cell silently with the file, and drops quotes inside cells.
    """
    # csv's limit holds for the whole process and is 131,072 characters unless it is raised
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise KddaError(_broken_record(path, lines, delimiter, str(error))) from None
        if cells is None:
            return
        yield cells
        lines.in_record = False


def _broken_record(path: Path, lines: _RecordLines, delimiter: str, error: str) -> str:
    """The message about a record that csv cannot read.

    Args:
        lines: stopped in that record.
        error: csv's words, which tell the kind of mistake.
    """
    opened = _line_of_open_quote(path, lines.begin, lines.number, delimiter)
    if lines.at_end and "end of data" in error:
        return f'{printable(path)}:{opened}: a cell that begins here with " is never closed: close it, or double the "'
    if "expected after" in error:
        return (
            f'{printable(path)}:{lines.number}: text after the closing " of a cell (which begins in line {opened}): a '
            '" inside a quoted cell is written twice, and a cell that begins with one is quoted'
        )
    if "field limit" in error:
        return (
            f"{printable(path)}:{opened}: a cell of more than {LARGEST_CELL:,} characters begins here: "
            'is the closing " of a cell missing?'
        )
    if "new-line" in error:
        return (
            f"{printable(path)}:{lines.number}: a carriage return (\\r) inside a cell without quotes: quote the cell, "
            "or end lines with \\n or \\r\\n"
        )
    return f"{printable(path)}:{lines.begin}: {error}"


def _line_of_open_quote(path: Path, begin: int, last: int, delimiter: str) -> int:
    """The line in which the quoted cell begins that is not closed in a record's last line.

    Args:
        begin: number of the record's first line.
        last: number of its last line.
    """
    opened = begin
    is_quoted = False
    for number, line in enumerate(islice(text_lines(path), begin - 1, last), begin):
        position = 0
        while position >= 0:
            if not is_quoted and line.startswith('"', position):
                is_quoted = True
                opened = number
                position += 1
            if is_quoted:
                closing = CLOSING_QUOTE.match(line, position)
                if closing is None:
                    break
                is_quoted = False
                position = closing.end()
            end = line.find(delimiter, position)
            position = end + 1 if end >= 0 else -1
    return opened


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse a column that is named twice; columns without a name are no fields, and may be several."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise KddaError(f'{where}: the column "{name}" is named twice ({", ".join(names)}): rename or remove one')
        if name:
            seen.add(name)


def _wrong_count(path: Path, lines: _RecordLines, cells: Sequence[str], names: Sequence[str]) -> str:
    """The message about a record with more or fewer cells than there are columns."""
    fields = count_of(len(cells), "field")
    message = f"{printable(path)}:{lines.begin}: got {fields}, expected {len(names)} ({', '.join(names)})"
    if lines.number > lines.begin:
        message += f'; the record ends in line {lines.number}: is the closing " of a cell missing?'
    return message


class _CellLengths:
    """Lengths of a file's cells, to tell those that have probably swallowed other records."""

    def __init__(self, names: Sequence[str], delimiter: str):
        self._names = names
        self._delimiter = delimiter
        self._lengths: list[list[int]] = [[] for _ in names]  # a column's, in order of size
        self._candidates: list[tuple[int, int, int]] = []  # line, column and length of cells that hold line ends

    def add(self, line: int, cells: Sequence[str]) -> None:
        """Count the cells of a record that begins in a line."""
        for column, cell in enumerate(cells):
            lengths = self._lengths[column]
            if "\n" in cell and self._delimiter in cell and self._is_long(column, len(cell)):
                self._candidates.append((line, column, len(cell)))
            if len(lengths) < MEDIAN_CELLS:
                insort(lengths, len(cell))

    def _is_long(self, column: int, length: int) -> bool:
        """Whether a cell is many times longer than the median of its column, as far as it is known."""
        lengths = self._lengths[column]
        if len(lengths) < LEAST_CELLS:
            return True
        return length > SUSPICIOUS_LENGTH * max(lengths[len(lengths) // 2], 1)

    def warning(self) -> str:
        """What to say of suspicious cells once the file is read; empty where there are none."""
        suspicious = []
        for line, column, length in self._candidates:
            if len(self._lengths[column]) >= LEAST_CELLS and self._is_long(column, length):
                suspicious.append((line, column, length))
        if not suspicious:
            return ""
        line, column, length = suspicious[0]
        lengths = self._lengths[column]
        return (
            f'{len(suspicious):,} quoted cells hold line ends and "{self._delimiter}" and are many times longer than '
            f'others: have they swallowed other rows? The first begins in line {line}, column "{self._names[column]}": '
            f"{length:,} characters, where the median is {lengths[len(lengths) // 2]:,}"
        )
