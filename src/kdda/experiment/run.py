"""`kdda run`: checks before training, then teachers, students, and the table; refuses a folder of another recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console

from kdda.errors import KddaError
from kdda.experiment.context import RunContext, task_of, teacher_data, with_labels
from kdda.experiment.executors import Executor, LocalExecutor
from kdda.experiment.few_steps import FewSteps
from kdda.experiment.languages import language_notes, language_warnings
from kdda.experiment.open_domain import check_systems
from kdda.experiment.saving import Save, check_save
from kdda.experiment.specs import RunSpec, StudentRun, chosen_arms, roles, student_runs, teacher_runs
from kdda.experiment.splits import Splits
from kdda.hub.licences import licence
from kdda.models.load import check_weights
from kdda.recipe.schema import Distill, ModelSpec, Recipe, TeacherSpec
from kdda.report.build import summary
from kdda.report.comparison import Comparison, TaskScores, compare, task_scores
from kdda.report.teacher_check import TeacherScore, student_scores, teacher_scores
from kdda.runs.folder import RECIPE, Run, is_complete, read_recipe, read_run
from kdda.runtime import distributed
from kdda.runtime.folders import make_folder
from kdda.runtime.live import LiveView
from kdda.runtime.numbers import count_of
from kdda.runtime.verbosity import is_quiet
from kdda.tasks.base import Task
from kdda.training.compatibility import (
    check_architecture,
    check_task,
    check_task_of_teacher,
    check_teacher,
    count_layers,
    width_of,
)
from kdda.training.config import DistillationConfig, check_recipe_arguments
from kdda.training.prepare import Teacher

# fields of a recipe that change no result of a run: they may differ from those of the run that a folder holds
WITHOUT_EFFECT = ("name", "note", "teacher_cache_gb", "training.gradient_checkpointing")

MAX_LABELS = 30  # labels that a line of the plan names

MAX_CHANGES = 5  # fields that the refusal of a folder of another recipe names


class Experiment:
    """A recipe that was checked against its models, its data and its output folder, and can run.

    Args:
        recipe: what to compare.
        out: where run folders and teachers go; made if it does not exist.
        arms: some of the recipe's, in any order; all by default.
        seeds: instead of the recipe's.
        console: where progress is printed, and drawn if it is a terminal; by default lines are printed to standard
            output, and the live picture is drawn on standard error.
        save: which runs save their models: "all"; "best", that of each arm with the highest development score; "none".

    Raises:
        KddaError: for everything that can be known before training.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        arms: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        console: Console | None = None,
        save: Save = "all",
    ):
        self.recipe = recipe = with_labels(recipe)
        self.out = out
        self.console = console or Console()
        self.view = LiveView(console)
        self.view.after_job = self._show_teacher_check
        self.arms = chosen_arms(recipe, arms)
        self.student_runs = student_runs(recipe, self.arms, seeds)
        self.teacher_runs = teacher_runs(recipe, self.arms)
        check_earlier_runs(recipe, out, self.student_runs)
        check_models(recipe, self.arms)
        check_systems(recipe)
        check_save(save, recipe)
        make_folder(out)
        self.context = RunContext.open(recipe, out, self.say, save, self.view)
        self._check_row_counts()

    @property
    def task(self) -> Task:
        """The recipe's task, fitted to its training rows."""
        return self.context.task

    def run(self, executor: Executor | None = None) -> dict[str, str]:
        """Execute everything that is not finished yet.

        Args:
            executor: where runs are executed; in this process, one after another, by default.

        Returns:
            The runs that failed, each with the reason in one line.
        """
        distributed.init()
        self._say_plan()
        executor = executor or LocalExecutor()
        runs: list[RunSpec] = [*self.teacher_runs, *self.student_runs]
        self.view.expect(list(map(str, runs)))
        with self.view if distributed.is_main_process() else nullcontext():
            failures = executor.execute(self.context, runs)
        return {str(run): reason for run, reason in failures.items()}

    def _show_teacher_check(self) -> None:
        """Show what is known of the teachers below the runs of the live picture."""
        lines = []
        with suppress(KddaError):  # a folder that cannot be read is the report's to tell
            for teacher in self._teacher_scores():
                lines.append(f"teacher check, {teacher}")
        self.view.notes = lines

    def _teacher_scores(self) -> list[TeacherScore]:
        """The teacher check so far: of teachers whose students wait, too, beside undistilled arms."""
        comparison = self.comparison()
        teachers = teacher_scores(comparison)
        languages = {teacher.language for teacher in teachers}
        for run in self.teacher_runs:
            score = self.view.scores.get(str(run))
            if score is not None and run.language not in languages:
                students = student_scores(comparison, run.language, comparison.arms)
                teachers.append(TeacherScore(run.language, run.spec.model, score, students))
        return teachers

    def comparison(self) -> Comparison:
        """This recipe's finished runs, of each arm those at its best learning rate."""
        runs = []
        for student_run in self.student_runs:
            folder = student_run.folder(self.out, self.task.name)
            if is_complete(folder):
                runs.append(read_run(folder))
        scores = task_scores(runs) or TaskScores(self.task.metric, tuple(self.task.scores))
        return compare(runs, self.recipe.targets, scores, self.arms)

    def all_rows(self, language: str) -> Splits:
        """A language's splits without the recipe's limits: all rows of a corpus."""
        splits, _warnings = self.context.reader.read_language(language, limited=False)
        return splits

    def table(self) -> str:
        """The comparison on the target languages' test rows, of this recipe's arms that have run."""
        return summary(self.comparison(), self.recipe.note)

    def best_of(self, runs: Sequence[Run]) -> Run | None:
        """Of some finished runs the best on the targets' development rows, or the last without such rows; None of none.

        Runs of controls are passed over where there are others.
        """
        best = None
        highest = (False, 0.0)
        for run in runs:
            scores = []
            for target in self.recipe.targets:
                if target in run.dev:
                    scores.append(run.dev[target][self.task.metric])
            rank = (not run.is_control, fmean(scores) if scores else 0.0)
            if best is None or rank >= highest:
                best = run
                highest = rank
        return best

    def say(self, text: str) -> None:
        """Print a line of progress, unless --quiet is given."""
        if not is_quiet():
            self.show(text)

    def show(self, text: str) -> None:
        """Print a result or a warning; of several processes that train one model together, the main one alone."""
        if distributed.is_main_process():
            self.view.print_above(text, self.console)

    def _check_row_counts(self) -> None:
        """Draw the rows that teachers and arms ask for by their number, and refuse a source that is too short.

        Rows that are drawn here are kept, and not drawn again.
        """
        for teacher in self.teacher_runs:
            if teacher.spec.rows:
                teacher_data(self.context.reader, self.task, self.context.data, teacher.language, teacher.spec)
        for arm in self.arms:
            for language in self.recipe.arms[arm].rows:
                self.context.rows(arm, language, "train")

    def _say_plan(self) -> None:
        """Print what is going to run: the number of runs, models with widths and licences, and rows."""
        recipe = self.recipe
        targets = ", ".join(recipe.targets)
        runs = count_of(len(self.student_runs), "run")
        self.say(f"{recipe.name}: task {recipe.task}, target {targets}, {runs} in {self.out}")
        for role, spec in roles(recipe, self.arms):
            self.say(f"  {role}: {_describe(spec)}")
        for language, splits in self.context.data.items():
            sizes = []
            for split, rows in splits.items():
                sizes.append(f"{split} {len(rows):,}")
            self.say(f"  data {language}: {', '.join(sizes)} rows" + self.context.warnings[language])
        if self.context.labels:
            self.say(f"  labels: {shown_labels(self.context.labels)}")
        for warning in language_warnings(recipe, self.arms):
            self.show(f"  WARNING: {warning}")
        for remark in language_notes(recipe, self.arms):
            self.say(f"  note: {remark}")
        if distributed.is_main_process():
            for note in FewSteps(self.context.reader, self.task, self.context.data, self.out).notes(self.arms):
                self.say(f"  WARNING: {note}")
        if recipe.note:
            self.say(f"  note: {recipe.note}")


def check_models(recipe: Recipe, arms: Sequence[str]) -> None:
    """Refuse missing weights, unknown objectives, and teachers whose states cannot be compared with the student's."""
    for role, spec in roles(recipe, arms):
        check_weights(spec.model)
        check_architecture(role, spec)
    check_recipe_arguments(recipe.training.arguments)
    for arm in arms:
        distill = recipe.distillation(arm)
        if distill is not None:
            _check_distillation(recipe, arm, distill)


def _check_distillation(recipe: Recipe, arm: str, distill: Distill) -> None:
    """Refuse an arm whose objective is unknown, does not fit its task, or cannot compare its teachers and student.

    Known from configs alone, without loading weights.

    Args:
        distill: the arm's settings of distillation.
    """
    config = DistillationConfig.from_recipe(recipe.training_of(arm), distill, output_dir="", seed=1)
    loss = config.distillation_loss()
    check_task(loss, task_of(recipe))
    student = recipe.student_of(arm)
    for language, spec in recipe.teachers_of(arm):
        teacher = Teacher.from_spec(spec)
        check_task_of_teacher(language, teacher, task_of(recipe), recipe.labels)
        check_teacher(language, teacher, student, loss, distill.tokens, distill.align)


def shown_labels(labels: Sequence[str]) -> str:
    """Labels as a line of the plan names them: all, or the first `MAX_LABELS` of more."""
    text = ", ".join(labels[:MAX_LABELS])
    if len(labels) > MAX_LABELS:
        text += f", … ({count_of(len(labels), 'label')})"
    return text


def _describe(spec: ModelSpec) -> str:
    """A model's name with its width, changed depth and licence, as a line of the plan names it."""
    parts = [f"{width_of(spec.model)} wide"]
    if spec.layers:
        parts.append(count_of(count_layers(spec), "layer"))
    if isinstance(spec, TeacherSpec) and spec.random:
        parts.append("random weights")
    return f"{spec.model} ({', '.join(parts)}, licence {licence(spec.model)})"


def check_earlier_runs(recipe: Recipe, out: Path, runs: Sequence[StudentRun]) -> None:
    """Refuse an output folder that holds a run of another recipe where one of this recipe's runs is to stand."""
    task = task_of(recipe).name
    for run in runs:
        path = run.folder(out, task) / RECIPE
        if path.is_file():
            _check_same(path, recipe.of_run(run.arm, run.seed, run.learning_rate))


def _check_same(path: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe: its scores would not be this recipe's.

    Args:
        path: of the folder's recipe.yaml.
        recipe: what the folder's recipe must be, but for `WITHOUT_EFFECT`.
    """
    new = yaml.safe_load(recipe.to_yaml())
    old = read_recipe(path.parent)
    with suppress(ValidationError):  # a field that an older kdda did not know has its default
        old = yaml.safe_load(Recipe.model_validate(old).to_yaml())
    changes = []
    for field, old_value, new_value in _differences(old, new):
        if field not in WITHOUT_EFFECT:
            changes.append(f"{field}: {old_value!r} there, {new_value!r} here")
    if changes:
        lines = "\n  ".join(changes[:MAX_CHANGES])
        name = recipe.name.rsplit("/")[-1]
        raise KddaError(
            f"{path.parent} holds a run of another recipe:\n  {lines}\n"
            f"choose another --out, such as --out runs-{name}, or delete that folder"
        )


def _differences(old: Any, new: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Fields whose values differ, each as a path such as "training.epochs", with both values.

    Args:
        old, new: dictionaries as YAML gives them, or values within them.
        field: the path of `old` and `new` themselves; empty for whole recipes.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{field}.{name}" if field else str(name)
            yield from _differences(old.get(name), new.get(name), inner)
    elif old != new:
        yield field, old, new
