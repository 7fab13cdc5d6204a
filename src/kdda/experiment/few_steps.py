"""Trainings of few steps: which arms and teachers plan and run note, and epochs that make 250 steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdda.experiment.context import base_config, teacher_data
from kdda.experiment.profile import every_kth
from kdda.experiment.specs import TeacherRun, teacher_runs
from kdda.experiment.splits import SplitReader, Splits
from kdda.models.load import load_encoder
from kdda.recipe.schema import ModelSpec, Recipe, Training
from kdda.report.few_steps import FEW_STEPS, few_steps_note
from kdda.runs.folder import TEACHERS
from kdda.runtime.numbers import ceil_div
from kdda.tasks.base import Task
from kdda.training.prepare import Teacher, is_ready

# Steps that a draft gives a training. docs/results/effect.md: reading learns in 250; of 64 rows a language inference
# learns in 256 (16 epochs), of 250 rows in 384 (6 epochs).
ENOUGH_STEPS = 250

MOST_EPOCHS = 20  # that a draft or a note names: the same rows once more teach less and less


def enough_epochs(batches: int) -> int:
    """Epochs of some batches that are `ENOUGH_STEPS` together, `MOST_EPOCHS` at most.

    >>> enough_epochs(16), enough_epochs(500), enough_epochs(2)
    (16, 1, 20)
    """
    return min(ceil_div(ENOUGH_STEPS, max(batches, 1)), MOST_EPOCHS)


def training_rows(recipe: Recipe, arm: str, data: Mapping[str, Splits]) -> dict[str, int]:
    """Language → number of training rows of an arm.

    Args:
        data: language → its splits.
    """
    rows = {}
    for language in recipe.languages(arm):
        rows[language] = recipe.arms[arm].rows.get(language, len(data[language]["train"]))
    return rows


class FewSteps:
    """Looks for the arms and teachers of a recipe whose whole training has few steps.

    Args:
        reader: of the recipe's rows.
        task: fitted to the training rows.
        data: language → its splits.
        out: the output folder, where teachers that are ready stand.
    """

    def __init__(self, reader: SplitReader, task: Task, data: Mapping[str, Splits], out: Path):
        self.reader, self.task, self.data, self.out = reader, task, data, out
        self.recipe = reader.recipe
        self._items_a_row: dict[tuple[Any, ...], float] = {}  # by model, how it reads, and language

    def notes(self, arms: Sequence[str]) -> list[str]:
        """A sentence for each number of steps that is small, with the arms and teachers that have it."""
        names: dict[str, list[str]] = {}  # what is noted → of which arms and teachers
        for arm in arms:
            training = self.recipe.training_of(arm)
            rows = training_rows(self.recipe, arm, self.data)
            field = "training.epochs"
            if self.recipe.arms[arm].training.epochs:
                field = f"arms.{arm}.{field}"
            splits_passages = self.recipe.sentences_of(arm) is None
            text = self._note(self.recipe.student_of(arm), rows, training, field, splits_passages)
            names.setdefault(text, []).append(arm)
        for run in teacher_runs(self.recipe, arms):
            names.setdefault(self._note_of_teacher(run), []).append(str(run))
        names.pop("", None)  # of those that have enough steps
        return [f"{', '.join(several)}: {text}" for text, several in names.items()]

    def _note_of_teacher(self, run: TeacherRun) -> str:
        """What is noted of a teacher that is still to be fine-tuned; empty of any other."""
        data = teacher_data(self.reader, self.task, self.data, run.language, run.spec)
        training = self.recipe.teacher_training(run.spec)
        rows = {data.target: len(data.train[data.target])}
        if not rows[data.target] or _batches(rows, training) * training.epochs >= FEW_STEPS:
            return ""
        if is_ready(Teacher.from_spec(run.spec), data, base_config(self.recipe), self.out / TEACHERS):
            return ""
        return self._note(run.spec, rows, training, f"the epochs of teachers.{run.language}")

    def _note(
        self, spec: ModelSpec, rows: Mapping[str, int], training: Training, field: str, splits_passages: bool = True
    ) -> str:
        """What is noted of a training; empty where it has steps enough.

        Args:
            rows: language → number of training rows.
            field: where its epochs are set.
            splits_passages: whether rows are read in windows, as many as they need.
        """
        batches = _batches(rows, training)
        if batches * training.epochs < FEW_STEPS and splits_passages:
            batches = _batches(self._items(spec, rows, training), training)
        steps = batches * training.epochs
        if steps >= FEW_STEPS or training.arguments.get("max_steps"):
            return ""
        advice = "more rows, or a smaller batch_size, would do"
        epochs = enough_epochs(batches)
        if epochs > training.epochs:
            advice = f"raise {field} to {epochs}"
        return few_steps_note(steps, advice)

    def _items(self, spec: ModelSpec, rows: Mapping[str, int], training: Training) -> dict[str, int]:
        """Language → the items of its batches: windows, as the model's tokenizer makes them, or whole rows."""
        items = {}
        for language, count in rows.items():
            reading = (spec.model, spec.segmenter, training.max_length, training.stride, language)
            if reading not in self._items_a_row:  # which arms of one student share
                encoder = load_encoder(spec.model, training.max_length, training.stride, spec.segmenter)
                some = every_kth(self.data[language]["train"])
                encoded = self.task.encode(some, encoder)
                self._items_a_row[reading] = len(encoded.item_lengths) / len(some)
            items[language] = round(count * self._items_a_row[reading])
        return items


def _batches(items: Mapping[str, int], training: Training) -> int:
    """Batches of an epoch, each of one language.

    Args:
        items: language → what its batches are made of.
    """
    return sum(ceil_div(count, training.batch_size) for count in items.values())
