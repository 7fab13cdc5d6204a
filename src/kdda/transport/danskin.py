"""Value and gradient of entropic transport and of its debiased divergence (Danskin), chunk by chunk, without a recorded
solve; float64 again where float32 cancels.

By Danskin's theorem the gradient of OT_ε is that of ⟨P, C(x, y)⟩ with the optimal plan P held fixed. For C = ½‖x − y‖²
this is ∂/∂x_i = Σ_j P_ij (x_i − y_j), computed while P is in memory, so that only a gradient of the size of `x` is
saved for the backward pass.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdda.transport.cost import cost_of_centred
from kdda.transport.numerics import full_precision
from kdda.transport.problem import Problem, SolverSettings
from kdda.transport.solver import Solution, solve
from kdda.transport.symmetric import solve_self

# Entries of the cost matrices that are solved together; on a CPU about what the cache of a core holds.
CHUNK_ENTRIES = {"cpu": 2**20}

CHUNK_ENTRIES_ELSEWHERE = 2**26

CANCELLED = 2e-3  # of the mean ½-squared radius: below, float32 has lost too many digits


class Outcome(NamedTuple):
    """Per text: the value, the marginal error, the cross potentials, OT_ε(β, β), and the number of iterations."""

    value: Tensor
    error: Tensor
    f: Tensor
    g: Tensor
    y_term: Tensor
    iterations: Tensor


def transport(
    problem: Problem, x: Tensor, y: Tensor, settings: SolverSettings, *, debiased: bool, y_term: Tensor | None = None
) -> Outcome:
    """OT_ε of each text, or S_ε. `value` is differentiable in `x` and `y`, the clouds behind `problem`."""
    return Outcome(*_TransportFunction.apply(x, y, problem, settings, debiased, y_term))  # type: ignore[no-untyped-call]


def self_transport(problem: Problem, settings: SolverSettings) -> Tensor:
    """OT_ε(β, β) of the second cloud of each text, without a gradient."""
    parts = []
    with torch.no_grad(), full_precision(problem.y.device):
        for rows in _chunks(problem):
            part = problem.part(rows)
            parts.append(_solve_self_term(part.clouds()[1], part.b, settings, None)[0])
    return torch.cat(parts)


class _TransportFunction(torch.autograd.Function):
    """Solves in the forward pass, and keeps the gradient for the backward pass (see the head of the file)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        problem: Problem,
        settings: SolverSettings,
        debiased: bool,
        y_term: Tensor | None,
    ) -> Outcome:
        x_needs_grad, y_needs_grad = ctx.needs_input_grad[:2]
        grads: list[Tensor | None] = [None, None]
        if x_needs_grad:
            grads[0] = _empty_gradient(x, problem)
        if y_needs_grad:
            grads[1] = _empty_gradient(y, problem)
            y_term = None
        with full_precision(x.device):
            outcome = _solve_all(problem, settings, debiased, y_term, grads)
        ctx.unit = problem.unit
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(*outcome[1:])
        return outcome

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        factor = ctx.unit * upstream[:, None, None]
        grads: list[Tensor | None] = [None] * 6
        for i, grad in enumerate(ctx.saved_tensors):
            if grad is not None:
                grads[i] = factor * grad
        return tuple(grads)


def _empty_gradient(cloud: Tensor, problem: Problem) -> Tensor:
    """Room for the gradient of a cloud, in the precision that the problem is solved in."""
    return torch.empty_like(cloud, dtype=problem.a.dtype)


def _solve_all(
    problem: Problem, settings: SolverSettings, debiased: bool, y_term: Tensor | None, grads: list[Tensor | None]
) -> Outcome:
    """All texts, a chunk at a time; gradients are written to the tensors in `grads` (of x and y; None: not asked)."""
    parts = []
    for rows in _chunks(problem):
        chunk = problem.part(rows)
        grad_x = _rows_of(grads[0], rows)
        grad_y = _rows_of(grads[1], rows)
        parts.append(_solve_part(chunk, settings, debiased, _rows_of(y_term, rows), grad_x, grad_y))
    return Outcome(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _rows_of(tensor: Tensor | None, rows: slice) -> Tensor | None:
    """A view of these rows, through which a chunk writes its gradient."""
    if tensor is None:
        return None
    return tensor[rows]


def _chunks(problem: Problem) -> list[slice]:
    """Slices of the batch whose cost matrices hold at most `CHUNK_ENTRIES` together, one text at least."""
    longest = max(problem.x.shape[1], problem.y.shape[1])
    entries = CHUNK_ENTRIES.get(problem.x.device.type, CHUNK_ENTRIES_ELSEWHERE)
    size = max(1, entries // longest**2)
    return [slice(first, first + size) for first in range(0, len(problem.a), size)]


def _solve_part(
    problem: Problem,
    settings: SolverSettings,
    debiased: bool,
    y_term: Tensor | None,
    grad_x: Tensor | None,
    grad_y: Tensor | None,
) -> Outcome:
    """Solve a chunk; write gradients, in units of the scaled cost, to `grad_x` and `grad_y` unless they are None.

    A cost in float32 is right to about 1e-7 of the clouds' squared radius. Where the value is so much smaller that less
    than four digits remain, as between nearly equal clouds, the text is solved again in float64.
    """
    outcome, radius = _solve_once(problem, settings, debiased, y_term, grad_x, grad_y)
    doubtful = outcome.value.abs() < CANCELLED * radius
    if problem.a.dtype == torch.float64 or problem.a.device.type == "mps" or not bool(doubtful.any()):
        return outcome
    rows = doubtful.nonzero().squeeze(1)
    grads = [_double_rows_of(grad_x, rows), _double_rows_of(grad_y, rows)]
    tight = replace(settings, tolerance=0.01 * settings.tolerance)  # small enough for so small a value
    exact, _ = _solve_once(problem.part(rows).double(), tight, debiased, None, *grads)
    for whole, part in zip((*outcome, grad_x, grad_y), (*exact, *grads), strict=True):
        if whole is not None and part is not None:
            whole.index_copy_(0, rows, part.to(whole.dtype))
    return outcome


def _double_rows_of(tensor: Tensor | None, rows: Tensor) -> Tensor | None:
    """A float64 copy of these rows."""
    if tensor is None:
        return None
    return tensor[rows].double()


def _solve_once(
    problem: Problem,
    settings: SolverSettings,
    debiased: bool,
    y_term: Tensor | None,
    grad_x: Tensor | None,
    grad_y: Tensor | None,
) -> tuple[Outcome, Tensor]:
    """In the problem's precision: the outcome, and the mean ½-squared distance of both clouds from their centre."""
    x, y = problem.clouds()
    a, b = problem.a, problem.b
    radius = 0.25 * (a * x.square().sum(dim=2)).sum(dim=1) + 0.25 * (b * y.square().sum(dim=2)).sum(dim=1)
    cross = _solve_cross_term(x, y, a, b, settings)
    value = (a * cross.f).sum(dim=1) + (b * cross.g).sum(dim=1)
    _write_gradient(x, y, cross.plan, grad_x)
    _write_gradient(y, x, cross.plan.transpose(1, 2), grad_y)
    iterations = torch.full_like(value, cross.iterations, dtype=torch.long)
    outcome = Outcome(value, cross.error, cross.f, cross.g, torch.full_like(value, torch.nan), iterations)
    del cross
    if not debiased:
        return outcome, radius
    x_term, x_error = _solve_self_term(x, a, settings, grad_x)
    if y_term is None:
        y_term, y_error = _solve_self_term(y, b, settings, grad_y)
    else:
        y_term = y_term.clone()  # the outcome is corrected in place, which must not change the caller's tensor
        y_error = x_error
    error = torch.maximum(outcome.error, torch.maximum(x_error, y_error))
    return outcome._replace(value=value - 0.5 * (x_term + y_term), error=error, y_term=y_term), radius


def _solve_cross_term(x: Tensor, y: Tensor, a: Tensor, b: Tensor, settings: SolverSettings) -> Solution:
    """The cross term. The solver eliminates the potential of the larger cloud."""
    if y.shape[1] <= x.shape[1]:
        return solve(_check_overflow(cost_of_centred(x, y)), a, b, **vars(settings))
    out = solve(_check_overflow(cost_of_centred(y, x)), b, a, **vars(settings))
    return out._replace(f=out.g, g=out.f, plan=out.plan.transpose(1, 2))


def _check_overflow(cost: Tensor) -> Tensor:
    """The cost as it is; `ValueError` if an entry is not finite."""
    if not bool(torch.isfinite(cost.amax())):
        raise ValueError("squared distances overflow: divide the clouds by a constant, or measure them by 'layernorm'.")
    return cost


def _write_gradient(x: Tensor, y: Tensor, plan: Tensor, grad: Tensor | None) -> None:
    """Write Σ_j P_ij (x_i − y_j) to `grad`."""
    if grad is not None:
        torch.mul(plan.sum(dim=2)[:, :, None], x, out=grad)
        grad.baddbmm_(plan, y, alpha=-1)


def _solve_self_term(
    cloud: Tensor, weight: Tensor, settings: SolverSettings, grad: Tensor | None
) -> tuple[Tensor, Tensor]:
    """OT_ε(α, α) and its marginal error. The gradient of its half is subtracted from `grad`."""
    cost = cost_of_centred(cloud, cloud)
    cost.diagonal(dim1=1, dim2=2).zero_()
    out = solve_self(cost, weight, **vars(settings))
    if grad is not None:
        grad.addcmul_(out.plan.sum(dim=2)[:, :, None], cloud, value=-1).baddbmm_(out.plan, cloud)
    return out.value, out.error
