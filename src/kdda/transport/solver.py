"""The solver: the dual of entropic transport by Newton steps along falling ε, for a batch of small problems at once,
stopped by the marginal error; step limits.

Sinkhorn's passes slow down as ε falls. On clouds of a few hundred points Newton's method on the semi-dual does not, if
it is kept on the central path. So every problem starts at an ε of the order of the spread of its cost, where the plan
is near a⊗b, and follows the path down to the target ε, each problem on a separate schedule:

- the row potential f is eliminated (rows of the plan are exact) and g takes a Newton step, no wider than `TRUST`·ε;
- the same linear system gives the tangent dg/dε, along which g moves while ε falls. The fall is such that the plan
  changes by about `DRIFT`; it waits until the marginal error is below `LOOSE` and the Newton step is not shortened;
- a step after which the error is worse than `REJECT` is undone, and repeated with a quarter of the fall;
- a problem whose linear system fails takes a log-domain Sinkhorn pass instead, and so does, from then on, one that is
  not solved after `NEWTON_STEPS`: slow, but sure.

Only R = C − f − g is stored, never C: its entries that carry mass are near 0, so float32 resolves exp(−R/ε) to the last
digits even where C/ε runs to 1e5. Sources: Cuturi (2013); Schmitzer (2019) for absorption and ε-scaling; Brauer,
Clason, Lorenz and Wirth (2017) for Newton; Feydy (2020) for the symmetric self-term. The predictor along the path is
ours.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.newton import column_sums, solve_hessian
from kdda.transport.numerics import stopping_error
from kdda.transport.path import Path, Point, evaluate, log_ratio, move, potentials, sinkhorn_pass, start

DRIFT = 0.5  # standard deviation, under the plan, of the change of log P that one fall of ε may bring

STRIDE = 1.0  # largest fall of log ε

LOOSE = 0.2  # marginal error below which ε may fall

TRUST = 3.0  # widest Newton step, as max − min of the change of g, in ε

NEWTON_STEPS = 100  # of a problem, before it takes Sinkhorn passes alone


class Solution(NamedTuple):
    """A solved batch. `plan` has exact rows; `error` is ‖P1 − a‖₁ + ‖Pᵀ1 − b‖₁; potentials are 0 at padding."""

    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    plan: Float[Tensor, "batch n m"]
    error: Float[Tensor, " batch"]
    iterations: int


def solve(
    cost: Float[Tensor, "batch n m"],
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    *,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve min ⟨P, C⟩ + ε KL(P ‖ a⊗b) for each problem. Cost is overwritten.

    Args:
        cost: non-negative and finite, padding included.
        a, b: masses of the points, 1 together; 0 at padding.
    """
    out = Solution(torch.zeros_like(a), torch.zeros_like(b), torch.empty_like(cost), torch.zeros_like(a[:, 0]), 0)
    path = start(cost, a, b, epsilon)
    goal = stopping_error(tolerance, cost.dtype)
    for iteration in range(1, max_iterations + 1):
        if iteration == max_iterations:  # unsolved problems are reported at the target ε
            path.epsilon = torch.full_like(path.epsilon, epsilon)
        point = evaluate(path)
        unsolved = (path.epsilon > epsilon) | ~(point.error <= goal)
        remaining = int(unsolved.sum())
        if iteration == max_iterations:
            remaining = 0
        if 2 * remaining <= len(unsolved):  # dropping the solved problems copies the others: worth it from half on
            _store(out, path, point)
            if not remaining:
                break
            rows = unsolved.nonzero().squeeze(1)
            path = path.keep(rows)
            point = point.keep(rows)
        if iteration <= NEWTON_STEPS:
            _newton_step(path, point, epsilon, tolerance)
        else:
            sinkhorn_pass(path, point, epsilon)
    return out._replace(iterations=iteration)


def _store(out: Solution, path: Path, point: Point) -> None:
    """Write the current state of these problems to the output; unsolved ones will be written again."""
    f, g = potentials(path, point)
    error = point.error + (point.plan.sum(dim=2) - path.a).abs().sum(dim=1)
    for whole, part in ((out.f, f), (out.g, g), (out.plan, point.plan), (out.error, error)):
        whole.index_copy_(0, path.rows, part)


def _newton_step(path: Path, point: Point, target: float, tolerance: float) -> None:
    """Move g by a Newton step and, where the problem is ready, ε towards `target` along the tangent dg/dε.

    `width` is max − min of a Newton step in units of ε; `change` is by how much the plan changes for a fall of log ε.
    """
    gap = path.b - point.columns
    drift: Tensor | None = None
    right_sides = [gap]
    if bool((path.epsilon > target).any()):
        drift, spread = _drift(path, point)
        right_sides.append(drift)
    right = torch.stack(right_sides, dim=2)
    both = solve_hessian(point.plan, path.inverse_a, path.b, point.columns, right, floor=0.1 * tolerance)
    solved = both.sum(dim=(1, 2)).isfinite()
    newton = both[..., 0]
    if not bool(solved.all()):
        both = torch.where(solved[:, None, None], both, 0)
        newton = torch.where(solved[:, None], both[..., 0], log_ratio(path, point))
    width = newton.amax(dim=1) - newton.amin(dim=1)
    newton = newton * (path.epsilon * (TRUST / width).clamp(max=1))[:, None]
    if drift is None:
        return move(path, point, newton, torch.zeros_like(gap), torch.zeros_like(width), target)
    tangent = both[..., 1]
    change = (spread - (drift * tangent).sum(dim=1)).clamp(min=1e-12).sqrt()
    ready = (point.error < LOOSE) & (width <= TRUST) & solved
    return move(path, point, newton, tangent, torch.where(ready, (DRIFT / change).clamp(max=STRIDE), 0), target)


def _drift(path: Path, point: Point) -> tuple[Tensor, Tensor]:
    """What a change of ε does to the columns, Σ_i P_ij (z_ij − z̄_i) with z = −R/ε, and the variance of z under P."""
    weighted = point.plan * path.residual
    inverse = 1 / path.epsilon[:, None]
    mean = -inverse * weighted.sum(dim=2) * path.inverse_a
    drift = -inverse * weighted.sum(dim=1) - column_sums(point.plan, mean)
    second = torch.linalg.vecdot(weighted.flatten(1), path.residual.flatten(1)) * inverse[:, 0].square()
    return drift, second - (path.a * mean.square()).sum(dim=1)
