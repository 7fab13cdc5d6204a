"""What every objective takes and returns: both models' representations, settings with defaults (ε, scale, tolerance,
temperature), one value a text; and how states become weighted point clouds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from kdda.transport.checks import check_clouds, check_mask
from kdda.transport.cost import apply_scale
from kdda.transport.numerics import at_least_float32, full_precision
from kdda.transport.problem import weights, without_padding


@dataclass(frozen=True, eq=False)
class Representations:
    """A batch of texts as one model represents them, through its tokenizer.

    Attributes:
        states: hidden states of one layer; student and teacher have the same width unless the objective allows others.
        mask: true at real tokens, or the mass of each; all tokens alike if `None`.
        logits: the task head's output for each text, for objectives that compare predictions.
        self_term: a teacher's OT_ε(β, β) at the settings' ε and scale, where it is known (`sinkhorn`).
    """

    states: Float[Tensor, "batch tokens width"]
    mask: Shaped[Tensor, "batch tokens"] | None = None
    logits: Float[Tensor, "batch classes"] | None = None
    self_term: Float[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class ObjectiveSettings:
    """The settings that every objective is called with; each reads the ones that it documents.

    Attributes:
        epsilon: strength of the entropy, in units of the scaled cost (`sinkhorn`, `entropic`, `gromov`).
        scale: what costs are measured in: a number that divides them, or a name in `kdda.transport.SCALES`.
        tolerance: marginal error (L1) at which a text counts as solved.
        max_iterations: after which a text is given up.
        temperature: of both softmaxes in `kd-logits`.
        options: settings of one objective alone, such as ``{"bandwidth": 1.0}``; `Objective.options` names them.
    """

    epsilon: float = 0.005
    scale: float | str = "teacher"
    tolerance: float = 1e-4
    max_iterations: int = 500
    temperature: float = 2.0
    options: Mapping[str, Any] = field(default_factory=dict)


class ObjectiveOutput(NamedTuple):
    """What an objective returns.

    Attributes:
        value: one a text, differentiable in the student's states.
        marginal_error: what the solver reached for each text; 0 where nothing is solved.
        iterations: of the solver.
    """

    value: Float[Tensor, " batch"]
    marginal_error: Float[Tensor, " batch"]
    iterations: int


ObjectiveFunction = Callable[[Representations, Representations, ObjectiveSettings], ObjectiveOutput | Tensor]
"""`(student, teacher, settings) -> ObjectiveOutput`, or a tensor ``[batch]`` of values."""


@dataclass(frozen=True, eq=False)
class Objective:
    """A distillation objective: a function of both models' representations, and what it needs of them.

    Args:
        name: what recipes and `DistillationLoss` call it.
        function: computes one value a text.
        equal_widths: it subtracts student states from teacher states, so that both must have one width.
        token_masses: it takes tokens whose masses differ (`distill.tokens: attended`).
        needs_logits: it compares the logits of whole texts.
        uses_self_term: it reads `Representations.self_term` of the teacher, which is then computed once and stored.
        options: its settings beyond those of all objectives, with their defaults.

    >>> double = Objective("double", lambda student, teacher, settings: 2 * student.states.sum(dim=(1, 2)))
    >>> double(Representations(torch.ones(1, 2, 3)), Representations(torch.ones(1, 4, 3)), ObjectiveSettings()).value
    tensor([12.])
    """

    name: str
    function: ObjectiveFunction
    equal_widths: bool = True
    token_masses: bool = True
    needs_logits: bool = False
    uses_self_term: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self, student: Representations, teacher: Representations, settings: ObjectiveSettings
    ) -> ObjectiveOutput:
        """The value of each text, with this objective's defaults for the options that `settings` does not name."""
        complete = replace(settings, options={**self.options, **settings.options})
        output = self.function(student, teacher, complete)
        return output if isinstance(output, ObjectiveOutput) else closed_form(output)


class Clouds(NamedTuple):
    """Both models' states as weighted point clouds in units of the scale: without common padding, 0 at the rest.

    Attributes:
        x, y: points of the student and of the teacher, ``[batch, tokens, width]``.
        a, b: their weights, ``[batch, tokens]``, which sum to 1.
    """

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
    around_teacher_mean: bool = True,
) -> Clouds:
    """Check both models' states, drop common padding and divide by the square root of the scale, all under autograd.

    Args:
        scale: a number that costs ½‖x − y‖² are divided by, or a name in `SCALES`.
        equal_widths: refuse states of different widths.
        around_teacher_mean: move both clouds so that the mean of each teacher text is 0, which changes no distance and
            saves digits. Objectives that read the states themselves, not distances between the sides, set it False.

    Raises:
        ValueError: states that are not ``[batch, tokens, width]``, are empty, not floating point or not finite, or
            whose batches, widths or devices differ; a mask of another shape, or with no real token in a text; masses
            that are negative or not finite; a scale that is neither a positive number nor a name in `SCALES`.
    """
    x, y = student.states, teacher.states
    check_clouds(x, y, equal_widths=equal_widths)
    x_mask, y_mask = check_mask(student.mask, x, "student"), check_mask(teacher.mask, y, "teacher")
    dtype = torch.promote_types(at_least_float32(x).dtype, at_least_float32(y).dtype)
    (x, x_mask), (y, y_mask) = without_padding(x, x_mask, "student"), without_padding(y, y_mask, "teacher")
    a, b = weights(x_mask, dtype), weights(y_mask, dtype)
    x, y, divisor = apply_scale(x.to(dtype), y.to(dtype), y_mask > 0, scale)
    centre = torch.bmm(b[:, None, :], y).detach() if around_teacher_mean else 0
    x, y = (x - centre) * (a > 0)[..., None], (y - centre) * (b > 0)[..., None]
    return Clouds(x * divisor**-0.5, y * divisor**-0.5, a, b)


def closed_form(value: Tensor) -> ObjectiveOutput:
    """The output of an objective in closed form, with values `[batch]`: error and iterations are 0."""
    return ObjectiveOutput(value, torch.zeros_like(value.detach()), 0)


# An objective's function, before `in_full_precision` wraps it.
Compute = Callable[[Representations, Representations, ObjectiveSettings], ObjectiveOutput]


def in_full_precision(compute: Compute) -> Compute:
    """The function with its arithmetic exempt from mixed precision."""

    @wraps(compute)
    def wrapped(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
        with full_precision(student.states.device):
            return compute(student, teacher, settings)

    return wrapped
