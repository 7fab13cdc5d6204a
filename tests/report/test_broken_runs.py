"""Run folders with files that are torn, and what is no run folder: left out with a warning, or named with the line."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_report import write_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two whole runs."""
    for seed in (1, 2):
        write_run(tmp_path / "runs", "one", seed, 0.6, rows=12)
    return tmp_path / "runs"


BROKEN = [
    ("metrics.jsonl", b'{"event": x}\n', "metrics.jsonl:1: not JSON"),
    ("metrics.jsonl", b'{"step": 1}\n', 'metrics.jsonl:1: no "event"'),
    ("metrics.jsonl", b"\xff\n", "metrics.jsonl: not UTF-8"),
    ("metrics.jsonl", b'{"event": "task", "metric": "f1"}\n', "metrics.jsonl:1: a task event with scores None"),
    (
        "metrics.jsonl",
        b'{"event": "task", "metric": "f1", "scores": [], "data": {"vi": {}}}\n',
        "metrics.jsonl:1: a task event with data.vi {}",
    ),
    (
        "metrics.jsonl",
        b'{"event": "final-cost", "peak_mb": "much"}\n',
        "metrics.jsonl:1: a final-cost event with peak_mb 'much'",
    ),
    ("metrics.jsonl", b'{"event": "final-teacher", "language": "vi"}\n', "a final-teacher event with model None"),
    ("metrics.jsonl", b'{"event": "step", "step": 1}\n', "a step event with seconds None"),
    (
        "metrics.jsonl",
        b'{"event": "teacher-lead", "language": "vi", "model": "t", "step": 1, "ahead_since": "long"}\n',
        "a teacher-lead event with ahead_since 'long'",
    ),
    ("environment.json", b'{"torch":', "environment.json: not JSON"),
    ("environment.json", b"[1]", "environment.json: got list"),
    ("recipe.yaml", b"a: [", "recipe.yaml: not YAML"),
    ("recipe.yaml", b"a: \x07", "recipe.yaml: not YAML"),
    ("recipe.yaml", b"- a", "recipe.yaml: got list"),
    ("recipe.yaml", b"name: a\ntask: nli\ntarget: vi\nseeds: many", "recipe.yaml: seeds: "),
    (
        "recipe.yaml",
        b"name: a\ntask: nli\ntarget: vi\narms: {one: {distill: true}}",
        "an arm is distilled, and distill.lambda is missing",
    ),
    ("recipe.yaml", b"arms: 3", "its files are not those of a run"),
    ("predictions.jsonl", b"", "predictions.jsonl holds no prediction"),
    ("predictions.jsonl", b'{"id": 1', "predictions.jsonl: its last line is cut"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN)
def test_a_run_with_a_torn_file_is_left_out_and_named(
    root: Path, command: Any, caplog: pytest.LogCaptureFixture, name: str, content: bytes, reason: str
) -> None:
    (root / "nli/one/seed-2" / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        code, text, _ = command("report", root)
    assert code == 0 and "one" in text and "left out" in caplog.text and reason in caplog.text


def test_what_is_no_run_is_left_out_and_named(root: Path, command: Any, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(root / "nli/one/seed-1", root / "nli/one/seed-1-backup")
    (root / "predictions.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")  # evaluate leaves one where it is called
    for arguments in (("report", root), ("plot", root, "--out", root / "pictures")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            code, _, _ = command(*arguments)
        assert code == 0 and "seed-1-backup" in caplog.text and caplog.text.count("left out") == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "predictions.jsonl:1: got list"),
        ("{x}", "predictions.jsonl:1: not JSON"),
        (json.dumps({"language": "vi"}), "a row of vi is no prediction"),
        (json.dumps({"language": "vi", "id": "1", "group": None}), "a row of vi is no prediction"),
    ],
)
def test_a_line_that_is_no_prediction_is_named(root: Path, command: Any, line: str, reason: str) -> None:
    path = root / "nli/one/seed-1/predictions.jsonl"
    path.write_text(f"{line}\n{path.read_text()}", encoding="utf-8")
    write_run(root, "two", 1, 0.5, rows=12)
    code, _, error = command("report", root)
    assert code == 2 and reason in error and "Traceback" not in error
