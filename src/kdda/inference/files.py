"""`kdda predict` on a JSONL file: 1,024 rows ahead, bad rows refused or skipped, resumed after the last whole line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from kdda.data.examples import NAMED_ROWS
from kdda.data.fields import is_missing, is_storable_id, shown
from kdda.data.json_text import BadJsonError, parse_json
from kdda.errors import DiskFullError, Interrupted, KddaError, did_you_mean
from kdda.inference.output_fingerprint import OutputFingerprint, check_same
from kdda.inference.predictor import Predictor
from kdda.runtime.folders import check_folder, check_output_file, is_disk_full
from kdda.runtime.progress import Progress
from kdda.runtime.text_files import NotUtf8Error, check_first_bytes, decode, printable
from kdda.tasks.base import Result, Task

# Rows are read ahead until either is reached.
ROWS = 1024
CHARACTERS = 4_000_000


@dataclass(frozen=True)
class InputRow:
    """One good row: its line, its id (its line where it has none), and its texts as the task reads them."""

    line: int
    id: Any
    texts: tuple[str, ...]


class BadLineError(Exception):
    """A line that is not a row of the task."""


@dataclass
class FileJob:
    """What to predict, and where the predictions go.

    Attributes:
        on_bad_row: ``raise`` refuses a file with a bad row before any is predicted, ``skip`` skips bad rows.
        bad: how many bad rows were read so far.
        bad_places: places and reasons of the first of them.
    """

    source: Path
    out: Path
    on_bad_row: Literal["raise", "skip"] = "raise"
    bad: int = 0
    bad_places: list[str] = field(default_factory=list)

    def rows(self, task: Task) -> Iterator[InputRow]:
        """The good rows, one after another; bad ones are counted."""
        self.bad = 0
        self.bad_places = []
        with self.source.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield _parse(line, number, task)
                except BadLineError as error:
                    self._add_bad_row(f"{printable(self.source)}:{number}: {error}")

    def _add_bad_row(self, place: str) -> None:
        """Count a bad row; of the first ones the place and reason are kept."""
        self.bad += 1
        if len(self.bad_places) < NAMED_ROWS:
            self.bad_places.append(place)

    def check_places(self) -> None:
        """Check, before any model is opened, that the input is there and the output can be written.

        Raises:
            KddaError: says which cannot be, and why.
        """
        if not self.source.is_file():
            raise KddaError(f'--input: no file "{printable(self.source)}"')
        check_first_bytes(self.source)
        if self.out.resolve() == self.source.resolve():
            raise KddaError(f"--output {self.out} is the input")
        check_output_file("--output", self.out)
        check_folder(self.out.absolute().parent)  # the lock and the fingerprint stand beside the output

    def check(self, task: Task) -> int:
        """The number of good rows; the file is read once before any row is predicted, in bounded memory.

        Raises:
            KddaError: no such file, no row, or bad rows under ``raise``.
        """
        self.check_places()
        count = 0
        for _ in self.rows(task):
            count += 1
        if self.bad and self.on_bad_row == "raise":
            raise KddaError(
                f"{self.bad} of {self.bad + count} rows are bad (--skip-bad-rows skips them):{self.bad_row_lines}"
            )
        if not count:
            raise KddaError(f"{self.source}: no row to predict{self.bad_row_lines}")
        return count

    @property
    def bad_row_lines(self) -> str:
        """The first bad rows, one a line, for a message."""
        text = ""
        for place in self.bad_places:
            text += f"\n  {place}"
        more = self.bad - len(self.bad_places)
        if more:
            text += f"\n  … and {more} more"
        return text


def predict_file(predictor: Predictor, job: FileJob) -> str:
    """Predict every row of a file that its output does not hold yet, in order.

    Returns:
        What was done, in a line.

    Raises:
        KddaError: a bad file, row or output; `Interrupted` after Ctrl-C, when the output holds whole rows.
    """
    total = job.check(predictor.task)
    lock = FileLock(job.out.with_name(f".{job.out.name}.lock"), timeout=0)
    try:
        with lock, Progress(job.out.name, total) as progress:
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
    summary = f"{done:,} rows"
    if done < total:
        summary += f", {total - done:,} were predicted before"
    summary += f"{progress.pace} → {job.out}"
    if job.bad:
        summary += f"; {job.bad:,} bad rows skipped:{job.bad_row_lines}"
    return summary


def _predict_rows(predictor: Predictor, job: FileJob, progress: Progress) -> int:
    """Predict the rows that the output lacks; the number of them."""
    rows = job.rows(predictor.task)
    progress.begin(_skip_predicted(job, rows, predictor))
    done = 0
    with job.out.open("ab") as out:
        for chunk in _chunks(rows):
            predictions = predictor.read([row.texts for row in chunk])
            for row, result in zip(chunk, predictor.results(predictions), strict=True):
                out.write(_line(row, result))
            out.flush()
            done += len(chunk)
            progress.advance(len(chunk))
    return done


def _parse(line: bytes, number: int, task: Task) -> InputRow:
    """A row of a line of JSON.

    Args:
        number: of the line, from 1.
        task: whose fields the row must have, apart from optional ones.

    Raises:
        BadLineError: says what is wrong with the line.
    """
    row = _parse_object(line, number)
    if not isinstance(row, dict):
        raise BadLineError(f"got {type(row).__name__}, expected an object with {', '.join(task.fields)}")
    values = {}
    for name in task.fields:
        if name in row:
            values[name] = row[name]
        elif name not in task.optional_fields:
            raise BadLineError(f'no field "{name}"{did_you_mean(name, row)}; it has {", ".join(row) or "none"}')
    try:
        texts = task.texts_of(values, '"{}"'.format)
    except KddaError as error:
        raise BadLineError(str(error)) from None
    return InputRow(number, _row_id(row.get("id"), number), texts)


def _row_id(value: Any, number: int) -> Any:
    """A row's id as its predictions will have it: the value of its field, or its line where it has none."""
    if is_missing(value):
        return number
    if not is_storable_id(value):
        raise BadLineError(f'"id": {shown(value)} cannot be written as JSON in UTF-8, expected a text or a number')
    return value


def _parse_object(line: bytes, number: int) -> Any:
    """The JSON value of a line; the first line may begin with a byte order mark.

    Raises:
        BadLineError: not UTF-8, or not JSON.
    """
    try:
        return parse_json(decode(line, is_first=number == 1))
    except (NotUtf8Error, BadJsonError) as error:
        raise BadLineError(str(error)) from None


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
    fingerprint = OutputFingerprint.of(predictor, job.source)
    count = 0
    if job.out.exists() and job.out.stat().st_size:
        with job.out.open("r+b") as out:
            end = 0
            for line in out:
                if not line.endswith(b"\n"):
                    break
                count += 1
                end += len(line)
                row = next(rows, None)
                if row is None or not _is_result_of(line, row, predictor.task.result_key):
                    raise _foreign_output(f"{job.out}:{count}", row, job.source)
            check_same(job.out, fingerprint, job.source)
            out.truncate(end)
    fingerprint.write(job.out)
    return count


def _is_result_of(line: bytes, row: InputRow, result_key: str) -> bool:
    """Whether a line of the output is a prediction of a row by a model of the same task."""
    try:
        result = json.loads(line)
        return bool(result["id"] == row.id and result_key in result)
    except (ValueError, TypeError, KeyError):
        return False


def _foreign_output(where: str, row: InputRow | None, source: Path) -> KddaError:
    """The refusal of an output that holds predictions of something else.

    Args:
        where: the output's line.
        row: of the input, that stands in this place; None where the input has ended.
    """
    expected = f"no more rows than {source} has"
    if row is not None:
        expected = f"the id {row.id!r}, of {source}:{row.line}"
    return KddaError(
        f"{where}: expected {expected}: these are predictions of another file or of another task's model; "
        "choose another --output, or delete it"
    )
