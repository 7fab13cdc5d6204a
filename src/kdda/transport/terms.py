"""The terms of the divergence for one chunk of texts, in one precision: cross term, self-terms, and their gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kdda.transport import compiled, tile
from kdda.transport.cost import cost_of_centred, half_norms
from kdda.transport.flat import solve_flat
from kdda.transport.problem import Problem, SolverSettings
from kdda.transport.solver import Solution


class Outcome(NamedTuple):
    """Per text: the value, the marginal error, the cross potentials, OT_ε(β, β), and the number of iterations."""

    value: Tensor
    error: Tensor
    f: Tensor
    g: Tensor
    y_term: Tensor
    iterations: Tensor

    @classmethod
    def empty(cls, problem: Problem) -> "Outcome":
        """Room for the outcome of a problem, 0 behind the last columns of a text."""
        number = torch.empty_like(problem.a[:, 0])
        iterations = torch.empty_like(number, dtype=torch.long)
        f, g = torch.zeros_like(problem.a), torch.zeros_like(problem.b)
        return cls(number, number.clone(), f, g, number.clone(), iterations)

    def overwrite(self, rows: Tensor, better: "Outcome") -> None:
        """Replace these rows of the batch by those of `better`, rounded to this precision."""
        for whole, part in zip(self, better, strict=True):
            whole.index_copy_(0, rows, part.to(whole))


class Gradients(NamedTuple):
    """Room for the gradients in both clouds, `[batch, tokens, width]`, in units of the scaled cost; None: not asked."""

    x: Tensor | None
    y: Tensor | None

    def room(self, rows: slice | Tensor, n: int, m: int) -> "Gradients":
        """Where a chunk writes, n columns of `x` and m of `y`: views of whole rows that lie together, else new."""
        return Gradients(_room(self.x, rows, n), _room(self.y, rows, m))

    def write(self, rows: slice | Tensor, part: "Gradients") -> None:
        """Copy what a chunk has written into its room, and 0 behind it."""
        for whole, values in zip(self, part, strict=True):
            if whole is not None and values is not None and not _is_view(whole, rows, values.shape[1]):
                whole[rows, : values.shape[1]] = values
                whole[rows, values.shape[1] :] = 0

    def empty_double(self, clouds: "Clouds") -> "Gradients":
        """New room in float64 for the gradients that are asked for, of the shapes of `clouds`."""
        x = _map(self.x, lambda _: torch.empty_like(clouds.x))
        return Gradients(x, _map(self.y, lambda _: torch.empty_like(clouds.y)))

    def overwrite(self, rows: Tensor, better: "Gradients", factor: float = 1.0) -> None:
        """Replace these rows by `factor` times those of `better`."""
        for whole, part in zip(self, better, strict=True):
            if whole is not None and part is not None:
                whole.index_copy_(0, rows, (part * factor).to(whole))


def _room(whole: Tensor | None, rows: slice | Tensor, columns: int) -> Tensor | None:
    """A view of rows that are whole and lie together, or new room of their shape."""
    if whole is None:
        return None
    if _is_view(whole, rows, columns):
        return whole[rows]
    texts = len(whole[:, 0, 0][rows])
    return whole.new_empty(texts, columns, whole.shape[2])


def _is_view(whole: Tensor, rows: slice | Tensor, columns: int) -> bool:
    """Whether the room for so many columns of these rows is a view of `whole`."""
    return isinstance(rows, slice) and columns == whole.shape[1]


def _map(tensor: Tensor | None, function: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The function of a tensor, or None of None."""
    if tensor is None:
        return None
    return function(tensor)


class Clouds(NamedTuple):
    """Both clouds of a chunk in units of the cost, around the mean of `y`, 0 at padding; and their masses.

    Attributes:
        norms_x, norms_y: `half_norms` of the clouds.
        flat: whether ε is so far above all costs that `solve_flat` solves them.
    """

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    norms_x: Tensor
    norms_y: Tensor
    flat: bool = False

    def cross_cost(self) -> Tensor:
        """The costs between both, `[batch, n, m]`."""
        return cost_of_centred(self.x, self.y, self.norms_x, self.norms_y)


def clouds_of(problem: Problem) -> Clouds:
    """The clouds of a problem in its precision."""
    return clouds_between(*problem.clouds(), problem.a, problem.b)


def clouds_between(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Clouds:
    """Clouds with their norms."""
    return Clouds(x, y, a, b, half_norms(x), half_norms(y))


def solve_terms(
    clouds: Clouds,
    settings: SolverSettings,
    debiased: bool,
    y_term: Tensor | None,
    grads: Gradients,
) -> Outcome:
    """S_ε of each text, or OT_ε where it is not `debiased`; gradients are written to `grads`.

    Args:
        y_term: OT_ε(β, β) of each text, if known.
    """
    cross = solve_cross_term(clouds, settings)
    value = (clouds.a * cross.f).sum(dim=1) + (clouds.b * cross.g).sum(dim=1)
    _write_gradient(clouds.x, clouds.y, cross.plan, grads.x)
    _write_gradient(clouds.y, clouds.x, cross.plan.transpose(1, 2), grads.y)
    iterations = torch.full_like(value, cross.iterations, dtype=torch.long)
    outcome = Outcome(value, cross.error, cross.f, cross.g, torch.full_like(value, torch.nan), iterations)
    del cross
    if not debiased:
        return outcome
    x_term, x_error = solve_self_term(clouds.x, clouds.a, clouds.norms_x, settings, grads.x, flat=clouds.flat)
    if y_term is None:
        y_term, y_error = solve_self_term(clouds.y, clouds.b, clouds.norms_y, settings, grads.y, flat=clouds.flat)
    else:
        y_term = y_term.clone()  # the outcome is corrected in place, which must not change the caller's tensor
        y_error = x_error
    error = torch.maximum(outcome.error, torch.maximum(x_error, y_error))
    return outcome._replace(value=value - 0.5 * (x_term + y_term), error=error, y_term=y_term)


def solve_cross_term(clouds: Clouds, settings: SolverSettings) -> Solution:
    """OT_ε(α, β). The solver eliminates the potential of the larger cloud."""
    a, b, cost = clouds.a, clouds.b, clouds.cross_cost()
    if clouds.flat:
        return solve_flat(cost, a, b, settings.epsilon)
    solve = compiled.solve if compiled.is_faster(cost) else tile.solve
    if cost.shape[2] <= cost.shape[1]:
        return solve(cost, a, b, settings)
    out = solve(cost.transpose(1, 2).contiguous(), b, a, settings)
    return out._replace(f=out.g, g=out.f, plan=out.plan.transpose(1, 2))


def _write_gradient(x: Tensor, y: Tensor, plan: Tensor, grad: Tensor | None) -> None:
    """Write Σ_j P_ij (x_i − y_j) to `grad`."""
    if grad is not None:
        torch.mul(plan.sum(dim=2)[:, :, None], x, out=grad)
        grad.baddbmm_(plan, y, alpha=-1)


def solve_self_term(
    cloud: Tensor,
    weight: Tensor,
    norms: Tensor,
    settings: SolverSettings,
    grad: Tensor | None,
    *,
    flat: bool = False,
) -> tuple[Tensor, Tensor]:
    """OT_ε(α, α) and its marginal error. The gradient of its half is subtracted from `grad`."""
    cost = cost_of_centred(cloud, cloud, norms, norms)
    cost.diagonal(dim1=1, dim2=2).zero_()
    if flat:
        both = solve_flat(cost, weight, weight, settings.epsilon)
        value = (weight * (both.f + both.g)).sum(dim=1)
        plan, error = both.plan, both.error
    else:
        solve_self = compiled.solve_self if compiled.is_faster(cost) else tile.solve_self
        value, plan, error, _ = solve_self(cost, weight, settings)
    if grad is not None:
        grad.addcmul_(plan.sum(dim=2)[:, :, None], cloud, value=-1).baddbmm_(plan, cloud)
    return value, error
