"""What an experiment is made of: teachers to prepare and cells to run, each in a folder of its own."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from kdda.baselines.vireader import ReaderRows, config_fields
from kdda.data.examples import Example
from kdda.errors import KddaError
from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun
from kdda.experiment.splits import Split, SplitReader, Splits
from kdda.hub.card import ModelCardFacts, write_card
from kdda.hub.licences import licence, warning_of
from kdda.metrics.significance import Interval, bootstrap_interval
from kdda.recipe.schema import Recipe, TeacherSpec
from kdda.runs.folder import ENVIRONMENT, FAILURE, PREDICTIONS, RECIPE, is_complete
from kdda.runs.predictions import prediction_line, row_score
from kdda.runtime import distributed
from kdda.runtime.files import write_atomically
from kdda.runtime.locks import lock_or_refuse, lock_or_wait
from kdda.runtime.memory import peak_megabytes
from kdda.runtime.progress import Say
from kdda.tasks.base import Prediction, Task
from kdda.tasks.registry import task_named
from kdda.training.fine_tune import Job, Store, Student, fine_tune
from kdda.training.prepare import Lessons, Teacher, prepare_teacher

LIBRARIES = ("kdda", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class RunContext:
    """What all runs of a recipe share: its rows, read and checked once, and its output folder."""

    recipe: Recipe
    out: Path
    task: Task
    data: Mapping[str, Splits]
    warnings: Mapping[str, str]
    say: Say
    reader: SplitReader

    @classmethod
    def open(cls, recipe: Recipe, out: Path, say: Say) -> RunContext:
        """Read and check all rows.

        Raises:
            KddaError: no such task, or rows that it cannot take.
        """
        task = task_of(recipe)
        reader = SplitReader(recipe, task)
        data, warnings = reader.read_all()
        task = task.fitted(chain.from_iterable(splits["train"] for splits in data.values()))
        return cls(recipe, out, task, data, warnings, say, reader)

    @property
    def labels(self) -> list[str]:
        return self.recipe.labels if self.task.labelled else []

    def do(self, work: RunSpec) -> None:
        """Do a piece of work, or find that it was done; whatever was begun is continued.

        Raises:
            KddaError: also when another process is at it.
        """
        if isinstance(work, TeacherRun):
            teacher = self.teacher(work.language, work.spec, self.say)
            score = teacher.dev[self.task.metric]
            self.say(f"  teacher {work.language}: {self.task.metric} {score:.1f} on its development rows")
            return
        folder = work.folder(self.out, self.task.name)
        if distributed.broadcast(is_complete(folder)):
            self.say(f"  {work}: finished already, in {folder}")
            return
        with lock_or_refuse(folder):
            self._run(work, folder)

    def teacher(self, language: str, spec: TeacherSpec, say: Say = lambda _: None) -> Teacher:
        """A teacher, ready to be asked; made now if it was not, unless another process is just making it."""
        store = self.out / "teachers"
        lessons = lessons_of(self.reader, self.task, self.data[language], language, spec)
        with lock_or_wait(store / language, self.say):
            return prepare_teacher(spec, lessons, store, say)

    def _run(self, cell: StudentRun, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if distributed.is_main_process():
            (folder / FAILURE).unlink(missing_ok=True)
            write_atomically(folder / RECIPE, self.recipe.cell(cell.arm, cell.seed, cell.learning_rate).to_yaml())
            write_atomically(folder / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
        teachers = {name: self.teacher(name, spec) for name, spec in self.recipe.teachers_of(cell.arm).items()}
        student = fine_tune(self._job(cell, folder, teachers), self.say)
        for language, teacher in teachers.items():
            facts = {"language": language, "model": teacher.name, "training_seconds": teacher.seconds}
            student.log.write("final-teacher", **facts, **teacher.dev)
        if distributed.is_main_process():
            self._finish(student, cell, folder)
        distributed.barrier()

    def _job(self, cell: StudentRun, folder: Path, teachers: Mapping[str, Teacher]) -> Job:
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
            store=Store(self.out / "teachers" / "states", self.recipe.teacher_cache_gb * 2**30),
            memories=config_fields(self.recipe.sentences_of(cell.arm)),
        )

    def shown(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split as an arm reads them."""
        rows = self.rows(arm, language, split)
        reader_rows = self._reader_rows(arm, language)
        return reader_rows.train(rows) if split == "train" else reader_rows.evaluation(rows)

    def rows(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split, as many of the training ones as an arm asks for."""
        wanted = self.recipe.arms[arm].rows.get(language) if split == "train" else None
        if wanted is None:
            return self.data[language][split]
        return self.reader.draw(language, split, wanted, f"arms.{arm}.rows.{language}")

    def _predictions(self, student: Student, arm: str, language: str, split: Split) -> Sequence[Prediction]:
        """A student's predictions on the whole passages, whichever sentences of them it reads."""
        predictions = student.predict(self.shown(arm, language, split), language)
        return self._reader_rows(arm, language).map_to_passage(predictions, self.data[language][split])

    def _reader_rows(self, arm: str, language: str) -> ReaderRows:
        return ReaderRows.of(self.recipe.sentences_of(arm), language)

    def _finish(self, student: Student, cell: StudentRun, folder: Path) -> None:
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
            lines += [prediction_line(language, asdict(p)) for p in predictions]
        student.log.write("final-cost", peak_mb=round(peak_megabytes()))
        write_card(student.save(), self._made(cell), self.task.metric, intervals)
        write_atomically(folder / PREDICTIONS, "".join(lines))
        target = found[self.recipe.target][self.task.metric]
        self.say(f"  {cell}: {self.task.metric} {target:.1f} on {self.recipe.target} test rows")

    def _made(self, cell: StudentRun) -> ModelCardFacts:
        recipe, spec = self.recipe, self.recipe.student_of(cell.arm)
        teachers = {language: own.model for language, own in recipe.teachers_of(cell.arm).items()}
        warnings = {model: warning_of(licence(model)) for model in (spec.model, *teachers.values())}
        return ModelCardFacts(
            title=f"{recipe.name}: {cell}",
            task=self.task.name,
            pipeline_tag=self.task.pipeline_tag,
            languages=recipe.languages(cell.arm),
            base=spec.model,
            licence=licence(spec.model),
            teachers={language: f"{model} (licence: {licence(model)})" for language, model in teachers.items()},
            rows={language: len(self.rows(cell.arm, language, "train")) for language in recipe.languages(cell.arm)},
            licence_warnings=[f"{model}: {warning}" for model, warning in warnings.items() if warning],
            note=recipe.note,
        )


def interval_of(predictions: Sequence[Prediction]) -> Interval:
    """The mean score of some test rows, in per cent, with its interval."""
    rows = [asdict(own) for own in predictions]
    return bootstrap_interval([row_score(row) for row in rows], [row["group"] for row in rows])


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe names.

    Raises:
        KddaError: no such task, or one without answers in a recipe whose systems or arms search passages for them.
    """
    task = task_named(recipe.task)
    searches = bool(recipe.systems) or any(arm.sentences for arm in recipe.arms.values())
    if searches and "answer" not in task.methods:
        raise KddaError(f'systems and sentences need a task that answers questions; this recipe\'s is "{task.name}"')
    return task


def say(console: Console, text: str) -> None:
    """A line as it is, wherever it is wide enough."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """What a run was made with, for its folder."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processes": distributed.size(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **{name: version(name) for name in LIBRARIES},
    }


def lessons_of(reader: SplitReader, task: Task, splits: Splits, language: str, spec: TeacherSpec) -> Lessons:
    """What a teacher of a language is fine-tuned on: the student's rows of it, or as many as it asks for."""
    recipe = reader.recipe
    labels = recipe.labels if task.labelled else []
    field = f"teachers.{language}.rows"
    train = reader.draw(language, "train", spec.rows, field) if spec.rows else splits["train"]
    return Lessons(language, task, labels, train, splits["dev"], recipe.teacher_training(spec))
