"""Write docs/compatibility.md: every type of encoder × {student, teacher} × {nli, qa, tag} × what kdda can do with it.

python tools/compatibility.py

Each cell is tried on a tiny model of the type: it works, or the table has the sentence with which kdda refuses it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the tests' tiny models

from transformers.utils import logging as transformers_logging  # noqa: E402

from kdda.errors import KddaError  # noqa: E402
from kdda.inference.onnx import export  # noqa: E402
from kdda.models.depth import check_layers  # noqa: E402
from kdda.models.heads import standardize_head  # noqa: E402
from kdda.models.load import load_checkpoint  # noqa: E402
from kdda.models.trim import trim  # noqa: E402
from kdda.tasks.registry import TASKS  # noqa: E402
from kdda.training.config import DistillationConfig  # noqa: E402
from kdda.training.trainer import DistillationTrainer  # noqa: E402
from tests.conftest import LABELS, make_model, make_questions, make_rows, make_sentences  # noqa: E402
from tests.models.kinds import KINDS, config_of, make_kind  # noqa: E402

PAGE = ROOT / "docs" / "compatibility.md"

WORKS = "works"

# Task → the rows it is tried on, and the labels of its head.
ROWS: dict[str, Callable[[str, int, int], list[dict[str, Any]]]] = {
    "nli": make_rows,
    "qa": make_questions,
    "tag": make_sentences,
}
HEAD_LABELS = {"nli": LABELS, "qa": None, "tag": ["O", "B-ACT", "I-ACT", "B-ANIMAL", "I-ANIMAL"]}

COLUMNS = ("type", "task", "class", "student", "teacher", "layers", "standardized", "trim", "export")

INTRODUCTION = """\
# Which models fit

Every type of encoder that was tried, as `model_type` in `config.json` names it. `python tools/compatibility.py` writes
this page from tiny models, and a test keeps it: a cell says *works*, or has a number, whose sentence below is what kdda
refuses it with. Classes with a star are heads of kdda on an encoder to which transformers gives none.

Student and teacher were trained for a step beside a BERT of another width, with `align: procrustes`. *layers* cuts the
model to its first layer; *standardized* is `training.head: standardized`; *trim* is `kdda trim`
to the tokens of two texts; *export* is `kdda export` of the student that was trained (float32, checked on rows).
"""


def sentence(attempt: Callable[[], object]) -> str:
    """`WORKS`, or the sentence with which kdda refuses an attempt."""
    try:
        attempt()
    except KddaError as error:
        return str(error)
    return WORKS


def opened_class(kind: str, folder: Path, task: str) -> str:
    """The class with a task's head, with a star where it is kdda's; or the sentence of a refusal."""
    try:
        model = load_checkpoint(str(folder), head=TASKS[task].head).model
    except KddaError as error:
        return str(error)
    is_of_kdda = type(model).__module__.startswith("kdda")
    return f"`{type(model).__name__}`{'*' if is_of_kdda else ''}"


def standardize(folder: Path, task: str) -> None:
    """Give a model's new head of a task its data-dependent initialization."""
    checkpoint = load_checkpoint(str(folder), head=TASKS[task].head, labels=HEAD_LABELS[task])
    encoder = checkpoint.encoder(60)
    batch = encoder.pad(encoder.encode(["cat sleeps", "dog", "hen runs"], ["cat runs", "not", "very"]))
    standardize_head(checkpoint.model, [batch], TASKS[task].states_read == "all tokens")


def train(folder: Path, task: str, student: str, teacher: str) -> None:
    """One step of a student with an aligned teacher, which is fine-tuned for one step itself, and the student saved."""
    args = DistillationConfig(str(folder), max_steps=1, align="procrustes", precision="fp32", max_length=48, stride=8)
    trainer = DistillationTrainer(
        student, {"bb": teacher}, task=task, train_dataset={"bb": ROWS[task]("bb", 8, 0)}, args=args, say=quiet
    )
    trainer.train()
    trainer.save_model(str(folder / "saved"))


def export_student(student: Path, out: Path, task: str) -> None:
    """Export the trained student; one that could not be trained is refused as it was."""
    if not student.exists():
        raise KddaError("there is no student to export")
    rows = out.with_suffix(".jsonl")
    rows.write_text(
        "".join(json.dumps(row) + "\n" for row in ROWS[task]("bb", 8, 1) if "tokens" not in row), encoding="utf-8"
    )
    export(str(student), out, data=str(rows))


def quiet(_: str) -> None:
    """Print no line of a training."""


def row(kind: str, task: str) -> list[str]:
    """The cells of a type and a task, in the order of `COLUMNS`."""
    config: Any = config_of(kind)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, other = root / kind, make_model(root / "other", width=24)
        make_kind(folder, kind)
        cells = [kind, task, opened_class(kind, folder, task)]
        attempts = [
            lambda: train(root / "as-student", task, str(folder), other),
            lambda: train(root / "as-teacher", task, other, str(folder)),
            lambda: check_layers(config, [0]),
            lambda: standardize(folder, task),
            lambda: trim(str(folder), root / "trimmed", ["cat sleeps", "dog runs"]),
            lambda: export_student(root / "as-student" / "saved", root / "exported", task),
        ]
        for attempt in attempts:
            refusal = sentence(attempt)
            for place in (
                f'"{root / "as-student" / "saved"}": ',
                f'"{folder}": ',
                str(folder),
                "student, : ",
                "teachers.bb, : ",
            ):
                refusal = refusal.replace(place, "")
            cells.append(refusal)
    return cells


def page() -> str:
    """The whole page: the table, and the sentences that its numbers stand for."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    sentences: list[str] = []
    lines = [INTRODUCTION, f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for kind, task in product(sorted(KINDS), ROWS):
        cells = []
        for cell in row(kind, task):
            if " " in cell:  # a sentence, which stands below the table
                if cell not in sentences:
                    sentences.append(cell)
                cell = f"({sentences.index(cell) + 1})"
            cells.append(cell)
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for number, refusal in enumerate(sentences, start=1):
        lines.append(f"{number}. {refusal}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(KINDS)} types")
