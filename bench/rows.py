"""Memory and time of a whole `kdda run` against the number of training rows.

    python bench/rows.py --write docs/performance.md    # 10⁴, 10⁵ and 10⁶ rows
    python bench/rows.py --rows 10000 100000            # some of them
    python bench/rows.py --live                         # teachers run in each step, instead of from stored states

Each is a run in a separate process, from reading the files to the table: two languages with half of the rows each, a
teacher fine-tuned for each, and the arm student-kdda, one epoch. The rows are pairs of random sentences, nearly all of
them different, and the models are tiny (2 layers × 16), so that the rows decide the cost; there are always 300
development and 300 test rows. Memory is the peak of the process' resident memory, mapped files included.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from aims import Aim, publish
from page import arguments, machine, table
from process import whole_process
from tiny import LABELS, make_model, make_tokenizer

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (200,)
BATCH = 512
MOST = 150  # MB that the most rows may take more than the fewest
WORDS = {language: [f"{language}{i}" for i in range(400)] for language in ("aa", "bb")}


def write_pairs(path: Path, language: str, count: int, seed: int) -> str:
    chance = random.Random(f"{language}/{seed}")
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            premise, hypothesis = (" ".join(chance.choices(WORDS[language], k=chance.randint(4, 9))) for _ in "ab")
            row = {"id": f"{language}-{i}", "premise": premise, "hypothesis": hypothesis, "label": LABELS[i % 3]}
            file.write(json.dumps(row) + "\n")
    return str(path)


def model(folder: Path, seed: int) -> str:
    words = tuple(word for language_words in WORDS.values() for word in language_words)
    name = make_model(folder, seed=seed, rows=40 + len(words))
    make_tokenizer(words).save_pretrained(folder)
    return name


def recipe(folder: Path, rows: int, live: bool) -> Path:
    models = {name: model(folder / name, i) for i, name in enumerate(("student", "aa", "bb"))}
    sizes = {"train": rows // 2, "dev": 300, "test": 300}
    values: dict[str, Any] = {
        "task": "nli",
        "target": "aa",
        "student": models.pop("student"),
        "teachers": models,
        "data": {
            language: {
                split: write_pairs(folder / f"{language}.{split}.jsonl", language, size, seed)
                for seed, (split, size) in enumerate(sizes.items())
            }
            for language in WORDS
        },
        "training": {"epochs": 1, "batch_size": BATCH, "max_length": 32, "learning_rate": 1e-3, "precision": "fp32"},
        "teacher_cache_gb": 0 if live else 20,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def measure(rows: int, live: bool) -> tuple[float, float]:
    """Peak resident megabytes, and seconds of a core, of one run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["--arms", "student-kdda", "--out", str(folder / "runs")]
        command = [sys.executable, "-m", "kdda", "run", str(recipe(folder, rows, live)), *options]
        usage = whole_process(*command, OMP_NUM_THREADS="1")
        return usage.peak, usage.processor


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--live", action="store_true")
    options = parser.parse_args()
    sizes = QUICK_SIZES if options.quick else options.rows
    cells: list[tuple[str, ...]] = []
    first = 0.0
    for rows in sizes:
        memory, seconds = measure(rows, options.live)
        first = first or memory
        row = (
            f"{rows:,}",
            f"{memory:,.0f}",
            f"{memory - first:+.0f}",
            f"{seconds:,.0f}",
            f"{1e3 * seconds / rows:.2f}",
        )
        print(*row, flush=True)
        cells.append(row)
    titles = ("rows", "peak resident memory, MB", "over the first", "seconds of a core", "ms a row")
    lines = [machine(), "", *table(titles, cells)]
    name = f"memory of a run on {rows:,} rows, over one on {sizes[0]:,}"
    publish(options, "rows", lines, [Aim(name, memory - first, "≤", MOST, "MB")])


if __name__ == "__main__":
    main()
