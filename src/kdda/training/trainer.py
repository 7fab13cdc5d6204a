"""`DistillationTrainer`: transformers' Trainer with the distillation loss; micro batches, scores, logs, saving."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import EvalPrediction, PrinterCallback, set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from kdda.errors import Interrupted, KddaError, did_you_mean, unknown_choice
from kdda.models.load import quietly
from kdda.models.vocabulary import TrimmedVocabulary
from kdda.recipe.schema import ModelSpec
from kdda.runs.folder import TEACHERS
from kdda.runtime import distributed
from kdda.runtime.device import is_out_of_memory
from kdda.runtime.memory import KEPT_IN_TRAINING, bound_kernel_caches, keep_freed_memory, release_freed_memory
from kdda.runtime.progress import Say
from kdda.tasks.base import Task
from kdda.tasks.features import Features
from kdda.tasks.registry import task_named
from kdda.teachers.align import LearnedMaps
from kdda.teachers.cache import TeacherCache
from kdda.text.encode import Window
from kdda.training.batch_preparation import BatchPreparation
from kdda.training.callbacks import MetricsLog, ProgressBar, StopOnInterrupt
from kdda.training.checkpoints import last_whole_checkpoint
from kdda.training.compatibility import check_architecture, check_task, check_task_of_teacher, check_teacher
from kdda.training.config import TASK_METRIC, DistillationConfig, objective_name
from kdda.training.data import TrainingData
from kdda.training.distillation_term import ComparedWindows, DistillationTerm
from kdda.training.evaluation import EvaluatingTrainer
from kdda.training.fine_tune import (
    FromTeacher,
    Model,
    build_teacher_caches,
    data_facts,
    describe,
    encode,
    initialize_head,
    lacking,
    learned_maps,
    load_student,
    restore_vocabulary,
    student_from,
)
from kdda.training.prepare import PreparedTeacher, Teacher, TeacherLike, as_teachers, prepare_teacher_of
from kdda.training.read_ahead import ReadAhead
from kdda.training.reuse import Reuse
from kdda.training.sampler import ConcatDataset, EpochDataLoader, LanguageBatchSampler, collate
from kdda.training.teacher_leads import TeacherLeads
from kdda.training.term_log import TermLog
from kdda.transport.checks import NotFiniteValueError

LEARNED_MAPS = "learned-maps.safetensors"  # of `align: learned`, in each checkpoint of a training


class DistillationTrainer(EvaluatingTrainer):
    """Fine-tunes a student on a task in several languages, distilling it from a teacher of each language.

    A `transformers.Trainer`: callbacks, trackers (`report_to`), resuming and Hub uploads work as they do there. Each
    batch holds one language, and only that language's teacher is used. Teachers are fine-tuned on their language first
    where they need it, and their hidden states are stored once.

    Args:
        student: a name, a folder, or a pair of a model with the task's head and its tokenizer; or a `FromTeacher`,
            which starts as a teacher, so that this teacher is fine-tuned when the trainer is made.
        teachers: language → a `Teacher`, a name, a folder, or a pair of a model and its tokenizer. A language without
            one trains on the task alone; without any teacher this is plain fine-tuning. Several teachers of a language
            are a list: the distillation term is then the mean of theirs, each times its teacher's weight.
        task: a name in `kdda.tasks.registry.TASKS`, or a `Task`.
        train_dataset: language → training rows: a `datasets.Dataset`, a list of dicts, or a file. Or a `TrainingData`,
            which takes the place of `task`, `eval_dataset`, `labels` and `target` as well.
        eval_dataset: language → development rows; those of `target` select the model. Without any, the last model is
            the result.
        args: a `DistillationConfig`; ``DistillationConfig("trainer_output")`` by default.
        labels: label names in the order of the head's outputs; by default the task's, or those of the training rows,
            sorted.
        target: the language whose development rows select the model, or a list of several, whose mean score selects it;
            by default the first of `eval_dataset`.
        unlabelled: languages of `train_dataset` whose rows have no gold labels: they are distilled from their teachers
            alone, and the task's loss is 0 for their batches.
        callbacks: transformers' `TrainerCallback` objects, added to those of kdda.
        compute_metrics: takes an `EvalPrediction`, as transformers' examples do, and returns further scores of an
            evaluation.
        config: further fields of the saved model's config.
        say: told, line by line, what happens before training.
        task_options: settings of the task, as a recipe's `task_options` has them.
        reuse: keeps what other trainings of this process need alike that start from the same student; by default
            nothing is kept.

    Raises:
        KddaError: for everything that can be known before training: bad rows, unknown languages, models that do not
            fit. Its message says what is wrong, where, and what would do.

    Source: Nguyen et al., "Improving sentence representation for Vietnamese natural language understanding using
    optimal transport", J. Intelligent & Fuzzy Systems 45(6), 2023; docs/method.md.
    """

    def __init__(
        self,
        student: Model | FromTeacher,
        teachers: Mapping[str, TeacherLike | Sequence[TeacherLike]] | None = None,
        *,
        task: str | Task = "nli",
        train_dataset: Any,
        eval_dataset: Any = None,
        args: DistillationConfig | None = None,
        labels: Sequence[str] | None = None,
        target: str | Sequence[str] | None = None,
        unlabelled: Collection[str] = (),
        callbacks: Sequence[Any] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        config: Mapping[str, Any] | None = None,
        say: Say = print,
        task_options: Mapping[str, Any] | None = None,
        reuse: Reuse | None = None,
    ):
        task = task_named(task) if isinstance(task, str) else task
        task = task.with_options(task_options or {})
        self.data = _training_data(task, train_dataset, eval_dataset, labels, target, unlabelled)
        args = _complete(args or DistillationConfig("trainer_output"), self.data)
        self.say, self.loss = say, args.distillation_loss()
        self.teachers: dict[str, list[Teacher | PreparedTeacher]] = {}
        for language, teacher in (teachers or {}).items():
            self.teachers[language] = as_teachers(teacher)
        if isinstance(student, FromTeacher):
            student = self._started(student, args)
        self._check_teachers(student, args)
        set_seed(args.seed)
        self.reuse = Reuse(limit=0) if reuse is None else reuse
        self.student = load_student(student, self.data, args, self.reuse, **(config or {}))
        self.encoded = encode(self.data, self.student, args, self.reuse)
        self.interrupt = StopOnInterrupt()
        self.progress_bar = ProgressBar(args.run_name)
        # Trainer wants an evaluation set to be given; `evaluate` reads the encoded one.
        super().__init__(
            model=self.student.model,
            args=args,
            data_collator=collate,
            train_dataset=ConcatDataset(self.encoded.train),
            eval_dataset=_windows_of_first(self.encoded.dev),
            compute_metrics=compute_metrics,
            callbacks=[self.progress_bar, self.interrupt, *(callbacks or ())],
        )
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False  # each batch's loss is its mean
        self.batches = self._make_sampler()
        distilled = [language for language in self.teachers if self.teachers[language]]
        self.preparation = BatchPreparation(self.data, self.encoded, args, self.loss, distilled, self._read)
        self.caches: dict[str, list[TeacherCache]] = {}  # one a teacher
        self.prepared: dict[str, list[PreparedTeacher]] = {}
        self.learned_maps: LearnedMaps | None = None
        self.terms = TermLog()
        self.largest_part = 0  # tokens, padding included, of the parts so far

    # -- training

    def train(self, resume_from_checkpoint: str | bool | None = None, **options: Any) -> Any:
        """Prepare the teachers, train, and give the student its whole vocabulary back.

        Args:
            resume_from_checkpoint: True goes on from the last whole checkpoint in `output_dir` where there is one, a
                folder from that one; the result is the same, to the last bit, as if it had never stopped (on one
                machine, with the same number of threads).

        Raises:
            Interrupted: after Ctrl-C, once a checkpoint is written.
            DivergedError: the loss or the weights are not finite any more.
        """
        keep_freed_memory()
        bound_kernel_caches(KEPT_IN_TRAINING)
        checkpoint = self._checkpoint_of(resume_from_checkpoint)
        self._prepare_teachers()
        self.leads = TeacherLeads(self.prepared, self.data.task.metric, self.args.stop_when_ahead)
        vocabulary = TrimmedVocabulary(self.model, self.encoded.used_ids)
        try:
            with self._kernels():
                output = self._train_trimmed(vocabulary, checkpoint, options)
        finally:
            steps = max(1, self.state.max_steps)
            until = self.state.best_global_step or self.state.global_step
            restore_vocabulary(vocabulary, self.args, steps, until)
        if self.interrupt.requested:
            raise Interrupted(
                f"stopped at step {self.state.global_step} of {self.state.max_steps} of {self.args.run_name}; "
                "the same command continues from there"
            )
        self.processing_class = self.student.tokenizer  # from here on saved with the model, which is whole again
        return output

    def _train_trimmed(self, vocabulary: TrimmedVocabulary, checkpoint: str | None, options: Mapping[str, Any]) -> Any:
        """Train with the trimmed vocabulary, from a checkpoint's folder if one is given; returns Trainer's output.

        Args:
            vocabulary: the trimmed embedding, which the model already has.
            checkpoint: its weights take the place of those that are drawn here.
            options: further arguments of `Trainer.train`.
        """
        self.say(describe(self.args.run_name, self.encoded, vocabulary, self.args))
        evaluated = () if self.args.eval_strategy == "no" else self.encoded.dev
        for line in [*lacking(self.data, self.prepared), *self.leads.never_stopped(evaluated)]:
            self.say(f"  {self.args.run_name}: {line}")
        self._move_model_to_device(self.model, self.args.device)
        if not self.caches:  # a second call of `train` goes on with the caches and learned maps of the first
            self.caches = build_teacher_caches(
                self.prepared, self.student, self.encoded, self.data, self.args, self.reuse, self.say
            )
            self.learned_maps = learned_maps(self.prepared, self.model.config.hidden_size, self.args)
        # A new head is initialized once, before its first step; a checkpoint's head then takes its place when resumed.
        is_untrained = self.student.new_head and not self.state.global_step
        if self.args.head == "standardized" and is_untrained:
            initialize_head(self.student, self.encoded, self.data.task, self.reuse)
        # The random numbers of training must be the same whether caches were computed now or read. They differ
        # between processes, so that dropout leaves out other states on each.
        set_seed(self.args.seed + distributed.rank())
        if self.learned_maps is not None:
            self.learned_maps.to(self.args.device)
        self._open_metrics_log(checkpoint)
        self.distillation_term = DistillationTerm(
            self.loss, self.args, self.data.task, self.prepared, self.caches, self.learned_maps, self.leads
        )
        self.read_ahead = ReadAhead(self.preparation.parts)
        try:
            with self.interrupt.handling_signals(), quietly():
                output = super().train(resume_from_checkpoint=checkpoint, **options)
        finally:
            self.read_ahead.close()
            self.progress_bar.close()
        self._check_weights()
        return output

    def _teacher_of(self, student: FromTeacher) -> Teacher | PreparedTeacher:
        """The teacher that a student starts as.

        Raises:
            KddaError: there is none of that language.
        """
        if student.teacher is not None:
            return as_teachers(student.teacher)[0]
        if student.language not in self.teachers:
            raise KddaError(
                f'student: starts as the teacher of "{student.language}", of which there is none among teachers'
            )
        return self.teachers[student.language][0]

    def _started(self, student: FromTeacher, args: DistillationConfig) -> tuple[Any, Any]:
        """A student with the weights of its teacher, which is fine-tuned now where it needs it."""
        teacher = self._teacher_of(student)
        if isinstance(teacher, Teacher):
            source = teacher.source
            if isinstance(source, ModelSpec) and student.layers is not None:
                source = source.model_copy(update={"layers": student.layers})
            self._check_teachers(source, args)  # before anything is fine-tuned
            store = Path(args.output_dir) / TEACHERS
            teacher = prepare_teacher_of(student.language, teacher, self.data, args, store, self.say)
            if student.teacher is None:  # the student is distilled from it, too
                self.teachers[student.language][0] = teacher
        return student_from(teacher, student.layers)

    def _prepare_teachers(self) -> None:
        """Fine-tune the teachers that need it; those of languages without training rows are not used."""
        store = Path(self.args.output_dir) / TEACHERS
        for language in self.data.train:
            prepared = []
            for teacher in self.teachers.get(language, ()):
                if isinstance(teacher, Teacher):
                    teacher = prepare_teacher_of(language, teacher, self.data, self.args, store, self.say)
                prepared.append(teacher)
            if prepared:
                self.prepared[language] = prepared

    def _checkpoint_of(self, resume: str | bool | None) -> str | None:
        """The folder to resume from, the same in all processes; None for a training that starts."""
        if not isinstance(resume, bool) and resume is not None:
            return resume
        folder = Path(self.args.output_dir)
        last = last_whole_checkpoint(folder) if resume and distributed.is_main_process() else None
        return distributed.broadcast(last)

    def _open_metrics_log(self, checkpoint: str | None) -> None:
        """Open metrics.jsonl, with the `task` event first where the run starts anew."""
        resume_step = int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0  # a folder checkpoint-STEP
        path = (Path(self.args.output_dir) / self.args.metrics_file).resolve()
        self._metrics_log = MetricsLog(path, resume_step)
        if not resume_step:
            facts = self.data.task.report_facts()
            self.metrics_log.write("task", **facts, data=data_facts(self.encoded, self.data.unlabelled))

    def _make_sampler(self) -> LanguageBatchSampler:
        """The order of batches, from the lengths in tokens of their items: windows, or whole rows."""
        lengths = {}
        for language, features in self.encoded.train.items():
            lengths[language] = features.item_lengths
        args = self.args
        return LanguageBatchSampler(lengths, args.per_device_train_batch_size, args.seed, args.language_temperature)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One-language batches in place of Trainer's, in an order that a resumed training repeats."""
        # not prepared by accelerate, which would give each process other batches: here they share every batch
        return EpochDataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.batches,
            collate_fn=collate,
            num_workers=self.args.dataloader_num_workers,
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The next batches of an epoch, with a thread that prepares those that follow meanwhile."""
        return super().get_batch_samples(self.read_ahead.over(epoch_iterator), num_batches, device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """One gradient of the whole batch, shared among processes, in as many parts as the free memory asks for."""
        language, rows = inputs["language"], inputs["rows"]
        prepared = inputs.pop("prepared")
        random_state = torch.get_rng_state()
        while True:
            self.terms.start_batch()
            if self.learned_maps is not None:
                self.learned_maps.zero_grad(set_to_none=True)  # transformers does it for the model alone
            try:
                size, parts = prepared.result()
                if size != self.preparation.micro_batch_size:  # it was prepared before memory made parts smaller
                    _, parts = self.read_ahead.submit(inputs).result()
                loss = self._step(model, parts)
            except RuntimeError as error:  # among them torch.OutOfMemoryError
                if not is_out_of_memory(error):
                    raise
                self.preparation.halve(len(rows))
                model.zero_grad(set_to_none=True)
                torch.set_rng_state(random_state)
                continue
            self.terms.end_batch(language)
            return loss

    def create_optimizer(self, *arguments: Any, **options: Any) -> Any:
        """transformers' optimizer of the student, with the learned maps as a group without weight decay."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*arguments, **options)
        if is_new and self.learned_maps is not None:
            group = {"params": list(self.learned_maps.parameters()), "lr": self.args.learning_rate, "weight_decay": 0.0}
            optimizer.add_param_group(group)
        return optimizer

    def _step(self, model: Any, prepared: Sequence[Mapping[str, Any]]) -> Any:
        """Forward and backward of the batch's rows that fall to this process, part by part; returns their loss."""
        largest = max(part["input_ids"].numel() for part in prepared)
        if largest > self.largest_part:  # it needs new memory, beside all the pieces that earlier steps have freed
            self.largest_part = largest
            release_freed_memory()
        # gradients are exchanged once, after the last part; the parts before it only add to them (no_sync)
        *parts, last_part = prepared
        losses = []
        for part in parts:
            with self.accelerator.no_sync(model):
                losses.append(super().training_step(model, dict(part)))
        losses.append(super().training_step(model, dict(last_part)))
        if self.learned_maps is not None:
            self.learned_maps.average_gradients()
        return torch.stack(losses).sum()

    def _read(self, language: str, windows: Sequence[int]) -> dict[int, Any]:
        """Index of each teacher that is not stopped → its stored states of some windows (`TeacherCache.read`)."""
        states = {}
        for index in self.leads.active(language):
            states[index] = self.caches[language][index].read(windows)
        return states

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        """The task's loss, and the teacher's divergence where the batch's language has a teacher."""
        share, task_share, targets = inputs.pop("share"), inputs.pop("task_share"), inputs.pop("targets")
        golds = targets.get("labels") if self.data.task.compares_logits else None
        compared = ComparedWindows.taken_from(inputs, golds)
        is_distilled = bool(self.leads.active(compared.language))
        inputs["output_hidden_states"] = is_distilled
        if task_share:
            outputs = self.data.task.outputs_with_loss(model, inputs, targets)
        else:
            outputs = self.data.task.outputs_without_labels(model, inputs)
        self._check_loss("the task's loss", outputs.loss)
        task_loss = outputs.loss if task_share == 1.0 else task_share * outputs.loss
        terms, total = {"task": task_loss.detach()}, task_loss
        if is_distilled:
            try:
                divergence, logged = self.distillation_term.of(self.model, outputs, compared)
            except NotFiniteValueError as error:
                what = f"the divergence from the teacher of {compared.language} cannot be computed ({error})"
                raise self._diverged(what) from None
            progress = self.state.global_step / max(1, self.state.max_steps)
            total = self.loss.total(task_loss, divergence, progress)
            self._check_loss("the loss", total)
            terms |= logged
        self.terms.add_part(share, terms)
        return (share * total, outputs) if return_outputs else share * total

    def _check_loss(self, name: str, loss: torch.Tensor) -> None:
        """End the training where a loss is not finite.

        Raises:
            DivergedError: names the step.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"{name} is {value}")

    def _check_weights(self) -> None:
        """End a training that leaves weights which are not finite.

        Raises:
            DivergedError: names the step and the first such weight.
        """
        for name, weight in self.model.named_parameters():
            if not bool(weight.isfinite().all()):
                raise self._diverged(f"{name} is not finite")

    # -- logging and saving

    def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
        """Write terms and languages apart, since a sum hides which of them moves; then hand all to the trackers."""
        combined = dict(logs)
        for language, means in self.terms.means().items():
            self.metrics_log.write("train", step=self.state.global_step, language=language, **means)
            for name, value in means.items():
                combined[f"{language}_{name}"] = value
        combined |= self.terms.mean_divergence()
        self.terms.clear()
        if "learning_rate" in logs:
            optimizer = {name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs}
            self.metrics_log.write("step", step=self.state.global_step, epoch=self.state.epoch, **optimizer)
        self._log_to_trackers(combined)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save an ordinary checkpoint: safetensors, config and tokenizer, with the full vocabulary.

        Args:
            output_dir: ``OUTPUT_DIR/model`` by default.
        """
        if _internal_call:  # a checkpoint of the training, whose vocabulary is trimmed
            super().save_model(output_dir, _internal_call)
            return
        if not distributed.is_main_process():
            return
        final = Path(output_dir or Path(self.args.output_dir) / "model")
        written = final.with_name(f"{final.name}.part")
        shutil.rmtree(written, ignore_errors=True)
        with quietly():
            self.model.save_pretrained(written)
            self.student.tokenizer.save_pretrained(written)
        for name, content in self.data.task.files_beside_model(self.model.config, self.encoded.encoder).items():
            path = written / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        written.rename(final)  # a folder of this name is a whole model

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write a checkpoint's model and arguments, with the objective by its name."""
        # transformers pickles its arguments beside each checkpoint; a function of the user's may not be picklable
        objective = self.args.objective
        self.args.objective = objective_name(objective)
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.objective = objective
        folder = Path(output_dir or self.args.output_dir)
        is_checkpoint = folder.name.startswith(PREFIX_CHECKPOINT_DIR)  # what follows is no part of a model
        if not is_checkpoint or not distributed.is_main_process():
            return
        self.leads.save(folder)
        if self.learned_maps is not None:
            save_file(self.learned_maps.state_dict(), folder / LEARNED_MAPS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load a checkpoint's weights, and beside them the learned maps and the teachers that were stopped."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.leads.load(Path(resume_from_checkpoint))
        if self.learned_maps is not None:
            self.learned_maps.load_state_dict(load_file(Path(resume_from_checkpoint) / LEARNED_MAPS))

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of this training, which are of no use once the model is saved, and nothing else."""
        if not distributed.is_main_process():
            return
        folder = Path(self.args.output_dir)
        for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint, ignore_errors=True)
        with suppress(OSError):  # other files, such as a tracker's, stay, and the folder with them
            folder.rmdir()

    # -- checks

    def _check_teachers(self, student: Model, args: DistillationConfig) -> None:
        """Refuse teachers of languages without training rows, and a loss that does not fit task or teachers.

        Raises:
            KddaError: names the language or the field.
        """
        languages = list(self.data.train)
        check_architecture("student", student)
        for language in self.data.unlabelled:
            if language not in self.teachers:
                raise KddaError(
                    f'unlabelled: "{language}" has neither labels nor a teacher: there is nothing to learn from'
                )
        for language, teachers in self.teachers.items():
            if language not in languages:
                hint = did_you_mean(language, languages)
                raise KddaError(f'teachers: "{language}" has no train_dataset{hint}; there are {", ".join(languages)}')
            for teacher in teachers:
                if isinstance(teacher, Teacher):
                    _check_source(language, teacher, self.data)
                    check_architecture(f"teachers.{language}", teacher.source)
                    check_task_of_teacher(language, teacher, self.data.task, self.data.labels)
                    check_teacher(language, teacher, student, self.loss, args.tokens, args.align)
        if self.teachers:
            check_task(self.loss, self.data.task)


def _training_data(task: Task, train_dataset: Any, *others: Any) -> TrainingData:
    """The data of a training: as they are, or made of datasets; arguments as for `TrainingData.from_datasets`."""
    if isinstance(train_dataset, TrainingData):
        return train_dataset
    return TrainingData.from_datasets(task, train_dataset, *others)


def _check_source(language: str, teacher: Teacher, data: TrainingData) -> None:
    """Refuse a teacher that is to be fine-tuned on the rows of a language that has none, or none with labels."""
    if teacher.train is None:
        return
    labelled = [name for name in data.train if name not in data.unlabelled]
    if teacher.train not in labelled:
        raise KddaError(unknown_choice(f"teachers.{language}: train", teacher.train, labelled))


def fine_tune(
    model: Model,
    *,
    task: str | Task = "nli",
    train_dataset: Any,
    eval_dataset: Any = None,
    args: DistillationConfig | None = None,
    **options: Any,
) -> DistillationTrainer:
    """Fine-tune a model on a task without teachers, as teachers are before a student is distilled from them.

    Args:
        model: a name, a folder, or a pair of a model with the task's head and its tokenizer.
        task: a name in `kdda.tasks.registry.TASKS`, or a `Task`.
        train_dataset: training rows, as `DistillationTrainer` takes them.
        eval_dataset: development rows, likewise.
        args: a `DistillationConfig`.
        options: further arguments of `DistillationTrainer`.

    Returns:
        The trainer, whose model is trained: `evaluate`, `predict` and `save_model` work on it.
    """
    trainer = DistillationTrainer(
        model, task=task, train_dataset=train_dataset, eval_dataset=eval_dataset, args=args, **options
    )
    trainer.train()
    return trainer


def _windows_of_first(dev: Mapping[str, Features]) -> Sequence[Window] | None:
    """The development windows of the first target: Trainer wants some to be given; None without any."""
    for features in dev.values():
        return features.windows
    return None


def _complete(args: DistillationConfig, data: TrainingData) -> DistillationConfig:
    """The arguments with what the data decides: the metric that selects the model, or that nothing selects it."""
    if not data.targets_with_dev:
        args = replace(args, eval_strategy="no", load_best_model_at_end=False, metric_for_best_model=None)
    metric = args.metric_for_best_model
    if metric == TASK_METRIC:
        metric = f"eval_{data.task.metric}"
    changes: dict[str, Any] = {"metric_for_best_model": metric, "run_name": args.run_name or args.output_dir}
    return replace(args, **changes)
