"""The command `try`: the built-in recipe `try`, in a minute: tables, one transport plan, commands to type next."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.language import tr
from kdda.cli.next_steps import in_lines, serve_step
from kdda.cli.shared import FAILED, Device, app, check_model_folder, parse_seeds, say, show_table
from kdda.cli.train import failures_in_words
from kdda.errors import KddaError

if TYPE_CHECKING:
    from kdda.experiment.run import Experiment
    from kdda.recipe.schema import Recipe
    from kdda.report.comparison import Comparison
    from kdda.report.render import Table

RECIPE = "try"

TAUGHT = "student-kdda"  # the arm of the recipe that is shown

SENTENCE = "It whistles beautifully and leaks everywhere."  # of the plan, and of the command to type next


@app.command("try")
def first_try(
    out: Annotated[Path, typer.Option(help="The folder of the run folders; about 300 MB.")] = Path("runs-try"),
    seeds: Annotated[str, typer.Option(hidden=True)] = "",  # instead of the recipe's, for tests that have less time
    device: Device = "",
) -> None:
    """See in a minute what a teacher that knows more adds to a very small student; offline, on two cores.

    Trains a teacher and nine students, and prints scores with intervals, the teacher check and one transport plan. All
    of it is the built-in recipe `try`.
    """
    from kdda.recipe.load import load_recipe

    check_model_folder("--out", out)
    recipe = load_recipe(RECIPE)
    numbers = parse_seeds(seeds)
    print(_introduction(recipe) + "\n")
    from kdda.runtime.verbosity import hide_library_bars

    hide_library_bars()
    from kdda.experiment.run import Experiment

    experiment = Experiment(recipe, out, seeds=numbers, save="best")
    if experiment.view.can_draw:  # the live picture shows all; where there is no terminal, lines are printed instead
        experiment.console.quiet = True
    failures = experiment.run()
    if failures:
        sys.exit(say(failures_in_words(failures), FAILED))
    print()
    for table in _tables(experiment.comparison()):
        show_table(table)
    print("\n".join(_plan_lines(experiment)) + "\n")
    print(_next_steps(experiment))


def _introduction(recipe: Recipe) -> str:
    """What the command does, in five lines; numbers are the recipe's."""
    (teacher,) = recipe.teachers_by_language()[recipe.targets[0]]
    lines = (
        tr("Does a teacher that knows more help a very small student? A minute on two cores, without a network."),
        tr("The teacher, {model}, is fine-tuned on {rows} short English texts with labels ({labels})."),
        tr("The student has {layers} of its layers and labels of {few} texts; the other texts are without labels."),
        tr("It is trained alone (student), with the teacher (student-kdda), and with teachers that know nothing."),
        tr("It matches a teacher's hidden states, by optimal transport, and its logits. A toy: mini models, few rows."),
    )
    return "\n".join(lines).format(
        model=teacher.model,
        rows=teacher.rows,
        labels=", ".join(recipe.labels),
        layers=recipe.student.layers,
        few=recipe.data[recipe.targets[0]].limit["train"],
    )


def _tables(comparison: Comparison) -> list[Table]:
    """The teacher check, the scores of the arms and their differences with intervals."""
    from kdda.report.differences import difference_table, differences
    from kdda.report.tables import comparison_table
    from kdda.report.teacher_check import teacher_check

    check = teacher_check(comparison)
    scores = replace(comparison_table(comparison), notes=[])
    tables = [scores, difference_table(differences(comparison), comparison.metric)]
    return [check, *tables] if check else tables


def _plan_lines(experiment: Experiment) -> list[str]:
    """The transport plan between the student that was distilled and its teacher, on `SENTENCE`, as lines of text."""
    from kdda.visualize.plan_text import plan_lines
    from kdda.visualize.transport_plan import StateReader, plan_between

    language, teacher = experiment.recipe.teachers_of(TAUGHT)[0]
    student_states = StateReader.open(str(_saved_model(experiment))).read(SENTENCE)
    teacher_folder = experiment.context.teacher(language, teacher).open().name  # of the fine-tuned checkpoint
    teacher_states = StateReader.open(teacher_folder).read(SENTENCE)
    plan = plan_between(student_states, teacher_states, experiment.recipe.distill.epsilon)
    title = tr("Transport plan: which of the teacher's tokens (columns) each of the student's goes to")
    encoding = sys.stdout.encoding or "ascii"
    return [title, "", *plan_lines(student_states.tokens, teacher_states.tokens, plan.shares, encoding)]


def _saved_model(experiment: Experiment) -> Path:
    """The folder of the model that was saved of the arm `TAUGHT`: that of its best seed on development rows."""
    from kdda.runs.folder import MODEL_FOLDER

    folders = []
    for run in experiment.student_runs:
        if run.arm == TAUGHT:
            folders.append(run.folder(experiment.out, experiment.task.name) / MODEL_FOLDER)
    saved = [folder for folder in folders if folder.is_dir()]
    if not saved:  # `kdda clean --models` has removed it
        raise KddaError(f"{experiment.out}: no model of {TAUGHT} is there; choose another --out, or delete that folder")
    return saved[0]


def _next_steps(experiment: Experiment) -> str:
    """What to type next: commands, each with what it does."""
    saved = _saved_model(experiment)
    model = quote(str(saved))
    out = quote(str(experiment.out))
    steps = (
        (f'kdda predict {model} --text "{SENTENCE}"', tr("ask this student")),
        serve_step(saved, experiment.out),
        (f"kdda report {out} --out try.html", tr("all tables and figures")),
        (f"kdda recipes --show {RECIPE} > mine.yaml", tr("the recipe of all this, to change and to run")),
        ("kdda new FILES", tr("a recipe for files of yours")),
    )
    return in_lines(steps)
