"""What a run holds in memory does not grow with its rows, but for a few numbers of each."""

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdda.data import OneLanguageBatches, Schema, Source, check_rows, read_rows
from kdda.distill.cache import TeacherWindows
from kdda.tasks import TASKS
from kdda.text import Encoder
from tests.conftest import LABELS, make_questions, make_tokenizer, words

NUMBERS = 80  # bytes a row that are allowed: its length, its place in the order, its targets, its id's own number


def pairs(count: int) -> Iterator[dict[str, str]]:
    chance = random.Random(0)
    for i in range(count):
        premise, hypothesis = (" ".join(chance.choices(words(), k=8)) for _ in "ab")
        yield {"id": f"row {i}", "premise": premise, "hypothesis": hypothesis, "label": LABELS[i % 3]}


def write(path: Path, task: str, count: int) -> Source:
    rows = pairs(count) if task == "nli" else iter(make_questions("bb", count, seed=0))
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Source(str(path))


def peak(source: Source, name: str) -> int:
    """The most bytes held while rows go the way of a training: read, checked, encoded, ordered, and heard."""
    task, encoder = TASKS[name], Encoder(make_tokenizer(), max_length=9, overlap=1)
    encoder.encode(["."], ["."])
    tracemalloc.start()
    try:
        examples = check_rows(read_rows(source), task.convert(Schema(tuple(LABELS)))).examples
        features = task.fitted(examples).encode(examples, encoder)
        targets = task.targets(features, LABELS)
        heard = TeacherWindows(encoder, task.excerpts(features))
        batches = sum(1 for _ in OneLanguageBatches({"aa": features.lengths}, 32, seed=0))
        assert (
            batches
            and features.windows.used
            and len(heard.lengths) == len(next(iter(targets.values()))) >= len(examples)
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_five_times_the_rows_take_little_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr("kdda.data.spill.KEPT", 2)  # what is kept for speed would hold all of so few rows
    monkeypatch.setattr("kdda.text.encode.KNOWN", 0)
    few, many = 2_000, 10_000
    peak(write(tmp_path / "first.jsonl", task, 100), task)  # what is imported when it is first needed
    least = peak(write(tmp_path / "few.jsonl", task, few), task)
    most = peak(write(tmp_path / "many.jsonl", task, many), task)
    windows = {"nli": 1, "qa": 2}[task]
    assert (most - least) / (many - few) < NUMBERS * windows
