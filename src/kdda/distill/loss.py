"""The loss of docs/method.md, 6: the task's, and λ times the mean divergence between student and teacher states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.errors import KddaError, did_you_mean
from kdda.recipe import Distill
from kdda.transport import OBJECTIVES, ObjectiveSettings, Side

WIDTHS_MAY_DIFFER = ("gromov", "cka", "kd-logits")  # they never subtract a student state from a teacher's


@dataclass(frozen=True)
class Transport:
    """One batch's transport term: its mean, and the worst marginal error that its solver really reached."""

    mean: Float[Tensor, ""]
    marginal_error: Float[Tensor, ""]


def check_objective(name: str, labelled: bool = True) -> None:
    """Refuse an objective that no one has written, or that a task without labels cannot have, before training."""
    if name == "kd-logits" and not labelled:
        raise KddaError(
            "distill.objective: kd-logits compares the logits of labels; in reading they belong to tokens, which "
            "teacher and student cut differently"
        )
    if name not in OBJECTIVES:
        raise KddaError(
            f'distill.objective: found "{name}"{did_you_mean(name, OBJECTIVES)}; there are {", ".join(OBJECTIVES)}'
        )


class DistillationLoss:
    """The transport term and its sum with the task's.

    Args:
        settings: objective, λ, ε, scale and form.
        scales: language → its teacher's own scale s, calibrated once and held fixed (docs/method.md, 7); used when the
            settings' scale is ``teacher``.
    """

    def __init__(self, settings: Distill, scales: Mapping[str, float]):
        check_objective(settings.objective)
        self.settings = settings
        self.scales = scales

    def objective_settings(self, language: str) -> ObjectiveSettings:
        """What the objective is told for a language's batches."""
        own = self.settings
        return ObjectiveSettings(
            epsilon=own.epsilon,
            scale=self.scales[language] if own.scale == "teacher" else own.scale,
            tolerance=own.tolerance,
            max_iterations=own.max_iterations,
            temperature=own.temperature,
        )

    def transport(self, language: str, student: Side, teacher: Side) -> Transport:
        """The batch's mean divergence; differentiable in the student alone."""
        found = OBJECTIVES[self.settings.objective](student, teacher, self.objective_settings(language))
        return Transport(found.value.mean(), found.marginal_error.max())

    def total(self, task: Float[Tensor, ""], transport: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """``additive``: L_task + λ·S.  ``convex``: (1 − λ)·L_task + λ·S.

        >>> import torch
        >>> from kdda.recipe import Distill
        >>> loss = DistillationLoss(Distill(weight=0.25, form="convex"), {})
        >>> loss.total(torch.tensor(4.0), torch.tensor(8.0))
        tensor(5.)
        """
        weight = self.settings.weight
        share = 1 - weight if self.settings.form == "convex" else 1.0
        return share * task + weight * transport


def last_hidden(outputs: object) -> Float[Tensor, "batch tokens width"]:
    """The last layer's states, from an encoder's outputs or a task model's with all hidden states."""
    states = getattr(outputs, "last_hidden_state", None)
    found = states if states is not None else outputs.hidden_states[-1]  # type: ignore[attr-defined]
    assert isinstance(found, torch.Tensor)
    return found
