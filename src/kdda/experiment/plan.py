"""What an experiment will need, told before it begins: models, rows, steps, disk, memory, time, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.experiment.context import task_of
from kdda.experiment.estimate import Estimate
from kdda.experiment.run import check_models, chosen_arms, roles, width_of
from kdda.experiment.specs import student_runs
from kdda.experiment.splits import Splits, read_splits
from kdda.hub.licences import licence, warning_of
from kdda.models.load import check_weights, load_config
from kdda.recipe.schema import Recipe
from kdda.report.render import Report, Table
from kdda.report.selection import teacher_check
from kdda.runs.folder import find_runs, is_complete


@dataclass
class Plan:
    """A recipe looked at as it is going to run; what is missing is collected, not raised.

    Args:
        recipe: what is to be run.
        out: where.
        arms, seeds: as for `Experiment`.
        workers: runs at once.
    """

    recipe: Recipe
    out: Path
    arms: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    workers: int = 1
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task = task_of(self.recipe)
        self.arms = chosen_arms(self.recipe, self.arms)
        self.cells = student_runs(self.recipe, self.arms, self.seeds)

    def document(self) -> Report:
        """What can be known now, and what it will cost where nothing is missing."""
        models, data = self._models(), self._data()
        parts = [models, *([_data_table(data)] if data else [])]
        left = [cell for cell in self.cells if not is_complete(cell.folder(self.out, self.task.name))]
        lines = [f"{len(self.cells)} runs in {self.out}, {len(self.cells) - len(left)} of them finished."]
        if not self.missing:
            check_models(self.recipe, self.arms or ())
            estimate = Estimate(self.recipe, data, self.cells, left, self.out, self.workers)
            parts += [estimate.models_table(), estimate.work_table()]
            lines += estimate.lines()
            self.warnings += estimate.warnings()
        self._warn_of_teachers()
        lines += [f"WARNING: {warning}" for warning in self.warnings]
        lines += [f"MISSING: {what}" for what in self.missing]
        return Report(f"{self.recipe.name}: task {self.recipe.task}, target {self.recipe.target}", lines, parts)

    def _models(self) -> Table:
        rows = []
        for role, spec in roles(self.recipe, self.arms or ()):
            shape, own = ["?", "?"], licence(spec.model)
            with self._noting(f"{role}: "):
                shape = [str(spec.layers or load_config(spec.model).num_hidden_layers), str(width_of(spec.model))]
                check_weights(spec.model)
            self.warnings += [f"{role}, {spec.model}: {said}" for said in [warning_of(own)] if said]
            rows.append([f"{role}, {spec.model}", *shape, own])
        return Table("Models", ["model", "layers", "width", "licence"], rows)

    def _data(self) -> dict[str, Splits]:
        found: dict[str, Splits] = {}
        for language, own in self.recipe.data.items():
            with self._noting(""):
                found[language] = read_splits(own, language, self.recipe, self.task)[0]
        return found

    def _noting(self, before: str) -> _Noting:
        return _Noting(self.missing, before)

    def _warn_of_teachers(self) -> None:
        """Teachers that earlier runs here have found wanting."""
        runs = find_runs(self.out / self.task.name) if self.out.is_dir() else []
        worth = teacher_check([run for run in runs if run.arm in (self.arms or ())], self.task.metric)
        self.warnings += [note.removeprefix("WARNING: ") for note in worth.notes] if worth else []


class _Noting(suppress):
    """Goes on after a `KddaError`, whose message it keeps."""

    def __init__(self, messages: list[str], before: str):
        super().__init__(KddaError)
        self.messages, self.before = messages, before

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, KddaError):
            self.messages.append(f"{self.before}{error}")
        return bool(super().__exit__(kind, error, trace))


def _data_table(data: Mapping[str, Splits]) -> Table:
    splits = ("train", "dev", "test")
    rows = [
        [language, *(f"{len(own[name]):,}" if name in own else "" for name in splits)] for language, own in data.items()
    ]  # type: ignore[literal-required]
    return Table("Rows", ["language", *splits], rows)
