"""Readers of rows by extension: JSONL, JSON, CSV, TSV, TXT, XLSX, CoNLL, Parquet; gz, zst; folders, Hub, corpora."""

from __future__ import annotations

import csv
import pickle
import random
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from kdda.data.class_labels import names_of_features, names_of_parquet, with_names
from kdda.data.compressed import DECOMPRESSORS
from kdda.data.conll import looks_like_conll, read_sentences
from kdda.data.delimited import delimiter_of, read_records
from kdda.data.fields import canonical, is_missing
from kdda.data.folders import files_of_split, is_saved_dataset, not_one_file, split_folder
from kdda.data.json_text import BadJsonError, parse_json, parse_line
from kdda.data.text_lines import text_lines, whole_text
from kdda.data.workbook import read_sheet
from kdda.errors import KddaError, unknown_choice
from kdda.runtime.disk_sequence import DiskSequence
from kdda.runtime.folders import home_advice, what_is_near
from kdda.runtime.network import hub_is_reachable
from kdda.runtime.shorten import shorten
from kdda.runtime.text_files import check_first_bytes, printable

PARQUET_BATCH_ROWS = 1024  # rows of a Parquet file that are decoded together

LONGEST_REASON = 300  # characters of a library's error in a message

# What a JSON file of rows may be, for messages.
JSON_SHAPES = 'expected a list of rows, an object of rows by their ids, or SQuAD\'s {"data": […]}'

WEB_ADDRESS = re.compile(r"https?:/")

_SAVE_AGAIN = "save it as .xlsx or as CSV in UTF-8 in the spreadsheet program"
_UNPACK = "unpack it first"
_NO_TABLE = "rows stand in a table or in JSON lines; kdda index reads texts (.txt, .md)"

# What to do with a file of another format, by its extension.
OTHER_FORMATS = {
    ".zip": _UNPACK,
    ".tar": _UNPACK,
    ".tgz": _UNPACK,
    ".bz2": _UNPACK,
    ".xz": _UNPACK,
    ".7z": _UNPACK,
    ".rar": _UNPACK,
    ".xls": _SAVE_AGAIN,
    ".xlsm": _SAVE_AGAIN,
    ".ods": _SAVE_AGAIN,
    ".doc": _NO_TABLE,
    ".docx": _NO_TABLE,
    ".pdf": _NO_TABLE,
    ".md": _NO_TABLE,
    ".yaml": "is it a recipe? kdda plan and kdda run take recipes",
    ".yml": "is it a recipe? kdda plan and kdda run take recipes",
    ".ndjson": "one object a line is called .jsonl: rename it",
    ".arrow": "name the folder that save_to_disk has written, and not a file in it",
}

EMBEDDED_CORPORA = Path(__file__).parent / "corpora"


class NoRowsError(KddaError):
    """A file of rows without any: empty, with blank lines, or with the names of columns alone."""


@dataclass(frozen=True)
class Row:
    """One record and its place, as a user would look for it: ``file:line``."""

    where: str
    values: dict[str, Any]


class DiskRows(DiskSequence[Row]):
    """Rows on disk, pickled as tuples, which are shorter than pickled rows."""

    def pack(self, item: Row) -> bytes:
        """A row as the bytes that are written."""
        try:
            return pickle.dumps((item.where, item.values))
        except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
            raise KddaError(f"{item.where}: a value that cannot be stored on disk: {error}") from None

    def unpack(self, packed: bytes) -> Row:
        """The row of such bytes."""
        return Row(*pickle.loads(packed))


@dataclass(frozen=True)
class Source:
    """One split of one language's data.

    Args:
        name: a file, ``folder:split``, ``embedded:nli/vi/train``, or ``hub:owner/dataset[/config]:split``.
        header: column names of a CSV, TSV or XLSX file that has no first line of names.
        select: column → the value of it that the rows have that are read, such as ``{"language": "vi"}``.
    """

    name: str
    header: Sequence[str] | None = None
    select: Mapping[str, str] = field(default_factory=dict)


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
    return DiskRows(stream_rows(source))


def stream_rows(source: Source) -> Iterator[Row]:
    """The rows that `read_rows` returns, one after another, in memory piece by piece where their format allows it."""
    rows = _rows_of_source(source)
    if source.select:
        rows = _selected(rows, source)
    yield from rows


def _rows_of_source(source: Source) -> Iterator[Row]:
    """The rows of the Hub's split, the folder's split or the file that a source names."""
    if source.name.startswith("hub:"):
        yield from _hub_rows(source.name)
        return
    in_folder = None
    if not source.name.startswith("embedded:"):
        in_folder = split_folder(source.name)
    if in_folder is None:
        yield from _file_rows(_path_of(source.name), source)
        return
    folder, split = in_folder
    if is_saved_dataset(folder):
        yield from _saved_rows(folder)
        return
    paths = files_of_split(folder, split, READERS)
    for path in paths:
        if path.is_dir():
            yield from _saved_rows(path)
        else:
            yield from _file_rows(path, source, may_be_empty=len(paths) > 1)  # as a shard may be


def check_source(name: str) -> None:
    """Refuse a source whose file is not there; what a folder or the Hub holds is known when it is read.

    Raises:
        KddaError: no such file, or no such embedded corpus.
    """
    if not name.startswith("hub:") and (name.startswith("embedded:") or split_folder(name) is None):
        _check_is_file(_path_of(name))


def _check_is_file(path: Path) -> None:
    """Refuse a path without a file."""
    if not path.is_file():
        raise KddaError(
            f'no file "{printable(path)}"{home_advice(path)}; a source is a path, "folder:split", '
            f'"hub:owner/dataset:split", or "embedded:nli/vi/train" for a corpus that kdda contains{what_is_near(path)}'
        )


def _file_rows(path: Path, source: Source, may_be_empty: bool = False) -> Iterator[Row]:
    """The rows of a file, whose reader's errors become messages.

    Raises:
        KddaError: no such file, or no reader for its extension.
        NoRowsError: it has no row, unless it may be empty.
    """
    name = printable(path)
    _check_is_file(path)
    suffix = format_of(path)
    if suffix not in READERS:
        advice = OTHER_FORMATS.get(suffix) or OTHER_FORMATS.get(path.suffix.lower())
        if advice:
            raise KddaError(_other_format(path, advice))
        raise KddaError(unknown_choice(f"{name}: file extension", suffix or path.suffix, READERS))
    if suffix in UNPACKED and path.suffix.lower() in DECOMPRESSORS:
        raise KddaError(f"{name}: {suffix} files are compressed inside: unpack it first")
    count = 0
    with errors_as_messages(name):
        for row in READERS[suffix](path, source):
            count += 1
            yield row
        if not count and not may_be_empty:
            raise NoRowsError(f"{no_rows(path, name)}, expected rows")


def _other_format(path: Path, advice: str) -> str:
    """The message about a file of a format that is not read; `advice` says what to do with it."""
    return f"{printable(path)}: rows are not read from {path.suffix} files: {advice}"


def no_rows(path: Path, name: str) -> str:
    """What a file holds that has no row, as a sentence with its name: nothing, blank lines, names of columns alone."""
    if not path.stat().st_size:
        return f"{name} is empty"
    if format_of(path) in UNPACKED:
        return f"{name} has no row"
    lines = [line.strip() for line in text_lines(path) if line.strip()]
    if not lines:
        return f"{name} has only blank lines"
    if format_of(path) in (".csv", ".tsv"):
        return f"{name} has a line of names ({shorten(lines[0], LONGEST_REASON)}) and no row below it"
    return f"{name} has no row, only {shorten(' '.join(lines), LONGEST_REASON)}"


def check_input_file(option: str, path: Path) -> None:
    """Refuse a path that is no file of rows: a folder, with the files in it that could be meant, or nothing at all.

    Raises:
        KddaError: begins with the option that names the path.
    """
    if path.is_dir():
        raise not_one_file(path, READERS, f"{option}: ")
    advice = OTHER_FORMATS.get(path.suffix.lower())
    if advice and path.suffix.lower() != ".ndjson":  # which is read as lines, where lines may have any extension
        raise KddaError(f"{option}: {_other_format(path, advice)}")
    if not path.exists():
        raise KddaError(f'{option}: no file "{printable(path)}"{home_advice(path)}{what_is_near(path)}')


def format_of(path: Path) -> str:
    """The extension that tells a file's format, in lower case; of a compressed file that of its content.

    >>> format_of(Path("rows.CSV")), format_of(Path("rows.jsonl.gz"))
    ('.csv', '.jsonl')
    """
    suffix = path.suffix.lower()
    if suffix in DECOMPRESSORS:
        suffix = Path(path.stem).suffix.lower()
    return suffix


def has_an_object_a_line(path: Path) -> bool:
    """Whether a file's first line with text is a row as an object of JSON: no list, and no whole file of rows."""
    first = next(filter(str.strip, text_lines(path)), "")
    try:
        value = parse_json(first)
    except BadJsonError:
        return False
    if not isinstance(value, dict) or isinstance(value.get("data"), list):
        return False
    holds_rows = all(isinstance(item, dict) for item in value.values())  # of an object of rows by their ids
    return not holds_rows


def _selected(rows: Iterator[Row], source: Source) -> Iterator[Row]:
    """The rows with the values that the source selects.

    Raises:
        KddaError: a row lacks such a column, or no row has the values.
    """
    count = 0
    for row in rows:
        is_selected = True
        for column, value in source.select.items():
            if column not in row.values:
                raise KddaError(f"{row.where}: {unknown_choice('select: column', column, row.values)}")
            is_selected = is_selected and canonical(row.values[column]) == canonical(value)
        if is_selected:
            count += 1
            yield row
    if not count:
        wanted = ", ".join(f'"{column}" {value}' for column, value in source.select.items())
        raise KddaError(f"{source.name}: no row has {wanted}, which select asks for")


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
    return DiskRows(rows[number] for number in numbers)


def _path_of(name: str) -> Path:
    """The file that a source names: a path, or an embedded corpus as ``embedded:nli/vi/train``."""
    if WEB_ADDRESS.match(name):
        raise KddaError(f"{name} is a web address: download the file first, and name the file")
    if not name.startswith("embedded:"):
        return Path(name)
    files = {}
    for path in sorted(EMBEDDED_CORPORA.rglob("*.json*")):
        files[path.relative_to(EMBEDDED_CORPORA).with_suffix("").as_posix()] = path
    corpus = name.removeprefix("embedded:")
    if corpus not in files:
        raise KddaError(unknown_choice("embedded corpus", corpus, files))
    return files[corpus]


@contextmanager
def errors_as_messages(name: str) -> Iterator[None]:
    """Turn whatever a reading library raises into one message: the only place that does so, for every reader.

    Args:
        name: of what is read.

    Raises:
        KddaError: in place of any other exception; the readers' messages, which name the line, pass as they are.
    """
    try:
        yield
    except KddaError:
        raise
    except RecursionError:
        raise KddaError(f"{name}: nested too deeply to be read") from None
    except MemoryError:
        raise KddaError(f"{name}: too large for this machine's memory; split it, or save it as JSONL") from None
    except OSError as error:
        raise KddaError(f"{name}: cannot be read: {error.strerror or _first_line(error)}") from error
    except Exception as error:  # csv, json, pyarrow and datasets raise dozens of kinds
        raise KddaError(f"{name}: cannot be read ({type(error).__name__}): {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """The first line of an error's message, shortened."""
    lines = str(error).splitlines() or ["no reason given"]
    return lines[0][:LONGEST_REASON]


def _json_value(text: str, path: Path) -> Any:
    """The value of the JSON text that a whole file is."""
    try:
        return parse_json(text)
    except BadJsonError as error:
        raise KddaError(f"{printable(path)}:{error.line}: {error}") from None


def _record(value: Any, where: str) -> Row:
    """A row of a JSON value, which must be an object; `where` is its place."""
    if not isinstance(value, dict):
        raise KddaError(f"{where}: got {type(value).__name__}, expected an object with named fields")
    return Row(where, value)


def _jsonl(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; blank lines are left out."""
    name = printable(path)
    for number, line in enumerate(text_lines(path), 1):
        if line.strip():
            where = f"{name}:{number}"
            try:
                value = parse_line(line)
            except BadJsonError as error:
                raise KddaError(f"{where}: {error}") from None
            yield _record(value, where)


def _json(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a file that is one JSON value: a list of objects, an object of them by id, or SQuAD's articles.

    A list may also stand under the key ``data``, as SQuAD's does. A file of one object a line is read as JSONL.
    """
    if _has_lines_of_objects(path):
        yield from _jsonl(path, source)
        return
    text = whole_text(path)
    if not text.strip():
        return
    value = _json_value(text, path)
    name = printable(path)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
        if _is_squad(value):
            yield from _squad(name, value)
            return
    if isinstance(value, dict):
        yield from _rows_by_id(name, value)
        return
    if not isinstance(value, list):
        raise KddaError(f"{name}: got {type(value).__name__}, {JSON_SHAPES}")
    for number, item in enumerate(value, 1):
        yield _record(item, f"{name}, item {number}")


def _has_lines_of_objects(path: Path) -> bool:
    """Whether a file's first two lines with text are an object each, as in JSONL; no JSON value begins so."""
    lines = filter(str.strip, text_lines(path))
    first = next(lines, "").strip()
    second = next(lines, "").strip()
    return first.startswith("{") and first.endswith("}") and second.startswith("{")


def _is_squad(articles: list[Any]) -> bool:
    """Whether a list under ``data`` holds SQuAD's articles, and no flat rows, by its first item."""
    first = articles[0] if articles else None
    return not isinstance(first, dict) or "paragraphs" in first or set(first) <= {"title"}


def _rows_by_id(name: str, rows: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of an object whose keys are their ids; a row without a field ``id`` gets its key as one."""
    for key, item in rows.items():
        if not isinstance(item, dict):
            got = f'an object with a {type(item).__name__} under "{key}"'
            raise KddaError(f"{name}: got {got}, {JSON_SHAPES}")
        yield Row(f'{name}, row "{key}"', {"id": key, **item})


def _squad(name: str, articles: list[Any]) -> Iterator[Row]:
    """SQuAD's files: articles of paragraphs of questions. A row is one question with its context and title."""
    for number, article in enumerate(articles, 1):
        where = f"{name}, article {number}"
        for index, paragraph in enumerate(_list_member(article, "paragraphs", where), 1):
            yield from _squad_questions(article, paragraph, f"{where}, paragraph {index}")


def _squad_questions(article: dict[str, Any], paragraph: Any, where: str) -> Iterator[Row]:
    """The questions of one paragraph as rows, each with the paragraph's context and the article's title."""
    for number, question in enumerate(_list_member(paragraph, "qas", where), 1):
        values = _record(question, where).values
        shared = {"context": paragraph.get("context"), "title": article.get("title", "")}
        name = values.get("id")
        if is_missing(name):
            name = f"number {number}"
        yield Row(f"{where}, question {name}", {**shared, "answers": [], **values})


def _list_member(value: Any, key: str, where: str) -> list[Any]:
    """The list under a key of an object, which SQuAD's format requires; `where` is the object's place."""
    member = None
    if isinstance(value, dict):
        member = value.get(key)
    if not isinstance(member, list):
        raise KddaError(f'{where}: no list "{key}", which SQuAD\'s format requires')
    return member


def _csv(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a CSV file, whose delimiter its first line tells; cells may be quoted."""
    delimiter = delimiter_of(path, source.header)
    for record in read_records(path, delimiter, csv.QUOTE_MINIMAL, source.header):
        yield Row(f"{printable(path)}:{record.line}", record.cells)


def _tsv(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a TSV file, in which a quote is a character as any other."""
    for record in read_records(path, "\t", csv.QUOTE_NONE, source.header):
        yield Row(f"{printable(path)}:{record.line}", record.cells)


def _xlsx(path: Path, source: Source) -> Iterator[Row]:
    """The rows of the first sheet of an Excel workbook."""
    for row in read_sheet(path, source.header):
        yield Row(f"{printable(path)}, row {row.number}", row.cells)


def _parquet(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a Parquet file, decoded a batch at a time."""
    import pyarrow.parquet

    with path.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    if not is_parquet:
        check_first_bytes(path)
    name = printable(path)
    number = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        labels = names_of_parquet(file.schema_arrow.metadata)
        for batch in file.iter_batches(PARQUET_BATCH_ROWS):
            for values in _batch_values(path, batch, number):
                number += 1
                if labels:
                    values = with_names(values, labels)
                yield Row(f"{name}, row {number}", values)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a Parquet file that has a column twice."""
    for name in names:
        if names.count(name) > 1:
            raise KddaError(f'{printable(path)}: the column "{name}" is there twice: rename or remove one')


def _batch_values(path: Path, batch: Any, rows_before: int) -> list[dict[str, Any]]:
    """The rows of a batch of Parquet as dicts.

    Args:
        batch: a `pyarrow.RecordBatch`.
        rows_before: rows of the file before the batch, to name a row that cannot be decoded.
    """
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows
    except Exception:
        for index in range(len(batch)):
            with errors_as_messages(f"{printable(path)}, row {rows_before + index + 1}"):
                batch.slice(index, 1).to_pylist()
        raise


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
    yield from dataset_rows(rows, name)


def _saved_rows(folder: Path) -> Iterator[Row]:
    """The rows of a split that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote into a folder."""
    name = printable(folder)
    with errors_as_messages(name):
        from datasets import load_from_disk

        yield from dataset_rows(load_from_disk(str(folder)), name)


def dataset_rows(dataset: Any, name: str) -> Iterator[Row]:
    """The rows of a `datasets.Dataset` or a sequence of dicts, with the names of integer labels in their place.

    Args:
        name: what messages call it.

    Raises:
        KddaError: a row that is no dict.
    """
    labels = names_of_features(getattr(dataset, "features", None))
    with errors_as_messages(name):
        for number, values in enumerate(dataset, 1):
            where = f"{name}, row {number}"
            if not isinstance(values, Mapping):
                raise KddaError(f"{where}: got {type(values).__name__}, expected a dict")
            yield Row(where, with_names(values, labels))


def _conll(path: Path, source: Source) -> Iterator[Row]:
    """The sentences of a file with a word and its tag a line."""
    name = printable(path)
    for line, columns in read_sentences(path, source.header):
        yield Row(f"{name}:{line}", columns)


def _txt(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a text file: sentences with a word and its tag a line, or a table with tabs."""
    if looks_like_conll(path):
        yield from _conll(path, source)
    else:
        yield from _tsv(path, source)


# How a file is read, by its extension.
READERS: dict[str, Reader] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _txt,
    ".xlsx": _xlsx,
    ".parquet": _parquet,
    ".conll": _conll,
    ".bio": _conll,
    ".iob": _conll,
}

# Extensions of formats that are compressed inside, and are not read from within another compression.
UNPACKED = (".xlsx", ".parquet")
