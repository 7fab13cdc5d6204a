"""The estimate of `kdda plan`: time with its range, memory and disk of all runs, by a few timed steps a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from kdda.experiment.context import base_config, labelled_rows, teacher_data
from kdda.experiment.few_steps import training_rows
from kdda.experiment.profile import ModelCost, Profiler, RowLengths, TeacherCost, TimedSeconds, bytes_a_second
from kdda.experiment.specs import StudentRun, TeacherRun, teacher_runs
from kdda.experiment.splits import SplitReader, Splits
from kdda.experiment.systems_cost import SystemsCost, measure_systems, readings_of
from kdda.recipe.schema import ModelSpec, TeacherSpec, Training
from kdda.report.render import Table
from kdda.runs.folder import SYSTEMS, TEACHERS, is_complete
from kdda.runtime.device import device_name, peak_memory, total_memory
from kdda.runtime.folders import nearest_existing
from kdda.runtime.memory import free_bytes, peak_megabytes
from kdda.runtime.numbers import ceil_div, count_of
from kdda.training.prepare import Teacher, is_ready, teacher_folder
from kdda.training.sampler import batches_an_epoch

GB = 2**30


class TeacherWork(NamedTuple):
    """A teacher that is still to be fine-tuned, the steps of its fine-tuning, and their seconds."""

    run: TeacherRun
    steps: int
    seconds: float


class StatesCost(NamedTuple):
    """All teachers' stored states: bytes, and the seconds to compute them."""

    size: float
    seconds: float


class Estimate:
    """Time, memory and disk, from a few steps of each model.

    Args:
        reader: of the recipe's rows.
        data: the rows, by language.
        runs: the students that are to be trained.
        unfinished: those of them that are not finished.
        out: the output folder, made or not yet.
        workers: runs at the same time.

    Attributes:
        model_costs: of each student and teacher.
        teacher_costs: what a teacher adds to a student's steps: student, teacher, language, objective → costs.
        systems: costs of open-domain systems; None without any.
        disk_speed: bytes a second that are written.
        measuring: seconds that all measurements have taken.
    """

    def __init__(
        self,
        reader: SplitReader,
        data: Mapping[str, Splits],
        runs: Sequence[StudentRun],
        unfinished: Sequence[StudentRun],
        out: Path,
        workers: int = 1,
    ):
        self.reader, self.data, self.out, self.workers = reader, data, out, workers
        self.recipe = recipe = reader.recipe
        self.runs, self.unfinished = runs, unfinished
        self.arms = list(dict.fromkeys(run.arm for run in runs))
        self.task = reader.task.fitted(labelled_rows(recipe, data))
        started = time.perf_counter()
        labels = recipe.labels if self.task.labelled else []
        rows = {}
        for language, splits in data.items():
            if "train" in splits:
                rows[language] = splits["train"]
        self.profiler = Profiler(
            self.task, labels, recipe.training, rows, recipe.unlabelled, recipe.teacher_cache_precision
        )
        self.model_costs: dict[ModelSpec, ModelCost] = {}
        for spec, languages in self._languages_by_model().items():
            self.model_costs[spec] = self.profiler.model(spec, sorted(languages))
        self.teacher_costs: dict[tuple[ModelSpec, TeacherSpec, str, tuple[str, str]], TeacherCost] = {}
        for arm in self.arms:
            for language, teacher in recipe.teachers_of(arm):
                self._teacher_cost(arm, language, teacher)
        self.systems = self._measure_systems()
        self.disk_speed = bytes_a_second(nearest_existing(out))
        self.measuring = time.perf_counter() - started

    def _languages_by_model(self) -> dict[ModelSpec, set[str]]:
        """Every student and teacher → the languages that it reads."""
        models: dict[ModelSpec, set[str]] = {}
        for arm in self.arms:
            models.setdefault(self.recipe.student_of(arm), set()).update(self.recipe.languages(arm))
            for language, teacher in self.recipe.teachers_of(arm):
                models.setdefault(teacher, set()).update({language, teacher.train or language})
        return models

    def _teacher_cost(self, arm: str, language: str, teacher: TeacherSpec) -> TeacherCost:
        """What a teacher adds to the steps of an arm's student; measured once for all arms that share both models."""
        distill, student = self.recipe.distillation(arm), self.recipe.student_of(arm)
        assert distill is not None  # an arm with teachers is distilled
        key = (student, teacher, language, (distill.objective, distill.align))
        if key not in self.teacher_costs:
            self.teacher_costs[key] = self.profiler.teacher(student, teacher, language, distill)
        return self.teacher_costs[key]

    def _measure_systems(self) -> SystemsCost | None:
        """The costs of the arms' open-domain systems; None without systems, or without test rows to be answered."""
        target = self.recipe.targets[0]  # a recipe with systems has one
        if not readings_of(self.recipe, self.arms) or "test" not in self.data[target]:
            return None
        splits = self.data[target]
        if self.recipe.data[target].limit:  # systems search all rows
            splits, _ = self.reader.read_language(target, limited=False)
        corpus = list(chain.from_iterable(splits.values()))
        return measure_systems(self.recipe, self.task, self.arms, self.data[target], corpus)

    def models_table(self) -> Table:
        """What each model makes of the training rows, and what its steps cost."""
        rows = []
        for spec, cost in self.model_costs.items():
            for language, tokens in cost.tokens.items():
                windows = cost.windows[language] * len(self.data[language]["train"])
                name = f"{spec.model}, {language}"
                amounts = [f"{windows:,.0f}", f"{tokens * windows:,.0f}"]
                rows.append([name, *amounts, f"{cost.step.mean:.2f}", f"{cost.saved / GB:.2f}"])
        header = ["model, language", "windows", "tokens", "seconds a step", "GB"]
        note = "Windows and tokens of the training rows; a step is a batch forward and backward, and an update."
        return Table("As models read them", header, rows, [note])

    def work_table(self) -> Table:
        """Steps and seconds of every teacher that is to be made, and of every arm."""
        rows = []
        for teacher in self._unprepared_teachers():
            rows.append([str(teacher.run), "1", f"{teacher.steps:,}", _duration(teacher.seconds)])
        for arm, count in Counter(run.arm for run in self.runs).items():
            rows.append([arm, str(count), f"{self._steps(arm):,}", _duration(self._seconds(arm))])
        rows += self._systems_rows()
        return Table("Work", ["teacher, arm or systems", "runs", "steps each", "time each"], rows)

    def _systems_rows(self) -> list[list[str]]:
        """Rows of the work table: the index of documents, then what each arm's reader reads at a seed."""
        if self.systems is None:
            return []
        name = f"systems: index of {count_of(self.systems.documents, 'document')}"
        rows = [[name, "1", "", _duration(self.systems.index)]]
        for reading, systems in readings_of(self.recipe, self.arms).items():
            passages = count_of(reading.passages, "passage")
            name = f"systems {', '.join(systems)}: {passages} a question, by {reading.retriever}"
            seeds = set[int]()
            for run in self.runs:
                if run.arm == reading.arm:
                    seeds.add(run.seed)
            cost = self.systems.readings[reading]
            rows.append([name, str(len(seeds)), "", _duration(cost.load + cost.read)])
        return rows

    def lines(self) -> list[str]:
        """Sentences about time, memory and disk of everything that is not finished."""
        memory = peak_megabytes() / 1024 * self.workers
        states = self._teacher_states().size / GB
        free = free_bytes(self.out) / GB
        lines = [
            self._time_line(),
            f"Memory: about {memory:.1f} GB, by the peak of the measurement.",
            f"Disk: about {self._disk() / GB:.1f} GB, {states:.2f} of them teacher states; {free:.1f} GB free.",
        ]
        return lines + self._device_lines() + self._sampling_lines() + self._length_lines()

    def seconds(self) -> float:
        """The mean time of all that is not finished."""
        return self._time_left(self._needed_teachers()).mean / self.workers

    def _time_line(self) -> str:
        """A sentence about the time of what is not finished: the mean, the range, and of how many runs and teachers."""
        teachers = self._needed_teachers()
        what = []
        for count, noun in ((len(self.unfinished), "unfinished run"), (len(teachers), "teacher")):
            if count:
                what.append(count_of(count, noun))
        if self._systems_left():
            what.append("systems")
        if not what:
            return "Time: 0 s, since all runs are finished."
        mean, fastest, slowest = self._time_left(teachers)
        workers = f", {self.workers} at once" if self.workers > 1 else ""
        return (
            f"Time: about {_duration(mean / self.workers)}{_range(fastest / self.workers, slowest / self.workers)} for "
            f"{' and '.join(what)}{workers}. The measurement took {self.measuring:.0f} s."
        )

    def _sampling_lines(self) -> list[str]:
        """A sentence on the shares of languages for each arm that temperature sampling changes."""
        lines = []
        for arm in self.arms:
            training = self.recipe.training_of(arm)
            student, rows = self.recipe.student_of(arm), self._rows(arm)
            sampled = self._batches(student, rows, training)
            if sampled == self._batches(student, rows, training.model_copy(update={"sampling": "proportional"})):
                continue
            parts = [f"{language} {count:,}" for language, count in sampled.items()]
            temperature = training.language_temperature
            lines.append(f"Sampling temperature {temperature:g}: {arm} has {', '.join(parts)} batches an epoch.")
        return lines

    def _length_lines(self) -> list[str]:
        """A sentence for each teacher whose windows truncate or split some of the sampled rows."""
        lines: dict[tuple[str, TeacherSpec], str] = {}  # by language and teacher; arms share them
        for arm in self.arms:
            student = self.model_costs[self.recipe.student_of(arm)]
            for language, teacher in self.recipe.teachers_of(arm):
                lengths = self.model_costs[teacher].lengths.get(language)
                if lengths is None or not lengths.too_long(lengths.window):
                    continue
                name = f"Teacher {language}, {teacher.model}"
                lines.setdefault((language, teacher), _length_line(name, lengths, student.lengths[language]))
        return list(lines.values())

    def _device_lines(self) -> list[str]:
        """A sentence about an accelerator's memory; none on the CPU."""
        device = self.profiler.device
        peak = peak_memory(device)
        if peak is None:
            return []
        total = total_memory(device)
        size = "" if total is None else f" of {total / GB:.1f}"
        return [
            f"Memory of {device_name(device)}: about {peak / GB:.1f}{size} GB a run, by the peak of the measurement, "
            "which holds all models at once."
        ]

    def _needs_teachers(self) -> bool:
        """Whether any unfinished run is distilled."""
        return any(self.recipe.teachers_of(run.arm) for run in self.unfinished)

    def _needed_teachers(self) -> list[TeacherWork]:
        """The teachers that unfinished runs need and that are not made yet."""
        return self._unprepared_teachers() if self._needs_teachers() else []

    def _time_left(self, teachers: Sequence[TeacherWork]) -> TimedSeconds:
        """Seconds of all unfinished runs, one after another, with the teachers, states and systems that they need.

        The fastest and the slowest are those of training steps as fast, or as slow, as the timed ones have been.
        """
        seconds = self._systems_left()
        steps: Counter[ModelSpec] = Counter()
        for run in self.unfinished:
            seconds += self._seconds(run.arm)
            steps[self.recipe.student_of(run.arm)] += self._steps(run.arm)
        if self._needs_teachers():
            seconds += self._teacher_states().seconds
        for teacher in teachers:
            seconds += teacher.seconds
            steps[teacher.run.spec] += teacher.steps
        fastest = slowest = seconds
        for spec, count in steps.items():
            step = self.model_costs[spec].step
            fastest -= count * (step.mean - step.fastest)
            slowest += count * (step.slowest - step.mean)
        return TimedSeconds(seconds, fastest, slowest)

    def _systems_left(self) -> float:
        """Seconds of the systems of runs that are unfinished, or whose systems are not all scored."""
        if self.systems is None:
            return 0.0
        runs = [run for run in self.runs if run in self.unfinished or not self._are_systems_scored(run)]
        return self.systems.seconds(runs)

    def _are_systems_scored(self, run: StudentRun) -> bool:
        """Whether the folder of every system that reads with a run's model is complete."""
        for name, system in self.recipe.systems.items():
            if system.arm == run.arm and not is_complete(self.out / SYSTEMS / name / f"seed-{run.seed}"):
                return False
        return True

    def warnings(self) -> list[str]:
        """A sentence where the disk has too little room; else nothing."""
        needed, free = self._disk(), free_bytes(self.out)
        if needed <= free:
            return []
        return [f"{self.out} has room for {free / GB:.1f} GB, and {needed / GB:.1f} are needed"]

    def _unprepared_teachers(self) -> list[TeacherWork]:
        """The teachers that are neither stored already nor taken as they are, ordered by language.

        One that several languages have, each fine-tuned on the rows of the same one, is fine-tuned once.
        """
        work = []
        folders = set()  # of those that are counted
        for run in sorted(teacher_runs(self.recipe, self.arms), key=lambda run: str((run.language, run.spec))):
            data = teacher_data(self.reader, self.task, self.data, run.language, run.spec)
            needed: Any = (Teacher.from_spec(run.spec), data, base_config(self.recipe), self.out / TEACHERS)
            if is_ready(*needed) or teacher_folder(*needed) in folders:
                continue
            folders.add(teacher_folder(*needed))
            rows = {data.target: len(data.train[data.target])}
            training = self.recipe.teacher_training(run.spec)
            steps = sum(self._batches(run.spec, rows, training).values()) * training.epochs
            seconds = self._fine_tuning(run.spec, rows, steps, training.epochs, [data.target])
            work.append(TeacherWork(run, steps, seconds))
        return work

    def _rows(self, arm: str) -> dict[str, int]:
        """Language → number of training rows of an arm."""
        return training_rows(self.recipe, arm, self.data)

    def _steps(self, arm: str) -> int:
        """Steps of one run of an arm, over all epochs."""
        training = self.recipe.training_of(arm)
        return sum(self._batches(self.recipe.student_of(arm), self._rows(arm), training).values()) * training.epochs

    def _seconds(self, arm: str) -> float:
        """Seconds of one run of an arm: fine-tuning, the objective, loading teachers, predictions on the test rows."""
        student, rows = self.recipe.student_of(arm), self._rows(arm)
        training = self.recipe.training_of(arm)
        batches = self._batches(student, rows, training)
        seconds = self._fine_tuning(student, rows, self._steps(arm), training.epochs, self.recipe.targets)
        for language, teacher in self.recipe.teachers_of(arm):
            cost = self._teacher_cost(arm, language, teacher)
            seconds += cost.solve * batches[language] * training.epochs + self.model_costs[teacher].load
        tests = 0
        for splits in self.data.values():
            tests += len(splits.get("test", ()))
        return seconds + tests * self._seconds_a_row(student, self.recipe.targets[0])

    def _fine_tuning(
        self, spec: ModelSpec, rows: Mapping[str, int], steps: int, epochs: int, targets: Sequence[str]
    ) -> float:
        """Seconds to load a model, encode its rows, train, read the development rows, and write checkpoints.

        Development rows of the targets are read after every epoch, those of all languages at the end.

        Args:
            rows: language → number of training rows.
            steps: over all epochs.
            epochs: of this model's fine-tuning, each with an evaluation and a checkpoint.
            targets: the languages that select the model.
        """
        cost = self.model_costs[spec]
        first_language = next(iter(rows))
        dev_rows = 0
        for language in targets:
            dev_rows += epochs * len(self.data[language].get("dev", ()))
        for splits in self.data.values():
            dev_rows += len(splits.get("dev", ()))
        evaluation = dev_rows * self._seconds_a_row(spec, first_language)
        disk = (cost.saved + epochs * cost.trained) / self.disk_speed
        encoding = sum(rows.values()) * cost.encode
        return cost.load + encoding + steps * cost.step.mean + evaluation + disk

    def _seconds_a_row(self, spec: ModelSpec, language: str) -> float:
        """Seconds to encode and predict one row, without training."""
        cost = self.model_costs[spec]
        return cost.read * cost.windows.get(language, 1.0) + cost.encode

    def _batches(self, spec: ModelSpec, rows: Mapping[str, int], training: Training) -> dict[str, int]:
        """Language → batches of one epoch: its windows, or whole rows, in batches of one language, as sampled.

        Args:
            rows: language → number of training rows.
        """
        cost = self.model_costs[spec]
        batches = {}
        for language, count in rows.items():
            batches[language] = ceil_div(int(cost.items[language] * count), training.batch_size)
        return batches_an_epoch(batches, training.language_temperature)

    def _teacher_states(self) -> StatesCost:
        """All teachers' states for all training rows, computed and stored once for the arms that share them."""
        costs: dict[tuple[str, TeacherSpec, int], TeacherCost] = {}  # by language, teacher and number of rows
        for arm in self.arms:
            for language, teacher in self.recipe.teachers_of(arm):
                rows = self._rows(arm)[language]
                costs[language, teacher, rows] = self._teacher_cost(arm, language, teacher)
        size = seconds = 0.0
        for (_, _, rows), cost in costs.items():
            size += cost.stored * rows
            seconds += cost.run * rows
        return StatesCost(size, seconds)

    def _disk(self) -> float:
        """Bytes of models, teachers, checkpoints and teacher states."""
        models = 0
        for run in self.runs:
            models += self.model_costs[self.recipe.student_of(run.arm)].saved
        for teacher in self._unprepared_teachers():
            models += self.model_costs[teacher.run.spec].saved
        largest = max(cost.trained for cost in self.model_costs.values())
        checkpoints = 2 * self.workers * largest  # a run has two while it writes one
        return models + checkpoints + self._teacher_states().size


def _duration(seconds: float) -> str:
    """Seconds as text: in s below 90 s, in min below 90 min, else in h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _length_line(name: str, teacher: RowLengths, student: RowLengths) -> str:
    """How many sampled rows a teacher truncates or splits, and which `max_length` would do, as far as one does."""
    count = f"{teacher.too_long(teacher.window):,} of {count_of(len(teacher.tokens), 'sampled row')}"
    line = f"{name}: its tokenizer truncates or splits {count} at {teacher.window} tokens"
    line += f" (the student's {student.too_long(student.window):,})"
    longest = max(teacher.tokens)
    if teacher.window == teacher.positions:
        return f"{line}, and its positions allow no more; the longest has {longest}."
    if longest <= teacher.positions:
        return f"{line}; training.max_length: {longest} would do."
    remaining = teacher.too_long(teacher.positions)
    return f"{line}; training.max_length: {teacher.positions}, all that its positions allow, would leave {remaining:,}."


def _range(fastest: float, slowest: float) -> str:
    """The seconds that timed steps span, as text after a mean; empty where both ends read the same.

    >>> _range(540.0, 900.0), _range(60.0, 300.0), _range(100.0, 101.0)
    (', 9 to 15 min by the spread of the timed steps,', ', 60 s to 5 min by the spread of the timed steps,', '')
    """
    low, high = _duration(fastest), _duration(slowest)
    if low == high:
        return ""
    number, unit = low.split()
    if unit == high.split()[1]:
        low = number
    return f", {low} to {high} by the spread of the timed steps,"
