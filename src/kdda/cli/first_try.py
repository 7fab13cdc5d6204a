"""The command `try`: the built-in recipe `try`, in a minute, with its tables, one transport plan and what to type next."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.language import tr
from kdda.cli.shared import FAILED, Device, app, check_model_folder, say
from kdda.cli.train import failures_in_words

if TYPE_CHECKING:
    from kdda.experiment.run import Experiment
    from kdda.recipe.schema import Recipe
    from kdda.report.comparison import Comparison

RECIPE = "try"

TAUGHT = "student-kdda"  # the arm of the recipe that is shown

SENTENCE = "It whistles beautifully and leaks everywhere."  # of the plan, and of the command to type next


@app.command("try")
def first_try(
    out: Annotated[Path, typer.Option(help="The folder of the run folders; about 700 MB.")] = Path("runs-try"),
    device: Device = "",
) -> None:
    """See in a minute what a teacher that knows more adds to a very small student; offline, on two cores.

    Trains a teacher and nine students, and prints scores with intervals, the teacher check and one transport plan. All
    of it is the built-in recipe `try`.
    """
    from kdda.recipe.load import load_recipe

    check_model_folder("--out", out)
    recipe = load_recipe(RECIPE)
    print(_introduction(recipe) + "\n")
    from kdda.experiment.run import Experiment
    from kdda.runtime.verbosity import without_library_bars

    without_library_bars()
    experiment = Experiment(recipe, out, is_brief=True)
    failures = experiment.run()
    if failures:
        sys.exit(say(failures_in_words(failures), FAILED))
    print("\n" + _tables(experiment.comparison()))
    print("\n".join(_plan_lines(experiment)) + "\n")
    print(_next_steps(experiment))


def _introduction(recipe: Recipe) -> str:
    """What the command does, in five lines; numbers are the recipe's."""
    (teacher,) = recipe.teachers_by_language()[recipe.targets[0]]
    lines = (
        tr("Does a teacher that knows more help a very small student? A minute on two cores, without a network."),
        tr("The teacher, {model}, is fine-tuned on the labels of {rows} short English texts: is each one {labels}?"),
        tr("The student has {layers} of its layers and the labels of {few} texts; the other texts are without labels."),
        tr("It is trained alone (student), with the teacher (student-kdda), and with teachers that know nothing."),
        tr("From a teacher it takes hidden states, by optimal transport, and logits. All are toys: mini models, few rows."),
    )
    return "\n".join(lines).format(
        model=teacher.model,
        rows=teacher.rows,
        labels=", ".join(recipe.labels),
        layers=recipe.student.layers,
        few=recipe.data[recipe.targets[0]].limit["train"],
    )


def _tables(comparison: Comparison) -> str:
    """The teacher check, the scores of the arms and their differences with intervals, in Markdown."""
    from kdda.report.differences import difference_table, differences
    from kdda.report.render import to_markdown
    from kdda.report.tables import comparison_table
    from kdda.report.teacher_check import teacher_check

    check = teacher_check(comparison)
    scores = replace(comparison_table(comparison), notes=[])
    parts = []
    for table in (check, scores, difference_table(differences(comparison), comparison.metric)):
        if table:
            parts.append(f"{table.title}\n\n{to_markdown(table)}")
    return "\n\n".join(parts)


def _plan_lines(experiment: Experiment) -> list[str]:
    """The transport plan between the student that was distilled and its teacher, on `SENTENCE`, as lines of text."""
    from kdda.runs.folder import MODEL_FOLDER
    from kdda.visualize.plan_text import plan_lines
    from kdda.visualize.transport_plan import StateReader, plan_between

    language, teacher = experiment.recipe.teachers_of(TAUGHT)[0]
    student_states = StateReader.open(str(_folder(experiment) / MODEL_FOLDER)).read(SENTENCE)
    teacher_states = StateReader(experiment.context.teacher(language, teacher).open()).read(SENTENCE)
    plan = plan_between(student_states, teacher_states, experiment.recipe.distill.epsilon)
    title = tr("Transport plan: which of the teacher's tokens (columns) each of the student's goes to")
    encoding = sys.stdout.encoding or "ascii"
    return [title, "", *plan_lines(student_states.tokens, teacher_states.tokens, plan.shares, encoding)]


def _folder(experiment: Experiment) -> Path:
    """The run folder of the first seed of `TAUGHT`."""
    for run in experiment.student_runs:
        if run.arm == TAUGHT:
            return run.folder(experiment.out, experiment.task.name)
    raise LookupError(TAUGHT)


def _next_steps(experiment: Experiment) -> str:
    """What to type next: commands, each with what it does."""
    model = _folder(experiment) / "model"
    steps = (
        (f'kdda predict {model} --text text="{SENTENCE}"', tr("ask this student")),
        (f"kdda serve {model} --runs {experiment.out}", tr("a page for it in the browser, with plans and curves")),
        (f"kdda report {experiment.out} --out try.html", tr("all tables and figures")),
        (f"kdda recipes --show {RECIPE} > mine.yaml", tr("the recipe of all this, to change and to run")),
        ("kdda new FILES", tr("a recipe for files of yours")),
    )
    lines = [tr("What to type next:")]
    for command, purpose in steps:
        lines.append(f"  {command}\n      {purpose}")
    return "\n".join(lines)
