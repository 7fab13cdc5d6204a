"""The runs of an experiment, teachers and students, and the run folder's path: task/arm/[lr-<rate>/]seed-<n>."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdda.errors import KddaError, unknown_choice
from kdda.recipe.schema import ModelSpec, Recipe, TeacherSpec


@dataclass(frozen=True)
class StudentRun:
    """One student to train: an arm at one seed, and at one learning rate where the recipe searches for it.

    Attributes:
        learning_rate: None for an arm that searches for none.
    """

    arm: str
    seed: int
    learning_rate: float | None = None

    def folder(self, root: Path, task: str) -> Path:
        """The run folder, below the folder of the task's name in `root`, the output folder of `kdda run`."""
        folder = root / task / self.arm
        if self.learning_rate:
            folder = folder / f"lr-{self.learning_rate:g}"
        return folder / f"seed-{self.seed}"

    def __str__(self) -> str:
        """The run in messages."""
        if self.learning_rate:
            return f"{self.arm}, learning rate {self.learning_rate:g}, seed {self.seed}"
        return f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class TeacherRun:
    """One teacher to fine-tune, whichever arms are distilled from it."""

    language: str
    spec: TeacherSpec

    def __str__(self) -> str:
        """The run in messages."""
        return f"teacher {self.language}, {self.spec.model}"


RunSpec = TeacherRun | StudentRun


def student_runs(recipe: Recipe, arms: Sequence[str], seeds: Sequence[int] | None = None) -> list[StudentRun]:
    """Every run of some arms, seed after seed, so that whole comparisons are finished first.

    Args:
        seeds: the recipe's by default.
    """
    runs = []
    for seed in seeds or recipe.seeds:
        for arm in arms:
            for rate in recipe.rates_of(arm):
                runs.append(StudentRun(arm, seed, rate))
    return runs


def teacher_runs(recipe: Recipe, arms: Sequence[str]) -> list[TeacherRun]:
    """Every teacher that some arm is distilled from, or whose student starts as it, once."""
    runs: dict[TeacherRun, None] = {}  # a set that keeps its order
    for arm in arms:
        for language, spec in recipe.needed_teachers(arm):
            runs[TeacherRun(language, spec)] = None
    return list(runs)


def chosen_arms(recipe: Recipe, arms: Sequence[str] | None) -> list[str]:
    """Some of a recipe's arms, in its order; all by default.

    Raises:
        KddaError: no such arm.
    """
    if not arms:
        return list(recipe.arms)
    for arm in arms:
        if arm not in recipe.arms:
            raise KddaError(unknown_choice("--arms", arm, recipe.arms))
    return [arm for arm in recipe.arms if arm in arms]


def roles(recipe: Recipe, arms: Sequence[str]) -> list[tuple[str, ModelSpec]]:
    """Every model that some arms need, once, with its role: "student", "teacher vi", "sentences".

    Students come first, then teachers, then the models that select ViReader's sentences.
    """
    students: list[tuple[str, ModelSpec]] = []
    teachers: list[tuple[str, ModelSpec]] = []
    encoders: list[tuple[str, ModelSpec]] = []
    for arm in arms:
        students.append(("student", recipe.student_of(arm)))
        for language, spec in recipe.teachers_of(arm):
            teachers.append((f"teacher {language}", spec))
        sentences = recipe.sentences_of(arm)
        if sentences:
            encoders.append(("sentences", ModelSpec(model=str(sentences.model))))
    return list(dict.fromkeys([*students, *teachers, *encoders]))
