"""The dual of entropic transport, solved for a batch of small problems at once and stopped by the marginal error.

Sinkhorn's passes slow down as ε falls; on clouds of a few hundred points Newton's method on the semi-dual does not, if it
is kept on the central path. So every problem starts at an ε of the order of its cost's own spread, where the solution is
near a⊗b, and follows the path down to the ε asked for, each on its own schedule:

- the row potential f is eliminated (rows of the plan are exact), g takes a Newton step, shortened to `TRUST` ε;
- in the same linear system the tangent dg/dε is solved, and ε falls while g moves along it. The fall is such that the
  plan changes by about `DRIFT`; it waits until the marginal error is below `LOOSE` and the Newton step is not shortened;
- a step after which the error is worse than `REJECT` is undone and repeated with a quarter of the fall;
- a problem for which the linear system fails, or that is not solved in `NEWTON_STEPS`, takes stabilised log-domain
  Sinkhorn passes instead, which always converge, if slowly.

Only R = C − f − g is kept, never C: its entries that carry mass are near 0, so float32 resolves exp(−R/ε) to the last digits
even where C/ε runs to 1e5. Sources: Cuturi (2013); Schmitzer (2019) for absorption and ε-scaling; Brauer, Clason, Lorenz &
Wirth (2017) for Newton; the path-following predictor is ours.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .newton import column_sums, row_sums, solve_hessian

START = 2.0  # first ε, in standard deviations of the doubly centred cost
DRIFT = 0.5  # standard deviation, under the plan, of the change of log P that one fall of ε may bring
STRIDE = 1.0  # largest fall of log ε
LANDING = 1.2  # an ε within this factor of the target becomes the target
LOOSE = 0.2  # marginal error below which ε may fall
REJECT = 0.5  # marginal error above which a step that made things worse is undone
TRUST = 3.0  # longest Newton step, as the spread of the change of g, in ε
NEWTON_STEPS = 100


class Solution(NamedTuple):
    """A solved batch. `plan` has exact rows; `error` is ‖P1 − a‖₁ + ‖Pᵀ1 − b‖₁; potentials are 0 at padding."""

    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    plan: Float[Tensor, "batch n m"]
    error: Float[Tensor, " batch"]
    iterations: int


@dataclass
class _Path:
    """Problems on their way down the path. Every field has the batch first, so that solved problems can be dropped."""

    rows: Tensor  # where in the batch these problems are
    a: Tensor
    b: Tensor
    residual: Tensor  # R = C − f − g
    f: Tensor
    g: Tensor
    epsilon: Tensor
    # What the last step was made of, so that it can be undone and shortened.
    step: Tensor
    newton: Tensor
    tangent: Tensor
    fall: Tensor
    base_epsilon: Tensor
    base_error: Tensor

    def keep(self, which: Tensor) -> "_Path":
        return _Path(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


class _State(NamedTuple):
    """The path's plan where it stands now."""

    plan: Tensor
    mass: Tensor  # row sums before normalisation
    columns: Tensor  # column sums after it
    error: Tensor


def solve(
    cost: Float[Tensor, "batch n m"],
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    *,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve min ⟨P, C⟩ + ε KL(P ‖ a⊗b) for each problem. `cost` is overwritten.

    Args:
        cost: non-negative and finite, padding included.
        a, b: uniform over real points, 0 at padding.
    """
    out = Solution(torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(cost), torch.zeros_like(a[:, 0]), 0)
    path = _start(cost, a, b, epsilon)
    iteration = 0
    while True:
        state = _evaluate(path)
        done = (path.epsilon <= epsilon) & (state.error <= tolerance)
        last = iteration >= max_iterations - 1 or bool(done.all())
        if last or 2 * int(done.sum()) >= len(done):
            _store(out, path, state, torch.ones_like(done) if last else done)
            if last:
                return out._replace(iterations=iteration + 1)
            path, state = path.keep(~done), _State(*(part[~done] for part in state))
            done = done[~done]
        if iteration < NEWTON_STEPS:
            _newton_step(path, state, done, epsilon, tolerance)
        else:
            _sinkhorn_step(path, state, done, epsilon)
        iteration += 1


def _start(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> _Path:
    """g = the column means, which solve ε → ∞, and ε from the spread of what they leave."""
    real = b > 0
    g = column_sums(cost, a)
    g = torch.where(real, g - (g * b).sum(dim=1, keepdim=True), 0)
    residual = cost.sub_(g[:, None, :])
    centred = (residual - row_sums(residual, b)[:, :, None]).square_()
    spread = (column_sums(centred, a) * b).sum(dim=1).sqrt()
    start = (START * spread).clamp(min=epsilon)
    residual.masked_fill_(~real[:, None, :], float(residual.amax() + 1e3 * start.amax()))
    zero, zero_g = torch.zeros_like(start), torch.zeros_like(b)
    rows = torch.arange(len(a), device=a.device)
    return _Path(
        rows, a, b, residual, torch.zeros_like(a), g, start, zero_g, zero_g, zero_g, zero, start, zero + 2
    )  # fmt: skip


def _evaluate(path: _Path) -> _State:
    shift = path.residual.amin(dim=2)
    path.residual -= shift[:, :, None]
    path.f += shift
    plan = (path.residual * (-1 / path.epsilon)[:, None, None]).exp_()
    mass = plan.sum(dim=2)
    plan *= (path.a / mass)[:, :, None]
    columns = plan.sum(dim=1)
    return _State(plan, mass, columns, (columns - path.b).abs().sum(dim=1))


def _store(out: Solution, path: _Path, state: _State, which: Tensor) -> None:
    """Write the potentials and plans of `which` problems where they belong in the batch."""
    rows, weight = path.rows[which], path.b[which].amax(dim=1, keepdim=True)
    f = path.f[which] - path.epsilon[which, None] * (state.mass[which] * weight).log()
    out.f[rows] = torch.where(path.a[which] > 0, f, 0)
    out.g[rows] = path.g[which]
    out.plan[rows] = state.plan[which]
    out.error[rows] = state.error[which] + (state.plan[which].sum(dim=2) - path.a[which]).abs().sum(dim=1)


def _newton_step(path: _Path, state: _State, done: Tensor, target: float, tolerance: float) -> None:
    real, gap = path.b > 0, path.b - state.columns
    drift, spread = _drift(path, state)
    both = solve_hessian(
        state.plan, path.a, path.b, state.columns, torch.stack([gap, drift], dim=2), floor=0.1 * tolerance
    )
    solved = both.isfinite().all(dim=2).all(dim=1)[:, None]
    step = torch.where(solved, both[..., 0], _log_ratio(path, state))
    tangent = torch.where(solved & real, both[..., 1], 0)
    width = torch.where(real, step, -torch.inf).amax(dim=1) - torch.where(real, step, torch.inf).amin(dim=1)
    newton = torch.where(real, step, 0) * (path.epsilon * (TRUST / width).clamp(max=1))[:, None]
    change = (spread - (drift * tangent).sum(dim=1)).clamp(min=1e-12).sqrt()
    ready = (state.error < LOOSE) & (width <= TRUST) & solved[:, 0]
    fall = torch.where(ready, (DRIFT / change).clamp(max=STRIDE), 0)
    _move(path, state.error, done, newton, tangent, fall, target)


def _drift(path: _Path, state: _State) -> tuple[Tensor, Tensor]:
    """What a change of ε does to the columns, Σ_i P_ij (z_ij − z̄_i) with z = −R/ε, and the variance of z under P."""
    weighted = state.plan * path.residual
    inverse = 1 / path.epsilon[:, None]
    mean = torch.where(path.a > 0, -inverse * weighted.sum(dim=2) / path.a, 0)
    drift = -inverse * weighted.sum(dim=1) - column_sums(state.plan, mean)
    second = torch.linalg.vecdot(weighted.flatten(1), path.residual.flatten(1)) * inverse[:, 0].square()
    return torch.where(path.b > 0, drift, 0), second - (path.a * mean.square()).sum(dim=1)


def _move(
    path: _Path, error: Tensor, done: Tensor, newton: Tensor, tangent: Tensor, fall: Tensor, target: float
) -> None:
    """Step from here, or, where the last step made things worse, undo it and step again, shorter, from where it began."""
    good = error <= (1.5 * path.base_error).clamp(min=REJECT)  # False for NaN too
    shorter = torch.where(path.fall > 0, 1.0, 0.25)[:, None] * path.newton
    undo = torch.where(good[:, None], 0, path.step)
    path.newton = torch.where(good[:, None], newton, shorter)
    path.tangent = torch.where(good[:, None], tangent, path.tangent)
    path.fall = torch.where(good, fall, torch.where(path.fall > 0.1, path.fall / 4, 0))
    path.base_epsilon = torch.where(good, path.epsilon, path.base_epsilon)
    path.base_error = torch.where(good, error, path.base_error)
    epsilon = path.base_epsilon * torch.exp(-path.fall)
    path.epsilon = torch.where(epsilon < LANDING * target, target, epsilon)
    path.step = path.newton + (path.epsilon - path.base_epsilon)[:, None] * path.tangent
    path.step = torch.where(done[:, None], 0, path.step)
    _shift(path, path.step - undo)


def _sinkhorn_step(path: _Path, state: _State, done: Tensor, target: float) -> None:
    """One log-domain pass on the columns (`_evaluate` is the pass on the rows), ε falling by a fifth until the target."""
    step = torch.where(done[:, None], 0, path.epsilon[:, None] * _log_ratio(path, state))
    path.epsilon = (0.8 * path.epsilon).clamp(min=target)
    _shift(path, step)


def _log_ratio(path: _Path, state: _State) -> Tensor:
    tiny = torch.finfo(state.columns.dtype).tiny
    return torch.where(path.b > 0, path.b.clamp(min=tiny).log() - state.columns.nan_to_num().clamp(min=tiny).log(), 0)


def _shift(path: _Path, change: Tensor) -> None:
    path.g = path.g + change
    path.residual -= change[:, None, :]
