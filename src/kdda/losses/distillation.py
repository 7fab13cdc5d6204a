"""DistillationLoss: the task's loss and λ times the divergence of both models' states, with defaults (λ 0.3, ε 0.005);
schedules of λ and weights of examples (docs/method.md, 6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdda.errors import KddaError, unknown_choice
from kdda.losses.registry import objective_named
from kdda.losses.representations import Objective, ObjectiveFunction, ObjectiveSettings, Representations
from kdda.losses.words import as_words
from kdda.transport.cost import SCALES

COMBINATIONS = ("sum", "interpolate")
SCHEDULES = ("constant", "linear_decay", "linear_warmup")
POINTS = ("tokens", "words")
EXAMPLE_WEIGHTINGS = ("none", "teacher_correct", "teacher_confidence")


@dataclass(frozen=True)
class Divergence:
    """The distillation term of one batch.

    Attributes:
        mean: over the texts, weighted where `example_weighting` asks for it; differentiable in the student's states.
        marginal_error: the largest one that the solver reached.
    """

    mean: Float[Tensor, ""]
    marginal_error: Float[Tensor, ""]


@dataclass(frozen=True)
class DistillationOutput:
    """What `DistillationLoss` returns.

    Attributes:
        loss: what to differentiate.
        divergence: the distillation term alone, before its weight.
        marginal_error: the largest one that the solver reached in this batch.
    """

    loss: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    marginal_error: Float[Tensor, ""]


class DistillationLoss(nn.Module):
    """L_task + λ · mean_batch S, the loss of a student that is distilled while it is fine-tuned.

    Args:
        objective: S: a name in `OBJECTIVES`, an `Objective`, or a function
            ``(student, teacher, settings) -> values [batch]``.
        weight: the distillation weight λ.
        epsilon: strength of the entropy in optimal transport, in units of the scaled cost.
        scale: what costs are measured in: ``"teacher"``, the teacher's mean pairwise cost (calibrated, where `scales`
            are given in the call, else of each batch); ``"none"``, ``"cosine"``, ``"layernorm"``, or a number.
        combine: ``"sum"``: L_task + λ·S; ``"interpolate"``: (1 − λ)·L_task + λ·S.
        tolerance: marginal error (L1) at which a text counts as solved.
        max_iterations: after which a text is given up and its marginal error reported as it is.
        temperature: of the softmaxes in ``kd-logits``.
        schedule: λ over training: ``"constant"``, ``"linear_decay"`` to 0, ``"linear_warmup"`` from 0.
        example_weighting: the weight of a text: ``"none"``, 1; ``"teacher_correct"``, 1 where the teacher predicts the
            gold label, else 0; ``"teacher_confidence"``, the probability that the teacher gives the gold label.
        logit_weight: how much of ``kd-logits`` is added to S.
        points: what states are compared of: ``"tokens"``, each model's; or ``"words"`` of the text, whose states are
            means of their tokens', so that both sides have the same points.
        options: settings of the objective itself, such as ``{"bandwidth": 2.0}`` of ``mmd-gaussian``.

    Raises:
        KddaError: a name, option or choice that does not exist; a number that is not finite or out of its bounds.

    >>> student = Representations(torch.zeros(1, 2, 3, requires_grad=True))
    >>> teacher = Representations(torch.ones(1, 2, 3))
    >>> loss = DistillationLoss("mse-pooled", weight=0.5, scale=1.0)
    >>> output = loss(torch.tensor(4.0), student, teacher)
    >>> output.loss.item(), output.divergence.item()
    (4.75, 1.5)
    """

    def __init__(
        self,
        objective: str | Objective | ObjectiveFunction = "sinkhorn",
        weight: float = 0.3,
        *,
        epsilon: float = 0.005,
        scale: float | str = "teacher",
        combine: str = "sum",
        tolerance: float = 1e-4,
        max_iterations: int = 500,
        temperature: float = 2.0,
        schedule: str = "constant",
        example_weighting: str = "none",
        logit_weight: float = 0.0,
        points: str = "tokens",
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.objective = as_objective(objective)
        self.weight: float = _check_number("weight", weight)
        self.scale = scale
        if isinstance(scale, str):
            _check_choice("scale", scale, list(SCALES))
        else:
            _check_number("scale", scale, above=0.0)
        self.combine = _check_choice("combine", combine, COMBINATIONS)
        self.schedule = _check_choice("schedule", schedule, SCHEDULES)
        self.points = _check_choice("points", points, POINTS)
        self.example_weighting = _check_choice("example_weighting", example_weighting, EXAMPLE_WEIGHTINGS)
        self.logit_weight = _check_number("logit_weight", logit_weight)
        self.settings = ObjectiveSettings(
            epsilon=_check_number("epsilon", epsilon, above=0.0),
            scale=scale,
            tolerance=_check_number("tolerance", tolerance, above=0.0),
            max_iterations=_check_number("max_iterations", max_iterations, lowest=1.0, whole=True),
            temperature=_check_number("temperature", temperature, above=0.0),
            options=_check_options(self.objective, options or {}),
        )

    @property
    def needs_logits(self) -> bool:
        """Whether it reads the teacher's logits."""
        return self.objective.needs_logits or self.logit_weight > 0 or self.example_weighting != "none"

    @property
    def needs_places(self) -> bool:
        """Whether it reads where both models' tokens stand in the text (`Representations.places`)."""
        return self.objective.uses_places or self.needs_words

    @property
    def needs_words(self) -> bool:
        """Whether it reads where the words of the text are (`Representations.words` of the student)."""
        return self.points == "words"

    @property
    def uses_self_term(self) -> bool:
        """Whether it reads OT_ε(β, β) of the teacher's tokens (`Representations.self_term`)."""
        return self.objective.uses_self_term and self.points == "tokens"

    def settings_at(self, scale: float | None) -> ObjectiveSettings:
        """What the objective is called with.

        Args:
            scale: the calibrated scale of a teacher's layer; used where `scale` is ``"teacher"``.
        """
        if scale is None or self.scale != "teacher":
            return self.settings
        settings = self.settings
        return ObjectiveSettings(
            settings.epsilon,
            scale,
            settings.tolerance,
            settings.max_iterations,
            settings.temperature,
            settings.options,
        )

    def forward(
        self,
        task_loss: Float[Tensor, ""],
        student: Representations | Sequence[Representations],
        teacher: Representations | Sequence[Representations],
        *,
        labels: Int[Tensor, " batch"] | None = None,
        scales: Sequence[float] | None = None,
        progress: float = 0.0,
    ) -> DistillationOutput:
        """The loss of one batch.

        Args:
            task_loss: L_task, a scalar.
            student: representations, or one a layer.
            teacher: of the same texts, in the same order, as many layers.
            labels: the gold labels, where `example_weighting` reads them.
            scales: the teacher's calibrated scale of each layer, used where `scale` is ``"teacher"``.
            progress: the share of all steps that is done, from 0 to 1, for a λ with a schedule.
        """
        term = self.divergence(_as_layers(student), _as_layers(teacher), labels=labels, scales=scales)
        return DistillationOutput(self.total(task_loss, term.mean, progress), term.mean, term.marginal_error)

    def divergence(
        self,
        student: Sequence[Representations],
        teacher: Sequence[Representations],
        *,
        labels: Int[Tensor, " batch"] | None = None,
        scales: Sequence[float] | None = None,
    ) -> Divergence:
        """The mean of S over layers and texts; arguments as in `forward`."""
        values, errors = [], []
        for layer, (ours, theirs) in enumerate(zip(student, teacher, strict=True)):
            if self.points == "words":
                ours, theirs = as_words(ours, theirs)
            output = self.objective(ours, theirs, self.settings_at(scales[layer] if scales else None))
            values.append(output.value)
            errors.append(output.marginal_error.max())
        per_text = torch.stack(values).mean(dim=0)
        if self.logit_weight:
            logits = objective_named("kd-logits")(student[0], teacher[0], self.settings)
            per_text = per_text + self.logit_weight * logits.value
        if self.example_weighting != "none" and labels is not None:
            per_text = per_text * example_weights(self.example_weighting, teacher[0], labels)
        return Divergence(per_text.mean(), torch.stack(errors).max())

    def weight_at(self, progress: float) -> float:
        """λ when a share of all steps is done.

        >>> DistillationLoss(weight=0.5, schedule="linear_decay").weight_at(0.25)
        0.375
        """
        parts = {"constant": 1.0, "linear_decay": 1 - progress, "linear_warmup": progress}
        return self.weight * parts[self.schedule]

    def total(
        self, task_loss: Float[Tensor, ""], divergence: Float[Tensor, ""], progress: float = 0.0
    ) -> Float[Tensor, ""]:
        """Both terms combined; arguments as in `forward`.

        >>> DistillationLoss(weight=0.25, combine="interpolate").total(torch.tensor(4.0), torch.tensor(8.0))
        tensor(5.)
        """
        weight = self.weight_at(progress)
        if self.combine == "interpolate":
            return (1 - weight) * task_loss + weight * divergence
        return task_loss + weight * divergence


def as_objective(objective: str | Objective | ObjectiveFunction) -> Objective:
    """An objective by its name, as it is, or made of a function."""
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        return objective_named(objective)
    return Objective(getattr(objective, "__name__", "objective"), objective)


def example_weights(weighting: str, teacher: Representations, labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The weight of each text in the divergence.

    >>> teacher = Representations(torch.zeros(2, 1, 1), logits=torch.tensor([[2.0, 0.0], [2.0, 0.0]]))
    >>> example_weights("teacher_correct", teacher, torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    assert teacher.logits is not None
    if weighting == "teacher_correct":
        return (teacher.logits.argmax(dim=1) == labels).float()
    return teacher.logits.softmax(dim=1).gather(1, labels[:, None].long()).squeeze(1)


def _as_layers(side: Representations | Sequence[Representations]) -> Sequence[Representations]:
    """A list of one layer, or the layers as they are."""
    return [side] if isinstance(side, Representations) else side


def _check_choice(name: str, value: str, known: Sequence[str]) -> str:
    """The value as it is; `KddaError` if it is none of the known ones."""
    if value not in known:
        raise KddaError(unknown_choice(name, value, known))
    return value


def _check_options(objective: Objective, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options as they are; `KddaError` for one that the objective lacks, or that is out of its bounds."""
    for name, value in options.items():
        if name in objective.options:
            _check_option(objective, name, value)
        elif not objective.options:
            raise KddaError(f'options: objective "{objective.name}" has none, got "{name}"')
        else:
            raise KddaError(unknown_choice(f'options of objective "{objective.name}"', name, objective.options))
    return options


def _check_option(objective: Objective, name: str, value: Any) -> None:
    """Refuse a value of another kind than the option's default, and a number that is not finite or out of bounds."""
    default = objective.options[name]
    lowest, highest = objective.bounds.get(name, (-math.inf, math.inf))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    expected = ""
    if isinstance(default, int | float) and not isinstance(default, bool):
        expected = "a number"
        if isinstance(default, int) and not isinstance(value, int):
            is_number = False
            expected = "a whole number"
        if name in objective.bounds:
            expected += f" from {lowest:g} to {highest:g}"
    if (expected and not is_number) or (is_number and not (math.isfinite(value) and lowest <= value <= highest)):
        raise KddaError(f"options.{name}: got {value!r}, expected {expected or 'a finite number'}")


def _check_number(
    name: str, value: Any, *, above: float | None = None, lowest: float = 0.0, whole: bool = False
) -> Any:
    """A finite number as it is.

    Args:
        above: what it must be greater than; else `lowest` is the least it may be.
        whole: it must be a whole number.

    Raises:
        KddaError: another value.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and (value > above if above is not None else value >= lowest) and (not whole or value == int(value)):
        return value
    bound = f"from {lowest:g} on"
    if above is not None:
        bound = f"above {above:g}"
    kind = "whole" if whole else "finite"
    raise KddaError(f"{name}: got {value!r}, expected a {kind} number {bound}")
