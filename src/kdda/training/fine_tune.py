"""One fine-tuning from start to a saved model: resumable, and the same whether it was interrupted or not."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PrinterCallback, set_seed

from kdda.data.examples import Example
from kdda.errors import Interrupted
from kdda.losses.distillation import DistillationLoss
from kdda.models.device import in_bfloat16
from kdda.models.heads import standardize_head
from kdda.models.hidden_states import last_hidden
from kdda.models.load import Checkpoint, load_checkpoint, quietly
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused
from kdda.recipe.schema import Distill, ModelSpec, Training
from kdda.runs.folder import METRICS, MODEL_FOLDER
from kdda.runtime import distributed
from kdda.runtime.memory import free_bytes, keep_freed_memory
from kdda.runtime.progress import Say
from kdda.tasks.base import Features, Prediction, Task, predict
from kdda.teachers.cache import TeacherCache
from kdda.teachers.inputs import TeacherInputs
from kdda.text.encode import Encoder
from kdda.training.callbacks import MetricsLog, ProgressBar, StopOnInterrupt
from kdda.training.checkpoints import last_whole_checkpoint
from kdda.training.sampler import LanguageBatchSampler
from kdda.training.trainer import DistillationTrainer, Lesson, arguments, check_switches, learning_rates

CHECKPOINTS = "checkpoints"

HEAD_ROWS = 128  # of a language, for the head's initialization


@dataclass(frozen=True)
class Store:
    """Where teacher states may be kept, and how many bytes a language's may take there."""

    folder: Path
    budget: float


@dataclass(frozen=True)
class Job:
    """Everything that decides one fine-tuning's result.

    Args:
        target: the language whose development rows select the model.
        teachers: language → its frozen teacher; asked only when `distill` is given, and emptied once its states are
            stored. A language without one learns its task alone.
        store: of teacher states; without one the teacher is asked in each step.
        memories: more that the saved model's config remembers of how it was trained.
    """

    name: str
    task: Task
    labels: Sequence[str]  # none for tasks without labels
    model: ModelSpec
    train: Mapping[str, Sequence[Example]]
    dev: Mapping[str, Sequence[Example]]
    target: str
    training: Training
    seed: int
    folder: Path
    distill: Distill | None = None
    teachers: Mapping[str, Checkpoint] | None = None
    store: Store | None = None
    memories: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Student:
    """A fine-tuned model, grafted and in memory, with what measures it."""

    checkpoint: Checkpoint
    encoder: Encoder
    log: MetricsLog
    job: Job

    def predict(self, examples: Sequence[Example], language: str) -> Sequence[Prediction]:
        features = self.job.task.encode(examples, self.encoder)
        return predict(self.checkpoint.model, self.job.task, features, self.encoder, self.job.labels, language)

    def save(self) -> Path:
        """Save an ordinary checkpoint (safetensors, tokenizer, full vocabulary) under the job's folder."""
        final, written = self.job.folder / MODEL_FOLDER, self.job.folder / f"{MODEL_FOLDER}.part"
        shutil.rmtree(written, ignore_errors=True)
        with quietly():
            self.checkpoint.model.save_pretrained(written)
            self.checkpoint.tokenizer.save_pretrained(written)
        shutil.rmtree(final, ignore_errors=True)
        written.rename(final)  # a folder named model/ is a whole one
        return final


def fine_tune(job: Job, say: Say = print) -> Student:
    """Fine-tune, continuing from the last checkpoint if the folder holds one, and keep the best model on dev.

    Raises:
        Interrupted: after Ctrl-C, once a checkpoint is written; the same call continues from it.
    """
    keep_freed_memory()
    set_seed(job.seed)
    checkpoint = load_for(job.task, job.model, job.labels, job.training.attention_dropout)
    check_switches(job.training, checkpoint.model)
    checkpoint.model.config.update(_memories(job))
    encoder = checkpoint.encoder(job.training.max_length, job.training.stride)
    train = {language: job.task.encode(rows, encoder) for language, rows in job.train.items()}
    cut = encoder.counts.copy()
    dev = job.task.encode(job.dev[job.target], encoder)
    vocabulary = TrimmedVocabulary(
        checkpoint.model, set[int]().union(*(own.windows.used for own in (*train.values(), dev)))
    )
    say(_facts(job, train, cut, vocabulary))
    lesson = Lesson(job.task, job.labels, train, dev, job.target, encoder, *_teachers(job, train, say))
    if job.training.head == "standardized" and checkpoint.new_head:
        standardize_head(checkpoint.model, _states_read(job.task, checkpoint, encoder, train))
    # what was drawn above must not depend on which rooms drew; ranks drop out different states
    set_seed(job.seed + distributed.rank())
    trainer = _train(job, checkpoint, lesson)
    vocabulary.graft(_decay(job, trainer))
    distributed.barrier()
    if distributed.is_main_process():
        shutil.rmtree(job.folder / CHECKPOINTS, ignore_errors=True)
    return Student(checkpoint, encoder, trainer.metrics_log, job)


def load_for(
    task: Task,
    spec: ModelSpec,
    labels: Sequence[str],
    attention_dropout: float | None = None,
    random: int | None = None,
) -> Checkpoint:
    """A model with the head that a task needs."""
    return load_checkpoint(
        spec.model,
        head=task.head,
        layers=spec.layers,
        labels=labels if task.labelled else None,
        segmenter=spec.segmenter,
        attention_dropout=attention_dropout,
        random=random,
    )


def _memories(job: Job) -> dict[str, Any]:
    """What a saved model's config remembers, so that it is read later as it was trained."""
    own = {"kdda_task": job.task.name, "kdda_language": job.target, "kdda_max_length": job.training.max_length}
    return {**own, "kdda_stride": job.training.stride, **job.task.settings(), **job.memories}


@torch.no_grad()
def _states_read(
    task: Task, checkpoint: Checkpoint, encoder: Encoder, train: Mapping[str, Features]
) -> Float[Tensor, "states width"]:
    """Last states that a head reads, of some training rows of every language: the first token's, or all tokens'."""
    states = []
    for own in train.values():
        reads_all = task.states_read == "all tokens"
        rows = HEAD_ROWS // 8 if reads_all else HEAD_ROWS  # a row has many tokens
        inputs = encoder.pad(own.windows[:: -(-len(own.windows) // rows)])
        found = last_hidden(checkpoint.model.base_model(**inputs))
        states.append(found[inputs["attention_mask"].bool()] if reads_all else found[:, 0])
    return torch.cat(states)


def _facts(job: Job, train: Mapping[str, Features], counts: Counter[str], vocabulary: TrimmedVocabulary) -> str:
    sizes = ", ".join(f"{language} {_size(own)}" for language, own in train.items())
    batches = sum(-(-len(own.windows) // job.training.batch_size) for own in train.values())
    steps = f"{job.training.epochs} epochs of {batches} batches of {job.training.batch_size}"
    rows, full = vocabulary.trimmed.num_embeddings, vocabulary.full.num_embeddings
    trimmed = f"vocabulary {rows:,} of {full:,} rows ({vocabulary.bytes_saved / 2**20:,.0f} MB saved)"
    cut = "".join(f"; {count:,} {what}" for what, count in counts.items() if count)
    return f"  {job.name}: {sizes}; {steps}; {trimmed}{cut}"


def _size(own: Features) -> str:
    tokens = _tokens(own)
    split = f"{len(own.windows):,} windows, " if len(own.windows) != len(own.examples) else ""
    return f"{len(own.examples):,} rows ({split}{tokens:,} tokens)"


def _tokens(own: Features) -> int:
    return int(own.lengths.sum(dtype=np.int64))


def _teachers(
    job: Job, train: Mapping[str, Features], say: Say
) -> tuple[DistillationLoss | None, dict[str, list[TeacherCache]]]:
    if job.distill is None or job.teachers is None:
        return None, {}
    states = {language: _states(job, language, own, say) for language, own in train.items() if language in job.teachers}
    scales = {language: [own.scale for own in found] for language, found in states.items()}
    loss = DistillationLoss(job.distill, scales)
    if job.distill.objective == "sinkhorn":
        for language, found in states.items():
            for at, own in enumerate(found):
                own.precompute_self_terms(loss.objective_settings(language, at))
    return loss, states


def _states(job: Job, language: str, own: Features, say: Say) -> list[TeacherCache]:
    """What a language's teacher says, at each depth that is asked for."""
    assert job.teachers is not None and job.distill is not None
    teacher = job.teachers[language]
    encoder = teacher.encoder(job.training.max_length, job.training.stride)
    read = TeacherInputs(encoder, job.task.text_spans(own), job.distill.tokens)
    labels, depths = job.labels if job.task.labelled else (), job.distill.layers
    needed = len(depths) * read.stored_bytes(teacher.width)
    fits = job.store is not None and needed <= job.store.budget and needed <= 0.9 * free_bytes(job.store.folder)
    plan = f"stored in {job.store.folder}" if fits and job.store else "too large to store, asked in each step"
    say(f"  {job.name}: {language} teacher's states {needed / 2**20:,.0f} MB, {plan}")
    folder = job.store.folder if fits and job.store else None
    bf16, shuffled = in_bfloat16(job.training.precision), job.distill.shuffle_teacher
    found = [TeacherCache(teacher, read, labels, folder, bf16, shuffled, depth) for depth in depths]
    if folder:
        teacher.model.to("meta")  # nobody asks it any more: its memory is the training's
    written, scales = sum(part.written for part in found), ", ".join(f"{part.scale:.3g}" for part in found)
    made = f"{written} blocks written; " if written else "found whole; " if fits else ""
    say(f"  {job.name}: {language} teacher: {made}its scale s = {scales}")
    return found


def _batches(job: Job, lesson: Lesson) -> LanguageBatchSampler:
    lengths = {name: own.lengths for name, own in lesson.train.items()}
    return LanguageBatchSampler(lengths, job.training.batch_size, job.seed)


def _train(job: Job, checkpoint: Checkpoint, lesson: Lesson) -> DistillationTrainer:
    folder = job.folder / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    batches, stop = _batches(job, lesson), StopOnInterrupt()
    last = distributed.broadcast(last_whole_checkpoint(folder) if distributed.is_main_process() else None)
    resume_step = int(last.rsplit("-", 1)[1]) if last else 0
    trainer = DistillationTrainer(
        lesson,
        MetricsLog(job.folder / METRICS, resume_step),
        batches,
        job.training.micro_batch_size,
        model=checkpoint.model,
        args=arguments(job.training, folder, job.seed, job.task.metric, _steps(job, batches)),
        callbacks=[*([ProgressBar(job.name)] if distributed.is_main_process() else []), stop],
    )
    trainer.remove_callback(PrinterCallback)
    if not resume_step:
        trainer.metrics_log.write("task", **_task_facts(job, lesson))
    with stop.listening(), quietly():
        trainer.train(resume_from_checkpoint=last)
    if stop.asked:
        raise Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps} of {job.name}; "
            "the same command continues from there"
        )
    return trainer


def _task_facts(job: Job, lesson: Lesson) -> dict[str, Any]:
    """What a report must know that only this room does."""
    data = {
        language: {
            "rows": len(own.examples),
            "windows": len(own.windows),
            "tokens": _tokens(own),
        }
        for language, own in lesson.train.items()
    }
    return {**job.task.report_facts(), "data": data}


def _steps(job: Job, batches: LanguageBatchSampler) -> int:
    return len(batches) * job.training.epochs


def _decay(job: Job, trainer: DistillationTrainer) -> float:
    """What weight decay has left of the rows that were not trained, at the selected model's step."""
    steps = trainer.state.max_steps
    until = trainer.state.best_global_step or steps
    return decay_of_unused(learning_rates(job.training, steps, until), job.training.weight_decay)


def scores_by_language(student: Student, rows: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, Any]]:
    """Scores of every language's rows."""
    task, labels = student.job.task, student.job.labels
    return {language: task.score(student.predict(examples, language), labels) for language, examples in rows.items()}
