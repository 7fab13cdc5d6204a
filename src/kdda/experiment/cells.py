"""What an experiment is made of: teachers to prepare and cells to run, each in a folder of its own."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from kdda.data import Example
from kdda.distill import (
    Job,
    Lessons,
    Store,
    Student,
    Teacher,
    fine_tune,
    prepare_teacher,
    ranks,
)
from kdda.errors import KddaError, did_you_mean
from kdda.evaluate import Interval, over_examples
from kdda.experiment.splits import Split, Splits, read_all, read_split
from kdda.models import licence, warning_of
from kdda.predict import Chooser, Embedder
from kdda.predict.vireader import KEEP, MODEL
from kdda.recipe import Recipe, TeacherSpec
from kdda.report.card import Made, write_card
from kdda.report.runs import ENVIRONMENT, FAILURE, PREDICTIONS, RECIPE, is_complete, row_score, write_whole
from kdda.tasks import TASKS, Prediction, Task

Say = Callable[[str], None]
LIBRARIES = ("kdda", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Cell:
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


def cells_of(recipe: Recipe, arms: Sequence[str], seeds: Sequence[int] | None = None) -> list[Cell]:
    """Every run of some arms, seed after seed, so that whole comparisons are finished first."""
    return [Cell(arm, seed, rate) for seed in (seeds or recipe.seeds) for arm in arms for rate in recipe.rates_of(arm)]


@dataclass(frozen=True)
class Preparation:
    """One teacher to fine-tune, whoever listens to it."""

    language: str
    spec: TeacherSpec

    def __str__(self) -> str:
        return f"teacher {self.language}, {self.spec.model}"


Work = Preparation | Cell


@dataclass(frozen=True)
class Workshop:
    """What all work of a recipe shares: its rows, read and checked once, and its output folder."""

    recipe: Recipe
    out: Path
    task: Task
    data: Mapping[str, Splits]
    remarks: Mapping[str, str]
    say: Say

    @classmethod
    def open(cls, recipe: Recipe, out: Path, say: Say) -> Workshop:
        """Read and check all rows.

        Raises:
            KddaError: no such task, or rows that it cannot take.
        """
        task = task_of(recipe)
        data, remarks = read_all(recipe, task)
        task = task.fitted(chain.from_iterable(splits["train"] for splits in data.values()))
        return cls(recipe, out, task, data, remarks, say)

    @property
    def labels(self) -> list[str]:
        return self.recipe.labels if self.task.labelled else []

    def do(self, work: Work) -> None:
        """Do a piece of work, or find that it was done; whatever was begun is continued.

        Raises:
            KddaError: also when another process is at it.
        """
        if isinstance(work, Preparation):
            teacher = self.teacher(work.language, work.spec, self.say)
            score = teacher.dev[self.task.metric]
            self.say(f"  teacher {work.language}: {self.task.metric} {score:.1f} on its development rows")
            return
        folder = work.folder(self.out, self.task.name)
        if ranks.agreed(is_complete(folder)):
            self.say(f"  {work}: finished already, in {folder}")
            return
        with alone(folder):
            self._run(work, folder)

    def teacher(self, language: str, spec: TeacherSpec, say: Say = lambda _: None) -> Teacher:
        """A teacher, ready to be asked; made now if it was not, unless another process is just making it."""
        store = self.out / "teachers"
        lessons = lessons_of(self.recipe, self.task, self.data[language], language, spec)
        with in_turn(store / language, self.say):
            return prepare_teacher(spec, lessons, store, say)

    def _run(self, cell: Cell, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if ranks.first():
            (folder / FAILURE).unlink(missing_ok=True)
            write_whole(folder / RECIPE, self.recipe.cell(cell.arm, cell.seed, cell.learning_rate).to_yaml())
            write_whole(folder / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
        teachers = {name: self.teacher(name, spec) for name, spec in self.recipe.teachers_of(cell.arm).items()}
        student = fine_tune(self._job(cell, folder, teachers), self.say)
        for language, teacher in teachers.items():
            student.log.write("final-teacher", language=language, model=teacher.name, **teacher.dev)
        if ranks.first():
            self._finish(student, cell, folder)
        ranks.wait()

    def _job(self, cell: Cell, folder: Path, teachers: Mapping[str, Teacher]) -> Job:
        return Job(
            name=str(cell),
            task=self.task,
            labels=self.labels,
            model=self.recipe.student_of(cell.arm),
            train={name: self.shown(cell.arm, name, "train") for name in self.recipe.languages(cell.arm)},
            dev={name: self.shown(cell.arm, name, "dev") for name in self.data},
            target=self.recipe.target,
            training=self.recipe.training_of(cell.arm, cell.learning_rate),
            seed=cell.seed,
            folder=folder,
            distill=self.recipe.distillation(cell.arm),
            teachers={language: teacher.checkpoint for language, teacher in teachers.items()},
            store=Store(self.out / "teachers" / "states", self.recipe.store_gb * 2**30),
            memories={KEEP: own.keep, MODEL: own.model} if (own := self.recipe.sentences_of(cell.arm)) else {},
        )

    def shown(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split as an arm reads them."""
        rows, chooser = self.rows(arm, language, split), self._chooser(arm, language)
        if chooser is None:
            return rows
        return chooser.training_rows(rows) if split == "train" else chooser.rows(rows)

    def rows(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split, as many of the training ones as an arm asks for."""
        wanted = self.recipe.arms[arm].rows.get(language) if split == "train" else None
        if wanted is None:
            return self.data[language][split]
        return read_split(self.recipe, split, language, self.task, wanted, f"arms.{arm}.rows.{language}")

    def _predictions(self, student: Student, arm: str, language: str, split: Split) -> Sequence[Prediction]:
        """What a student finds in the whole passages, whatever it was shown of them."""
        found, chooser = student.predict(self.shown(arm, language, split), language), self._chooser(arm, language)
        return found if chooser is None else chooser.restored(found, self.data[language][split], language)

    def _chooser(self, arm: str, language: str) -> Chooser | None:
        own = self.recipe.sentences_of(arm)
        return chooser_of(str(own.model), own.keep, language) if own else None

    def _finish(self, student: Student, cell: Cell, folder: Path) -> None:
        """Score, save, and last of all write the predictions that mark a folder as complete."""
        for language in self.data:
            scores = self.task.score(self._predictions(student, cell.arm, language, "dev"), self.labels)
            student.log.write("final-dev", language=language, **scores)
        tests = [language for language, splits in self.data.items() if "test" in splits]
        lines, found, intervals = [], {}, {}
        for language in tests:
            predictions = self._predictions(student, cell.arm, language, "test")
            found[language] = self.task.score(predictions, self.labels)
            student.log.write("final-test", language=language, **found[language])
            intervals[language] = interval_of(predictions)
            lines += [json.dumps({"language": language, **asdict(p)}, ensure_ascii=False) + "\n" for p in predictions]
        student.log.write("final-cost", peak_mb=round(peak_megabytes()))
        write_card(student.save(), self._made(cell), self.task.metric, intervals)
        write_whole(folder / PREDICTIONS, "".join(lines))
        target = found[self.recipe.target][self.task.metric]
        self.say(f"  {cell}: {self.task.metric} {target:.1f} on {self.recipe.target} test rows")

    def _made(self, cell: Cell) -> Made:
        recipe, spec = self.recipe, self.recipe.student_of(cell.arm)
        teachers = {language: own.model for language, own in recipe.teachers_of(cell.arm).items()}
        warnings = {model: warning_of(licence(model)) for model in (spec.model, *teachers.values())}
        return Made(
            title=f"{recipe.name}: {cell}",
            task=self.task.name,
            head=self.task.head,
            languages=recipe.languages(cell.arm),
            base=spec.model,
            licence=licence(spec.model),
            teachers={language: f"{model} (licence: {licence(model)})" for language, model in teachers.items()},
            rows={language: len(self.rows(cell.arm, language, "train")) for language in recipe.languages(cell.arm)},
            cautions=[f"{model}: {warning}" for model, warning in warnings.items() if warning],
            note=recipe.note,
        )


@lru_cache(maxsize=8)
def chooser_of(model: str, keep: int, language: str) -> Chooser:
    """What chooses sentences, with one encoder for all languages; every run and split asks for it."""
    return Chooser(_embedder(model), keep, language)


@lru_cache(maxsize=1)
def _embedder(model: str) -> Embedder:
    return Embedder.load(model)


def interval_of(predictions: Sequence[Prediction]) -> Interval:
    """The mean score of some test rows, in per cent, with its interval."""
    rows = [asdict(own) for own in predictions]
    return over_examples([row_score(row) for row in rows], [row["group"] for row in rows])


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe names."""
    name = recipe.task
    if name not in TASKS:
        raise KddaError(f'task: found "{name}"{did_you_mean(name, TASKS)}; there are {", ".join(TASKS)}')
    return TASKS[name]


def say(console: Console, text: str) -> None:
    """A line as it is, wherever it is wide enough."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """What a run was made with, for its folder."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processes": ranks.size(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **{name: version(name) for name in LIBRARIES},
    }


def lessons_of(recipe: Recipe, task: Task, splits: Splits, language: str, spec: TeacherSpec) -> Lessons:
    """What a teacher of a language is fine-tuned on: the student's rows of it, or as many as it asks for."""
    labels = recipe.labels if task.labelled else []
    field = f"teachers.{language}.rows"
    train = read_split(recipe, "train", language, task, spec.rows, field) if spec.rows else splits["train"]
    return Lessons(language, task, labels, train, splits["dev"], recipe.teacher_training(spec))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second process out of a folder that this one writes; of ranks the first one stands for all."""
    lock = _lock(folder)
    if ranks.agreed(ranks.first() and not _taken(lock)):
        try:
            yield
        finally:
            lock.release()
    else:
        raise KddaError(f"another process is writing {folder}; wait for it, or choose another --out")


@contextmanager
def in_turn(folder: Path, say: Say) -> Iterator[None]:
    """Wait for a process that writes what this one needs too."""
    lock = _lock(folder)
    if ranks.first() and _taken(lock, patience=5.0):
        say(f"  waiting for another process that prepares {folder}")
        lock.acquire()
    ranks.wait()
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path) -> FileLock:
    """Falls with the process that holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def _taken(lock: FileLock, patience: float = 0.0) -> bool:
    """Whether another process holds a lock; this one does from now on, if not."""
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return True
    return False
