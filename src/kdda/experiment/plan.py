"""`kdda plan`: models with licences, rows, steps, disk, memory, time, warnings, and what is missing, before any run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kdda.errors import KddaError
from kdda.experiment.context import labelled_rows, task_of, with_labels
from kdda.experiment.estimate import Estimate
from kdda.experiment.few_steps import FewSteps
from kdda.experiment.languages import language_notes, language_warnings
from kdda.experiment.missing import title_of_plan
from kdda.experiment.run import check_earlier_runs, check_models, shown_labels
from kdda.experiment.specs import chosen_arms, roles, student_runs
from kdda.experiment.splits import SPLITS, SplitReader, Splits
from kdda.hub.licences import licence, warning_of
from kdda.models.load import check_weights
from kdda.recipe.schema import ModelSpec, Recipe
from kdda.report.comparison import TaskScores, compare
from kdda.report.render import Report, Table
from kdda.report.teacher_check import teacher_warnings
from kdda.runs.folder import find_runs, is_complete
from kdda.runtime.folders import check_folder
from kdda.runtime.numbers import count_of
from kdda.training.compatibility import check_architecture, count_layers, width_of

WARNING = "WARNING: "


class Plan:
    """A recipe as it is going to run. What is missing is collected in `missing`, and not raised.

    Args:
        recipe: what is to be run.
        out: the output folder, which is not made.
        arms, seeds: some of the recipe's arms, and seeds instead of the recipe's; the recipe's by default.
        workers: runs at the same time.

    Attributes:
        missing: a sentence for each model or source of rows that cannot be read.
        warnings: of licences, disk space, trainings of few steps, and teachers of earlier runs.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        arms: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        workers: int = 1,
    ):
        self.out, self.workers = out, workers
        self.missing: list[str] = []
        self.warnings: list[str] = []
        self.seconds = 0.0  # of all that is not finished, once `document` has measured
        self.task = task_of(recipe)
        with self._collect_missing():
            recipe = with_labels(recipe)
        self.recipe = recipe
        self.arms = chosen_arms(recipe, arms)
        self.runs = student_runs(recipe, self.arms, seeds)
        if not self.missing:  # labels that could not be read would differ from those of any run
            check_earlier_runs(recipe, out, self.runs)
        self.reader = SplitReader(recipe, self.task)
        check_folder(out)

    def document(self) -> Report:
        """What can be known now, and the cost where nothing is missing.

        Fills `missing` and `warnings`.
        """
        parts = [self._models_table()]
        data = self._read_data()
        if data:
            parts.append(_data_table(data))
        unfinished = []
        for run in self.runs:
            if not is_complete(run.folder(self.out, self.task.name)):
                unfinished.append(run)
        finished = len(self.runs) - len(unfinished)
        lines = [f"{count_of(len(self.runs), 'run')} in {self.out}, {finished} of them finished."]
        if self.recipe.labels and self.task.labelled:
            lines.append(f"Labels: {shown_labels(self.recipe.labels)}.")
        if not self.missing:
            check_models(self.recipe, self.arms)
            estimate = Estimate(self.reader, data, self.runs, unfinished, self.out, self.workers)
            parts += [estimate.models_table(), estimate.work_table()]
            lines += estimate.lines()
            self.seconds = estimate.seconds()
            self.warnings += estimate.warnings()
            task = self.task.fitted(labelled_rows(self.recipe, data))
            self.warnings += FewSteps(self.reader, task, data, self.out).notes(self.arms)
        self.warnings += language_warnings(self.recipe, self.arms)
        self._warn_of_teachers()
        for warning in self.warnings:
            lines.append(WARNING + warning)
        for note in language_notes(self.recipe, self.arms):
            lines.append(f"note: {note}")
        for message in self.missing:
            lines.append(f"MISSING: {message}")
        return Report(title_of_plan(self.recipe), lines, parts)

    def _models_table(self) -> Table:
        """Every model with its role, layers, width and licence; licences with conditions are added to `warnings`."""
        rows = []
        for role, spec in roles(self.recipe, self.arms):
            name = f"{role}, {spec.model}"
            model_licence = licence(spec.model)
            warning = warning_of(model_licence)
            if warning:
                self.warnings.append(f"{name}: {warning}")
            rows.append([name, *self._shape(role, spec), model_licence])
        return Table("Models", ["model", "layers", "width", "licence"], rows)

    def _shape(self, role: str, spec: ModelSpec) -> list[str]:
        """A model's layers and width as cells; question marks where it cannot be read, which `missing` then says."""
        shape = ["?", "?"]
        with self._collect_missing(f"{role}: "):
            check_architecture(role, spec)
            shape = [str(count_layers(spec)), str(width_of(spec.model))]
            check_weights(spec.model)
        return shape

    def _read_data(self) -> dict[str, Splits]:
        """Language → its splits; languages whose rows cannot be read are left out, and `missing` says why."""
        data: dict[str, Splits] = {}
        if self.task.labelled and not self.recipe.labels:
            return data  # why there are no labels, with which rows are compared, is in `missing` already
        for language in self.recipe.data:
            with self._collect_missing():
                data[language], _ = self.reader.read_language(language)
        return data

    @contextmanager
    def _collect_missing(self, prefix: str = "") -> Iterator[None]:
        """Go on after a `KddaError` in the block, with its message in `missing`, led by a prefix."""
        try:
            yield
        except KddaError as error:
            self.missing.append(f"{prefix}{error}")

    def _warn_of_teachers(self) -> None:
        """Repeat the warnings of earlier runs in this folder about their teachers."""
        runs = []
        for arm in self.arms:
            runs += find_runs(self.out / self.task.name / arm)
        scores = TaskScores(self.task.metric, tuple(self.task.scores))
        self.warnings += teacher_warnings(compare(runs, self.recipe.targets, scores))


def _data_table(data: Mapping[str, Splits]) -> Table:
    """The number of rows of each language and split; empty where a language has no such split."""
    rows = []
    for language, splits in data.items():
        row = [language]
        for split in SPLITS:
            row.append(f"{len(splits[split]):,}" if split in splits else "")
        rows.append(row)
    return Table("Rows", ["language", *SPLITS], rows)
