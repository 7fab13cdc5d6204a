"""One run: a teacher prepared or a student trained, scored, saved; what all runs share (rows, environment.json)."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from kdda.baselines.vireader import ReaderRows, config_fields
from kdda.data.examples import Example
from kdda.errors import KddaError
from kdda.experiment.saving import BestRun, Save
from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun
from kdda.experiment.splits import Split, SplitReader, Splits
from kdda.experiment.translations import translation_scores
from kdda.hub.card import AND, ModelCardFacts, write_card
from kdda.hub.licences import licence, warning_of
from kdda.inference.columns import config_of_columns
from kdda.metrics.correlation import RankedRows, spearman_interval
from kdda.metrics.significance import Interval, WeightedMean, bootstrap_interval, mean_bootstrap_interval
from kdda.models.trim import trim
from kdda.recipe.schema import ModelSpec, Recipe, TeacherSpec
from kdda.runs.folder import (
    CHECKPOINTS,
    ENVIRONMENT,
    FAILURE,
    METRICS,
    MODEL_FOLDER,
    MODEL_REMOVED,
    PREDICTIONS,
    RECIPE,
    STATES,
    TEACHERS,
    is_complete,
)
from kdda.runs.predictions import CORRELATION, prediction_line, row_score, row_weight
from kdda.runtime import distributed
from kdda.runtime.device import compute_device, device_name
from kdda.runtime.files import write_atomically
from kdda.runtime.live import LiveView, tell
from kdda.runtime.lock_files import lock_of
from kdda.runtime.locks import lock_or_refuse, lock_or_wait
from kdda.runtime.memory import forget_peak, peak_megabytes
from kdda.runtime.progress import Say
from kdda.tasks.base import Prediction, Task
from kdda.tasks.registry import task_named
from kdda.training.config import DistillationConfig
from kdda.training.data import TrainingData
from kdda.training.fine_tune import FromTeacher, Model
from kdda.training.prepare import PreparedTeacher, Teacher, is_ready, prepare_teacher_of, teacher_folder
from kdda.training.reuse import Reuse
from kdda.training.trainer import DistillationTrainer

# whose versions environment.json names
LIBRARIES = ("kdda", "torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class RunContext:
    """What all runs of a recipe share: its rows, read and checked once, and its output folder.

    Attributes:
        out: with run folders in `out`/task/arm, and teachers in `out`/teachers.
        task: fitted to the training rows.
        data: language → split ("train", "dev", "test") → its examples.
        warnings: language → how many of its rows were skipped or repaired, as text.
        say: prints a line of progress.
        reader: that has read the rows, and draws more of them.
        save: which runs save their models.
        view: the live picture of the runs, which draws nothing outside of its block.
        prepared: the teachers that runs of this process have needed so far.
        reuses: a student's settings as JSON → what the runs of this process that start from it share.
    """

    recipe: Recipe
    out: Path
    task: Task
    data: Mapping[str, Splits]
    warnings: Mapping[str, str]
    say: Say
    reader: SplitReader
    save: Save = "all"
    view: LiveView = field(default_factory=LiveView)
    prepared: dict[TeacherRun, PreparedTeacher] = field(default_factory=dict, init=False)
    reuses: dict[str, Reuse] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, recipe: Recipe, out: Path, say: Say, save: Save = "all", view: LiveView | None = None) -> RunContext:
        """Read and check all rows of a recipe; arguments as the attributes.

        Raises:
            KddaError: no such task, or rows that it cannot take.
        """
        task = task_of(recipe)
        reader = SplitReader(recipe, task)
        data, warnings = reader.read_all()
        task = task.fitted(labelled_rows(recipe, data))
        return cls(recipe, out, task, data, warnings, say, reader, save, view or LiveView())

    @property
    def labels(self) -> list[str]:
        """The labels in the order of a model's outputs; none for a task without labels."""
        return self.recipe.labels if self.task.labelled else []

    def execute(self, run: RunSpec) -> None:
        """Execute a run, unless it is finished; one that was begun is continued from its last checkpoint.

        Raises:
            KddaError: also when another process executes it.
        """
        if isinstance(run, TeacherRun):
            teacher = self.teacher(run.language, run.spec, self.say)
            name = f"  teacher {run.language}"
            if run.spec.random:
                name += ", random weights"
            if self.task.metric in teacher.dev:
                score = teacher.dev[self.task.metric]
                tell({"score": score})
                self.say(f"{name}: {self.task.metric} {score:.1f} on its development rows")
            else:
                self.say(f"{name}: there are no development rows of its language, so that its score is not known")
            return
        folder = run.folder(self.out, self.task.name)
        if distributed.broadcast(is_complete(folder)):
            self.say(f"  {run}: finished already, in {folder}" + self._missing_model(folder))
            return
        with lock_or_refuse(folder):
            self._train_student(run, folder)

    def _missing_model(self, folder: Path) -> str:
        """What is added of a finished run whose model was removed, or that has none where all are to be saved."""
        if (folder / MODEL_FOLDER).is_dir():
            return ""
        if (folder / MODEL_REMOVED).is_file():
            return "; kdda clean --models has removed its model, its scores and predictions stand"
        if self.save == "all":
            return "; it has no model, its scores and predictions stand"
        return ""

    def teacher(self, language: str, spec: TeacherSpec, say: Say = lambda _: None) -> PreparedTeacher:
        """A fine-tuned teacher: stored already, or fine-tuned now; another process that fine-tunes it is waited for.

        It is prepared once for all runs of this process.

        Args:
            say: prints the progress of fine-tuning; nothing by default.
        """
        key = TeacherRun(language, spec)
        if key not in self.prepared:
            self.prepared[key] = self._prepared_teacher(language, spec, say)
        return self.prepared[key]

    def _prepared_teacher(self, language: str, spec: TeacherSpec, say: Say) -> PreparedTeacher:
        """A teacher, after the lock of its folder was free where it has to be fine-tuned."""
        store = self.out / TEACHERS
        teacher = Teacher.from_spec(spec)
        config = base_config(self.recipe)
        data = teacher_data(self.reader, self.task, self.data, language, spec)
        data_of_source = data.of_language(spec.train or language)
        if distributed.broadcast(is_ready(teacher, data_of_source, config, store)):
            return prepare_teacher_of(language, teacher, data, config, store, say)
        with lock_or_wait(teacher_folder(teacher, data_of_source, config, store), self.say):
            return prepare_teacher_of(language, teacher, data, config, store, say)

    def _train_student(self, run: StudentRun, folder: Path) -> None:
        """Train a student in its run folder, with its teachers, and score and save it.

        What decides the run is written before training, and the teachers' scores after it.
        """
        forget_peak()
        folder.mkdir(parents=True, exist_ok=True)
        if distributed.is_main_process():
            (folder / FAILURE).unlink(missing_ok=True)
            write_atomically(folder / RECIPE, self.recipe.of_run(run.arm, run.seed, run.learning_rate).to_yaml())
            write_atomically(folder / ENVIRONMENT, json.dumps(environment(), indent=2, allow_nan=False) + "\n")
        teachers: dict[str, list[PreparedTeacher]] = {}
        for language, spec in self.recipe.teachers_of(run.arm):
            teachers.setdefault(language, []).append(self.teacher(language, spec))
        trainer = self._trainer(run, folder, teachers)
        trainer.train(resume_from_checkpoint=True)  # from the beginning where there is no checkpoint
        _log_teachers(trainer, teachers)
        if distributed.is_main_process():
            self._score_and_save(trainer, run, folder)
        distributed.barrier()

    def _trainer(
        self, run: StudentRun, folder: Path, teachers: Mapping[str, list[PreparedTeacher]]
    ) -> DistillationTrainer:
        """The trainer of a student, which writes checkpoints and metrics.jsonl below its run folder.

        Args:
            teachers: by language; none for an undistilled arm.
        """
        recipe = self.recipe
        arm = run.arm
        train = {}  # language → rows
        for language in recipe.languages(arm):
            train[language] = self.reader_rows(arm, language, "train")
        dev = {}  # of all languages of the recipe, also of those that the arm is not trained on
        for language, splits in self.data.items():
            if "dev" in splits:
                dev[language] = self.reader_rows(arm, language, "dev")
        unlabelled = [language for language in train if language in recipe.unlabelled]
        student: Model | FromTeacher = recipe.student_of(arm)
        reuse: Reuse | None = self._reuse_of(recipe.student_of(arm))
        for language, spec in recipe.source_of(arm).items():
            layers = (recipe.arms[arm].student or recipe.student).layers
            student = FromTeacher(language, layers, self.teacher(language, spec))
            reuse = None
        return DistillationTrainer(
            student,
            teachers,
            train_dataset=TrainingData(self.task, self.labels, train, dev, recipe.targets, unlabelled),
            args=self._arguments(run, folder),
            config=self._config_fields(arm),
            say=self.say,
            reuse=reuse,
        )

    def _arguments(self, run: StudentRun, folder: Path) -> DistillationConfig:
        """The arguments of a student's training, in its run folder."""
        recipe = self.recipe
        return DistillationConfig.from_recipe(
            recipe.training_of(run.arm, run.learning_rate),
            recipe.distillation(run.arm),
            output_dir=str(folder / CHECKPOINTS),
            seed=run.seed,
            run_name=str(run),
            metrics_file=f"../{METRICS}",  # relative to output_dir: in the run folder
            teacher_cache_dir=str(self.out / TEACHERS / STATES),
            teacher_cache_gb=recipe.teacher_cache_gb,
            teacher_cache_precision=recipe.teacher_cache_precision,
        )

    def _config_fields(self, arm: str) -> dict[str, Any]:
        """What a saved model's config says of its data: the sentences it reads, and what its columns were called."""
        namings = [self.recipe.data[language].columns for language in self.recipe.languages(arm)]
        return {**config_fields(self.recipe.sentences_of(arm)), **config_of_columns(namings)}

    def _reuse_of(self, student: ModelSpec) -> Reuse:
        """What runs of this process share that start from a student.

        The tokenizer of the former student goes: one of 250,000 pieces takes 280 MB.
        """
        reuse = self.reuses.setdefault(student.model_dump_json(), Reuse())
        for other in self.reuses.values():
            if other is not reuse:
                other.tokenizer = None
        return reuse

    def reader_rows(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split as an arm's student reads them: with whole passages, or ViReader's selected sentences."""
        rows = self.rows(arm, language, split)
        sentences = self._sentences(arm, language)
        if split == "train":
            return sentences.train(rows)
        return sentences.evaluation(rows)

    def rows(self, arm: str, language: str, split: Split) -> Sequence[Example]:
        """The rows of a split as they were read, of the training rows as many as the arm asks for."""
        count = self.recipe.arms[arm].rows.get(language) if split == "train" else None
        if count is None:
            return self.data[language][split]
        return self.reader.draw(language, split, count, f"arms.{arm}.rows.{language}")

    def _predictions(self, trainer: DistillationTrainer, arm: str, language: str, split: Split) -> Sequence[Prediction]:
        """A student's predictions on the whole passages, whichever sentences of them it reads."""
        if split == "dev" and language in trainer.encoded.dev:  # the rows that `_trainer` has given it
            predictions = trainer.predict_development(language)
        else:
            predictions = trainer.predict(self.reader_rows(arm, language, split), language)
        return self._sentences(arm, language).map_to_passage(predictions, self.data[language][split])

    def _sentences(self, arm: str, language: str) -> ReaderRows:
        """What shortens the passages of an arm's rows, where it reads selected sentences, else leaves them whole."""
        return ReaderRows.of(self.recipe.sentences_of(arm), language)

    def _score_and_save(self, trainer: DistillationTrainer, run: StudentRun, folder: Path) -> None:
        """Score, save, and last of all write the predictions that mark a folder as complete."""
        dev_score = self._score_development_rows(trainer, run)
        lines: list[str] = []  # of predictions.jsonl
        scores: dict[str, Mapping[str, Any]] = {}  # language → scores on its test rows
        intervals: dict[str, Interval] = {}  # language → the mean score of a row, for the model card
        for language, splits in self.data.items():
            if "test" not in splits:
                continue
            predictions = self._predictions(trainer, run.arm, language, "test")
            scores[language] = self.task.score(predictions, self.labels)
            trainer.metrics_log.write("final-test", language=language, **scores[language])
            intervals[language] = interval_of(predictions, self.task)
            for prediction in predictions:
                lines.append(prediction_line(language, asdict(prediction)))
        trainer.metrics_log.write("final-cost", peak_mb=round(peak_megabytes()))
        shutil.rmtree(folder / MODEL_FOLDER, ignore_errors=True)  # of a run that was killed here
        if self.save == "all":
            self._save_with_card(trainer, run, folder, intervals)
        elif self.save == "best":
            self._save_if_best(trainer, run, folder, intervals, dev_score)
        write_atomically(folder / PREDICTIONS, "".join(lines))
        trainer.remove_checkpoints()
        for target in self.recipe.targets:
            self.say(f"  {run}: {self.task.metric} {scores[target][self.task.metric]:.1f} on {target} test rows")

    def _score_development_rows(self, trainer: DistillationTrainer, run: StudentRun) -> float:
        """Write the events of a student's scores on development rows; the mean over the targets that have such rows."""
        of_targets = []
        for language, splits in self.data.items():
            if "dev" not in splits:
                continue
            predictions = self._predictions(trainer, run.arm, language, "dev")
            scores = self.task.score(predictions, self.labels)
            trainer.metrics_log.write("final-dev", language=language, **scores)
            if language in self.recipe.targets:
                of_targets.append(float(scores[self.task.metric]))
        if self.task.embeds:
            dev = {language: splits["dev"] for language, splits in self.data.items() if "dev" in splits}
            for pair, scores_of_pair in translation_scores(trainer, dev):
                trainer.metrics_log.write("final-retrieval", language=pair[0], other=pair[1], **asdict(scores_of_pair))
        return fmean(of_targets) if of_targets else 0.0

    def _save_if_best(
        self,
        trainer: DistillationTrainer,
        run: StudentRun,
        folder: Path,
        intervals: Mapping[str, Interval],
        dev_score: float,
    ) -> None:
        """Save a student if it is the best one of its arm so far, in place of the former best one.

        Args:
            folder: of the run.
            intervals: for the model card.
            dev_score: of the run, by which runs of an arm are compared.
        """
        arm_folder = self.out / self.task.name / run.arm
        with lock_of(arm_folder):  # another process may finish a run of this arm now
            best = BestRun(arm_folder)
            if not best.is_beaten_by(run, folder, dev_score):
                return
            self._save_with_card(trainer, run, folder, intervals)
            best.replace(run, folder, dev_score)
        self.say(f"  {run}: the best of its arm so far on development rows; its model is in {folder / MODEL_FOLDER}")

    def _save_with_card(
        self, trainer: DistillationTrainer, run: StudentRun, folder: Path, intervals: Mapping[str, Interval]
    ) -> None:
        """Save a student in its run folder, with a model card that has its scores."""
        self._save_model(trainer, folder / MODEL_FOLDER)
        write_card(folder / MODEL_FOLDER, self._card_facts(run), self.task.metric, intervals)

    def _save_model(self, trainer: DistillationTrainer, folder: Path) -> None:
        """Save a student with its whole vocabulary, or with the part that all rows of the recipe need."""
        if self.recipe.vocabulary == "whole":
            trainer.save_model(str(folder))
            return
        texts: dict[str, None] = {}  # each once, in the order of the rows
        for splits in self.data.values():
            for examples in splits.values():
                for example in examples:
                    texts.update(dict.fromkeys(example.texts))
        with tempfile.TemporaryDirectory(dir=folder.parent) as whole:
            trainer.save_model(whole)
            self.say(f"  vocabulary: {trim(whole, folder, list(texts))}")

    def _card_facts(self, run: StudentRun) -> ModelCardFacts:
        """What the model card of a trained student says: models, licences and their warnings, numbers of rows."""
        recipe = self.recipe
        spec = recipe.student_of(run.arm)
        models = [spec.model]
        teachers: dict[str, str] = {}  # language → name and licence; of several teachers joined
        for language, teacher in recipe.teachers_of(run.arm):
            name = f"{teacher.model} (licence: {licence(teacher.model)})"
            teachers[language] = f"{teachers[language]}{AND}{name}" if language in teachers else name
            models.append(teacher.model)
        rows = {}  # language → number of training rows
        for language in recipe.languages(run.arm):
            rows[language] = len(self.rows(run.arm, language, "train"))
        warnings = []
        for model in dict.fromkeys(models):  # each once, in their order
            warning = warning_of(licence(model))
            if warning:
                warnings.append(f"{model}: {warning}")
        return ModelCardFacts(
            title=f"{recipe.name}: {run}",
            task=self.task.name,
            pipeline_tag=self.task.pipeline_tag,
            languages=recipe.languages(run.arm),
            base=spec.model,
            licence=licence(spec.model),
            teachers=teachers,
            rows=rows,
            unlabelled=[language for language in rows if language in recipe.unlabelled],
            licence_warnings=warnings,
            note=recipe.note,
            use=self.task.describe(),
            labels=self.labels,
        )


def _log_teachers(trainer: DistillationTrainer, teachers: Mapping[str, Sequence[PreparedTeacher]]) -> None:
    """Write the `final-teacher` events of a run: each teacher's scores, with its number where a language has several.

    Args:
        teachers: by language, as the student was distilled from them.
    """
    for language, several in teachers.items():
        for number, teacher in enumerate(several, start=1):
            facts = {"language": language, "model": teacher.name, "training_seconds": teacher.seconds}
            if len(several) > 1:
                facts["number"] = number
            trainer.metrics_log.write("final-teacher", **facts, **teacher.dev)


def interval_of(predictions: Sequence[Prediction], task: Task) -> Interval:
    """The metric of some test rows, in per cent, with its 95 % interval by a bootstrap over whole groups."""
    rows = list(map(asdict, predictions))
    groups = [row["group"] for row in rows]  # the premise or passage of each row
    if task.row_score == CORRELATION:
        golds = [row["gold"] for row in rows]
        return spearman_interval([RankedRows(golds, [[row["similarity"] for row in rows]], [], groups)])
    scores = [row_score(row, task.row_score) for row in rows]
    if not task.row_weight:
        return bootstrap_interval(scores, groups)
    weights = [row_weight(row, task.row_weight) for row in rows]
    return mean_bootstrap_interval([([WeightedMean(scores, weights)], groups)])


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe names, with the recipe's `task_options`.

    Raises:
        KddaError: no such task, options that it does not have, or a task without answers in a recipe whose systems or
            arms search passages for them.
    """
    task = task_named(recipe.task).with_options(recipe.task_options)
    searches = bool(recipe.systems) or any(arm.sentences for arm in recipe.arms.values())
    if searches and "answer" not in task.methods:
        raise KddaError(f'systems and sentences need a task that answers questions; this recipe\'s is "{task.name}"')
    return task


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """What a run was made with, for environment.json in its folder: versions, device, threads, processes."""
    versions = {}
    for name in LIBRARIES:
        versions[name] = version(name)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processes": distributed.size(),
        "threads": torch.get_num_threads(),
        "device": device_name(compute_device()),
        **versions,
    }


def labelled_rows(recipe: Recipe, data: Mapping[str, Splits]) -> Iterator[Example]:
    """All training examples that have gold labels.

    Args:
        data: language → its splits; languages that could not be read are left out.
    """
    for language, splits in data.items():
        if recipe.data[language].has_labels:
            yield from splits["train"]


def teacher_data(
    reader: SplitReader, task: Task, data: Mapping[str, Splits], language: str, spec: TeacherSpec
) -> TrainingData:
    """What a teacher is fine-tuned on: the student's rows of its language, or those that the recipe names.

    Beside them are the development rows of the teacher's language and of the one that it is fine-tuned on.

    Args:
        data: language → its splits.
        language: the teacher's.
    """
    labels = reader.recipe.labels if task.labelled else []
    source = spec.train or language  # the language that it is fine-tuned on
    train = data[source].get("train", ())
    if spec.rows:
        train = reader.draw(source, "train", spec.rows, f"teachers.{language}.rows")
    dev = {}
    for name in dict.fromkeys([source, language]):
        if "dev" in data[name]:
            dev[name] = data[name]["dev"]
    unlabelled = [source] if reader.recipe.data[source].is_unlabelled else []
    return TrainingData(task, labels, {source: train}, dev, [source], unlabelled)


def base_config(recipe: Recipe) -> DistillationConfig:
    """How a recipe trains, apart from what an arm or a teacher changes; its folder and seed are placeholders."""
    return DistillationConfig.from_recipe(recipe.training, None, output_dir="", seed=1)


def with_labels(recipe: Recipe) -> Recipe:
    """The recipe with `labels` filled in: those that it names, those of its task, or those of its training rows.

    None for a task without labels.

    Raises:
        KddaError: training rows that cannot be read, or have fewer than two labels.
    """
    task = task_of(recipe)
    if not task.labelled:
        return recipe
    named = recipe.labels or task.labels
    labels = task.head_labels(named) if named else SplitReader(recipe, task).training_labels()
    return recipe.model_copy(update={"labels": labels})
