"""What every objective takes and returns: both models' representations, settings with defaults (ε, scale, tolerance,
temperature), one value a text; and how states become weighted point clouds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from kdda.transport.checks import NotFiniteValueError, check_clouds, check_mask
from kdda.transport.cost import apply_scale
from kdda.transport.numerics import HalfGradients, at_least_float32, full_precision
from kdda.transport.problem import weights, without_padding

Edge = Literal["first", "last"]  # character of a place


@dataclass(frozen=True, eq=False)
class TokenLogits:
    """Logits at places of a batch of texts, such as those of a tagger at the words that its tokens make.

    Attributes:
        values: the logits, a row a place; anything at padding.
        characters: [start, end) of the text that each place is decided for, on a line that both models share; 0 and 0
            at padding.
        inside: for each class the number of the class that it is in the middle of a place, such as that of I-PER for
            B-PER; empty where each stays what it is.
        edges: not empty where each class is a distribution over the places of a text, such as a reader's starts and
            ends: for each class the character of a place, ``first`` or ``last``, by which it stands in the text.
    """

    values: Float[Tensor, "batch places classes"]
    characters: Int[Tensor, "batch places 2"]
    inside: tuple[int, ...] = ()
    edges: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        classes = self.values.shape[-1]
        if self.edges and len(self.edges) != classes:
            raise ValueError(f"edges: got {len(self.edges)}, expected one for each of the {classes} classes.")

    def to(self, device: torch.device) -> TokenLogits:
        """The same on a device, copied beside its computation where they are pinned."""
        values = self.values.to(device, non_blocking=True)
        return replace(self, values=values, characters=self.characters.to(device, non_blocking=True))

    def pinned(self) -> TokenLogits:
        """The same in pinned memory, from which a GPU copies beside its computation."""
        return replace(self, values=self.values.pin_memory(), characters=self.characters.pin_memory())


@dataclass(frozen=True, eq=False)
class Representations:
    """A batch of texts as one model represents them, through its tokenizer.

    Attributes:
        states: hidden states of one layer; student and teacher have the same width unless the objective allows others.
        mask: true at real tokens, or the mass of each; all tokens alike if `None`.
        logits: the task head's output for each text, for objectives that compare predictions.
        self_term: a teacher's OT_ε(β, β) at the settings' ε and scale, where it is known (`sinkhorn`).
        places: the interval [start, end) of each token on a line that both models share, such as that of the text's
            characters; 0 and 0 at padding. For objectives that match tokens by where they stand (`aligned`).
        words: a student's: the interval of each word on that line, for ``points="words"`` of `DistillationLoss`.
        token_logits: instead of `logits`, those of a head that gives some for every token (`kd_logits`).
    """

    states: Float[Tensor, "batch tokens width"]
    mask: Shaped[Tensor, "batch tokens"] | None = None
    logits: Float[Tensor, "batch classes"] | None = None
    self_term: Float[Tensor, " batch"] | None = None
    places: Float[Tensor, "batch tokens 2"] | None = None
    words: Float[Tensor, "batch words 2"] | None = None
    token_logits: TokenLogits | None = None


@dataclass(frozen=True)
class ObjectiveSettings:
    """The settings that every objective is called with; each reads the ones that it documents.

    Attributes:
        epsilon: strength of the entropy, in units of the scaled cost (`sinkhorn`, `entropic`, `unbalanced`, `gromov`).
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
        token_masses: it takes tokens whose masses differ (`distill.tokens: attended`, `received`, `entropy`).
        needs_logits: it compares the logits of whole texts.
        takes_token_logits: it compares those of tokens, too (`Representations.token_logits`).
        uses_self_term: it reads `Representations.self_term` of the teacher, which is then computed once and stored.
        uses_places: it reads `Representations.places` of both models.
        options: its settings beyond those of all objectives, with their defaults.
        bounds: the lowest and the highest value of options that are numbers.

    >>> double = Objective("double", lambda student, teacher, settings: 2 * student.states.sum(dim=(1, 2)))
    >>> double(Representations(torch.ones(1, 2, 3)), Representations(torch.ones(1, 4, 3)), ObjectiveSettings()).value
    tensor([12.])
    """

    name: str
    function: ObjectiveFunction
    equal_widths: bool = True
    token_masses: bool = True
    needs_logits: bool = False
    takes_token_logits: bool = False
    uses_self_term: bool = False
    uses_places: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(
        self, student: Representations, teacher: Representations, settings: ObjectiveSettings
    ) -> ObjectiveOutput:
        """The value of each text, with this objective's defaults for the options that `settings` does not name.

        Raises:
            ValueError: a value that is not finite.
        """
        complete = replace(settings, options={**self.options, **settings.options})
        half = HalfGradients()
        output = self.function(replace(student, states=half.widened(student.states)), teacher, complete)
        if not isinstance(output, ObjectiveOutput):
            output = closed_form(output)
        value = output.value.to(at_least_float32(student.states).dtype)
        bad = (~value.detach().isfinite()).nonzero().flatten().tolist()
        if bad:
            raise NotFiniteValueError(
                f"objective '{self.name}' is {float(value[bad[0]].detach())} in row {bad[0]}: states of this size, or "
                f"these settings, overflow {str(value.dtype).removeprefix('torch.')}."
            )
        half.watch(value)
        return output._replace(value=value)


def places_of(side: Representations, name: str) -> Float[Tensor, "batch tokens 2"]:
    """The places of one side's tokens.

    Args:
        name: of the side, for the message.

    Raises:
        ValueError: there are none, or not an interval a token.
    """
    if side.places is None:
        raise ValueError(
            f"the {name}'s tokens have no places: pass Representations(..., places=...), the first character of each "
            "token and the one after its last."
        )
    expected = (*side.states.shape[:2], 2)
    if side.places.shape != expected:
        raise ValueError(
            f"places of the {name} are {list(side.places.shape)}, expected {list(expected)}: an interval a token."
        )
    return side.places


# Of the largest coordinate, in units of the scale: its eighth power and that of its inverse fit float32.
USUAL_SIZE = 500.0

CANCELLED = 1e-6  # a value below has lost its digits in float32, of costs near 1


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
    x, y, divisor = apply_scale(x.to(dtype), x_mask > 0, y.to(dtype), y_mask > 0, scale)
    a, b = weights(x_mask, x.dtype), weights(y_mask, y.dtype)
    measured = _weighted(x, y, a, b, divisor**-0.5, around_teacher_mean)
    if x.dtype == torch.float64 or x.device.type == "mps" or not _needs_float64(measured):
        return measured
    a, b = weights(x_mask, torch.float64), weights(y_mask, torch.float64)
    return _weighted(x.double(), y.double(), a, b, divisor**-0.5, around_teacher_mean)


def _weighted(x: Tensor, y: Tensor, a: Tensor, b: Tensor, unit: float, around_teacher_mean: bool) -> Clouds:
    """Both clouds times `unit`, 0 at padding; see `clouds`."""
    if around_teacher_mean:
        centre = torch.bmm(b[:, None, :], y).detach()
        x = x - centre
        y = y - centre
    x = x * (a > 0)[..., None]
    y = y * (b > 0)[..., None]
    return Clouds(x * unit, y * unit, a, b)


def _needs_float64(measured: Clouds) -> bool:
    """Whether float32 would over- or underflow in powers of the coordinates, or round away how texts differ."""
    for cloud in (measured.x, measured.y):
        size = float(torch.linalg.vector_norm(cloud.detach(), ord=torch.inf))
        if not 1 / USUAL_SIZE < size < USUAL_SIZE:
            return True
    return False


def closed_form(value: Tensor) -> ObjectiveOutput:
    """The output of an objective in closed form, with values `[batch]`: error and iterations are 0."""
    return ObjectiveOutput(value, torch.zeros_like(value.detach()), 0)


# An objective's function, before `in_full_precision` wraps it.
Compute = Callable[[Representations, Representations, ObjectiveSettings], ObjectiveOutput]


def in_full_precision(compute: Compute, cancelled: float = CANCELLED) -> Compute:
    """The function with its arithmetic exempt from mixed precision, and in float64 where float32 cancels.

    Args:
        cancelled: the value below which it does, of costs near 1.
    """

    @wraps(compute)
    def wrapped(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
        with full_precision(student.states.device):
            output = compute(student, teacher, settings)
            doubtful = _doubtful(output.value.detach(), cancelled * _typical_cost(student, settings))
            if output.value.dtype == torch.float64 or student.states.device.type == "mps" or not bool(doubtful.any()):
                return output
            exact = compute(_double(student), _double(teacher), settings)
            return _replace_rows(output, exact, doubtful)

    return wrapped


def _typical_cost(student: Representations, settings: ObjectiveSettings) -> float:
    """1 in units of a scale; of raw states, the square of their largest coordinate, where that is above 1."""
    if settings.scale != "none":
        return 1.0
    return max(1.0, float(torch.linalg.vector_norm(student.states.detach().float(), ord=torch.inf)) ** 2)


def _doubtful(value: Tensor, smallest: float) -> Tensor:
    """True for values that are not finite, or below `smallest`."""
    return ~(value.abs() >= smallest)


def _double(side: Representations) -> Representations:
    """A side in float64."""
    logits = side.logits
    if logits is not None:
        logits = logits.double()
    return replace(side, states=side.states.double(), logits=logits)


def _replace_rows(output: ObjectiveOutput, exact: ObjectiveOutput, rows: Tensor) -> ObjectiveOutput:
    """`output` with these rows (true in `rows`) of `exact`, whose values are never negative."""
    better = exact.value.clamp(min=0).to(output.value.dtype)
    if not bool(output.value.detach().isfinite().all()):
        return exact._replace(value=better)  # the gradient of a row that is not finite would spoil the others'
    error = torch.where(rows, exact.marginal_error.to(output.marginal_error.dtype), output.marginal_error)
    return output._replace(value=torch.where(rows, better, output.value), marginal_error=error)
