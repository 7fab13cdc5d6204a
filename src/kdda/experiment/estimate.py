"""What work will cost here: time, memory and disk, from a few measured steps of each model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from kdda.experiment.context import lessons_of, task_of
from kdda.experiment.profile import Profiler, TeacherCost, bytes_a_second
from kdda.experiment.specs import StudentRun, TeacherRun
from kdda.experiment.splits import Splits
from kdda.recipe.schema import ModelSpec, Recipe, TeacherSpec
from kdda.report.render import Table
from kdda.runtime.memory import free_bytes, peak_megabytes
from kdda.training.prepare import is_ready

GB = 2**30


class Estimate:
    """Time, memory and disk, from a few steps of each model.

    Args:
        data: the recipe's rows.
        cells: the runs that are asked for.
        left: those of them that are not finished.
        workers: runs at once.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Mapping[str, Splits],
        cells: Sequence[StudentRun],
        left: Sequence[StudentRun],
        out: Path,
        workers: int = 1,
    ):
        self.recipe, self.data, self.out, self.workers = recipe, data, out, workers
        self.cells, self.left = cells, left
        self.arms = list(dict.fromkeys(cell.arm for cell in cells))
        self.task = task = task_of(recipe).fitted(chain.from_iterable(splits["train"] for splits in data.values()))
        labels = self.recipe.labels if task.labelled else []
        rows = {language: splits["train"] for language, splits in data.items()}
        started = time.perf_counter()
        self.probe = Profiler(task, labels, self.recipe.training, rows)
        self.measured = {spec: self.probe.model(spec, sorted(own)) for spec, own in self._wanted().items()}
        self.heard: dict[tuple[Any, ...], TeacherCost] = {}
        for arm in self.arms:
            for language, teacher in self.recipe.teachers_of(arm).items():
                self._listening(arm, language, teacher)
        self.disk_speed = bytes_a_second(free_folder(out))
        self.spent = time.perf_counter() - started

    def _wanted(self) -> dict[ModelSpec, set[str]]:
        """Every model, and the languages that it reads."""
        found: dict[ModelSpec, set[str]] = {}
        for arm in self.arms:
            found.setdefault(self.recipe.student_of(arm), set()).update(self.recipe.languages(arm))
            for language, teacher in self.recipe.teachers_of(arm).items():
                found.setdefault(teacher, set()).add(language)
        return found

    def _listening(self, arm: str, language: str, teacher: TeacherSpec) -> TeacherCost:
        distill, student = self.recipe.distillation(arm), self.recipe.student_of(arm)
        assert distill is not None
        key = (student, teacher, language, distill.objective)
        if key not in self.heard:
            self.heard[key] = self.probe.teacher_check(student, teacher, language, distill)
        return self.heard[key]

    def models_table(self) -> Table:
        """What each model makes of the rows, and what its steps cost."""
        rows = []
        for spec, own in self.measured.items():
            for language in own.tokens:
                windows = own.windows[language] * len(self.data[language]["train"])
                cells = [f"{windows:,.0f}", f"{own.tokens[language] * windows:,.0f}", f"{own.step:.2f}"]
                rows.append([f"{spec.model}, {language}", *cells, f"{own.saved / GB:.2f}"])
        notes = ["Windows and tokens of the training rows; a step is a batch there and back, and an update."]
        return Table(
            "As models read them", ["model, language", "windows", "tokens", "seconds a step", "GB"], rows, notes
        )

    def work_table(self) -> Table:
        """Steps and seconds of every arm, and of every teacher that is to be made."""
        rows = [[str(work), "1", f"{steps:,}", _time(seconds)] for work, steps, seconds in self._teachers()]
        counts = Counter(cell.arm for cell in self.cells)
        rows += [[arm, str(counts[arm]), f"{self._steps(arm):,}", _time(self._seconds(arm))] for arm in counts]
        return Table("RunSpec", ["teacher or arm", "runs", "steps each", "time each"], rows)

    def lines(self) -> list[str]:
        """Time, memory and disk of everything that is not finished."""
        heard = any(self.recipe.teachers_of(cell.arm) for cell in self.left)
        teachers = sum(seconds for _, _, seconds in self._teachers()) + self._states()[1] if heard else 0.0
        whole = teachers + sum(self._seconds(cell.arm) for cell in self.left)
        side = f", {self.workers} at once" if self.workers > 1 else ""
        here = [f"Time left: about {_time(whole / self.workers)}{side}; probed for {self.spent:.0f} s."]
        memory = peak_megabytes() / 1024
        here.append(f"Memory: about {memory * self.workers:.1f} GB, by the probe's own peak.")
        states, free = self._states()[0] / GB, free_bytes(self.out) / GB
        here.append(f"Disk: about {self._disk() / GB:.1f} GB, {states:.2f} of them teacher states; {free:.1f} GB free.")
        return here

    def warnings(self) -> list[str]:
        needed, free = self._disk(), free_bytes(self.out)
        return (
            [f"{self.out} has room for {free / GB:.1f} GB, and {needed / GB:.1f} are needed"] if needed > free else []
        )

    def _teachers(self) -> Iterator[tuple[TeacherRun, int, float]]:
        """Those that are not ready, their steps and seconds."""
        made = {(lang, spec) for arm in self.arms for lang, spec in self.recipe.teachers_of(arm).items()}
        for language, spec in sorted(made, key=str):
            lessons = lessons_of(self.recipe, self.task, self.data[language], language, spec)
            if not is_ready(spec, lessons, self.out / "teachers"):
                rows = {language: len(lessons.train)}
                steps = self._batches(spec, rows) * self.recipe.teacher_training(spec).epochs
                yield TeacherRun(language, spec), steps, self._fine_tuning(spec, rows, steps)

    def _rows(self, arm: str) -> dict[str, int]:
        """Training rows of an arm, a language."""
        own = self.recipe.arms[arm].rows
        return {name: own.get(name, len(self.data[name]["train"])) for name in self.recipe.languages(arm)}

    def _steps(self, arm: str) -> int:
        return self._batches(self.recipe.student_of(arm), self._rows(arm)) * self.recipe.training_of(arm).epochs

    def _seconds(self, arm: str) -> float:
        """One run of an arm."""
        student, rows = self.recipe.student_of(arm), self._rows(arm)
        seconds = self._fine_tuning(student, rows, self._steps(arm))
        for language, teacher in self.recipe.teachers_of(arm).items():
            heard = self._listening(arm, language, teacher)
            batches = self._batches(student, {language: rows[language]}) * self.recipe.training_of(arm).epochs
            seconds += heard.solve * batches + self.measured[teacher].load
        tests = sum(len(splits.get("test", ())) for splits in self.data.values())
        return seconds + tests * self._reading(student, self.recipe.target)

    def _fine_tuning(self, spec: ModelSpec, rows: Mapping[str, int], steps: int) -> float:
        own, epochs = self.measured[spec], self.recipe.training.epochs
        first = next(iter(rows))
        read = sum(len(splits["dev"]) for splits in self.data.values()) + epochs * len(self.data[first]["dev"])
        written = own.saved + epochs * own.trained
        disk = written / self.disk_speed
        return own.load + sum(rows.values()) * own.encode + steps * own.step + read * self._reading(spec, first) + disk

    def _reading(self, spec: ModelSpec, language: str) -> float:
        """Seconds a row that is only read."""
        own = self.measured[spec]
        return own.read * own.windows.get(language, 1.0) + own.encode

    def _batches(self, spec: ModelSpec, rows: Mapping[str, int]) -> int:
        own, size = self.measured[spec], self.recipe.training.batch_size
        return sum(-(-int(own.windows[name] * count) // size) for name, count in rows.items())

    def _states(self) -> tuple[float, float]:
        """Bytes of all teachers' stored states, and the seconds that making them takes."""
        found: dict[tuple[str, TeacherSpec, int], TeacherCost] = {}
        for arm in self.arms:
            for language, teacher in self.recipe.teachers_of(arm).items():
                rows = self._rows(arm)[language]
                found[language, teacher, rows] = self._listening(arm, language, teacher)
        return (
            sum((own.stored * rows for (_, _, rows), own in found.items()), 0.0),
            sum((own.ask * rows for (_, _, rows), own in found.items()), 0.0),
        )

    def _disk(self) -> float:
        models = sum(self.measured[self.recipe.student_of(cell.arm)].saved for cell in self.cells)
        teachers = sum(self.measured[work.spec].saved for work, _, _ in self._teachers())
        checkpoints = 2 * self.workers * max(own.trained for own in self.measured.values())
        return models + teachers + checkpoints + self._states()[0]


def free_folder(out: Path) -> Path:
    """The nearest folder that exists on the way to `out`."""
    return next(place for place in (out.absolute(), *out.absolute().parents) if place.is_dir())


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
