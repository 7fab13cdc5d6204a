"""Value and gradient of entropic transport and of its debiased divergence (Danskin), chunk by chunk, without a recorded
solve.

By Danskin's theorem the gradient of OT_ε is that of ⟨P, C(x, y)⟩ with the optimal plan P held fixed. For C = ½‖x − y‖²
this is ∂/∂x_i = Σ_j P_ij (x_i − y_j), computed while P is in memory, so that only a gradient of the size of `x` is
saved for the backward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdda.transport.numerics import full_precision
from kdda.transport.precision import self_terms, solve_texts
from kdda.transport.problem import Problem, SolverSettings
from kdda.transport.terms import Gradients, Outcome

# Entries of the cost matrices that are solved together; on a CPU about what the cache of a core holds.
CHUNK_ENTRIES = {"cpu": 2**20}

CHUNK_ENTRIES_ELSEWHERE = 2**26


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
            parts.append(self_terms(problem.part(rows), settings))
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
        """The values; the gradients are computed here, too, and kept for `backward`."""
        x_needs_grad, y_needs_grad = ctx.needs_input_grad[:2]
        grads = Gradients(None, None)
        if x_needs_grad:
            grads = grads._replace(x=_empty_gradient(x, problem))
        if y_needs_grad:
            grads = grads._replace(y=_empty_gradient(y, problem))
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
        """The gradients that `forward` has kept, times that of each value."""
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
    problem: Problem, settings: SolverSettings, debiased: bool, y_term: Tensor | None, grads: Gradients
) -> Outcome:
    """All texts, a chunk at a time.

    Args:
        y_term: OT_ε(β, β) of each text if it is known already, so that it is not solved again.
        grads: gradients are written into these tensors, of which `part` gives views.
    """
    parts = []
    for rows in _chunks(problem):
        known = None
        if y_term is not None:
            known = y_term[rows]
        parts.append(solve_texts(problem.part(rows), settings, debiased, known, grads.part(rows)))
    return Outcome(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _chunks(problem: Problem) -> list[slice]:
    """Slices of the batch whose cost matrices hold at most `CHUNK_ENTRIES` together, one text at least."""
    longest = max(problem.x.shape[1], problem.y.shape[1])
    entries = CHUNK_ENTRIES.get(problem.x.device.type, CHUNK_ENTRIES_ELSEWHERE)
    size = max(1, entries // longest**2)
    return [slice(first, first + size) for first in range(0, len(problem.a), size)]
