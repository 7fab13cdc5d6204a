"""A disk that fills during the work ends a command with exit code 1 and one message: what was kept, how to go on."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import make_model, make_rows, write_rows
from tests.forks import Command, run_kdda
from tests.heads import make_judge
from tests.report.test_report import write_run

ROOM = 6_000  # bytes that a file may have: the system's error is that of a full disk, in every library


def run_with_little_room(*arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
    run_kdda(*arguments)


def rows(folder: Path) -> str:
    return write_rows(folder / "rows.jsonl", make_rows("bb", 60, 0))


def evaluate(folder: Path) -> list[Any]:
    return ["evaluate", make_judge(folder / "model"), "--data", rows(folder), "--out", folder / "out.jsonl"]


def predict(folder: Path) -> list[Any]:
    return ["predict", make_judge(folder / "model"), "--input", rows(folder), "--output", folder / "out.jsonl"]


def report(folder: Path) -> list[Any]:
    for seed in (1, 2):
        for arm in ("student", "student-da"):
            write_run(folder / "runs", arm, seed, 0.6, rows=12)
    return ["report", folder / "runs", "--out", folder / "out.html"]


def plot(folder: Path) -> list[Any]:
    return ["plot", report(folder)[1], "--out", folder / "out"]


def index(folder: Path) -> list[Any]:
    documents = []
    for number in range(100):
        documents.append({"id": str(number), "text": f"{number} cat sleeps and dog {number + 1} runs. " * 5})
    return ["index", write_rows(folder / "corpus.jsonl", documents), folder / "out", "--no-segment"]


def export(folder: Path) -> list[Any]:
    return ["export", make_judge(folder / "model"), folder / "out", "--data", rows(folder)]


def convert(folder: Path) -> list[Any]:
    make_model(folder / "model")
    torch.save(load_file(folder / "model/model.safetensors"), folder / "model/pytorch_model.bin")
    (folder / "model/model.safetensors").unlink()
    return ["convert", folder / "model", folder / "out"]


def trim(folder: Path) -> list[Any]:
    return ["trim", make_model(folder / "model"), folder / "out", "--data", rows(folder)]


@pytest.mark.parametrize("command", [evaluate, predict, report, plot, index, export, convert, trim])
def test_a_disk_that_fills_is_told_with_what_was_kept(command: Callable[[Path], list[Any]], tmp_path: Path) -> None:
    arguments = list(map(str, command(tmp_path)))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    full = Command(arguments, run_with_little_room)
    _, errors = full.communicate()
    assert full.returncode == 1 and "Traceback" not in errors
    (message,) = [line for line in errors.splitlines() if line.startswith("kdda: ")]
    assert "the disk is full" in message and "make room, and" in message
    assert all(path.read_bytes() == content for path, content in before.items())
    out = tmp_path / "out.jsonl"
    if command is predict:
        kept = out.read_text(encoding="utf-8").splitlines(keepends=True)
        assert f"are in {out}" in message and "the same command continues" in message
        assert all(json.loads(line) for line in kept if line.endswith("\n"))
    else:
        assert not [path for path in tmp_path.glob("out*/*") if path.is_file()] and not out.exists()
    if command in (predict, plot, index):  # which leave something
        again = Command(arguments)
        assert again.wait() == 0, again.communicate()
        if command is predict:
            assert len(out.read_text(encoding="utf-8").splitlines()) == 60
