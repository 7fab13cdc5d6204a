"""Fine-tuning, with teachers or without: transformers' Trainer, one-language batches, the loss of docs/method.md, 6."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainingArguments

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.models.device import in_bfloat16
from kdda.models.hidden_states import attention_masses, hidden_at
from kdda.recipe.schema import Training
from kdda.runtime import distributed
from kdda.tasks.base import Features, Task, predict
from kdda.teachers.cache import TeacherCache
from kdda.text.encode import Encoder
from kdda.training.callbacks import MetricsLog
from kdda.training.sampler import LanguageBatchSampler

# transformers has renamed it, and warns of the old name
RENAMED = hasattr(TrainingArguments, "activation_checkpointing")

CHECKPOINTING = "activation_checkpointing" if RENAMED else "gradient_checkpointing"


@dataclass(frozen=True)
class Lesson:
    """What a fine-tuning learns from: rows a language, the language that selects the model, and perhaps teachers."""

    task: Task
    labels: Sequence[str]
    train: Mapping[str, Features]
    dev: Features
    target: str
    encoder: Encoder
    loss: DistillationLoss | None = None
    teachers: Mapping[str, Sequence[TeacherCache]] = field(default_factory=dict)  # at each depth


class ConcatDataset:
    """The training windows of all languages, numbered through; an item is its language and its number there."""

    def __init__(self, lesson: Lesson):
        self.languages = list(lesson.train)
        self.ends = list(accumulate(len(own.windows) for own in lesson.train.values()))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[str, int]:
        k = bisect_right(self.ends, index)
        return self.languages[k], index - (self.ends[k - 1] if k else 0)


class EpochDataLoader(DataLoader[Any]):
    """A loader whose sampler is told the epoch, which decides its order."""

    def set_epoch(self, epoch: int) -> None:
        assert isinstance(self.batch_sampler, LanguageBatchSampler)
        self.batch_sampler.set_epoch(epoch)


class Part(NamedTuple):
    """Some rows of a batch: their share of it, and the means of the loss's terms over them."""

    share: float
    terms: dict[str, Any]


class DistillationTrainer(Trainer):  # type: ignore[misc]
    """Trainer over one-language batches, whose loss may listen to that language's teacher."""

    def __init__(
        self,
        lesson: Lesson,
        log: MetricsLog,
        batches: LanguageBatchSampler,
        micro_batch_size: int | None = None,
        **options: Any,
    ):
        # Trainer wants an evaluation set to be given; `evaluate` reads the lesson's own.
        data = {"train_dataset": ConcatDataset(lesson), "eval_dataset": lesson.dev.windows}
        super().__init__(**data, data_collator=self._collate, **options)
        self.lesson, self.metrics_log, self.batches = lesson, log, batches
        self.targets = {name: lesson.task.targets(own, lesson.labels) for name, own in lesson.train.items()}
        self.model_accepts_loss_kwargs = False  # each batch's loss is its own mean
        self.micro_batch_size = micro_batch_size or batches.batch_size
        self.terms: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self.parts: list[Part] = []

    def get_train_dataloader(self) -> DataLoader[Any]:
        # not prepared by accelerate, which would give each rank batches of its own: they share every batch
        return EpochDataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self._collate)  # type: ignore[arg-type]

    def _collate(self, items: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """A batch is its language and its rows; `training_step` pads what it takes of them."""
        return {"language": items[0][0], "rows": [row for _, row in items]}

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """One gradient of the whole batch, shared out among ranks, in as many parts as the memory at hand asks for."""
        language, rows = inputs["language"], inputs["rows"]
        random = torch.get_rng_state()
        while True:
            self.parts = []
            try:
                found = self._step(model, language, rows)
            except torch.OutOfMemoryError:
                if (
                    self.micro_batch_size == 1 or distributed.size() > 1
                ):  # the other ranks would wait for this one's first try
                    raise KddaError(
                        f"{self.micro_batch_size} of a batch's rows do not fit into the memory at hand; lower "
                        "training.micro_batch_size or max_length"
                    ) from None
                self.micro_batch_size = -(-min(self.micro_batch_size, len(rows)) // 2)
                model.zero_grad(set_to_none=True)
                torch.set_rng_state(random)
                continue
            self._remember(language)
            return found

    def _step(self, model: Any, language: str, rows: Sequence[int]) -> Any:
        own = rows[distributed.rank() :: distributed.size()]
        weight = (
            distributed.size() / len(rows) if own else 0.0
        )  # gradients of ranks are averaged; one without rows adds nothing
        *most, last = _parts(own or rows[:1], self.micro_batch_size)
        found = []
        for part in most:
            with self.accelerator.no_sync(model):
                found.append(super().training_step(model, self._padded(language, part, weight)))
        found.append(super().training_step(model, self._padded(language, last, weight)))
        return torch.stack(found).sum()

    def _remember(self, language: str) -> None:
        """The batch's terms, from those of its parts."""
        terms = self.terms[language]
        for name in self.parts[0].terms:
            values = [(part.share, part.terms[name]) for part in self.parts]
            whole = max(v for _, v in values) if name == "marginal_error" else sum(share * v for share, v in values)
            terms[name].append(whole)

    def _padded(self, language: str, rows: Sequence[int], weight: float) -> dict[str, Any]:
        windows = [self.lesson.train[language].windows[row] for row in rows]
        targets = {name: torch.from_numpy(own[rows]).long() for name, own in self.targets[language].items()}
        loss, inputs = self.lesson.loss, self.lesson.encoder.pad(windows)
        texts = loss is not None and loss.settings.tokens == "text"
        return {
            **inputs,
            **targets,
            "counted": self.lesson.encoder.text_mask(windows) if texts else inputs["attention_mask"].bool(),
            "language": language,
            "rows": rows,
            "share": len(rows) * weight,
        }

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        language, rows, share, counted = (inputs.pop(name) for name in ("language", "rows", "share", "counted"))
        loss = self.lesson.loss if language in self.lesson.teachers else None
        outputs = model(**inputs, output_hidden_states=loss is not None)
        terms, total = {"task": outputs.loss.detach()}, outputs.loss
        if loss is not None:
            heard = self.lesson.teachers[language]
            student = [self._own_side(outputs, counted, own.depth) for own in heard]
            found = loss.transport(language, student, [self._side(own, rows) for own in heard], inputs.get("labels"))
            total = loss.total(outputs.loss, found.mean, self.state.global_step / max(1, self.state.max_steps))
            terms |= {"transport": found.mean.detach(), "marginal_error": found.marginal_error}
        self.parts.append(Part(share, terms))
        return (share * total, outputs) if return_outputs else share * total

    def _own_side(self, outputs: Any, counted: torch.Tensor, depth: float) -> Representations:
        """The student's side at a depth, in its own graph."""
        assert self.lesson.loss is not None
        weighed = self.lesson.loss.settings.tokens == "attended"
        masses = attention_masses(self.model, outputs, counted, depth) if weighed else counted
        return Representations(hidden_at(outputs, depth), masses, getattr(outputs, "logits", None))

    def _side(self, teacher: TeacherCache, rows: Sequence[int]) -> Representations:
        side, device = teacher.batch(rows), self.args.device
        parts = (side.states, side.mask, side.logits, side.self_term)
        return Representations(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Scores on the development rows that select the model."""
        lesson = self.lesson
        found = predict(self.model, lesson.task, lesson.dev, lesson.encoder, lesson.labels, lesson.target)
        scores = lesson.task.score(found, lesson.labels)
        metrics = {f"eval_{name}": float(value) for name, value in scores.items() if isinstance(value, int | float)}
        self.metrics_log.write("dev", step=self.state.global_step, epoch=self.state.epoch, **scores)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
        """Terms and languages apart, since a sum hides which of them moves."""
        for language, terms in self.terms.items():
            own = {name: float(torch.tensor(values).mean()) for name, values in terms.items()}
            if "marginal_error" in terms:
                own["marginal_error"] = float(max(terms["marginal_error"]))
            found = distributed.all_gather(own)
            means = {name: (max if name == "marginal_error" else fmean)(o[name] for o in found) for name in own}
            self.metrics_log.write("train", step=self.state.global_step, language=language, **means)
        self.terms.clear()
        if "learning_rate" in logs:
            kept = {name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs}
            self.metrics_log.write("step", step=self.state.global_step, epoch=self.state.epoch, **kept)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)


def _parts(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def arguments(training: Training, folder: Path, seed: int, metric: str, steps: int) -> TrainingArguments:
    """docs/method.md, 8: AdamW, linear decay after warm-up, clipping, the best model of the development rows."""
    return TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        lr_scheduler_type="linear",
        warmup_steps=warmup_steps(training, steps),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{metric}",
        greater_is_better=True,
        logging_steps=training.log_every,
        **{CHECKPOINTING: training.gradient_checkpointing},
        torch_compile=training.compile,
        bf16=(bf16 := in_bfloat16(training.precision)),
        use_cpu=(bf16 or distributed.size() > 1) and not torch.cuda.is_available(),
        ddp_broadcast_buffers=False,  # none of them changes
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def check_switches(training: Training, model: Any) -> None:
    """Refuse, before training, what this model or machine cannot do."""
    kind = model.config.model_type
    if training.gradient_checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        raise KddaError(f"training.gradient_checkpointing: a model of type {kind} cannot compute its layers again")
    if not training.compile:
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise KddaError(
            "training.compile: torch.compile needs a C++ compiler, and there is none; install one (g++), "
            "name it in CXX, or leave training.compile out"
        ) from None


def warmup_steps(training: Training, steps: int) -> int:
    """A part of all steps, or so many.

    >>> warmup_steps(Training(warmup=0.1), 11), warmup_steps(Training(warmup=100), 1000)
    (2, 100)
    """
    return min(steps, int(training.warmup)) if training.warmup >= 1 else -int(-steps * training.warmup // 1)


def learning_rates(training: Training, steps: int, until: int) -> list[float]:
    """The schedule's learning rate at each of the first `until` optimizer steps.

    >>> learning_rates(Training(learning_rate=1.0, warmup=0.5), steps=4, until=4)
    [0.0, 0.5, 1.0, 0.5]
    """
    warm = warmup_steps(training, steps)
    return [
        training.learning_rate * (t / warm if t < warm else (steps - t) / max(1, steps - warm)) for t in range(until)
    ]
