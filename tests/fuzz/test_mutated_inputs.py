"""Broken files and requests end in a good run or in one message: no traceback, no hang, nothing half-written.

The seeded part that every run of the suite takes is small. More: KDDA_FUZZ_CASES=2000 pytest tests/fuzz
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import kdda
from kdda.cli.shared import main
from kdda.errors import KddaError
from kdda.recipe.load import load_recipe
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.index import Index
from tests.conftest import Bench, make_questions, make_rows
from tests.fuzz.mutations import mutated
from tests.heads import make_judge, make_reader
from tests.report.test_report import write_run
from tests.retrieval.corpus import make_index

CASES = int(os.environ.get("KDDA_FUZZ_CASES", "12"))  # of each format and command

SECONDS = 20  # after which an input hangs

NLI_ROWS = make_rows("bb", 6, 0)
QA_ROWS = make_questions("bb", 4, 0)

fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def no_hang() -> Iterator[None]:
    def fail(*_: Any) -> None:
        raise AssertionError(f"no end after {SECONDS} s")

    signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and messages of a command; an exception that it lets out fails the test."""
    errors = StringIO()
    with no_hang(), patch.object(sys, "argv", ["kdda", *map(str, arguments)]), patch.object(sys, "stderr", errors):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), errors.getvalue()
    return 0, errors.getvalue()


def check_end(code: int, messages: str, out: Path | None = None) -> None:
    """Exit code 0, 1 or 2; a failure has a message, and leaves no output."""
    assert code in (0, 1, 2), messages
    assert "Traceback" not in messages
    assert "Usage:" not in messages, "the test calls the command wrongly"
    if code:
        assert messages.strip(), "a failure without a message"
        assert out is None or not out.exists(), "an output of an input that was refused"


def as_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_json(rows: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(list(rows), ensure_ascii=False).encode()


def as_delimited(delimiter: str) -> Callable[[Sequence[dict[str, Any]]], bytes]:
    def write(rows: Sequence[dict[str, Any]]) -> bytes:
        content: str = pandas.DataFrame(list(rows)).to_csv(index=False, sep=delimiter)
        return content.encode()

    return write


def as_parquet(folder: Path, rows: Sequence[dict[str, Any]]) -> bytes:
    path = folder / "rows.parquet"
    pandas.DataFrame(list(rows)).to_parquet(path)
    return path.read_bytes()


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A question as tables hold it: one answer with its start."""
    answer = row["answers"][0]
    kept = {name: row[name] for name in ("id", "question", "context")}
    return {**kept, "answer": answer["text"], "answer_start": answer["answer_start"]}


FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {
    "jsonl": as_lines,
    "json": as_json,
    "csv": as_delimited(","),
    "tsv": as_delimited("\t"),
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_judge(tmp_path_factory.mktemp("nli"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_reader(tmp_path_factory.mktemp("qa"))


@pytest.mark.parametrize("suffix", [*FORMATS, "parquet"])
@pytest.mark.parametrize("task", ["nli", "qa"])
def test_rows(task: str, suffix: str, judge: str, reader: str, tmp_path: Path) -> None:
    rows = NLI_ROWS if task == "nli" else list(QA_ROWS)
    if task == "qa" and suffix not in ("jsonl", "json"):
        rows = [flat(row) for row in rows]
    valid = as_parquet(tmp_path, rows) if suffix == "parquet" else FORMATS[suffix](rows)
    path, out = tmp_path / f"broken.{suffix}", tmp_path / "out.jsonl"
    model = judge if task == "nli" else reader

    @fuzzed
    @given(content=mutated(valid))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        out.unlink(missing_ok=True)
        check_end(*run("evaluate", model, "--data", path, "--out", out), out)

    check()


@pytest.mark.parametrize("task", ["nli", "qa"])
def test_rows_to_predict(task: str, judge: str, reader: str, tmp_path: Path) -> None:
    path, out = tmp_path / "broken.jsonl", tmp_path / "out.jsonl"
    model = judge if task == "nli" else reader

    @fuzzed
    @given(content=mutated(as_lines(NLI_ROWS if task == "nli" else QA_ROWS)), skip=st.booleans())
    def check(content: bytes, skip: bool) -> None:
        path.write_bytes(content)
        for left in tmp_path.glob("*out.jsonl*"):
            left.unlink()
        code, messages = run("predict", model, "--input", path, "--output", out, *["--skip-bad-rows"] * skip)
        check_end(code, messages)
        if out.is_file():  # rows before a bad one stay: the job is resumable
            for line in out.read_text("utf-8").splitlines():
                json.loads(line, parse_constant=pytest.fail)

    check()


def test_recipes(bench: Bench) -> None:
    valid = bench.write().read_bytes()
    path = bench.folder / "broken.yaml"

    @fuzzed
    @given(content=mutated(valid))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        with no_hang():
            try:
                load_recipe(str(path))
            except KddaError as error:
                assert str(error).strip()

    check()


@pytest.mark.parametrize("name", ["recipe.yaml", "metrics.jsonl", "predictions.jsonl", "environment.json"])
def test_run_folders(name: str, tmp_path: Path) -> None:
    for arm in ("student", "student-da"):
        write_run(tmp_path / "runs", arm, 1, 0.6, rows=12)
    broken = tmp_path / "runs" / "nli" / "student-da" / "seed-1" / name
    valid = broken.read_bytes()
    out = tmp_path / "report.md"

    @fuzzed
    @given(content=mutated(valid))
    def check(content: bytes) -> None:
        broken.write_bytes(content)
        out.unlink(missing_ok=True)
        check_end(*run("report", tmp_path / "runs", "--out", out), out)

    check()


def test_index_folders(tmp_path: Path) -> None:
    make_index(tmp_path / "valid")
    files = sorted(path.relative_to(tmp_path / "valid") for path in (tmp_path / "valid").rglob("*") if path.is_file())
    broken = tmp_path / "broken"

    @fuzzed
    @given(data=st.data(), name=st.sampled_from(files))
    def check(data: st.DataObject, name: Path) -> None:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(tmp_path / "valid", broken)
        (broken / name).write_bytes(data.draw(mutated((broken / name).read_bytes())))
        with no_hang():
            try:
                Bm25(Index.open(broken)).search("cat sleeps", 3)
            except KddaError as error:
                assert str(error).strip()

    check()


def test_corpora(tmp_path: Path) -> None:
    valid = as_lines([{"id": "a", "text": "cat sleeps.", "title": "cats"}, {"text": "dog runs."}])
    path, out = tmp_path / "corpus.jsonl", tmp_path / "index"

    @fuzzed
    @given(content=mutated(valid))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        shutil.rmtree(out, ignore_errors=True)
        code, messages = run("index", path, out, "--no-segment")
        check_end(code, messages, out / "index.json")

    check()


def test_requests(judge: str, reader: str) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason='needs pip install "kdda[serve]"')
    from kdda.serve.limits import Limits
    from kdda.serve.site import Site, make_application

    application = make_application(Site([judge, reader], Limits(), page=False), [kdda.load(judge), kdda.load(reader)])
    bodies = {
        "/entails": {"premise": "cat", "hypothesis": "dog"},
        "/answer": {"question": "cat", "context": "cat runs"},
    }
    with testclient.TestClient(application, base_url="http://127.0.0.1") as client:

        @fuzzed
        @given(data=st.data(), route=st.sampled_from(sorted(bodies)))
        def check(data: st.DataObject, route: str) -> None:
            content = data.draw(mutated(json.dumps(bodies[route]).encode()))
            with no_hang():
                response = client.post(route, content=content, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400, 413, 422), response.text
            json.loads(response.text, parse_constant=pytest.fail)

        check()
