"""Value and gradient of entropic transport and of its debiased divergence, without a recorded solve.

By Danskin's theorem the gradient of OT_ε is that of ⟨P, C(x, y)⟩ with the optimal plan P held fixed. For C = ½‖x − y‖² this
is ∂/∂x_i = Σ_j P_ij (x_i − y_j), computed while P is still at hand, so that nothing but a gradient the size of `x` is kept.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .cost import centred_cost
from .numerics import full_precision
from .problem import Problem, Settings
from .solver import Solution, solve
from .symmetric import solve_self

CHUNK = {"cpu": 2**20}  # entries of the cost matrices solved together: about a core's cache
CHUNK_ELSEWHERE = 2**26


class Outcome(NamedTuple):
    """Per text: the value, the marginal error, the cross potentials, OT_ε(β, β), and the number of iterations."""

    value: Tensor
    error: Tensor
    f: Tensor
    g: Tensor
    y_term: Tensor
    iterations: Tensor


class _Part(NamedTuple):
    outcome: Outcome
    grad_x: Tensor
    grad_y: Tensor


def transport(problem: Problem, settings: Settings, *, debiased: bool, y_term: Tensor | None = None) -> Outcome:
    """OT_ε of each text, or the divergence S_ε; `value` is differentiable in `problem.x` and `problem.y`."""
    return Outcome(*_Transport.apply(problem.x, problem.y, problem, settings, debiased, y_term))


class _Transport(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, problem: Problem, settings: Settings, debiased: bool, y_term: Tensor | None
    ) -> Outcome:
        wanted = ctx.needs_input_grad[:2]
        with torch.no_grad(), full_precision(x.device):
            parts = [
                _Chunk(x[i], y[i], problem.a[i], problem.b[i], settings, wanted).run(
                    debiased, None if y_term is None or wanted[1] else y_term[i]
                )
                for i in _chunks(problem)
            ]
        ctx.save_for_backward(*(torch.cat(grads) for grads in zip(*(part[1:] for part in parts), strict=True)))
        outcome = Outcome(*(torch.cat(field) for field in zip(*(part.outcome for part in parts), strict=True)))
        ctx.mark_non_differentiable(*outcome[1:])
        return outcome

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grads = (upstream[:, None, None] * grad if grad.numel() else None for grad in ctx.saved_tensors)
        return (*grads, None, None, None, None)


def _chunks(problem: Problem) -> list[slice]:
    batch, n, m = len(problem.a), problem.x.shape[1], problem.y.shape[1]
    size = max(1, CHUNK.get(problem.x.device.type, CHUNK_ELSEWHERE) // max(n, m) ** 2)
    return [slice(start, start + size) for start in range(0, batch, size)]


class _Chunk(NamedTuple):
    """A few texts, solved together."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    settings: Settings
    wanted: tuple[bool, bool]

    def run(self, debiased: bool, y_term: Tensor | None) -> _Part:
        cross = self._cross()
        value, error = (self.a * cross.f).sum(dim=1) + (self.b * cross.g).sum(dim=1), cross.error
        grad_x = _pull(self.x, self.y, cross.plan, self.wanted[0])
        grad_y = _pull(self.y, self.x, cross.plan.transpose(1, 2), self.wanted[1])
        if debiased:
            x_term, error_x, pull_x = self._self(self.x, self.a, self.wanted[0])
            y_value, error_y, pull_y = self._self(self.y, self.b, self.wanted[1]) if y_term is None else (
                y_term, torch.zeros_like(error), grad_y)  # fmt: skip
            value = value - 0.5 * x_term - 0.5 * y_value
            error = torch.maximum(error, torch.maximum(error_x, error_y))
            grad_x, grad_y, y_term = grad_x - pull_x, grad_y - pull_y, y_value
        y_term = torch.full_like(value, torch.nan) if y_term is None else y_term
        iterations = torch.full_like(value, cross.iterations, dtype=torch.long)
        return _Part(Outcome(value, error, cross.f, cross.g, y_term, iterations), grad_x, grad_y)

    def _cross(self) -> Solution:
        """The cross term; the larger side is the one that the solver eliminates."""
        if self.y.shape[1] <= self.x.shape[1]:
            return solve(_finite(centred_cost(self.x, self.y)), self.a, self.b, **vars(self.settings))
        out = solve(_finite(centred_cost(self.y, self.x)), self.b, self.a, **vars(self.settings))
        return out._replace(f=out.g, g=out.f, plan=out.plan.transpose(1, 2))

    def _self(self, cloud: Tensor, weight: Tensor, wanted: bool) -> tuple[Tensor, Tensor, Tensor]:
        cost = centred_cost(cloud, cloud)
        cost.diagonal(dim1=1, dim2=2).zero_()
        out = solve_self(cost, weight, **vars(self.settings))
        return out.value, out.error, _pull(cloud, cloud, out.plan, wanted)


def _finite(cost: Tensor) -> Tensor:
    if cost.numel() and not bool(torch.isfinite(cost.amax())):
        raise ValueError("squared distances overflow float32: divide the clouds by a constant, or name a scale.")
    return cost


def _pull(x: Tensor, y: Tensor, plan: Tensor, wanted: bool) -> Tensor:
    """Σ_j P_ij (x_i − y_j), or nothing if it is not wanted."""
    if not wanted:
        return x.new_empty(len(x), 0)
    return torch.baddbmm(plan.sum(dim=2)[:, :, None] * x, plan, y, alpha=-1)
