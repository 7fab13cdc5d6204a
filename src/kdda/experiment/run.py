"""An experiment: teachers once, then every arm and seed in a run folder of its own, then the table."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from rich.console import Console

from kdda.distill import (
    WIDTHS_MAY_DIFFER,
    Job,
    Lessons,
    Store,
    Student,
    Teacher,
    check_objective,
    fine_tune,
    prepare_teacher,
    scores_by_language,
)
from kdda.errors import KddaError, did_you_mean
from kdda.experiment.splits import read_all
from kdda.models import licence, load_config
from kdda.recipe import Recipe
from kdda.report import comparison, find_runs, read_run, to_markdown
from kdda.report.card import write_card
from kdda.report.runs import ENVIRONMENT, PREDICTIONS, RECIPE, is_complete, write_whole
from kdda.tasks import TASKS, Task

NO_RESULT = ("note", "store_gb")  # fields that change nothing that a run finds
LIBRARIES = ("kdda", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Cell:
    """One arm at one seed."""

    arm: str
    seed: int

    def folder(self, root: Path, task: str) -> Path:
        return root / task / self.arm / f"seed-{self.seed}"


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
        self.task = _task(recipe.task)
        chosen = _chosen_arms(recipe, arms)
        self.cells = [Cell(arm, seed) for seed in (seeds or recipe.seeds) for arm in chosen]
        self.arms = chosen
        self.distilled = any(recipe.distillation(arm) for arm in chosen)
        self._check_folders()
        self._check_models()
        self.data, self.remarks = read_all(recipe, self.task)
        self.task = self.task.fitted([row for splits in self.data.values() for row in splits["train"]])
        self.labels = recipe.labels if self.task.labelled else []

    def run(self) -> str:
        """Run every cell that is not finished yet, and return the table in Markdown."""
        self._say_plan()
        teachers = self._teachers() if self.distilled else {}
        for cell in self.cells:
            folder = cell.folder(self.out, self.task.name)
            if is_complete(folder):
                self.say(f"  {cell.arm}, seed {cell.seed}: finished already, in {folder}")
                continue
            with _alone(folder):
                self._run_cell(cell, folder, teachers)
        self._compare_teachers(teachers)
        return self.table()

    def table(self) -> str:
        """The comparison on the target language's test rows, of this recipe's arms that have run."""
        wanted = [cell.folder(self.out, self.task.name) for cell in self.cells]
        runs = [run for run in find_runs(self.out / self.task.name) if run.folder in wanted]
        return to_markdown(comparison(runs, self.recipe.target, self.task, self.arms, self.recipe.note))

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    # -- checks, before anything is spent

    def _check_folders(self) -> None:
        for cell in self.cells:
            path = cell.folder(self.out, self.task.name) / RECIPE
            if path.is_file():
                _check_same(path, self.recipe.cell(cell.arm, cell.seed))

    def _check_models(self) -> None:
        self.widths = {"student": _width(self.recipe.student.model)}
        if not self.distilled:
            return
        objectives = [own.objective for own in map(self.recipe.distillation, self.arms) if own]
        for objective in objectives:
            check_objective(objective, self.task.labelled)
        for language, teacher in self.recipe.teachers.items():
            width = self.widths[language] = _width(teacher.model)
            if width != self.widths["student"] and not set(objectives) <= set(WIDTHS_MAY_DIFFER):
                raise KddaError(
                    f"teachers.{language}: {teacher.model} is {width} wide and the student "
                    f"{self.recipe.student.model} {self.widths['student']}; transport compares their states, so choose "
                    f"a teacher of the student's width, or an objective of {', '.join(WIDTHS_MAY_DIFFER)}"
                )

    # -- what will happen

    def _say_plan(self) -> None:
        recipe = self.recipe
        self.say(f"{recipe.name}: task {recipe.task}, target {recipe.target}, {len(self.cells)} runs in {self.out}")
        self.say(f"  student: {_describe(recipe.student, self.widths['student'])}")
        for language, teacher in recipe.teachers.items() if self.distilled else ():
            self.say(f"  teacher {language}: {_describe(teacher, self.widths[language])}")
        for language, splits in self.data.items():
            counts = ", ".join(f"{split} {len(rows):,}" for split, rows in splits.items())
            self.say(f"  data {language}: {counts} rows" + self.remarks[language])
        if recipe.note:
            self.say(f"  note: {recipe.note}")

    # -- the work

    def _teachers(self) -> dict[str, Teacher]:
        wanted = {
            lang
            for cell in self.cells
            if self.recipe.distillation(cell.arm)
            for lang in self.recipe.languages(cell.arm)
        }
        teachers = {}
        for language in (name for name in self.recipe.teachers if name in wanted):
            splits = self.data[language]
            lessons = Lessons(
                language,
                self.task,
                self.labels,
                splits["train"],
                splits["dev"],
                self.recipe.teacher_training(language),
            )
            store = self.out / "teachers"
            with _alone(store / language):
                teacher = prepare_teacher(self.recipe.teachers[language], lessons, store, self.say)
            score = teacher.dev[self.task.metric]
            self.say(f"  teacher {language}: {self.task.metric} {score:.1f} on its development rows")
            teachers[language] = teacher
        return teachers

    def _run_cell(self, cell: Cell, folder: Path, teachers: Mapping[str, Teacher]) -> None:
        recipe = self.recipe.cell(cell.arm, cell.seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECIPE, recipe.to_yaml())
        write_whole(folder / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
        student = fine_tune(self._job(cell, folder, teachers), self.say)
        self._finish(student, cell, folder)

    def _job(self, cell: Cell, folder: Path, teachers: Mapping[str, Teacher]) -> Job:
        return Job(
            name=f"{cell.arm}, seed {cell.seed}",
            task=self.task,
            labels=self.labels,
            model=self.recipe.student,
            train={language: self.data[language]["train"] for language in self.recipe.languages(cell.arm)},
            dev={language: splits["dev"] for language, splits in self.data.items()},
            target=self.recipe.target,
            training=self.recipe.training,
            seed=cell.seed,
            folder=folder,
            distill=self.recipe.distillation(cell.arm),
            teachers={language: teacher.checkpoint for language, teacher in teachers.items()},
            store=Store(self.out / "teachers" / "states", self.recipe.store_gb * 2**30),
        )

    def _finish(self, student: Student, cell: Cell, folder: Path) -> None:
        """Score, save, and last of all write the predictions that mark a folder as complete."""
        for language, scores in scores_by_language(student, student.job.dev).items():
            student.log.write("final-dev", language=language, **scores)
        tests = {language: splits["test"] for language, splits in self.data.items() if "test" in splits}
        lines, found = [], {}
        for language, examples in tests.items():
            predictions = student.predict(examples, language)
            found[language] = self.task.score(predictions, self.labels)
            student.log.write("final-test", language=language, **found[language])
            lines += [json.dumps({"language": language, **asdict(p)}, ensure_ascii=False) + "\n" for p in predictions]
        student.log.write("final-cost", peak_mb=round(peak_megabytes()))
        self._write_card(student.save(), cell, found)
        write_whole(folder / PREDICTIONS, "".join(lines))
        target = found[self.recipe.target][self.task.metric]
        self.say(f"  {cell.arm}, seed {cell.seed}: {self.task.metric} {target:.1f} on {self.recipe.target} test rows")

    def _write_card(self, model: Path, cell: Cell, scores: Mapping[str, Any]) -> None:
        recipe = self.recipe
        teachers = {lang: spec.model for lang, spec in recipe.teachers.items()} if recipe.distillation(cell.arm) else {}
        write_card(
            model,
            title=f"{recipe.name}: {cell.arm}, seed {cell.seed}",
            languages=recipe.languages(cell.arm),
            base=recipe.student.model,
            licence=licence(recipe.student.model),
            teachers=teachers,
            data={
                language: {split: len(rows) for split, rows in splits.items()} for language, splits in self.data.items()
            },
            metric=self.task.metric,
            scores=scores,
            note=recipe.note,
        )

    def _compare_teachers(self, teachers: Mapping[str, Teacher]) -> None:
        """A teacher must be worth listening to: its development score beside the arm student's."""
        runs = [read_run(c.folder(self.out, self.task.name)) for c in self.cells if c.arm == "student"]
        if not teachers or not runs:
            return
        metric = self.task.metric
        self.say(f"\nWorth listening to? {metric} on each language's own development rows:")
        for language, teacher in teachers.items():
            own, students = teacher.dev[metric], [run.dev[language][metric] for run in runs]
            mean = sum(students) / len(students)
            verdict = "" if own > mean else "  WARNING: this teacher is no better than the student it teaches"
            self.say(f"  {language}: teacher {own:.1f}, arm student {mean:.1f}{verdict}")
        self.say("")


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


def environment() -> dict[str, Any]:
    """What a run was made with, for its folder."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **{name: version(name) for name in LIBRARIES},
    }


def _task(name: str) -> Task:
    if name not in TASKS:
        raise KddaError(f'task: found "{name}"{did_you_mean(name, TASKS)}; there are {", ".join(TASKS)}')
    return TASKS[name]


def _chosen_arms(recipe: Recipe, arms: Sequence[str] | None) -> list[str]:
    for arm in arms or ():
        if arm not in recipe.arms:
            raise KddaError(
                f'--arms: found "{arm}"{did_you_mean(arm, recipe.arms)}; there are {", ".join(recipe.arms)}'
            )
    return [arm for arm in recipe.arms if not arms or arm in arms]


def _check_same(path: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds a run of another recipe: mixing them would make a table of nothing."""
    here = yaml.safe_load(recipe.to_yaml())
    there = yaml.safe_load(path.read_text(encoding="utf-8"))
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second process out of a folder that this one writes; the lock falls with the process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise KddaError(f"another process is writing {folder}; wait for it, or choose another --out") from None


def _width(model: str) -> int:
    return int(load_config(model).hidden_size)


def _describe(spec: Any, width: int) -> str:
    layers = f", {spec.layers} layers" if spec.layers else ""
    return f"{spec.model} ({width} wide{layers}, licence {licence(spec.model)})"
