"""`DistillationConfig`: arguments and defaults of training (learning rate, batch size, λ), and which are refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, get_args, no_type_check

import torch
from transformers import TrainingArguments, get_scheduler
from transformers.trainer_utils import SchedulerType

from kdda.errors import KddaError, did_you_mean, unknown_choice
from kdda.losses.distillation import DistillationLoss
from kdda.recipe.schema import CachePrecision, Distill, Tokens, Training, language_temperature
from kdda.runtime.device import compute_device, in_bfloat16, pins_memory
from kdda.teachers.align import check_alignment

TASK_METRIC = "task"  # in metric_for_best_model: stands for the task's metric, which the trainer puts in its place

# Fields of TrainingArguments that would change what is computed in a way that kdda does not follow: name → the values
# that are accepted, and why no other is.
EXACT: dict[str, tuple[tuple[Any, ...], str]] = {
    "optim": (
        ("adamw_torch", "adamw_torch_fused"),
        "vocabulary rows that do not occur are decayed in closed form, which holds for AdamW",
    ),
    "gradient_accumulation_steps": (
        (1,),
        "a batch is the rows of one gradient; micro_batch_size takes it in parts (gradient accumulation)",
    ),
    "label_smoothing_factor": ((0.0,), "the task's loss is the model's, which does not smooth labels"),
    "neftune_noise_alpha": ((None,), "a resumed run must equal one that never stopped, and this noise is not restored"),
    "auto_find_batch_size": ((False,), "it changes the batch; micro_batch_size is lowered by itself instead"),
    "dataloader_drop_last": ((False,), "each row is trained on once an epoch"),
    "train_sampling_strategy": (("random",), "each batch holds one language, in an order that the seed decides"),
    "ignore_data_skip": ((False,), "a resumed run must equal one that never stopped"),
    "save_only_model": ((False,), "a run resumes from its optimizer's state"),
    "deepspeed": ((None,), "it shards the embedding, which is trimmed to the vocabulary in use"),
    "fsdp": ((None, "", [], False), "it shards the embedding, which is trimmed to the vocabulary in use"),
}
ADAPTIVE_SCHEDULES = ("reduce_lr_on_plateau", "greedy")  # their rates depend on the run, and are not known beforehand

# What a recipe writes elsewhere: TrainingArguments' name → where.
RECIPE_FIELDS = {
    "output_dir": "kdda run --out",
    "learning_rate": "training.learning_rate",
    "num_train_epochs": "training.epochs",
    "per_device_train_batch_size": "training.batch_size",
    "warmup_steps": "training.warmup",
    "warmup_ratio": "training.warmup",
    "weight_decay": "training.weight_decay",
    "max_grad_norm": "training.max_grad_norm",
    "logging_steps": "training.log_every",
    "activation_checkpointing": "training.gradient_checkpointing",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "torch_compile": "training.compile",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "seed": "seeds",
    "data_seed": "seeds",
    "resume_from_checkpoint": "nothing: the same command resumes",
}


@no_type_check  # at run time: transformers gives float fields integers
@dataclass
class DistillationConfig(TrainingArguments):  # type: ignore[misc]
    """Arguments of `DistillationTrainer`: every field of transformers' `TrainingArguments`, and these.

    Args:
        output_dir: for checkpoints and ``metrics.jsonl``; prepared teachers go to ``teachers/`` below it.
        objective: what is minimised between student and teacher: a name in `kdda.losses.registry.OBJECTIVES`, or a
            function ``(student, teacher, settings) -> values [batch]``.
        objective_options: settings of this objective alone, such as ``{"bandwidth": 2.0}``.
        distill_weight: the distillation weight λ.
        epsilon: strength of the entropy in optimal transport, in units of the scaled cost.
        scale: what costs are measured in: ``"teacher"`` (calibrated once a teacher), ``"none"``, ``"cosine"``,
            ``"layernorm"``, or a number.
        combine: ``"sum"`` or ``"interpolate"`` (`DistillationLoss`).
        tolerance: marginal error at which a text counts as solved.
        max_iterations: of the solver, a text.
        temperature: of ``kd-logits``.
        distill_schedule: λ over training: ``"constant"``, ``"linear_decay"``, ``"linear_warmup"``.
        layers: whose states are compared, as parts of a model's depth: 1 is the last layer.
        tokens: which tokens count: ``"all"``, ``"text"`` (no specials), or all with masses by attention: the first
            token's to each (``"attended"``), all tokens' to each (``"received"``), or by how far each token's attention
            is from uniform (``"entropy"``).
        points: what states are compared of: each model's ``"tokens"``, or the ``"words"`` of the text.
        example_weighting: ``"none"``, ``"teacher_correct"``, ``"teacher_confidence"``.
        logit_weight: how much of ``kd-logits`` is added to the objective.
        shuffle_teacher: a control: each row gets the teacher states of another row.
        align: how teachers' states come into the student's space: ``"none"``, ``"procrustes"`` or ``"learned"``
            (docs/method.md, 9); a `Teacher` may say otherwise.
        stop_when_ahead: once the student's score on the development rows of a language is above a teacher's, it is no
            longer distilled from this teacher; without it, evaluations say where that would be.
        max_length: tokens of a window at most.
        stride: tokens that two windows of one long text share.
        head: ``"plain"`` draws a new head as transformers does, ``"standardized"`` makes it standardise what it reads.
        attention_dropout: instead of the model's.
        precision: of the forward pass: ``"auto"`` (bfloat16 where the device computes in it), ``"fp32"``, ``"bf16"``.
        micro_batch_size: rows in memory at once; the gradient is the whole batch's (gradient accumulation).
        sampling: of languages of unequal size: ``"proportional"``, every row once an epoch, or ``"temperature"``, where
            languages share an epoch's batches by p_l ∝ n_l^(1/T). Without effect on one language.
        sampling_temperature: T, 1 or more; 2 by default.
        teacher_cache_dir: where teacher states are stored; ``OUTPUT_DIR/teachers/states`` by default.
        teacher_cache_gb: most gigabytes of stored states; 0 runs teachers in each step.
        teacher_cache_precision: of stored states: ``"bf16"``, or ``"int8"`` with a scale a token, which takes half the
            disk and rounds more (docs/performance.md, *Scale*).
        metrics_file: where events are written, from `output_dir`.

    `per_device_train_batch_size` is the rows of one gradient, shared among processes where there are several.

    Raises:
        KddaError: a value that does not exist, or one that would break exactness, with why.

    >>> config = DistillationConfig("out", distill_weight=1.0, report_to="none")
    >>> config.learning_rate, config.num_train_epochs, config.objective
    (2e-05, 2, 'sinkhorn')
    """

    # TrainingArguments' fields with the defaults of docs/method.md, 8
    per_device_train_batch_size: int = 32
    num_train_epochs: float = 2
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_steps: float = 0.1
    logging_steps: float = 10
    eval_strategy: Any = "epoch"
    save_strategy: Any = "epoch"
    save_total_limit: int | None = 1
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = TASK_METRIC
    greater_is_better: bool | None = True
    disable_tqdm: bool | None = True  # kdda's progress bar takes its place
    remove_unused_columns: bool | None = False
    ddp_broadcast_buffers: bool | None = False  # none of them changes
    report_to: Any = "none"
    hub_strategy: Any = "end"

    objective: str | Callable[..., Any] = "sinkhorn"
    objective_options: dict[str, Any] = field(default_factory=dict)
    distill_weight: float = 0.3
    epsilon: float = 0.005
    scale: float | str = "teacher"
    combine: str = "sum"
    tolerance: float = 1e-4
    max_iterations: int = 500
    temperature: float = 2.0
    distill_schedule: str = "constant"
    layers: Sequence[float] = field(default_factory=lambda: [1.0])
    tokens: str = "all"
    points: str = "tokens"
    example_weighting: str = "none"
    logit_weight: float = 0.0
    shuffle_teacher: bool = False
    align: str = "none"
    stop_when_ahead: bool = False
    max_length: int = 128
    stride: int = 128
    head: str = "plain"
    attention_dropout: float | None = None
    precision: str = "auto"
    micro_batch_size: int | None = None
    sampling: str = "proportional"
    sampling_temperature: float | None = None
    teacher_cache_dir: str | None = None
    teacher_cache_gb: float = 20.0
    teacher_cache_precision: str = "bf16"
    metrics_file: str = "metrics.jsonl"

    def __post_init__(self) -> None:
        """Refuse what would break exactness, and derive precision and device; transformers then checks its fields."""
        for name, (accepted, reason) in EXACT.items():
            value = getattr(self, name, accepted[0])  # not every version of transformers has every field
            if value not in accepted and not _is_default(name, value):
                choices = ", ".join(str(choice) for choice in accepted)
                raise KddaError(f"{name}: got {value!r}, expected {choices}: {reason}")
        if _text(self.lr_scheduler_type) in ADAPTIVE_SCHEDULES:
            raise KddaError(
                f"lr_scheduler_type: got {_text(self.lr_scheduler_type)}, expected a schedule that is known "
                "beforehand, such as linear or cosine: vocabulary rows that do not occur are decayed in closed form"
            )
        if self.push_to_hub and _text(self.hub_strategy) != "end":
            raise KddaError(
                f'hub_strategy: got {_text(self.hub_strategy)}, expected "end": checkpoints hold a trimmed vocabulary; '
                "the model has its whole vocabulary when training ends"
            )
        self.distillation_loss()  # refuses what does not exist
        _check_numbers(self)
        _check_sampling(self)
        check_alignment(self.align)
        if self.tokens not in get_args(Tokens):
            raise KddaError(unknown_choice("tokens", self.tokens, get_args(Tokens)))
        if self.teacher_cache_precision not in get_args(CachePrecision):
            precisions = get_args(CachePrecision)
            raise KddaError(unknown_choice("teacher_cache_precision", self.teacher_cache_precision, precisions))
        self.bf16: bool = bool(self.bf16) or in_bfloat16(self.precision)
        device = torch.device("cpu") if getattr(self, "use_cpu", False) else compute_device()
        self.use_cpu: bool = device.type == "cpu"
        self.dataloader_pin_memory: bool = bool(self.dataloader_pin_memory) and pins_memory(device)
        super().__post_init__()

    @cached_property
    def _setup_devices(self) -> torch.device:
        """The device of students and teachers: `compute_device()`, or the CPU under ``use_cpu``; one a process."""
        device: torch.device = super()._setup_devices  # of transformers, which also joins the processes of a launcher
        if not self.use_cpu:
            device = compute_device()
            self.distributed_state.device = device
        # transformers would divide a batch among all GPUs that it sees; here each GPU has a process
        self._n_gpu: int = min(1, getattr(self, "_n_gpu", 1))
        return device

    @property
    def place_model_on_device(self) -> bool:
        """False: the model goes to its device when its vocabulary is trimmed, not before."""
        return False

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up: a part of all steps, or from 1 on so many steps, all of them at most."""
        return min(num_training_steps, int(super().get_warmup_steps(num_training_steps)))

    @property
    def language_temperature(self) -> float:
        """The temperature by which languages are sampled; 1 samples them in proportion to their rows."""
        return language_temperature(self.sampling, self.sampling_temperature)

    def distillation_loss(self) -> DistillationLoss:
        """The loss that these arguments describe."""
        return DistillationLoss(
            self.objective,
            self.distill_weight,
            epsilon=self.epsilon,
            scale=self.scale,
            combine=self.combine,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            temperature=self.temperature,
            schedule=self.distill_schedule,
            example_weighting=self.example_weighting,
            logit_weight=self.logit_weight,
            points=self.points,
            options=self.objective_options,
        )

    def learning_rates(self, steps: int, until: int) -> Iterator[float]:
        """The schedule's learning rate at each of the first `until` of `steps` optimizer steps."""
        # a scheduler needs an optimizer; this one steps a parameter without a gradient, which does nothing
        parameter = torch.nn.Parameter(torch.zeros(()))
        optimizer = torch.optim.SGD([parameter], lr=self.learning_rate)
        scheduler = get_scheduler(
            SchedulerType(self.lr_scheduler_type),
            optimizer,
            num_warmup_steps=self.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=self.lr_scheduler_kwargs or None,
        )
        for _ in range(until):
            yield float(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()

    def to_dict(self) -> dict[str, Any]:
        """All fields, for trackers; an objective that is a function by its name."""
        values: dict[str, Any] = super().to_dict()
        values["objective"] = objective_name(self.objective)
        return values

    @classmethod
    def from_recipe(
        cls, training: Training, distill: Distill | None, output_dir: str, seed: int, **further: Any
    ) -> DistillationConfig:
        """The same arguments as a recipe writes them down.

        Args:
            training: a recipe's `training`.
            distill: a recipe's `distill`; None for an arm without teachers.
            further: fields that a recipe has elsewhere.

        Raises:
            KddaError: a field of `training.arguments` that the recipe has under another name, or that does not exist.
        """
        check_recipe_arguments(training.arguments)
        arguments: dict[str, Any] = {**training.arguments, CHECKPOINTING: training.gradient_checkpointing, **further}
        arguments |= training.model_dump(include={"sampling", "sampling_temperature"})
        if distill is not None:
            _check_distill(distill)
            arguments |= _distill_arguments(distill)
        try:
            return cls(
                output_dir=output_dir,
                seed=seed,
                num_train_epochs=training.epochs,
                per_device_train_batch_size=training.batch_size,
                learning_rate=training.learning_rate,
                weight_decay=training.weight_decay,
                max_grad_norm=training.max_grad_norm,
                warmup_steps=training.warmup,
                logging_steps=training.log_every,
                torch_compile=training.compile,
                precision=training.precision,
                micro_batch_size=training.micro_batch_size,
                max_length=training.max_length,
                stride=training.stride,
                head=training.head,
                attention_dropout=training.attention_dropout,
                **arguments,
            )
        except KddaError as error:
            raise KddaError(f"training.arguments.{error}") from None
        except (ValueError, TypeError) as error:  # transformers' checks of its arguments
            raise KddaError(f"training.arguments: {' '.join(str(error).split())}") from None


# Least values of fields that transformers does not check.
LEAST = {
    "learning_rate": 0,
    "weight_decay": 0,
    "max_grad_norm": 0,
    "adam_beta1": 0,
    "adam_beta2": 0,
    "adam_epsilon": 0,
    "num_train_epochs": 1e-6,
    "max_steps": -1,
    "logging_steps": 0,
    "eval_steps": 0,
    "save_steps": 0,
    "warmup_steps": 0,
    "seed": 0,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "max_length": 8,
    "stride": 0,
    "micro_batch_size": 1,
    "sampling_temperature": 1,
    "attention_dropout": 0,
    "teacher_cache_gb": 0,
}

# Greatest values; `seed` is one of NumPy's, and AdamW's averages must forget.
MOST = {"seed": 2**32 - 1, "attention_dropout": 1, "adam_beta1": 0.999999, "adam_beta2": 0.999999}


def _check_numbers(config: DistillationConfig) -> None:
    """Refuse numbers that are not finite, or out of their bounds."""
    for field_ in fields(config):
        name = field_.name
        value = getattr(config, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        least = LEAST.get(name, -math.inf)
        most = MOST.get(name, math.inf)
        if not (math.isfinite(value) and least <= value <= most):
            raise KddaError(f"{name}: got {value!r}, expected {_bounds_in_words(least, most)}")
    for layer in config.layers:
        if not 0 <= layer <= 1:
            raise KddaError(f"layers: got {layer!r}, expected parts of a model's depth, from 0 to 1")
    if not config.layers:
        raise KddaError("layers: got none, expected parts of a model's depth, from 0 to 1")
    if config.combine == "interpolate" and config.distill_weight > 1:
        raise KddaError(f"distill_weight: got {config.distill_weight!r}, expected at most 1 with combine=interpolate")


def _check_sampling(config: DistillationConfig) -> None:
    """Refuse an unknown sampling of languages, and a temperature that has no effect."""
    known = ("proportional", "temperature")
    if config.sampling not in known:
        raise KddaError(unknown_choice("sampling", config.sampling, known))
    if config.sampling == "proportional" and config.sampling_temperature is not None:
        raise KddaError(
            f"sampling_temperature: got {config.sampling_temperature:g}, which has no effect without "
            'sampling="temperature"'
        )


def _bounds_in_words(least: int | float, most: int | float) -> str:
    """The bounds of a finite number for a message."""
    words = "a finite number"
    if least > -math.inf:
        words += f", {least:,} or more"
    if most < math.inf:
        words += f", at most {most:,}"
    return words


# The name of TrainingArguments' field; transformers has renamed it, and warns of the old name.
CHECKPOINTING = "gradient_checkpointing"
if hasattr(TrainingArguments, "activation_checkpointing"):
    CHECKPOINTING = "activation_checkpointing"


def check_recipe_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse fields of `training.arguments` that do not exist, or that a recipe has elsewhere.

    Raises:
        KddaError: names the field and where to write it.
    """
    known = [argument.name for argument in fields(TrainingArguments)]
    for name in arguments:
        if name in RECIPE_FIELDS:
            raise KddaError(f"training.arguments.{name}: a recipe has it elsewhere; write {RECIPE_FIELDS[name]}")
        if name not in known:
            hint = did_you_mean(name, known)
            raise KddaError(f"training.arguments.{name}: transformers' TrainingArguments has no such field{hint}")


def _check_distill(distill: Distill) -> None:
    """Refuse names of a recipe's `distill` that do not exist, by making a loss of them.

    Raises:
        KddaError: names the field as the recipe does.
    """
    try:
        DistillationLoss(
            distill.objective,
            combine=distill.combine,
            schedule=distill.schedule,
            example_weighting=distill.example_weighting,
            options=distill.options,
        )
    except KddaError as error:
        raise KddaError(f"distill.{error}") from None


def _distill_arguments(distill: Distill) -> dict[str, Any]:
    """A recipe's `distill` by the field names of `DistillationConfig`."""
    return {
        "objective": distill.objective,
        "objective_options": dict(distill.options),
        "distill_weight": distill.weight,
        "epsilon": distill.epsilon,
        "scale": distill.scale,
        "combine": distill.combine,
        "tolerance": distill.tolerance,
        "max_iterations": distill.max_iterations,
        "temperature": distill.temperature,
        "distill_schedule": distill.schedule,
        "layers": list(distill.layers),
        "tokens": distill.tokens,
        "points": distill.points,
        "example_weighting": distill.example_weighting,
        "logit_weight": distill.logit_weight,
        "shuffle_teacher": distill.shuffle_teacher,
        "align": distill.align,
        "stop_when_ahead": distill.stop_when_ahead,
    }


def _text(value: Any) -> str:
    """An enumeration's value, or text as it is."""
    return str(getattr(value, "value", value))


def _is_default(name: str, value: Any) -> bool:
    """Whether a field has the value that transformers gives it when nobody sets it."""
    return bool(value == getattr(TrainingArguments, name, None))


def objective_name(objective: str | Callable[..., Any]) -> str:
    """What messages and trackers call an objective; a function by its name, another callable by its class."""
    return objective if isinstance(objective, str) else getattr(objective, "__name__", type(objective).__name__)
