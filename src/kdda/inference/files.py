"""A JSONL file of questions or pairs, answered row by row into another: in bounded memory, and resumable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from filelock import FileLock, Timeout

from kdda.data.examples import NAMED_ROWS
from kdda.errors import Interrupted, KddaError, did_you_mean
from kdda.inference.predictor import AnswerResult, LabelResult, Predictor
from kdda.runtime.progress import Progress
from kdda.text.check import check_text

FIELDS = {"qa": ("question", "context"), "nli": ("premise", "hypothesis")}

ROWS, CHARACTERS = 1024, 4_000_000  # read ahead at once, whichever is reached first


@dataclass(frozen=True)
class Asked:
    """One good row: its line, its id (its line where it has none), and its two texts."""

    line: int
    id: Any
    texts: tuple[str, str]


class BadLineError(Exception):
    """A line that a person should look at."""


@dataclass
class FileJob:
    """What to answer, and where the answers go.

    Attributes:
        on_bad_row: ``raise`` refuses a file with a bad row before any is answered, ``skip`` leaves bad rows out.
        skipped: places and reasons of the bad rows met so far, the first few of them.
    """

    source: Path
    out: Path
    on_bad_row: Literal["raise", "skip"] = "raise"
    skipped: list[str] = field(default_factory=list)
    bad: int = 0

    def rows(self, fields: Sequence[str]) -> Iterator[Asked]:
        """The good rows, one after another; bad ones are counted."""
        self.skipped, self.bad = [], 0
        with self.source.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    if line.strip():
                        yield _asked(line, number, fields)
                except BadLineError as error:
                    self.bad += 1
                    if len(self.skipped) < NAMED_ROWS:
                        self.skipped.append(f"{self.source}:{number}: {error}")

    def check(self, fields: Sequence[str]) -> int:
        """How many rows there are to answer; read once before any is answered, in bounded memory.

        Raises:
            KddaError: no such file, no row, or bad rows under ``raise``.
        """
        if not self.source.is_file():
            raise KddaError(f'--input: no file "{self.source}"')
        if self.out.resolve() == self.source.resolve():
            raise KddaError(f"--output {self.out} is the input")
        if not self.out.absolute().parent.is_dir():
            raise KddaError(f'--output: no folder "{self.out.absolute().parent}"')
        count = sum(1 for _ in self.rows(fields))
        if self.bad and self.on_bad_row == "raise":
            raise KddaError(
                f"{self.bad} of {self.bad + count} rows are bad (--skip-bad-rows leaves them out):{self.shown}"
            )
        if not count:
            raise KddaError(f"{self.source}: no row to answer{self.shown}")
        return count

    @property
    def shown(self) -> str:
        more = f"\n  … and {self.bad - len(self.skipped)} more" if self.bad > len(self.skipped) else ""
        return "".join(f"\n  {place}" for place in self.skipped) + more


def predict_file(predictor: Predictor, job: FileJob) -> str:
    """Answer every row of a file that its output does not hold yet, in order; returns what was done, in a line.

    Raises:
        KddaError: a bad file, row or output; `Interrupted` after Ctrl-C, when the output holds whole rows.
    """
    fields = FIELDS[predictor.task.name]
    total = job.check(fields)
    try:
        with FileLock(job.out.with_name(f".{job.out.name}.lock"), timeout=0), Progress(job.out.name, total) as progress:
            done = _answer_all(predictor, job, fields, progress)
    except Timeout:
        raise KddaError(f"another process is writing {job.out}; wait for it, or choose another --output") from None
    except OSError as error:
        raise KddaError(f"{job.out} cannot be written: {error.strerror or error}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {job.out} holds whole rows, and the same command goes on after them") from None
    kept = f", {total - done:,} were there already" if done < total else ""
    left = f"; {job.bad:,} bad rows left out:{job.shown}" if job.bad else ""
    return f"{done:,} rows{kept}{progress.pace} → {job.out}{left}"


def _answer_all(predictor: Predictor, job: FileJob, fields: Sequence[str], progress: Progress) -> int:
    rows, done = job.rows(fields), 0
    progress.begin(_skip_answered(job, rows, predictor.task.name))
    with job.out.open("ab") as out:
        for chunk in _chunks(rows):
            found = predictor.read([row.texts for row in chunk])
            for row, own in zip(chunk, predictor.shown(found), strict=True):
                out.write(_line(row, own))
            out.flush()
            done += len(chunk)
            progress.advance(len(chunk))
    return done


def _asked(line: bytes, number: int, fields: Sequence[str]) -> Asked:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise BadLineError(f"not UTF-8 (byte 0x{line[error.start]:02x} at {error.start})") from None
    except json.JSONDecodeError as error:
        raise BadLineError(f"not JSON: {error.msg} at column {error.colno}") from None
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise BadLineError(f"not a row: {error}") from None
    if not isinstance(row, dict):
        raise BadLineError(f"found {type(row).__name__}, expected an object with {', '.join(fields)}")
    for name in fields:
        if name not in row:
            raise BadLineError(f'no field "{name}"{did_you_mean(name, row)}; found {", ".join(row) or "none"}')
        try:
            check_text(row[name], f'"{name}"')
        except KddaError as error:
            raise BadLineError(str(error)) from None
    return Asked(number, row.get("id", number), (row[fields[0]], row[fields[1]]))


def _line(row: Asked, own: AnswerResult | LabelResult) -> bytes:
    if isinstance(own, AnswerResult):
        found: dict[str, Any] = {"answer": own.text, "start": own.start, "end": own.end, "score": own.score}
    else:
        found = own.as_dict()
    return (json.dumps({"id": row.id, **found}, ensure_ascii=False) + "\n").encode()


def _chunks(rows: Iterator[Asked]) -> Iterator[list[Asked]]:
    chunk: list[Asked] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(map(len, row.texts))
        if len(chunk) >= ROWS or size >= CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _skip_answered(job: FileJob, rows: Iterator[Asked], task: str) -> int:
    """Step over the rows that the output holds, after cutting a last line that a kill has torn."""
    if not job.out.is_file():
        return 0
    with job.out.open("r+b") as out:
        _cut_torn_line(out)
        out.seek(0)
        count = 0
        for count, line in enumerate(out, 1):
            row = next(rows, None)
            _check_answered(line, row, f"{job.out}:{count}", job.source, task)
    return count


def _check_answered(line: bytes, row: Asked | None, where: str, source: Path, task: str) -> None:
    try:
        found = json.loads(line)
        same = row is not None and found["id"] == row.id and ("answer" if task == "qa" else "label") in found
    except (ValueError, TypeError, KeyError):
        same = False
    if not same:
        expected = f"the id {row.id!r}, of {source}:{row.line}" if row else f"no more rows than {source} has"
        raise KddaError(
            f"{where}: expected {expected}: these are the answers to another file or of another model's kind; "
            "choose another --output, or delete it"
        )


def _cut_torn_line(out: BinaryIO) -> None:
    """A line without its end was being written when something stopped the writer."""
    end = out.seek(0, 2)
    while end:
        start = max(0, end - 65536)
        out.seek(start)
        at = out.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    out.truncate(end)
