"""What storing teacher states in bfloat16 or in 8 bits changes in the distillation term, beside its disk.

    python bench/stored_precision.py --write docs/performance.md    # two minutes on two cores

The student is mini/multilingual, the teachers mini/vietnamese and mini/english, each reading the same pairs of the
embedded corpus. For every row, value and gradient with stored states are compared with those of the teacher's states
in float32. Two stages: "start" takes the student as it is; "end" moves each of its states 90 % of the way to where a
transport plan sends it, which distillation works towards, and where the term is small.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace as with_changes
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from aims import Aim, publish
from page import arguments, machine, table

from kdda.data.examples import Schema, check_rows
from kdda.data.sources import Source, read_rows
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.models.load import load_checkpoint
from kdda.recipe.schema import CachePrecision
from kdda.tasks.places import places_of_windows
from kdda.tasks.registry import task_named
from kdda.teachers.cache import TeacherCache
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport

TEACHERS = {"vi": "mini/vietnamese", "en": "mini/english"}
OBJECTIVES = ("sinkhorn", "mse-pooled", "aligned")
STAGES = ("start", "end")
PRECISIONS = get_args(CachePrecision)
BATCH = 32  # rows whose terms are computed at once
LENGTH = 64  # tokens of a window at most


class Pair(NamedTuple):
    """The student's representations of all rows, and the teacher's caches of them by how it stores its states.

    Attributes:
        caches: "float32", whose teacher runs in each step, and those of `PRECISIONS`.
    """

    student: list[Representations]
    caches: dict[str, TeacherCache]


def pair_of(language: str, count: int, folder: Path) -> Pair:
    """The representations of so many rows of a language, the student's in batches."""
    task = task_named("nli")
    rows = check_rows(read_rows(Source(f"embedded:nli/{language}/train")), task.convert(Schema(task.labels))).examples[
        :count
    ]
    checkpoint = load_checkpoint("mini/multilingual")
    features = task.encode(rows, checkpoint.encoder(LENGTH))
    caches = {}
    for name in ("float32", *PRECISIONS):
        caches[name] = TeacherCache.build(
            load_checkpoint(TEACHERS[language]),
            task.text_spans(features),
            max_length=LENGTH,
            folder=None if name == "float32" else folder,
            precision="fp32",
            stored_in="bf16" if name == "float32" else name,
            places=True,
        )
    student = []
    for numbers in batches(len(rows)):
        inputs = checkpoint.encoder(LENGTH).pad([features.windows[number] for number in numbers])
        with torch.no_grad():
            states = checkpoint.model(**inputs).last_hidden_state
        places = places_of_windows(task, features, numbers)
        student.append(Representations(states, inputs["attention_mask"].bool(), places=places.tokens))
    return Pair(student, caches)


def batches(count: int) -> Iterator[range]:
    for start in range(0, count, BATCH):
        yield range(start, min(start + BATCH, count))


def near_the_teacher(student: Representations, teacher: Representations) -> Representations:
    """The student's states moved 90 % of the way to where the plan sends them."""
    scale = mean_pairwise_cost(teacher.states, teacher.mask)
    x, y = student.states / scale**0.5, teacher.states / scale**0.5
    plan = entropic_transport(x, y, epsilon=0.02, x_mask=student.mask, y_mask=teacher.mask).plan()
    targets = plan @ teacher.states / plan.sum(dim=2, keepdim=True).clamp_min(1e-30)
    return with_changes(student, states=0.1 * student.states + 0.9 * targets)


def value_and_gradient(
    loss: DistillationLoss, student: Representations, teacher: Representations, scales: Sequence[float]
) -> tuple[float, torch.Tensor]:
    """The mean term of one batch, and its gradient in the student's states."""
    states = student.states.clone().requires_grad_()
    term = loss.divergence([with_changes(student, states=states)], [teacher], scales=scales).mean
    (gradient,) = torch.autograd.grad(term, states)
    return float(term.detach()), gradient


def errors(pair: Pair, stage: str, loss: DistillationLoss, name: str) -> tuple[float, float]:
    """The median relative errors over batches of the value and of the gradient, with states stored as `name`."""
    exact, stored = pair.caches["float32"], pair.caches[name]
    of_values, of_gradients = [], []
    for student, numbers in zip(pair.student, batches(sum(len(batch.states) for batch in pair.student)), strict=True):
        (theirs,) = exact.batch(numbers)
        if stage == "end":
            student = near_the_teacher(student, theirs)
        value, gradient = value_and_gradient(loss, student, theirs, exact.scales)
        rounded, rounded_gradient = value_and_gradient(loss, student, stored.batch(numbers)[0], stored.scales)
        of_values.append(abs(rounded - value) / abs(value))
        of_gradients.append(float((rounded_gradient - gradient).norm() / gradient.norm()))
    return statistics.median(of_values), statistics.median(of_gradients)


def lines_of(pairs: dict[str, Pair]) -> list[str]:
    """The lines of the table of errors."""
    rows = []
    for objective in OBJECTIVES:
        loss = DistillationLoss(objective)
        for language, pair in pairs.items():
            for stage in STAGES:
                cells: list[str] = []
                for name in PRECISIONS:
                    cells += [f"{error:.1e}" for error in errors(pair, stage, loss, name)]
                print(objective, language, stage, *cells, flush=True)
                rows.append([f"{objective}, {language}, {stage}", *cells])
    titles = ["objective, language, student"]
    for name in PRECISIONS:
        titles += [f"{name}, value", f"{name}, gradient"]
    return table(titles, rows)


def sizes_of(pairs: dict[str, Pair], folder: Path) -> tuple[str, float]:
    """A sentence with the bytes a token that stored states take, and int8's share of bf16's bytes."""
    tokens = 0
    taken: dict[str, int] = dict.fromkeys(PRECISIONS, 0)
    for pair in pairs.values():
        tokens += int(pair.caches["float32"].layers[0].inputs.lengths.sum())
        for name in PRECISIONS:
            taken[name] += pair.caches[name].stored_bytes
    on_disk = sum(path.stat().st_size for path in folder.rglob("shard-*"))
    each = ", ".join(f"{name} {size / tokens:,.0f}" for name, size in taken.items())
    share = taken["int8"] / taken["bf16"]
    more = on_disk / sum(taken.values()) - 1
    sentence = (
        f"Bytes a token of 384 values: {each} ({share:.1%} of bf16); files are {more:.2%} larger than their states."
    )
    return sentence, share


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=96, help="of each language")
    options = parser.parse_args()
    if options.quick:
        options.rows = 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = {language: pair_of(language, options.rows, folder) for language in TEACHERS}
        sentence, share = sizes_of(pairs, folder)
        lines = [machine(), "", *lines_of(pairs), "", sentence]
    aim = Aim("disk of teacher states in 8 bits, of that in bfloat16", round(share, 3), "≤", 0.51)
    publish(options, "stored_precision", lines, [aim])


if __name__ == "__main__":
    main()
