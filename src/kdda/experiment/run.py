"""An experiment: teachers once, then every cell in a run folder of its own, then the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console

from kdda.errors import KddaError, did_you_mean
from kdda.experiment.context import RunContext, lessons_of, say, task_of
from kdda.experiment.executors import Grid
from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun, student_runs
from kdda.experiment.splits import Splits, read_splits
from kdda.hub.licences import licence
from kdda.losses.distillation import WIDTHS_MAY_DIFFER, check_distill
from kdda.models.hidden_states import check_attention_is_readable
from kdda.models.load import check_weights, load_config
from kdda.recipe.schema import ModelSpec, Recipe
from kdda.report.render import to_markdown
from kdda.report.selection import select_rates, teacher_check
from kdda.report.tables import comparison
from kdda.runs.folder import RECIPE, Run, find_runs, read_recipe
from kdda.runtime import distributed
from kdda.tasks.base import Task

# fields that change nothing that a run finds
NO_RESULT = ("name", "note", "teacher_cache_gb", "training.gradient_checkpointing")


class Experiment:
    """A recipe that was checked against its models, its data and its output folder, and can run.

    Args:
        recipe: what to compare.
        out: where run folders and teachers go.
        arms: some of the recipe's, in any order; all by default.
        seeds: instead of the recipe's.
        console: where progress is told.

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
    ):
        self.recipe, self.out = recipe, out
        self.console = console or Console()
        self.arms = chosen_arms(recipe, arms)
        self.cells = student_runs(recipe, self.arms, seeds)
        self._check_folders(task_of(recipe).name)
        check_models(recipe, self.arms)
        self.context = RunContext.open(recipe, out, self.say)
        for language, spec in ((own.language, own.spec) for own in self.teacher_runs if own.spec.rows):
            lessons_of(recipe, self.task, self.context.data[language], language, spec)  # are there so many?
        for arm in self.arms:
            for language in recipe.arms[arm].rows:
                self.context.rows(arm, language, "train")  # and here?

    @property
    def task(self) -> Task:
        return self.context.task

    @property
    def teacher_runs(self) -> list[TeacherRun]:
        """Every teacher that some arm is_distilled to, once."""
        found = [TeacherRun(*pair) for arm in self.arms for pair in self.recipe.teachers_of(arm).items()]
        return list(dict.fromkeys(found))

    def run(self, grid: Grid | None = None) -> dict[str, str]:
        """Do everything that is not done yet, and say what failed and why.

        Args:
            grid: where work is done; in this process, one after another, by default.
        """
        distributed.init()
        self._say_plan()
        does = (grid or Grid()).of(self.context)
        failed: dict[RunSpec, str] = does(self.teacher_runs)
        waiting = {cell: self._missing(cell, failed) for cell in self.cells}
        failed |= {cell: f"needs {lost}, which failed" for cell, lost in waiting.items() if lost}
        failed |= does([cell for cell, lost in waiting.items() if not lost])
        return {str(work): why for work, why in failed.items()}

    def _missing(self, cell: StudentRun, failed: dict[RunSpec, str]) -> TeacherRun | None:
        wanted = (TeacherRun(*pair) for pair in self.recipe.teachers_of(cell.arm).items())
        return next((own for own in wanted if own in failed), None)

    def chosen(self) -> tuple[list[Run], list[str]]:
        """This recipe's finished runs, of each arm those at its best learning rate, and which that is, in words."""
        wanted = [cell.folder(self.out, self.task.name) for cell in self.cells]
        runs = [run for run in find_runs(self.out / self.task.name) if run.folder in wanted]
        return select_rates(runs, self.recipe.target, self.task.metric)

    def all_rows(self, language: str) -> Splits:
        """A language's splits without the recipe's limits: what makes up a whole corpus."""
        own = self.recipe.data[language].model_copy(update={"limit": {}})
        return read_splits(own, language, self.recipe, self.task)[0]

    def table(self) -> str:
        """The comparison on the target language's test rows, of this recipe's arms that have run."""
        chosen, warnings = self.chosen()
        worth = teacher_check(chosen, self.task.metric)
        table = to_markdown(comparison(chosen, self.recipe.target, self.task, self.arms, self.recipe.note))
        before = [f"{worth.title}\n", to_markdown(worth), ""] if worth else []
        return "\n".join([*before, table, *warnings])

    def say(self, text: str) -> None:
        if distributed.is_main_process():
            say(self.console, text)

    def _check_folders(self, task: str) -> None:
        for cell in self.cells:
            path = cell.folder(self.out, task) / RECIPE
            if path.is_file():
                _check_same(path, self.recipe.cell(cell.arm, cell.seed, cell.learning_rate))

    def _say_plan(self) -> None:
        recipe = self.recipe
        self.say(f"{recipe.name}: task {recipe.task}, target {recipe.target}, {len(self.cells)} runs in {self.out}")
        for role, spec in roles(recipe, self.arms):
            self.say(f"  {role}: {_describe(spec)}")
        for language, splits in self.context.data.items():
            counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
            self.say(f"  data {language}: {counts} rows" + self.context.warnings[language])
        if recipe.note:
            self.say(f"  note: {recipe.note}")


def roles(recipe: Recipe, arms: Sequence[str]) -> list[tuple[str, ModelSpec]]:
    """Every model that some arms need, once, with what it is there for."""
    students = [("student", recipe.student_of(arm)) for arm in arms]
    teachers = [(f"teacher {lang}", spec) for arm in arms for lang, spec in recipe.teachers_of(arm).items()]
    chosen = [("sentences", ModelSpec(model=str(own.model))) for arm in arms if (own := recipe.sentences_of(arm))]
    return list(dict.fromkeys([*students, *teachers, *chosen]))


def check_models(recipe: Recipe, arms: Sequence[str]) -> None:
    """Weights and objectives must be there, and teachers as wide as the student whose states they are compared with."""
    for _, spec in roles(recipe, arms):
        check_weights(spec.model)
    for arm in arms:
        own, student = recipe.distillation(arm), recipe.student_of(arm)
        width = width_of(student.model)
        if own is None:
            continue
        check_distill(own, task_of(recipe).labelled)
        if own.tokens == "attended":
            for spec in (student, *recipe.teachers_of(arm).values()):
                check_attention_is_readable(spec.model, load_config(spec.model).model_type)
        for language, teacher in recipe.teachers_of(arm).items():
            if width_of(teacher.model) != width and own.objective not in WIDTHS_MAY_DIFFER:
                raise KddaError(
                    f"teachers.{language}: {teacher.model} is {width_of(teacher.model)} wide and the student "
                    f"{student.model} {width}; transport compares their states, so choose "
                    f"a teacher of the student's width, or an objective of {', '.join(WIDTHS_MAY_DIFFER)}"
                )


@lru_cache
def width_of(model: str) -> int:
    return int(load_config(model).hidden_size)


def _describe(spec: ModelSpec) -> str:
    layers = f", {spec.layers} layers" if spec.layers else ""
    random = ", random weights" if getattr(spec, "random", False) else ""
    return f"{spec.model} ({width_of(spec.model)} wide{layers}{random}, licence {licence(spec.model)})"


def chosen_arms(recipe: Recipe, arms: Sequence[str] | None) -> list[str]:
    """Some of a recipe's arms, in its order; all by default."""
    for arm in arms or ():
        if arm not in recipe.arms:
            raise KddaError(
                f'--arms: found "{arm}"{did_you_mean(arm, recipe.arms)}; there are {", ".join(recipe.arms)}'
            )
    return [arm for arm in recipe.arms if not arms or arm in arms]


def _check_same(path: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe: mixing them would make a table of nothing."""
    here = yaml.safe_load(recipe.to_yaml())
    there = read_recipe(path.parent)
    with suppress(ValidationError):  # fields that a newer kdda has come to know have their defaults
        there = yaml.safe_load(Recipe.model_validate(there).to_yaml())
    differences = [found for found in _differences(there, here) if found[0] not in NO_RESULT]
    changes = [f"{key}: {a!r} there, {b!r} here" for key, a, b in differences]
    if changes:
        shown = "\n  ".join(changes[:5])
        raise KddaError(
            f"{path.parent} holds a run of another recipe:\n  {shown}\nchoose another --out, or delete that folder"
        )


def _differences(there: Any, here: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            yield from _differences(there.get(name), here.get(name), f"{key}.{name}" if key else str(name))
    elif there != here:
        yield key, there, here
