"""Readers of rows, by file extension: JSONL, JSON (SQuAD), CSV, TSV, Parquet; the Hub; embedded corpora; samples."""

from __future__ import annotations

import csv
import json
import pickle
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

from kdda.errors import KddaError, unknown_choice
from kdda.runtime.disk_sequence import DiskSequence
from kdda.runtime.network import hub_is_reachable

PARQUET_BATCH_ROWS = 1024  # rows of a Parquet file that are decoded together

EMBEDDED_CORPORA = Path(__file__).parent / "corpora"


@dataclass(frozen=True)
class Row:
    """One record and its place, as a user would look for it: ``file:line``."""

    where: str
    values: dict[str, Any]


class _Rows(DiskSequence[Row]):
    """Rows on disk, pickled as tuples, which are shorter than pickled rows."""

    def pack(self, item: Row) -> bytes:
        """A row as the bytes that are written."""
        return pickle.dumps((item.where, item.values))

    def unpack(self, packed: bytes) -> Row:
        """The row of such bytes."""
        return Row(*pickle.loads(packed))


@dataclass(frozen=True)
class Source:
    """One split of one language's data.

    Args:
        name: a path, ``embedded:nli/vi/train``, or ``hub:owner/dataset[/config]:split``.
        header: column names of a CSV or TSV file that has no first line of names.
    """

    name: str
    header: Sequence[str] | None = None


Reader = Callable[[Path, Source], Iterator[Row]]


def read_rows(source: Source) -> Sequence[Row]:
    """All rows of a source, on disk where they are many. Only the syntax of the file is checked.

    JSONL, CSV, TSV and Parquet files are read piece by piece, and Hub splits from the files that `datasets` maps into
    memory. A JSON file is one value, SQuAD's included, and is read whole before its rows go to disk.

    Args:
        source: the name of a file, a Hub split or an embedded corpus.

    Raises:
        KddaError: no such file, not UTF-8, or a line that is not of its format; names the line.
    """
    if source.name.startswith("hub:"):
        return _Rows(_hub_rows(source.name))
    path = _path_of(source.name)
    if not path.is_file():
        raise KddaError(
            f'no file "{path}"; a source is a path, "hub:owner/dataset:split", or '
            '"embedded:nli/vi/train" for a corpus that kdda contains'
        )
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise KddaError(unknown_choice(f"{path}: file extension", path.suffix, READERS))
    return _Rows(READERS[suffix](path, source))


def sample(rows: Sequence[Row], count: int | None, language: str) -> Sequence[Row]:
    """Rows drawn at random, always the same ones.

    Args:
        rows: what is drawn from.
        count: how many; all where it is None or not less than their number.
        language: seeds the draw, so that languages draw different rows from row-aligned files.
    """
    if count is None or count >= len(rows):
        return rows
    # `random.sample` would copy rows into a list; of their numbers it draws the same.
    chance = random.Random(crc32(language.encode()))
    numbers = array("q", chance.sample(range(len(rows)), count))
    return _Rows(rows[number] for number in numbers)


def _path_of(name: str) -> Path:
    """The file that a source names: a path, or an embedded corpus as ``embedded:nli/vi/train``."""
    if not name.startswith("embedded:"):
        return Path(name)
    files = {}
    for path in sorted(EMBEDDED_CORPORA.rglob("*.json*")):
        files[path.relative_to(EMBEDDED_CORPORA).with_suffix("").as_posix()] = path
    corpus = name.removeprefix("embedded:")
    if corpus not in files:
        raise KddaError(unknown_choice("embedded corpus", corpus, files))
    return files[corpus]


def _text(path: Path) -> str:
    """A file's text; KddaError names the line that is not UTF-8."""
    return "".join(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, which are "\\n" alone: `str.splitlines` would also split at U+2028 inside a text."""
    encoding = "utf-8-sig"  # the first line may begin with a byte order mark
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError as error:
                raise KddaError(
                    f"{path}:{number}: not UTF-8 (byte 0x{error.object[error.start]:02x}); "
                    f"convert it first, for example: iconv -f WINDOWS-1258 -t UTF-8 {path.name}"
                ) from None
            encoding = "utf-8"


def _json_value(text: str, path: Path, line: int | None = None) -> Any:
    """The value of a JSON text.

    Args:
        path: the file, for the message.
        line: the text's line in it; of a whole file, the line at which the parser stops.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise KddaError(f"{path}:{line or error.lineno}: not JSON: {error.msg} at column {error.colno}") from None


def _record(value: Any, where: str) -> Row:
    """A row of a JSON value, which must be an object; `where` is its place."""
    if not isinstance(value, dict):
        raise KddaError(f"{where}: got {type(value).__name__}, expected an object with named fields")
    return Row(where, value)


def _jsonl(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; blank lines are left out."""
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield _record(_json_value(line.removesuffix("\n"), path, number), f"{path}:{number}")


def _json(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a file that is one JSON value: a list of objects, or SQuAD's articles under ``data``."""
    value = _json_value(_text(path), path)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        yield from _squad(path, value["data"])
        return
    if not isinstance(value, list):
        raise KddaError(f'{path}: got {type(value).__name__}, expected a list, or SQuAD\'s {{"data": […]}}')
    for number, item in enumerate(value, 1):
        yield _record(item, f"{path}, item {number}")


def _squad(path: Path, articles: list[Any]) -> Iterator[Row]:
    """SQuAD's files: articles of paragraphs of questions. A row is one question with its context and title."""
    for number, article in enumerate(articles, 1):
        where = f"{path}, article {number}"
        for index, paragraph in enumerate(_list_member(article, "paragraphs", where), 1):
            yield from _squad_questions(article, paragraph, f"{where}, paragraph {index}")


def _squad_questions(article: dict[str, Any], paragraph: Any, where: str) -> Iterator[Row]:
    """The questions of one paragraph as rows, each with the paragraph's context and the article's title."""
    for question in _list_member(paragraph, "qas", where):
        values = _record(question, where).values
        shared = {"context": paragraph.get("context"), "title": article.get("title", "")}
        yield Row(f"{where}, question {values.get('id', '?')}", {**shared, "answers": [], **values})


def _list_member(value: Any, key: str, where: str) -> list[Any]:
    """The list under a key of an object, which SQuAD's format requires; `where` is the object's place."""
    member = None
    if isinstance(value, dict):
        member = value.get(key)
    if not isinstance(member, list):
        raise KddaError(f'{where}: no list "{key}", which SQuAD\'s format requires')
    return member


def _delimited(delimiter: str, quoting: Literal[0, 3]) -> Reader:
    """A reader of CSV or TSV: of its delimiter, with quoted cells (`csv.QUOTE_MINIMAL`) or none (`csv.QUOTE_NONE`)."""

    def read(path: Path, source: Source) -> Iterator[Row]:
        """The rows of a file whose first line has the names of the columns, unless the source gives them."""
        lines = _RecordLines(_lines(path))
        records = _records(lines, delimiter, quoting)
        names = list(source.header or next(records, []))
        for cells in records:
            where = f"{path}:{lines.begin}"
            if len(cells) != len(names):
                raise KddaError(f"{where}: got {len(cells)} fields, expected {len(names)} ({', '.join(names)})")
            yield Row(where, dict(zip(names, cells, strict=True)))

    return read


def _records(lines: _RecordLines, delimiter: str, quoting: Literal[0, 3]) -> Iterator[list[str]]:
    """The cells of each record; tells `lines` where a record ends."""
    for cells in csv.reader(lines, delimiter=delimiter, quoting=quoting):
        yield cells
        lines.in_record = False


class _RecordLines:
    """Lines for `csv.reader`: those inside a quoted cell as they are, without the blank ones between records.

    Attributes:
        begin: number of the file's line in which the current record begins.
        in_record: whether the reader has begun a record that it has not finished.
    """

    def __init__(self, lines: Iterator[str]):
        self._lines = enumerate(lines, 1)
        self.begin = 0
        self.in_record = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line that belongs to a record."""
        number, line = next(self._lines)
        if self.in_record:
            return line
        while not line.strip():
            number, line = next(self._lines)
        self.begin = number
        self.in_record = True
        return line


def _parquet(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a Parquet file, decoded a batch at a time."""
    import pyarrow.parquet

    number = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(PARQUET_BATCH_ROWS):
            for values in batch.to_pylist():
                number += 1
                yield Row(f"{path}, row {number}", values)


def _hub_rows(name: str) -> Iterator[Row]:
    """The rows of a split on the Hub, ``hub:owner/dataset[/config]:split``."""
    dataset, _, split = name.removeprefix("hub:").partition(":")
    parts = dataset.split("/")
    if len(parts) not in (2, 3) or not split:
        raise KddaError(f'"{name}": expected hub:owner/dataset[/config]:split')
    hub_is_reachable()
    from datasets import load_dataset

    try:
        rows = load_dataset("/".join(parts[:2]), *parts[2:], split=split)
    except Exception as error:  # the library raises a dozen kinds, from a lost network to a wrong split
        raise KddaError(f'"{name}" could not be read from the Hub: {error}') from error
    for number, values in enumerate(rows, 1):
        yield Row(f"{name}, row {number}", dict(values))


# How a file is read, by its extension.
READERS: dict[str, Reader] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _delimited(",", csv.QUOTE_MINIMAL),
    ".tsv": _delimited("\t", csv.QUOTE_NONE),
    ".parquet": _parquet,
}
