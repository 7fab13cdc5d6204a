"""Pictures as files: of run folders, and of the plan between two models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdda.errors import KddaError, did_you_mean
from kdda.report.differences import differences
from kdda.report.figures import curves, gains_by_lead, scores_by_weight, teachers_by_arm
from kdda.report.render import Figure
from kdda.report.selection import select_rates, teacher_check
from kdda.runs.folder import MODEL_FOLDER, Run, find_runs
from kdda.visualize.plan_figures import plan_figures
from kdda.visualize.transport_plan import StateReader, plan_between

FORMS = ("png", "svg")

DPI = 160


@dataclass(frozen=True)
class Sentence:
    """What two models read for a plan: the plotted folder's, and another."""

    text: str
    teacher: str
    epsilon: float


def plot_all(folders: Sequence[Path], out: Path, form: str, sentence: Sentence | None = None) -> list[Path]:
    """Draw what the folders hold, a file a picture; returns the files.

    Args:
        folders: run folders; with a sentence, models (or run folders, whose model it is).

    Raises:
        KddaError: nothing to draw, or a form that is not there.
    """
    if form not in FORMS:
        raise KddaError(f'--format: found "{form}"{did_you_mean(form, FORMS)}; there are {", ".join(FORMS)}')
    for folder in folders:
        if not sentence and not folder.is_dir():
            raise KddaError(f'no folder "{folder}"; give folders that `kdda run --out` has written')
    if sentence and not (sentence.text and sentence.teacher):
        raise KddaError("a plan needs both --teacher and --text")
    drawn = [figure for folder in folders for figure in _figures(folder, sentence)]
    if not drawn:
        raise KddaError(f"nothing to draw in {', '.join(map(str, folders))}: no finished run with metrics")
    if out.exists() and not out.is_dir():
        raise KddaError(f"--out {out}: is a file, expected a folder")
    out.mkdir(parents=True, exist_ok=True)
    return [_write(figure, out, form, number) for number, figure in enumerate(drawn, 1)]


def _figures(folder: Path, sentence: Sentence | None) -> Iterator[Figure]:
    if sentence:
        model = folder / MODEL_FOLDER if (folder / MODEL_FOLDER).is_dir() else folder
        first, second = (
            StateReader.open(str(model)).read(sentence.text),
            StateReader.open(sentence.teacher).read(sentence.text),
        )
        plan = plan_between(first, second, sentence.epsilon)
        yield from plan_figures(first.tokens, second.tokens, plan.shares, (first.name, second.name), sentence.epsilon)
        return
    runs = find_runs(folder)
    for task in sorted({str(run.recipe.get("task")) for run in runs}):
        yield from _of_runs([run for run in runs if str(run.recipe.get("task")) == task])


def _of_runs(runs: Sequence[Run]) -> Iterator[Figure]:
    target = str(runs[0].recipe.get("target"))
    metric = next((e["metric"] for run in runs for e in run.events if e["event"] == "task"), "")
    if metric:
        runs, _ = select_rates(runs, target, metric)
    yield from curves(runs)
    if metric:
        tested = [run for run in runs if target in run.test]
        yield from scores_by_weight(tested, target, metric)
        yield from gains_by_lead(tested, differences(tested, target), target, metric)
        if worth := teacher_check(runs, metric):
            yield teachers_by_arm(worth)


def _write(figure: Figure, out: Path, form: str, number: int) -> Path:
    name = re.sub(r"\W+", "-", figure.title.lower()).strip("-")
    path = out / f"{number:02d}-{name[:60]}.{form}"
    if form == "svg":
        path.write_text(figure.svg + "\n", encoding="utf-8")
    else:
        figure.drawing.savefig(path, dpi=DPI)
    return path
