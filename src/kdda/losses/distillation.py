"""The loss of docs/method.md, 6: the task's, and λ times the mean divergence between student and teacher states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdda.errors import KddaError, did_you_mean
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.recipe.schema import Distill

TOKENS_ALIKE = ("sliced", "sinkhorn-aaai22")

WIDTHS_MAY_DIFFER = ("gromov", "cka", "kd-logits")  # they never subtract a student state from a teacher's


@dataclass(frozen=True)
class TransportTerm:
    """One batch's transport term: its mean, and the worst marginal error that its solver really reached."""

    mean: Float[Tensor, ""]
    marginal_error: Float[Tensor, ""]


def check_distill(settings: Distill, labelled: bool = True) -> None:
    """Refuse an objective that no one has written, or what a task without labels cannot have, before training."""
    name = settings.objective
    if not labelled:
        wanted = {
            "objective: kd-logits": name == "kd-logits",
            "logit_weight": settings.logit_weight,
            "example_weighting": settings.example_weighting != "none",
        }
        for field in (field for field, asked in wanted.items() if asked):
            raise KddaError(
                f"distill.{field} needs a teacher's logits of labels; in reading they belong to tokens, which "
                "teacher and student cut differently"
            )
    if name not in OBJECTIVES:
        raise KddaError(
            f'distill.objective: found "{name}"{did_you_mean(name, OBJECTIVES)}; there are {", ".join(OBJECTIVES)}'
        )
    if settings.tokens == "attended" and name in TOKENS_ALIKE:
        raise KddaError(f"distill.tokens: attended gives tokens masses, and objective: {name} takes them all alike")


class DistillationLoss:
    """The transport term and its sum with the task's.

    Args:
        settings: objective, λ, ε, scale and form.
        scales: language → its teacher's own scale s at each depth, calibrated once and held fixed (docs/method.md, 7);
            used when the settings' scale is ``teacher``.
    """

    def __init__(self, settings: Distill, scales: Mapping[str, Sequence[float]]):
        check_distill(settings)
        self.settings = settings
        self.scales = scales

    def objective_settings(self, language: str, at: int = 0) -> ObjectiveSettings:
        """What the objective is told for a language's batches, at one of the depths."""
        own = self.settings
        return ObjectiveSettings(
            epsilon=own.epsilon,
            scale=self.scales[language][at] if own.scale == "teacher" else own.scale,
            tolerance=own.tolerance,
            max_iterations=own.max_iterations,
            temperature=own.temperature,
        )

    def transport(
        self,
        language: str,
        student: Sequence[Representations],
        teacher: Sequence[Representations],
        golds: Int[Tensor, " batch"] | None = None,
    ) -> TransportTerm:
        """The batch's mean divergence; differentiable in the student alone.

        Args:
            student, teacher: a side a depth.
            golds: labels, where a gate asks for them.
        """
        own, objective = self.settings, OBJECTIVES[self.settings.objective]
        found = [
            objective(x, y, self.objective_settings(language, at))
            for at, (x, y) in enumerate(zip(student, teacher, strict=True))
        ]
        rows = torch.stack([part.value for part in found]).mean(dim=0)
        if own.logit_weight:
            said = OBJECTIVES["kd-logits"](student[0], teacher[0], self.objective_settings(language))
            rows = rows + own.logit_weight * said.value
        if own.example_weighting != "none" and golds is not None:
            rows = rows * example_weights(own.example_weighting, teacher[0], golds)
        return TransportTerm(rows.mean(), torch.stack([part.marginal_error.max() for part in found]).max())

    def weight(self, done: float) -> float:
        """λ when a part of all steps is done.

        >>> DistillationLoss(Distill(weight=0.5, schedule="linear_decay"), {}).weight(0.25)
        0.375
        """
        parts = {"constant": 1.0, "linear_decay": 1 - done, "linear_warmup": done}
        return self.settings.weight * parts[self.settings.schedule]

    def total(self, task: Float[Tensor, ""], transport: Float[Tensor, ""], done: float = 0.0) -> Float[Tensor, ""]:
        """``sum``: L_task + λ·S.  ``interpolate``: (1 − λ)·L_task + λ·S.

        Args:
            done: the part of all steps that is done, for a λ with a schedule.

        >>> import torch
        >>> from kdda.recipe.schema import Distill
        >>> loss = DistillationLoss(Distill(weight=0.25, combine="interpolate"), {})
        >>> loss.total(torch.tensor(4.0), torch.tensor(8.0))
        tensor(5.)
        """
        weight = self.weight(done)
        share = 1 - weight if self.settings.combine == "interpolate" else 1.0
        return share * task + weight * transport


def example_weights(weighting: str, teacher: Representations, golds: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """How much each row counts: 1 where the teacher is right and 0 where it is not, or how sure it is of the gold.

    >>> said = Representations(torch.zeros(2, 1, 1), logits=torch.tensor([[2.0, 0.0], [2.0, 0.0]]))
    >>> example_weights("teacher_correct", said, torch.tensor([0, 1]))
    tensor([1., 0.])
    """
    assert teacher.logits is not None
    if weighting == "teacher_correct":
        return (teacher.logits.argmax(dim=1) == golds).float()
    return teacher.logits.softmax(dim=1).gather(1, golds[:, None].long()).squeeze(1)
