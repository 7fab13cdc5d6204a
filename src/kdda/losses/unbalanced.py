"""unbalanced: transport whose marginals are relaxed (option relaxation, ρ = 1.0): tokens that nothing is near stay."""

from functools import partial

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
from kdda.transport.unbalanced import UnbalancedSolution, solve_unbalanced, solve_unbalanced_self

LARGEST_EPSILON = 1e20  # above, float32 lacks what differs from the limit, which is reached long before


@partial(in_full_precision, cancelled=1e-3)  # differences of costs near 1
def unbalanced(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """UOT(α, β) − ½UOT(α, α) − ½UOT(β, β), UOT = min_P ⟨P, C⟩ + ε·KL(P ‖ α⊗β) + ρ·KL(P1 ‖ α) + ρ·KL(Pᵀ1 ‖ β).

    Mass that would move at a cost well above 2ρ is not moved, and gives no gradient: outlier tokens are left out. For
    ρ → ∞ it is `sinkhorn`, for ρ → 0 ε times `mmd-gaussian` of bandwidth ε. The gradient holds the optimal plans fixed
    (Danskin). The marginal error is the residual of the optimal marginals, ‖P1 − a·exp(−f/ρ)‖₁ + ‖Pᵀ1 − b·exp(−g/ρ)‖₁.
    Reads `epsilon`, `scale`, `tolerance`, `max_iterations` and the option `relaxation`, ρ, in units of the scaled cost.

    Source: Séjourné, Feydy, Vialard, Trouvé, Peyré, "Sinkhorn Divergences for Unbalanced Optimal Transport",
    arXiv:1910.12958, 2019, for masses of 1; solved as in `kdda.transport.unbalanced`.
    """
    x, y, a, b = clouds(student, teacher, settings.scale)
    epsilon = min(settings.epsilon, LARGEST_EPSILON)
    solver = SolverSettings(epsilon, settings.tolerance, settings.max_iterations)
    relaxation = float(settings.options["relaxation"])
    cost = _cost(x, y)
    cross = _solve_cross(cost.detach(), a, b, solver, relaxation)
    moved = _moved(cross, cost)
    value, error = cross.value, cross.error
    for cloud, weight in ((x, a), (y, b)):
        inner = _cost(cloud, cloud)
        solved = solve_unbalanced_self(_zero_diagonal(inner.detach()), weight, relaxation=relaxation, **vars(solver))
        value = value - 0.5 * solved.value
        moved = moved - 0.5 * _moved(solved, inner)
        error = torch.maximum(error, solved.error)
    # `moved` has the gradient of the value, and another value
    return ObjectiveOutput(value.clamp(min=0) + (moved - moved.detach()), error, cross.iterations)


def _cost(x: Tensor, y: Tensor) -> Tensor:
    """½‖x_i − y_j‖² of clouds that lie around 0, differentiable in both."""
    return half_squared_distances(x, y, torch.zeros_like(x[:, :1]))


def _zero_diagonal(cost: Tensor) -> Tensor:
    """A copy of the costs of a cloud with itself, exactly 0 between a point and itself."""
    cost = cost.clone()
    cost.diagonal(dim1=1, dim2=2).zero_()
    return cost


def _solve_cross(cost: Tensor, a: Tensor, b: Tensor, solver: SolverSettings, relaxation: float) -> UnbalancedSolution:
    """UOT(α, β) of each text, without a gradient. The solver eliminates the potential of the larger cloud."""
    if cost.shape[2] <= cost.shape[1]:
        return solve_unbalanced(cost.clone(), a, b, relaxation=relaxation, **vars(solver))
    turned = cost.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    out = solve_unbalanced(turned, b, a, relaxation=relaxation, **vars(solver))
    return out._replace(plan=out.plan.transpose(1, 2))


def _moved(solution: UnbalancedSolution, cost: Tensor) -> Tensor:
    """⟨P, C⟩ of each text at a plan that is held fixed, whose gradient is that of the minimum (Danskin)."""
    return (solution.plan * cost).sum(dim=(1, 2))


UNBALANCED = Objective(
    "unbalanced",
    unbalanced,
    options={"relaxation": 1.0},
    bounds={"relaxation": (1e-3, 1e6)},
)
