"""Commands to type next, as `try` and `run` print them at their end, and the command `predict` with a task's fields."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kdda.cli.language import tr

if TYPE_CHECKING:
    from kdda.experiment.run import Experiment
    from kdda.runs.folder import Run
    from kdda.tasks.base import Task

# Fields that `kdda predict` has an option for; all others are given by --text.
OPTION_FIELDS = ("question", "context", "premise", "hypothesis")


def in_lines(steps: Iterable[tuple[str, str]]) -> str:
    """Commands to type next, each above what it does.

    Args:
        steps: commands with their purposes.
    """
    lines = [tr("What to type next:")]
    for command, purpose in steps:
        lines.append(f"  {command}\n      {purpose}")
    return "\n".join(lines)


def predict_command(model: str, task: Task) -> str:
    """The command that predicts one row, with an option for each field of a task; optional ones are in brackets."""
    parts = ["kdda predict", shlex.quote(model)]
    for field in task.fields:
        option = f'--{field} "…"' if field in OPTION_FIELDS else f'--text "{field}=…"'
        if field == task.only_field:
            option = '--text "…"'
        if field in task.list_fields:
            option += f" {option}"  # two texts of a list at least
        if field in task.optional_fields:
            option = f"[{option}]"
        parts.append(option)
    return " ".join(parts)


def serve_step(model: Path, runs: Path) -> tuple[str, str]:
    """The command that serves a model beside its run folders, and what it does; where it cannot yet, what it needs."""
    from kdda.serve.packages import missing_package

    command = f"kdda serve {shlex.quote(str(model))} --runs {shlex.quote(str(runs))}"
    purpose = tr("a page for it in the browser, with plans and curves")
    if missing_package():
        purpose += "; " + tr('it needs: pip install "kdda[serve]"')
    return command, purpose


def after_run(experiment: Experiment) -> str:
    """What to type after `kdda run`: ask the best model that was saved, look at it, and see the whole report.

    Where `kdda clean --models` has removed the models, how the best run is trained again; without models that are
    missed, the report alone. Empty where no run has finished.
    """
    from kdda.runs.folder import MODEL_FOLDER, MODEL_REMOVED, retrain_command

    steps = []
    runs = experiment.comparison().runs
    if not runs:
        return ""
    saved = experiment.best_of([run for run in runs if (run.folder / MODEL_FOLDER).is_dir()])
    removed = experiment.best_of([run for run in runs if (run.folder / MODEL_REMOVED).is_file()])
    if saved is not None:
        model = saved.folder / MODEL_FOLDER
        purpose = tr("ask the best saved model: {run}, chosen on development rows").format(run=_name(saved))
        steps.append((predict_command(str(model), experiment.task), purpose))
        steps.append(serve_step(model, experiment.out))
    elif removed is not None:
        purpose = tr("make a model of {run} again, which kdda clean --models has removed; its scores stand")
        command = retrain_command(removed.folder, f"{experiment.out}-again")
        steps.append((command, purpose.format(run=_name(removed))))
    report = shlex.quote(str(experiment.out / experiment.task.name))
    steps.append((f"kdda report {report} --out report.html", tr("intervals, verdicts, costs and curves")))
    return in_lines(steps)


def _name(run: Run) -> str:
    """A run as its lines of progress name it."""
    from kdda.experiment.specs import StudentRun

    return str(StudentRun(run.arm, run.seed, run.learning_rate))
