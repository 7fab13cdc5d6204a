"""Rows from a pipe: one a line, as objects or as plain texts, with their predictions printed or in a file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_questions
from tests.heads import make_reader, make_tagger

Pipe = Callable[[bytes], None]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_reader(tmp_path_factory.mktemp("qa"), sharp=20)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tagger(tmp_path_factory.mktemp("tag"))


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """A function that makes some bytes the standard input of what follows."""
    opened: list[io.TextIOWrapper] = []

    def fill(content: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        opened.append(os.fdopen(reading))
        monkeypatch.setattr("sys.stdin", opened[-1])

    yield fill
    for stream in opened:
        stream.close()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("arguments", [(), ("--input", "-"), ("--input", "-", "--output", "-")])
def test_rows_from_a_pipe_are_answered_as_those_of_a_file(
    command: Any, pipe: Pipe, reader: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    rows = lines(make_questions("bb", 5, 0))
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(rows)
    assert command("predict", reader, "--input", source, "--output", out)[0] == 0
    pipe(rows)
    code, printed, errors = command("predict", reader, *arguments)
    assert code == 0 and printed == out.read_text(encoding="utf-8") and "5 rows" in errors


def test_predictions_of_a_pipe_go_into_a_file_that_is_continued(
    command: Any, pipe: Pipe, reader: str, tmp_path: Path
) -> None:
    rows, out = lines(make_questions("bb", 5, 0)), tmp_path / "out.jsonl"
    pipe(rows)
    assert command("predict", reader, "--input", "-", "--output", out)[0] == 0
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    pipe(rows)
    code, printed, _ = command("predict", reader, "--input", "-", "--output", out)
    assert code == 0 and "4 were predicted before" in printed and out.read_bytes() == whole


def test_a_file_is_printed_too(command: Any, reader: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(lines(make_questions("bb", 3, 0)))
    code, printed, _ = command("predict", reader, "--input", source, "--output", "-")
    assert code == 0 and len(read(printed)) == 3


def test_plain_texts_are_rows_of_a_model_that_reads_one_text(command: Any, pipe: Pipe, tagger: str) -> None:
    pipe(b"\xef\xbb\xbfcat sleeps\r\n\ndog runs")
    code, printed, _ = command("predict", tagger)
    assert code == 0 and [row["id"] for row in read(printed)] == [1, 3]
    pipe(lines([{"id": 1, "text": "cat sleeps"}, {"id": 3, "text": "dog runs"}]))
    assert command("predict", tagger)[1] == printed


def test_plain_texts_are_refused_by_a_model_that_reads_several(command: Any, pipe: Pipe, reader: str) -> None:
    pipe("Ai dời đô?\n".encode())
    code, printed, errors = command("predict", reader)
    assert (code, printed) == (2, "")
    assert "standard input:1: no object of JSON, and task qa reads question, context" in errors
    assert '{"question": "…", "context": "…"}' in errors


def test_a_bad_row_of_a_pipe_is_named_by_its_line_and_nothing_is_printed(command: Any, pipe: Pipe, reader: str) -> None:
    pipe(lines(make_questions("bb", 1, 0)) + b'{"question": "cat"}\n')
    code, printed, errors = command("predict", reader)
    assert (code, printed) == (2, "") and "standard input:2: " in errors and "--skip-bad-rows" in errors
    pipe(lines(make_questions("bb", 1, 0)) + b'{"question": "cat"}\n')
    code, printed, errors = command("predict", reader, "--skip-bad-rows")
    assert code == 0 and len(read(printed)) == 1 and "1 bad row skipped" in errors


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_pipe_is_refused(command: Any, pipe: Pipe, reader: str, content: bytes) -> None:
    pipe(content)
    code, printed, errors = command("predict", reader)
    assert (code, printed) == (2, "") and ": no row to predict" in errors and errors.startswith("kdda: standard input ")


def test_what_is_no_text_is_refused(command: Any, pipe: Pipe, tagger: str) -> None:
    pipe(b"\x1f\x8b\x08\x00" + b"0" * 100)
    code, _, errors = command("predict", tagger)
    assert code == 2 and "standard input is compressed (gzip)" in errors


def test_one_question_is_answered_though_a_pipe_is_there(command: Any, pipe: Pipe, reader: str) -> None:
    pipe(b"")
    code, printed, _ = command("predict", reader, "--question", "cat", "--context", "cat sleeps", "--json")
    assert code == 0 and json.loads(printed)["text"] in "cat sleeps"
