"""What every objective takes and gives back: two sides, one set of settings, one number a text."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from kdda.transport.checks import check_clouds, check_mask
from kdda.transport.cost import apply_scale
from kdda.transport.numerics import at_least_float32, full_precision
from kdda.transport.problem import cleaned, weights


@dataclass(frozen=True, eq=False)
class Representations:
    """One model's view of a batch of texts, through its own tokenizer.

    Attributes:
        states: last hidden states; the widths of the two sides must agree unless an objective says otherwise.
        mask: true at real tokens, or the mass of each; all of them alike if `None`.
        logits: the task head's output for each text, for objectives that compare predictions.
        self_term: a teacher's OT_ε(β, β) at the settings' ε and scale, where it is known (`sinkhorn`).
    """

    states: Float[Tensor, "batch tokens width"]
    mask: Shaped[Tensor, "batch tokens"] | None = None
    logits: Float[Tensor, "batch classes"] | None = None
    self_term: Float[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class ObjectiveSettings:
    """One set of settings for all objectives; each reads the ones that it documents.

    Attributes:
        epsilon: strength of the entropy, in units of the scaled cost (`sinkhorn`, `entropic`, `gromov`).
        scale: what costs are measured in: a number that divides them, or a name in `SCALES`.
        tolerance: marginal error (L1) at which a text counts as solved.
        max_iterations: after which a text is given up.
        temperature: of both softmaxes in `kd-logits`.
        bandwidth: of the Gaussian kernel exp(−C/bandwidth) in `mmd-gaussian`, in units of the scaled cost.
        projections: directions in `sliced`.
        seed: of those directions, which are the same at every call.
    """

    epsilon: float = 0.005
    scale: float | str = "teacher"
    tolerance: float = 1e-4
    max_iterations: int = 500
    temperature: float = 2.0
    bandwidth: float = 1.0
    projections: int = 128
    seed: int = 0


class ObjectiveOutput(NamedTuple):
    """One value a text, differentiable in the student's side, and what the solver reached (0 where there is none)."""

    value: Float[Tensor, " batch"]
    marginal_error: Float[Tensor, " batch"]
    iterations: int


Objective = Callable[[Representations, Representations, ObjectiveSettings], ObjectiveOutput]

"""`(student, teacher, settings) -> ObjectiveOutput`."""


class Clouds(NamedTuple):
    """Both sides as weighted clouds: trimmed, in units of the scale, around a common centre, 0 at padding."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor


def clouds(
    student: Representations,
    teacher: Representations,
    scale: float | str,
    *,
    equal_widths: bool = True,
    centred: bool = True,
) -> Clouds:
    """Check both sides and measure them, all under autograd.

    Raises:
        ValueError: as `sinkhorn_divergence`.
    """
    x, y = student.states, teacher.states
    check_clouds(x, y, equal_widths=equal_widths)
    x_mask, y_mask = check_mask(student.mask, x, "student"), check_mask(teacher.mask, y, "teacher")
    dtype = torch.promote_types(at_least_float32(x).dtype, at_least_float32(y).dtype)
    (x, x_mask), (y, y_mask) = cleaned(x, x_mask, "student"), cleaned(y, y_mask, "teacher")
    a, b = weights(x_mask, dtype), weights(y_mask, dtype)
    x, y, divisor = apply_scale(x.to(dtype), y.to(dtype), y_mask > 0, scale)
    centre = torch.bmm(b[:, None, :], y).detach() if centred else 0
    x, y = (x - centre) * (a > 0)[..., None], (y - centre) * (b > 0)[..., None]
    return Clouds(x * divisor**-0.5, y * divisor**-0.5, a, b)


def unsolved(value: Tensor) -> ObjectiveOutput:
    """The output of an objective that solves nothing."""
    return ObjectiveOutput(value, torch.zeros_like(value.detach()), 0)


def in_full_precision(objective: Objective) -> Objective:
    """An objective whose arithmetic mixed precision does not touch."""

    @wraps(objective)
    def wrapped(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
        with full_precision(student.states.device):
            return objective(student, teacher, settings)

    return wrapped
