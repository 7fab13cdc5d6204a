"""The self-terms OT_ε(α, α) of the divergence: one potential, no logarithms, a handful of matrix-vector passes."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.newton import column_sums
from kdda.transport.numerics import stopping_error


class SelfSolution(NamedTuple):
    """A solved self-term. `value` is OT_ε(α, α), `plan` is symmetric."""

    value: Float[Tensor, " batch"]
    plan: Float[Tensor, "batch n n"]
    error: Float[Tensor, " batch"]
    iterations: int


def solve_self(
    cost: Float[Tensor, "batch n n"],
    a: Float[Tensor, "batch n"],
    *,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> SelfSolution:
    """Solve OT_ε(α, α) with f = g by damped symmetric passes. `cost` (0 on the diagonal) is overwritten.

    With K = exp(−C/ε), whose diagonal is 1, no row can underflow, so u = exp(f/ε) needs no stabilisation. The pass
    u ← u·(u·K(a∘u))^(−2/3) contracts by 1/3: K is a Gaussian kernel, positive semi-definite, so D⁻¹P has its spectrum
    in [0, 1], and |1 − (2/3)(1 + λ)| ≤ 1/3 there. (The exponent 1/2 of Feydy et al. 2019, §3, contracts by 1/2.)
    """
    kernel = cost.mul_(-1 / epsilon).exp_()
    real = a > 0
    goal = stopping_error(tolerance, cost.dtype)
    u = torch.where(real, column_sums(kernel, a).clamp(min=torch.finfo(a.dtype).tiny).rsqrt(), 0)
    iteration = 0
    look = 1  # the next iteration after which the error is read
    while True:
        mass = a * u
        sums = column_sums(kernel, mass)
        rows = mass * sums
        error = 2 * torch.linalg.vector_norm(rows - a, ord=1, dim=1)
        iteration += 1
        if iteration >= max_iterations:
            break
        if iteration == look:
            ratio = float(error.amax()) / goal
            if ratio <= 1:
                break
            look += passes_to_look(ratio, cost.device)
        u = torch.where(real, u.pow(1 / 3) * sums.pow(-2 / 3), 0)
    plan = kernel.mul_(mass[:, :, None]).mul_(mass[:, None, :])
    f = torch.where(real, epsilon * u.log(), 0)
    value = 2 * (a * f).sum(dim=1) - epsilon * (rows.sum(dim=1) - 1)
    return SelfSolution(value, plan, error, iteration)


def passes_to_look(ratio: float, device: torch.device) -> int:
    """After how many more passes to read the error, which is `ratio` times the goal.

    On an accelerator, which the host would wait for, as many as reach the goal if each divides the error by 3.
    """
    if device.type == "cpu" or not 1 < ratio < math.inf:
        return 1
    return math.ceil(math.log(ratio, 3))
