"""Entropic transport where ε is far above every cost: at most 12 Sinkhorn passes, in differences from the plan a⊗b."""

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.solver import Solution

# From ε = FLAT · (largest squared distance from the centre) on, a pass divides the error by more than 200.
FLAT = 30.0

PASSES = 12


def solve_flat(
    cost: Float[Tensor, "batch n m"], a: Float[Tensor, "batch n"], b: Float[Tensor, "batch m"], epsilon: float
) -> Solution:
    """Solve min ⟨P, C⟩ + ε KL(P ‖ a⊗b) for ε ≫ C, with errors of the size of rounded costs and not of a rounded ε.

    f_i = −ε log Σ_j b_j exp((g_j − C_ij)/ε) is computed as −ε log1p(Σ_j b_j expm1((g_j − C_ij)/ε)), since Σ b = 1: both
    functions keep the digits of arguments near 0, which the exponential and the logarithm lose.

    Args:
        cost: finite, padding included.
        a, b: masses of the points, 1 together; 0 at padding.
    """
    g = torch.zeros_like(b)
    f = flat_potential(g, cost.transpose(1, 2), b, epsilon)
    for _ in range(PASSES):
        g = flat_potential(f, cost, a, epsilon)
        f = flat_potential(g, cost.transpose(1, 2), b, epsilon)
    plan = ((f[:, :, None] + g[:, None, :] - cost) / epsilon).exp() * a[:, :, None] * b[:, None, :]
    error = (plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)
    return Solution(torch.where(a > 0, f, 0), torch.where(b > 0, g, 0), plan, error, PASSES)


def flat_potential(other: Tensor, cost: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """−ε log Σ_i weight_i exp((other_i − cost_ij)/ε) for each j."""
    relative = torch.expm1((other[:, :, None] - cost) / epsilon)
    return -epsilon * torch.log1p((weight[:, :, None] * relative).sum(dim=1))
