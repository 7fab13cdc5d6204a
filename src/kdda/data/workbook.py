"""Excel workbooks (``.xlsx``): the rows of the first sheet, with numbers and dates as text; other sheets are named."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

from kdda.data.delimited import check_names
from kdda.errors import KddaError
from kdda.runtime.text_files import printable

logger = logging.getLogger(__name__)


class SheetRow(NamedTuple):
    """The number of a sheet's row, from 1, and its cells by column."""

    number: int
    cells: dict[str, str]


def read_sheet(path: Path, header: Sequence[str] | None) -> Iterator[SheetRow]:
    """The rows of a workbook's first sheet, as text; empty ones are left out, and columns without a name, too.

    A warning is logged where there are more sheets.

    Args:
        header: names of the columns; the cells of the first row that is not empty by default.

    Raises:
        KddaError: the package that reads workbooks is missing, or a column is named twice.
    """
    name = printable(path)
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise KddaError(f'{name}: workbooks need pip install "kdda[xlsx]"; or export the sheet as CSV') from None
    try:
        # `data_only`: of a cell with a formula the value that Excel computed last
        book = load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, KeyError) as error:  # no archive, or an archive of other files
        raise KddaError(
            f"{name}: no Excel workbook, or a torn one ({error.args[0]}): fetch it again, or save it as .xlsx or as "
            "CSV in UTF-8 in the spreadsheet program"
        ) from None
    try:
        if len(book.sheetnames) > 1:
            others = ", ".join(f'"{sheet}"' for sheet in book.sheetnames[1:])
            logger.warning('%s: the first sheet, "%s", is read; not %s', name, book.sheetnames[0], others)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some programs write a wrong size of the sheet, beyond which nothing would be read
        yield from _rows(sheet, header, name)
    finally:
        book.close()


def _rows(sheet: Any, header: Sequence[str] | None, name: str) -> Iterator[SheetRow]:
    """The rows of an openpyxl sheet; `name` is the file's."""
    names = list(header or ())
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [_text(value) for value in values]
        if not any(cells):
            continue
        if not names:
            names = cells
            check_names(names, f"{name}, row {number}")
            continue
        cells += [""] * (len(names) - len(cells))
        named = {}
        for column, cell in zip(names, cells, strict=False):
            if column:
                named[column] = cell
        yield SheetRow(number, named)


def _text(value: Any) -> str:
    """A cell's value as text: dates as ISO 8601 writes them, whole numbers without a point.

    >>> _text(3.0), _text(datetime(2024, 2, 29)), _text(None), _text(True)
    ('3', '2024-02-29', '', 'True')
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():  # Excel has no dates without a time
        return value.date().isoformat()
    return str(value)
