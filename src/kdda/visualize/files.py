"""`kdda plot`: figures of run folders, and of the plan between two models, as PNG (160 dpi) or SVG files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.schema import target_list
from kdda.report.collect import check_folders
from kdda.report.comparison import compare, task_scores
from kdda.report.differences import differences
from kdda.report.figures import gains_by_lead, loss_curves, scores_by_weight, teachers_and_students
from kdda.report.render import Figure
from kdda.report.teacher_check import teacher_scores
from kdda.runs.folder import MODEL_FOLDER, Run, find_runs
from kdda.runtime.files import write_atomically
from kdda.runtime.folders import check_folder
from kdda.visualize.plan_figures import plan_figures
from kdda.visualize.transport_plan import StateReader, plan_between

FORMS = ("png", "svg")  # --format

DPI = 160  # of a PNG


@dataclass(frozen=True)
class Sentence:
    """A text that two models read, for a plan between their states.

    Attributes:
        text: the sentence.
        teacher: the second model; the first is the plotted folder's.
        epsilon: of the plan.
    """

    text: str
    teacher: str
    epsilon: float


def plot_all(folders: Sequence[Path], out: Path, form: str, sentence: Sentence | None = None) -> list[Path]:
    """Draw what the folders hold, a file a picture; returns the files.

    Args:
        folders: run folders; with a sentence, models (or run folders, whose model it is).
        out: a folder for the pictures.
        form: "png" or "svg".
        sentence: for the plan between two models.

    Raises:
        KddaError: nothing to draw, an unknown form, or an `out` that is a file.
    """
    if form not in FORMS:
        raise KddaError(unknown_choice("--format", form, FORMS))
    if sentence and not (sentence.text and sentence.teacher):
        raise KddaError("a plan needs both --teacher and --text")
    check_folder(out)
    if not sentence:
        check_folders(folders)
    figures: list[Figure] = []
    for folder in folders:
        figures += _figures_of_plan(folder, sentence) if sentence else _figures_of_runs(folder)
    if not figures:
        raise KddaError(f"nothing to draw in {', '.join(map(str, folders))}: no finished run with metrics")
    out.mkdir(parents=True, exist_ok=True)
    return [_write(figure, out, form, number) for number, figure in enumerate(figures, 1)]


def _figures_of_plan(folder: Path, sentence: Sentence) -> list[Figure]:
    """The plan between a folder's model and the sentence's."""
    model = folder / MODEL_FOLDER
    if not model.is_dir():
        model = folder
    first = StateReader.open(str(model)).read(sentence.text)
    second = StateReader.open(sentence.teacher).read(sentence.text)
    plan = plan_between(first, second, sentence.epsilon)
    return plan_figures(first.tokens, second.tokens, plan.shares, (first.name, second.name), sentence.epsilon)


def _figures_of_runs(folder: Path) -> Iterator[Figure]:
    """The pictures of a folder's runs, task after task."""
    by_task: dict[str, list[Run]] = {}
    for run in find_runs(folder):
        by_task.setdefault(str(run.recipe.get("task")), []).append(run)
    for task in sorted(by_task):
        yield from _figures_of_task(by_task[task])


def _figures_of_task(runs: Sequence[Run]) -> Iterator[Figure]:
    """Curves of all runs of a task and, where runs are scored on its target language, figures of the comparison."""
    scores, targets = task_scores(runs), target_list(runs[0].recipe.get("target") or [])
    scored = [run for run in runs if set(targets) <= set(run.test)]
    if scores is None or not scored:
        yield from loss_curves(runs)
        return
    comparison = compare(scored, targets, scores)
    yield from loss_curves(comparison.runs)
    yield from scores_by_weight(comparison)
    if not comparison.by_target:  # a teacher's lead is that in one language
        yield from gains_by_lead(comparison, differences(comparison))
    yield from teachers_and_students(teacher_scores(comparison), comparison.metric)


def _write(figure: Figure, out: Path, form: str, number: int) -> Path:
    """Write one figure as `NN-its-title.png` (or svg), and return its path."""
    name = re.sub(r"\W+", "-", figure.title.lower()).strip("-")
    path = out / f"{number:02d}-{name[:60]}.{form}"
    if form == "svg":
        write_atomically(path, figure.svg + "\n")
    else:
        picture = BytesIO()
        figure.drawing.savefig(picture, dpi=DPI, format=form)
        write_atomically(path, picture.getvalue())
    return path
