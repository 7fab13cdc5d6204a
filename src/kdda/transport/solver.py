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

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.newton import column_sums, solve_hessian
from kdda.transport.numerics import are_surely_true, stopping_error
from kdda.transport.path import Path, Point, evaluate, is_worse, log_ratio, move, potentials, sinkhorn_pass, start

DRIFT = 0.5  # standard deviation, under the plan, of the change of log P that one fall of ε may bring

STRIDE = 1.0  # largest fall of log ε

LOOSE = 0.2  # marginal error below which ε may fall

TRUST = 3.0  # widest Newton step, as max − min of the change of g, in ε

NEWTON_STEPS = 100  # of a problem, before it takes Sinkhorn passes alone

DROP = 0.5  # share of a batch that must be solved before the others are copied, to go on without it


class Solution(NamedTuple):
    """A solved batch. `plan` has exact rows; `error` is ‖P1 − a‖₁ + ‖Pᵀ1 − b‖₁; potentials are 0 at padding."""

    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    plan: Float[Tensor, "batch n m"]
    error: Float[Tensor, " batch"]
    iterations: int

    @classmethod
    def empty(cls, cost: Tensor) -> "Solution":
        """Room for the solution of problems of this cost `[batch, n, m]`."""
        return cls(
            cost.new_empty(cost.shape[:2]),
            cost.new_empty(cost.shape[::2]),
            torch.empty_like(cost),
            cost.new_empty(len(cost)),
            0,
        )


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
    descent = Descent(start(cost, a, b, epsilon), epsilon, tolerance, Solution.empty(cost))
    return descent.out._replace(iterations=descent.run(max_iterations))


class Counts(NamedTuple):
    """How many problems of a batch are as the names say: all that the host reads in an iteration.

    Attributes:
        falling: those whose ε is above the target.
        worse: those whose last step is to be undone.
        flagged: those of `BatchDescent.flagged`.
    """

    unsolved: int
    falling: int
    worse: int
    flagged: int = 0


class BatchDescent(ABC):
    """A batch of problems on their way to the target ε, and the loop that leads them there.

    Attributes:
        path, point: where the problems stand that are not dropped yet.
    """

    point: Point

    def __init__(self, path: Path, target: float, tolerance: float) -> None:
        self.path = path
        self.target = target
        self.tolerance = tolerance

    @abstractmethod
    def evaluate(self) -> Tensor | float:
        """Compute `point`, and return the error at which each problem is solved."""

    @abstractmethod
    def store(self) -> None:
        """Write the problems to the output; unsolved ones will be written again."""

    @abstractmethod
    def step(self, iteration: int, counts: Counts) -> None:
        """Move g, and ε where a problem is ready."""

    def keep(self, rows: Tensor) -> None:
        """Go on with these problems of the batch alone."""
        self.path = self.path.keep(rows)
        self.point = self.point.keep(rows)

    def flagged(self) -> Tensor | None:
        """Problems that `step` wants to be counted; None where it counts none."""
        return None

    def run(self, max_iterations: int) -> int:
        """Lead all problems to the target, and store them. Returns the number of evaluations."""
        for iteration in range(1, max_iterations + 1):
            if iteration == max_iterations:  # unsolved problems are reported at the target ε
                self.path.epsilon = torch.full_like(self.path.epsilon, self.target)
            goal = self.evaluate()
            falling = self.path.epsilon > self.target
            unsolved = falling | ~(self.point.error <= goal)
            flags = [unsolved, falling, is_worse(self.path, self.point)]
            flagged = self.flagged()
            if flagged is not None:
                flags.append(flagged)
            counts = Counts(*torch.stack(flags).sum(dim=1).tolist())  # the only wait for a device in an iteration
            remaining = counts.unsolved
            if iteration == max_iterations:
                remaining = 0
            if remaining <= (1 - DROP) * len(unsolved):
                self.store()
                if not remaining:
                    break
                self.keep(unsolved.argsort(descending=True, stable=True)[:remaining])
            self.step(iteration, counts)
        return iteration


class Descent(BatchDescent):
    """Balanced problems; `out` is the output."""

    def __init__(self, path: Path, target: float, tolerance: float, out: Solution) -> None:
        super().__init__(path, target, tolerance)
        self.out = out

    def evaluate(self) -> float:
        """The plan of exact rows, and the error to stop at."""
        self.point = evaluate(self.path)
        return stopping_error(self.tolerance, self.point.error.dtype)

    def store(self) -> None:
        """Write potentials, plan and error."""
        self.point.plan.mul_((self.path.b > 0)[:, None, :])  # padding has no mass, not even what underflow has left it
        f, g = potentials(self.path, self.point)
        error = self.point.error + (self.point.plan.sum(dim=2) - self.path.a).abs().sum(dim=1)
        for whole, part in (
            (self.out.f, f),
            (self.out.g, g),
            (self.out.plan, self.point.plan),
            (self.out.error, error),
        ):
            whole.index_copy_(0, self.path.rows, part)

    def step(self, iteration: int, counts: Counts) -> None:
        """A Newton step, or from `NEWTON_STEPS` on a Sinkhorn pass."""
        if iteration <= NEWTON_STEPS:
            _newton_step(self.path, self.point, self.target, self.tolerance, counts)
        else:
            sinkhorn_pass(self.path, self.point, self.target)


def _newton_step(path: Path, point: Point, target: float, tolerance: float, counts: Counts) -> None:
    """Move g by a Newton step and, where the problem is ready, ε towards `target` along the tangent dg/dε.

    `width` is max − min of a Newton step in units of ε; `change` is by how much the plan changes for a fall of log ε.
    """
    gap = path.b - point.columns
    right = gap[..., None]
    if counts.falling:
        drift, spread = _drift(path, point)
        right = torch.stack([gap, drift], dim=2)
    both = solve_hessian(point.plan, path.inverse_a, path.b, point.columns, right, floor=0.1 * tolerance)
    solved = both.sum(dim=(1, 2)).isfinite()
    newton = both[..., 0]
    if not are_surely_true(solved):
        both = torch.where(solved[:, None, None], both, 0)
        newton = torch.where(solved[:, None], both[..., 0], log_ratio(path, point))
    lowest, highest = newton.aminmax(dim=1)
    width = highest - lowest
    newton = newton * (path.epsilon * (TRUST / width).clamp(max=1))[:, None]
    if counts.falling:
        tangent = both[..., 1]
        change = (spread - (drift * tangent).sum(dim=1)).clamp(min=1e-12).sqrt()
        ready = (point.error < LOOSE) & (width <= TRUST) & solved
        fall = (DRIFT / change).clamp(max=STRIDE).masked_fill_(~ready, 0)
    else:
        tangent, fall = torch.zeros_like(gap), torch.zeros_like(width)
    move(path, point, newton, tangent, fall, target, any_worse=counts.worse > 0)


def _drift(path: Path, point: Point) -> tuple[Tensor, Tensor]:
    """What a change of ε does to the columns, Σ_i P_ij (z_ij − z̄_i) with z = −R/ε, and the variance of z under P."""
    weighted = point.plan * path.residual
    inverse = 1 / path.epsilon[:, None]
    mean = -inverse * weighted.sum(dim=2) * path.inverse_a
    drift = -inverse * weighted.sum(dim=1) - column_sums(point.plan, mean)
    second = torch.linalg.vecdot(weighted.flatten(1), path.residual.flatten(1)) * inverse[:, 0].square()
    return drift, second - (path.a * mean.square()).sum(dim=1)
