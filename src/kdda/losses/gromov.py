"""gromov (Gromov–Wasserstein, at most 50 steps): compares the distances inside each cloud, so the two need no common
space.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    clouds,
    in_full_precision,
)
from kdda.transport.cost import half_squared_distances
from kdda.transport.problem import SolverSettings
from kdda.transport.solver import solve

STEPS = 50  # from one plan to the next, at most
TILT = 0.02  # of the first plan, from α⊗β towards reading order
SETTLED = 1e-3  # change of the plan, in L1, between two steps


@in_full_precision
def gromov(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """Σ_ijkl |C^x_ik − C^y_jl|² P_ij P_kl at the entropic plan P, with C^x and C^y the costs inside each cloud.

    Widths may differ. The problem is not convex: from α⊗β, tilted a little towards reading order (α⊗β alone can be a
    saddle), steps P ← argmin ⟨2L(P), P'⟩ + ε·KL(P' ‖ α⊗β) lead to a local minimum. The gradient holds P fixed
    (Danskin). It is biased as OT_ε is. Reads `epsilon`, `scale` (a number, or the teacher's, divides both sides'
    costs), `tolerance`, `max_iterations`. Source: Peyré, Cuturi, Solomon, "Gromov-Wasserstein Averaging of Kernel and
    Distance Matrices", ICML 2016, eqs. (4) and (9).
    """
    measured = clouds(student, teacher, settings.scale, equal_widths=False, around_teacher_mean=False)
    inner = _Distances(_distances_inside(measured.x), _distances_inside(measured.y), measured.a, measured.b)
    with torch.no_grad():
        plan, error, iterations = _local_minimum(_Distances(*(part.detach() for part in inner)), settings)
    return ObjectiveOutput((inner.linear_cost(plan) * plan).sum(dim=(1, 2)), error, iterations)


class _Distances(NamedTuple):
    """The costs ½‖x_i − x_k‖² inside each cloud, `[batch, n, n]` and `[batch, m, m]`, and the masses of the tokens."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor

    def linear_cost(self, plan: Tensor) -> Tensor:
        """L(P)_ij = Σ_kl |C^x_ik − C^y_jl|² P_kl for a plan with marginals a and b."""
        of_x = (self.x.square() @ self.a[..., None]) + (self.y.square() @ self.b[..., None]).transpose(1, 2)
        return of_x - 2 * self.x @ plan @ self.y.transpose(1, 2)


def _distances_inside(cloud: Tensor) -> Tensor:
    """½‖x_i − x_k‖² of all pairs of a cloud."""
    return half_squared_distances(cloud, cloud)


def _reading_order_plan(a: Tensor, b: Tensor) -> Tensor:
    """The coupling that matches tokens by their place in the text."""
    end_a, end_b = a.cumsum(dim=1)[:, :, None], b.cumsum(dim=1)[:, None, :]
    overlap = torch.minimum(end_a, end_b) - torch.maximum(end_a - a[:, :, None], end_b - b[:, None, :])
    return overlap.clamp(min=0)


def _local_minimum(inner: _Distances, settings: ObjectiveSettings) -> tuple[Tensor, Tensor, int]:
    """The plan that a step changes by at most `SETTLED`, its marginal error, and the iterations of all its solves."""
    asked = SolverSettings(settings.epsilon, settings.tolerance, settings.max_iterations)
    product, iterations = inner.a[:, :, None] * inner.b[:, None, :], 0
    plan = product.lerp(_reading_order_plan(inner.a, inner.b), TILT)
    for _ in range(STEPS):
        out = solve(2 * inner.linear_cost(plan), inner.a, inner.b, **vars(asked))
        change = (out.plan - plan).abs().sum(dim=(1, 2))
        plan, iterations = out.plan, iterations + out.iterations
        if bool((change <= SETTLED).all()):
            break
    return plan, out.error, iterations


GROMOV = Objective("gromov", gromov, equal_widths=False)
