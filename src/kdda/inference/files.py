"""`kdda predict` on a file or standard input: 1,024 rows ahead, bad rows refused or skipped, an output file resumed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal, cast

from filelock import Timeout
from rich.console import Console

from kdda.data.compressed import open_file
from kdda.data.examples import BadRowError, Schema, bad_of
from kdda.data.fields import is_missing, is_storable_id, plain, shown
from kdda.data.json_text import BadJsonError, parse_line
from kdda.data.sources import (
    READERS,
    Row,
    Source,
    check_input_file,
    format_of,
    has_an_object_a_line,
    no_rows,
    stream_rows,
)
from kdda.errors import DiskFullError, Interrupted, KddaError
from kdda.inference.columns import in_words, missing_columns, with_columns_in_training
from kdda.inference.output_fingerprint import OutputFingerprint, check_same
from kdda.inference.predictor import Predictor
from kdda.runtime.folders import check_folder, check_output_file, is_disk_full
from kdda.runtime.lock_files import lock_of
from kdda.runtime.numbers import count_of
from kdda.runtime.progress import Progress
from kdda.runtime.reasons import NAMED_REASONS, Reasons
from kdda.runtime.text_files import READ_FIRST, NotUtf8Error, check_is_utf8, decode, printable
from kdda.tasks.base import Result, Task

# Rows are read ahead until either is reached.
ROWS = 1024
CHARACTERS = 4_000_000


STANDARD = Path("-")  # standard input in the place of a source, and standard output in that of an output

# Formats that hold JSON in one value, in lines, or in no way at all: their first line tells.
MAY_BE_LINES = (".json", ".txt")


@dataclass(frozen=True)
class Record:
    """What stands in one place of a file.

    Attributes:
        number: its line in a file of JSON lines, else the number of its row; from 1.
        where: its place, for messages.
        values: of its fields.
        problem: why it is no row; empty for most.
    """

    number: int
    where: str
    values: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class InputRow:
    """One good row: its line or number, its id (else that number), and its texts as the task reads them."""

    number: int
    id: Any
    texts: tuple[str, ...]


@dataclass
class FileJob:
    """What to predict, and where the predictions go.

    Attributes:
        source: a file of any format that `kdda.data.sources.READERS` reads; of other names, JSON lines.
        schema: the source's columns by field of the task, where their names differ; where it names none, those of the
            model's training data, if the source has these.
        header: names of the columns of a table without a line of names.
        on_bad_row: ``raise`` refuses a file with a bad row before any is predicted, ``skip`` skips bad rows.
        name: of the source in messages, where it is not its path.
        has_plain_texts: whether the source is a text a line, for a task that reads one text, and no rows.
        bad: places and reasons of the bad rows that were read so far.
        columns_in_words: the columns that are read as those of the model's training data; empty for most.
    """

    source: Path
    out: Path
    on_bad_row: Literal["raise", "skip"] = "raise"
    schema: Schema = field(default_factory=Schema)
    header: Sequence[str] | None = None
    name: str = ""
    has_plain_texts: bool = False
    bad: Reasons = field(default_factory=Reasons)
    columns_in_words: str = ""

    def rows(self, task: Task) -> Iterator[InputRow]:
        """The good rows, one after another; bad ones are counted."""
        self.bad = Reasons()
        for record in self._records(task):
            try:
                yield _input_row(record, task, self.schema)
            except BadRowError as error:
                self.bad.add(record.where, str(error))

    def _records(self, task: Task) -> Iterator[Record]:
        """What stands in each place of the source, good or bad, one after another."""
        if self.has_plain_texts:
            return self._records_of_texts(_text_field(task, self.shown_name))
        if self._is_of_lines:
            return self._records_of_lines()
        return self._records_of_table()

    def _read_as_training_data(self, predictor: Predictor) -> KddaError | None:
        """Read the columns as those of the model's training data, where they are called so and `schema` names none.

        Returns:
            The refusal if no row is good, since the first one lacks a column; None where it lacks none.
        """
        task = predictor.task
        config = predictor.engine.config
        record = next(self._records(task), None)
        if record is None or record.problem:
            return None
        row = Row(record.where, record.values)
        named = self.schema.columns
        self.schema = with_columns_in_training(self.schema, config, task, row)
        if self.schema.columns != named:
            self.columns_in_words = in_words(self.schema.columns)
        return missing_columns(self.shown_name, self.schema, config, task, row, predictor.labels)

    @property
    def shown_name(self) -> str:
        """The source's name in messages."""
        return self.name or printable(self.source)

    @cached_property
    def _is_of_lines(self) -> bool:
        """Whether the source has one object of JSON a line, of which each may be bad by itself."""
        suffix = format_of(self.source)
        if suffix in MAY_BE_LINES:
            return has_an_object_a_line(self.source)
        return suffix == ".jsonl" or suffix not in READERS

    def _records_of_lines(self) -> Iterator[Record]:
        """The lines of a source of JSON lines, without blank ones."""
        with open_file(self.source) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _record_of_line(line, number, f"{self.shown_name}:{number}")

    def _records_of_texts(self, text_field: str) -> Iterator[Record]:
        """The lines of a source of plain texts as rows with one field, without blank ones."""
        with open_file(self.source) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _record_of_text(line, number, f"{self.shown_name}:{number}", text_field)

    def _records_of_table(self) -> Iterator[Record]:
        """The rows of a source of another format, whose reader refuses what is none of the format."""
        for number, row in enumerate(stream_rows(Source(str(self.source), self.header)), 1):
            yield Record(number, row.where, row.values)

    def check_places(self) -> None:
        """Check, before any model is opened, that the input is there and the output can be written.

        Raises:
            KddaError: says which cannot be, and why.
        """
        check_input_file("--input", self.source)
        if self._is_of_lines:
            _check_lines(self.source, self.shown_name)
        if self.out == STANDARD:
            return
        if self.out.resolve() == self.source.resolve():
            raise KddaError(f"--output {self.out} is the input")
        check_output_file("--output", self.out)
        check_folder(self.out.absolute().parent)  # the lock and the fingerprint stand beside the output

    def check(self, predictor: Predictor) -> int:
        """The number of good rows; the file is read once before any row is predicted, in bounded memory.

        Raises:
            KddaError: no such file, no row, or bad rows under ``raise``.
        """
        self.check_places()
        predictor.task.check_columns(self.schema.columns)
        refusal = self._read_as_training_data(predictor)
        count = 0
        for _ in self.rows(predictor.task):
            count += 1
        if refusal and not count:
            raise refusal
        if self.bad.count and self.on_bad_row == "raise":
            raise KddaError(
                f"{bad_of(self.bad.count, self.bad.count + count)} (--skip-bad-rows skips them):{self.bad_row_lines}"
            )
        if not count:
            if self.bad.count:
                raise KddaError(f"{self.shown_name}: no row to predict{self.bad_row_lines}")
            raise KddaError(f"{no_rows(self.source, self.shown_name)}: no row to predict")
        return count

    @property
    def notes(self) -> str:
        """What a summary ends with: how columns were read, and which rows were skipped."""
        notes = ""
        if self.columns_in_words:
            notes += f"; columns as in training: {self.columns_in_words}"
        if self.bad.count:
            notes += f"; {count_of(self.bad.count, 'bad row')} skipped:{self.bad_row_lines}"
        return notes

    @property
    def bad_row_lines(self) -> str:
        """The reasons of bad rows with their places, one a line, for a message."""
        text = ""
        for line in self.bad.lines(NAMED_REASONS):
            text += f"\n  {line}"
        return text


def predict_file(predictor: Predictor, job: FileJob) -> str:
    """Predict every row of a file that its output does not hold yet, in order.

    Returns:
        What was done, in a line.

    Raises:
        KddaError: a bad file, row or output; `Interrupted` after Ctrl-C, when the output holds whole rows.
    """
    total = job.check(predictor)
    try:
        with lock_of(job.out).acquire(timeout=0), Progress(job.out.name, total) as progress:
            done = _predict_rows(predictor, job, progress)
    except Timeout:
        raise KddaError(f"another process is writing {job.out}; wait for it, or choose another --output") from None
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"the disk is full ({error}): the rows that were predicted are in {job.out}; make room, and the same "
                "command continues after them"
            ) from error
        raise KddaError(f"{job.out} cannot be written: {error.strerror or error}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {job.out} holds whole rows, and the same command continues after them") from None
    summary = count_of(done, "row")
    if done < total:
        summary += f", {total - done:,} were predicted before"
    return f"{summary}{progress.pace} → {job.out}{job.notes}"


def _predict_rows(predictor: Predictor, job: FileJob, progress: Progress) -> int:
    """Predict the rows that the output lacks; the number of them."""
    rows = job.rows(predictor.task)
    progress.begin(_skip_predicted(job, rows, predictor))
    with job.out.open("ab") as out:
        return _write_predictions(predictor, rows, out, progress)


def print_predictions(predictor: Predictor, job: FileJob) -> str:
    """Predict every row of a file onto standard output, in order.

    Returns:
        What was done, in a line.

    Raises:
        KddaError: a bad file or row.
    """
    total = job.check(predictor)
    # on a terminal the predictions themselves show the progress, and a picture among them would tear them
    console = Console(quiet=True) if sys.stdout.isatty() else None
    with Progress(job.shown_name, total, console) as progress:
        progress.begin(0)
        out = cast(BufferedIOBase, sys.stdout.buffer)
        done = _write_predictions(predictor, job.rows(predictor.task), out, progress)
    return f"{count_of(done, 'row')}{progress.pace}{job.notes}"


def _write_predictions(predictor: Predictor, rows: Iterator[InputRow], out: BufferedIOBase, progress: Progress) -> int:
    """Predict rows, and write a line for each; the number of them."""
    done = 0
    for chunk in _chunks(rows):
        predictions = predictor.read([row.texts for row in chunk])
        for row, result in zip(chunk, predictor.results(predictions), strict=True):
            out.write(_line(row, result))
        out.flush()
        done += len(chunk)
        progress.advance(len(chunk))
    return done


def is_piped() -> bool:
    """Whether standard input is a pipe or a file: something that was given to be read."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # none at all, or an object of Python's in its place
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


@contextmanager
def with_input_stored(job: FileJob) -> Iterator[FileJob]:
    """A job whose source is a file inside the block: where it is `STANDARD`, standard input is stored in one first.

    It holds one object of JSON a line, or one text a line, as its first character tells.
    """
    if job.source != STANDARD:
        yield job
        return
    with tempfile.TemporaryDirectory(prefix="kdda-") as folder:
        path = Path(folder, "input.jsonl")
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield replace(job, source=path, name="standard input", has_plain_texts=not _begins_with_object(path))


def _begins_with_object(path: Path) -> bool:
    """Whether the first line of a file that is not blank begins as an object of JSON; so does a file without any."""
    with path.open("rb") as file:
        for line in file:
            text = line.removeprefix(BOM_UTF8).strip()
            if text:
                return text.startswith(b"{")
    return True


def _text_field(task: Task, name: str) -> str:
    """The field of a task that plain texts are for.

    Args:
        name: of the source, for the message.

    Raises:
        KddaError: the task needs several fields, or a list.
    """
    if task.only_field is None:
        needed = [field_name for field_name in task.fields if field_name not in task.optional_fields]
        example = json.dumps(dict.fromkeys(needed, "…"), ensure_ascii=False)
        raise KddaError(
            f"{name}:1: no object of JSON, and task {task.name} reads {', '.join(needed)}: expected one object a line, "
            f"such as {example}"
        )
    return task.only_field


def _check_lines(source: Path, name: str) -> None:
    """Refuse a file of lines that is no text in UTF-8 by what its first bytes say it is.

    Args:
        name: of the file in messages.
    """
    with open_file(source) as file:
        check_is_utf8(file.read(READ_FIRST), name)


def _record_of_line(line: bytes, number: int, where: str) -> Record:
    """What a line of JSON holds; the first one may begin with a byte order mark.

    Args:
        number: of the line, from 1.
        where: its place.
    """
    try:
        value = parse_line(decode(line, is_first=number == 1))
    except (NotUtf8Error, BadJsonError) as error:
        return Record(number, where, {}, str(error))
    if not isinstance(value, dict):
        return Record(number, where, {}, f"got {type(value).__name__}, expected an object with the task's fields")
    return Record(number, where, value)


def _record_of_text(line: bytes, number: int, where: str, text_field: str) -> Record:
    """What a line of plain text is as a row; arguments as of `_record_of_line`."""
    try:
        return Record(number, where, {text_field: decode(line, is_first=number == 1).rstrip("\r\n")})
    except NotUtf8Error as error:
        return Record(number, where, {}, str(error))


def _input_row(record: Record, task: Task, schema: Schema) -> InputRow:
    """A record as the row that it holds.

    Args:
        task: whose fields the row must have, apart from optional ones.

    Raises:
        BadRowError: says what is wrong with the record.
    """
    if record.problem:
        raise BadRowError(record.problem)
    name = _row_id(record, schema.column("id"))
    return InputRow(record.number, name, task.texts_of_row(Row(record.where, record.values), schema))


def _row_id(record: Record, column: str) -> Any:
    """A row's id as its predictions will have it: the value of its column, or its number where it has none."""
    value = plain(record.values.get(column))
    if is_missing(value):
        return record.number
    if not is_storable_id(value):
        raise BadRowError(f'"{column}": {shown(value)} cannot be written as JSON in UTF-8, expected a text or a number')
    return value


def _line(row: InputRow, result: Result) -> bytes:
    """A row's line of the output: its id, and the result's fields."""
    return (json.dumps({"id": row.id, **result.as_row()}, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _chunks(rows: Iterator[InputRow]) -> Iterator[list[InputRow]]:
    """Rows that are predicted together: `ROWS` of them or `CHARACTERS` of text, whichever is less."""
    chunk: list[InputRow] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(map(len, row.texts))
        if len(chunk) >= ROWS or size >= CHARACTERS:
            yield chunk
            chunk = []
            size = 0
    if chunk:
        yield chunk


def _skip_predicted(job: FileJob, rows: Iterator[InputRow], predictor: Predictor) -> int:
    """Step over the rows that the output holds, and write the output's fingerprint; the number of these rows.

    A last line without an end was being written when an earlier process was stopped: it is removed.

    Raises:
        KddaError: the output holds predictions of other rows, or was made from another input, model or settings.
    """
    fingerprint = OutputFingerprint.of(predictor, job.source, job.schema.columns, job.header or ())
    count = 0
    if job.out.exists() and job.out.stat().st_size:
        with job.out.open("r+b") as out:
            end = 0
            for line in out:
                if not line.endswith(b"\n"):
                    break
                count += 1
                end += len(line)
                _check_line(line, f"{job.out}:{count}", next(rows, None), job.source, predictor.task)
            check_same(job.out, fingerprint, job.source)
            out.truncate(end)
    fingerprint.write(job.out)
    return count


def _check_line(line: bytes, where: str, row: InputRow | None, source: Path, task: Task) -> None:
    """Refuse a line of an output that is no prediction of a row by a model of a task.

    Args:
        where: the line's place.
        row: of the input, that stands in this place; None where the input has ended.

    Raises:
        KddaError: names what the line shows first: no prediction, another task's, or another row's.
    """
    advice = "choose another --output, or delete it"
    try:
        result = json.loads(line)
        name, has_result = result["id"], task.result_key in result
    except (ValueError, TypeError, KeyError):
        raise KddaError(f"{where}: no prediction, which kdda did not write; {advice}") from None
    if not has_result:
        fields = ", ".join(result)
        raise KddaError(
            f'{where}: predictions of another task\'s model: a line of task {task.name} has "{task.result_key}", and '
            f"this one has {fields}; {advice}"
        )
    if row is None:
        raise KddaError(f"{where}: more rows than {source} has: the file holds predictions of another input; {advice}")
    if name != row.id:
        raise KddaError(
            f"{where}: expected the id {row.id!r}, of row {row.number} of {source}, got {shown(name)}: the file "
            f"holds predictions of another input; {advice}"
        )
