"""What a run holds in memory does not grow with its rows, but for a few numbers of each."""

import gc
import json
import random
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kdda.data.examples import Schema, check_rows
from kdda.data.sources import Source, read_rows
from kdda.runtime import disk_sequence as spill
from kdda.tasks import windows
from kdda.tasks.registry import TASKS
from kdda.teachers.inputs import TeacherInputs
from kdda.text import encode
from kdda.text.encode import Encoder
from kdda.training.sampler import LanguageBatchSampler
from tests.conftest import LABELS, make_questions, make_tokenizer, words

ROOT = Path(__file__).parents[2]
FEW, MANY = 500, 2500
A_ROW = (
    200  # bytes: its lengths, its targets, its place in the order, and what noise adds; its texts and tokens are 3,000
)


def pairs(count: int) -> Iterable[dict[str, Any]]:
    chance = random.Random(0)
    for i in range(count):
        premise, hypothesis = (" ".join(chance.choices(words(), k=8)) for _ in "ab")
        yield {"id": f"row {i}", "premise": premise, "hypothesis": hypothesis, "label": LABELS[i % 3]}


def rows_of(task: str, count: int) -> Iterable[dict[str, Any]]:
    """Rows of a task, whose texts are those of `pairs`."""
    if task == "qa":
        yield from make_questions("bb", count, seed=0)
        return
    for i, row in enumerate(pairs(count)):
        first, second = row["premise"], row["hypothesis"]
        forms = {
            "nli": {},
            "classify": {"text": f"{first} {second}"},
            "tag": {"tokens": f"{first} {second}".split(), "tags": ["B-PER", "O"] * 8},
            "choose": {"context": first, "options": [second, f"{second} {i}"], "label": i % 2},
            "similarity": {"sentence1": first, "sentence2": second, "score": i % 3 / 2},
        }
        yield row | forms[task]


def write(path: Path, task: str, count: int) -> Source:
    rows = rows_of(task, count)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Source(str(path))


def labels_of(task: str) -> list[str]:
    return ["O", "B-PER", "I-PER"] if task == "tag" else LABELS


def peak(source: Source, name: str) -> int:
    """The most bytes held while rows go the way of a training: read, checked, encoded, ordered, read by a teacher."""
    task, encoder = TASKS[name], Encoder(make_tokenizer(), max_length=9, overlap=1)
    encoder.encode(["."], ["."])
    gc.collect()  # else the peak holds as much garbage as is left by chance: up to 60 bytes a row
    tracemalloc.start()
    examples = check_rows(read_rows(source), task.convert(Schema(tuple(labels_of(name))))).examples
    features = task.fitted(examples).encode(examples, encoder)
    targets = task.targets(features, labels_of(name))
    heard = TeacherInputs(encoder, task.text_spans(features))
    batches = sum(1 for _ in LanguageBatchSampler({"aa": features.item_lengths}, 32, seed=0))
    assert batches and features.windows.used
    assert len(heard.lengths) == len(features.windows) >= len(examples)
    assert task.count_targets(targets, range(len(examples))) >= len(examples)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def growth() -> dict[str, float]:
    """Bytes a row, with what is kept for speed cut down: it would hold all of so few rows."""
    spill.CACHED_BATCHES, encode.CACHED_TOKENS, windows.CHUNK = 2, 0, 100
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for task in TASKS:
            # the first of all imports what is only then needed
            _, few, many = (peak(write(Path(name) / f"{count}.jsonl", task, count), task) for count in (300, FEW, MANY))
            found[task] = (many - few) / (MANY - FEW)
    return found


@pytest.mark.slow
def test_five_times_the_rows_take_little_more_memory() -> None:
    # in a process of its own: here every call is checked, which takes memory and time of its own
    code = "import json; from tests.training.test_rows import growth; print(json.dumps(growth()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(bytes_ < A_ROW for bytes_ in json.loads(done.stdout.splitlines()[-1]).values()), done.stdout
