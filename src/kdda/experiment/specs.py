"""The runs of an experiment: teachers to prepare and students to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdda.recipe.schema import Recipe, TeacherSpec


@dataclass(frozen=True)
class StudentRun:
    """One arm at one seed, and at one learning rate where the recipe searches for it."""

    arm: str
    seed: int
    learning_rate: float | None = None

    def folder(self, root: Path, task: str) -> Path:
        searched = f"lr-{self.learning_rate:g}/" if self.learning_rate else ""
        return root / task / self.arm / f"{searched}seed-{self.seed}"

    def __str__(self) -> str:
        rate = f", learning rate {self.learning_rate:g}" if self.learning_rate else ""
        return f"{self.arm}{rate}, seed {self.seed}"


def student_runs(recipe: Recipe, arms: Sequence[str], seeds: Sequence[int] | None = None) -> list[StudentRun]:
    """Every run of some arms, seed after seed, so that whole comparisons are finished first."""
    return [
        StudentRun(arm, seed, rate) for seed in (seeds or recipe.seeds) for arm in arms for rate in recipe.rates_of(arm)
    ]


@dataclass(frozen=True)
class TeacherRun:
    """One teacher to fine-tune, whoever is_distilled to it."""

    language: str
    spec: TeacherSpec

    def __str__(self) -> str:
        return f"teacher {self.language}, {self.spec.model}"


RunSpec = TeacherRun | StudentRun
