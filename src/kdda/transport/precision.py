"""Which precision a text is solved in: float32, float64 where float32 cancels, other units where squares overflow."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from kdda.transport.checks import NotFiniteValueError
from kdda.transport.cost import half_norms
from kdda.transport.flat import FLAT
from kdda.transport.problem import Problem, SolverSettings
from kdda.transport.terms import (
    Clouds,
    Gradients,
    Outcome,
    clouds_between,
    clouds_of,
    solve_cross_term,
    solve_self_term,
    solve_terms,
)

CANCELLED = 2e-3  # of the mean ½-squared radius, or of ε: below, float32 has lost too many digits

# Largest squared norm of a text, within which a precision squares costs without overflow or underflow.
USUAL = {torch.float32: (1e-15, 1e15), torch.float64: (1e-70, 1e70)}

ROUNDED = 1e-2  # of ε: rounding of a cost above which a plan that is rebuilt from potentials is off by a per cent

LARGEST_EXPONENT = 500  # of 2 in the coordinates of a text: squares of larger ones do not fit float64


def solve_texts(
    problem: Problem, settings: SolverSettings, debiased: bool, y_term: Tensor | None, grads: Gradients
) -> Outcome:
    """S_ε of each text of a chunk, or OT_ε where it is not `debiased`; gradients are written to `grads`.

    A cost in float32 is right to about 1e-7 of the clouds' squared radius, a potential to about 1e-7 of ε. Where the
    value is so much smaller that less than four digits remain, as between nearly equal clouds, the text is solved again
    in float64. Texts whose size or ε is far from what a precision can square are solved one by one in other units.

    Raises:
        ValueError: a value that does not fit the precision of the clouds.
    """
    clouds = clouds_of(problem)
    radius = 0.5 * (clouds.a * clouds.norms_x).sum(dim=1) + 0.5 * (clouds.b * clouds.norms_y).sum(dim=1)
    largest = 2 * torch.maximum(clouds.norms_x.amax(dim=1), clouds.norms_y.amax(dim=1))
    unusual = _unusual(largest, settings.epsilon)
    any_unusual = bool(unusual.any())
    if any_unusual:
        each = unusual[:, None, None]
        x, y = clouds.x.masked_fill(each, 0), clouds.y.masked_fill(each, 0)
        clouds = clouds_between(x, y, clouds.a, clouds.b)
    representable = _within(settings, clouds.x.dtype)
    outcome = solve_terms(clouds, representable, debiased, y_term, grads)
    del clouds
    if any_unusual:
        for row in unusual.nonzero().squeeze(1).tolist():
            _solve_rescaled(problem, row, settings, debiased, outcome, grads)
    if problem.a.dtype == torch.float64 or problem.a.device.type == "mps":
        return outcome
    large_enough = outcome.value.abs() >= CANCELLED * radius.clamp(min=representable.epsilon)  # False for NaN too
    doubtful = ~(large_enough | unusual)
    if bool(doubtful.any()):
        _solve_in_float64(problem, doubtful.nonzero().squeeze(1), settings, debiased, outcome, grads)
    return outcome


def self_terms(problem: Problem, settings: SolverSettings) -> Tensor:
    """OT_ε(β, β) of the second cloud of each text of a chunk."""
    clouds = clouds_of(problem)
    unusual = _unusual(2 * clouds.norms_y.amax(dim=1), settings.epsilon)
    y = clouds.y.masked_fill(unusual[:, None, None], 0)
    values = solve_self_term(y, clouds.b, half_norms(y), _within(settings, y.dtype), None)[0]
    for row in unusual.nonzero().squeeze(1).tolist():
        clouds, unit, rescaled = _in_near_units(problem, row, settings)
        value = solve_self_term(clouds.y, clouds.b, clouds.norms_y, rescaled, None, flat=clouds.flat)[0]
        values[row] = _fitting(value * unit * unit, values)
    return values


def rows_rounded(x: Tensor, y: Tensor, epsilon: float) -> list[int]:
    """Texts whose potentials, as rounded as their costs, say too little of their plan.

    Args:
        x, y: the clouds of a problem, as `Problem.clouds` gives them.
    """
    largest = 2 * torch.maximum(half_norms(x).amax(dim=1), half_norms(y).amax(dim=1))
    rounding = largest * torch.finfo(largest.dtype).eps
    rows: list[int] = (~(rounding <= ROUNDED * epsilon)).nonzero().flatten().tolist()  # NaN and inf are among them
    return rows


def exact_plan(problem: Problem, row: int, settings: SolverSettings) -> Tensor:
    """The plan `[n, m]` of one text, solved in float64 and in units near 1."""
    clouds, _, rescaled = _in_near_units(problem, row, settings)
    return solve_cross_term(clouds, rescaled).plan[0].to(problem.a)


def _unusual(largest_norms: Tensor, epsilon: float) -> Tensor:
    """True for texts whose largest squared norm cannot be squared, is far below ε, or is not finite."""
    low, high = USUAL[largest_norms.dtype]
    if not low**2 < epsilon < high**2:
        return torch.ones_like(largest_norms, dtype=torch.bool)
    usual = (largest_norms > max(low, epsilon / FLAT)) & (largest_norms < high)
    return ~usual


def _solve_in_float64(
    problem: Problem, rows: Tensor, settings: SolverSettings, debiased: bool, outcome: Outcome, grads: Gradients
) -> None:
    """Solve these rows in float64, and overwrite them in `outcome` and `grads`."""
    clouds = clouds_of(problem.part(rows).double())
    better_grads = grads.empty_double(clouds)
    better = solve_terms(clouds, _tight(settings), debiased, None, better_grads)
    outcome.overwrite(rows, _never_negative(better, settings, debiased))
    grads.overwrite(rows, better_grads)


def _solve_rescaled(
    problem: Problem, row: int, settings: SolverSettings, debiased: bool, outcome: Outcome, grads: Gradients
) -> None:
    """Solve one text in float64 and in units near 1, and overwrite it in `outcome` and `grads`.

    S_ε(c·α, c·β) = c²·S_{ε/c²}(α, β), and likewise OT_ε and its potentials; gradients grow by c.
    """
    clouds, unit, rescaled = _in_near_units(problem, row, settings)
    near_grads = grads.empty_double(clouds)
    near = _never_negative(solve_terms(clouds, rescaled, debiased, None, near_grads), settings, debiased)
    rows = torch.tensor([row], device=problem.a.device)
    better = near._replace(
        value=_fitting(near.value * unit * unit, outcome.value),
        f=near.f * unit * unit,
        g=near.g * unit * unit,
        y_term=near.y_term * unit * unit,
    )
    outcome.overwrite(rows, better)
    grads.overwrite(rows, near_grads, unit)


def _in_near_units(problem: Problem, row: int, settings: SolverSettings) -> tuple[Clouds, float, SolverSettings]:
    """One text in float64, its clouds divided by a power of 2 near its largest coordinate; that; ε in such units."""
    clouds = clouds_of(problem.part(slice(row, row + 1)).cpu().double())
    largest = max(float(clouds.x.abs().amax()), float(clouds.y.abs().amax()))
    exponent = math.frexp(largest)[1]  # largest = fraction · 2^exponent with a fraction from ½ to 1
    if not math.isfinite(largest) or exponent > LARGEST_EXPONENT:
        raise _overflow()
    unit = math.ldexp(1.0, max(exponent, -LARGEST_EXPONENT))
    if largest == 0:
        unit = 1.0
    epsilon = min(max(settings.epsilon / unit / unit, 1e-300), 1e300)
    x, y = clouds.x / unit, clouds.y / unit
    near = clouds_between(x, y, clouds.a, clouds.b)
    reach = 2 * max(float(near.norms_x.amax()), float(near.norms_y.amax()))
    near = near._replace(flat=epsilon > FLAT * reach)
    return near, unit, replace(_tight(settings), epsilon=epsilon)


def _within(settings: SolverSettings, dtype: torch.dtype) -> SolverSettings:
    """The settings with an ε that fits a precision; texts that need another one are unusual, and solved otherwise."""
    low, high = USUAL[dtype]
    return replace(settings, epsilon=min(max(settings.epsilon, low**2), high**2))


def _tight(settings: SolverSettings) -> SolverSettings:
    """The settings of a solve in float64: a tolerance that is small enough for small values."""
    return replace(settings, tolerance=0.01 * settings.tolerance)


def _never_negative(outcome: Outcome, settings: SolverSettings, debiased: bool) -> Outcome:
    """The outcome; a divergence that is converged, and negative by rounding, becomes 0."""
    if not debiased:
        return outcome
    converged = outcome.error <= settings.tolerance
    return outcome._replace(value=torch.where(converged, outcome.value.clamp(min=0), outcome.value))


def _fitting(value: Tensor, like: Tensor) -> Tensor:
    """The value in the precision of `like`; `ValueError` if it overflows there."""
    rounded = value.to(like.dtype)
    if bool(value.isfinite().all() & rounded.isinf().any()) or bool(value.isinf().any()):
        raise _overflow()
    return rounded


def _overflow() -> NotFiniteValueError:
    """The refusal of clouds whose distances do not fit their precision."""
    return NotFiniteValueError(
        "squared distances overflow: divide the clouds by a constant, or measure them by 'layernorm'."
    )
