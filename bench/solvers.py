"""Solvers of the Sinkhorn divergence to compare: kdda's, geomloss, POT and a plain loop; and their errors.

Every solver gives the value and the gradient in the student's states of S_ε at the same cost ½‖x − y‖²/s, over the same
masks (as zero weights where a library has no masks). Errors are against kdda's solver in float64, run to a marginal
error of 1e-10, and are those of the worst of the first texts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import geomloss
import ot
import torch
from torch import Tensor

from kdda.transport import compiled
from kdda.transport.cost import half_squared_distances
from kdda.transport.sinkhorn import sinkhorn_divergence

TOLERANCE = 1e-4
REFERENCE_TEXTS = 4
PASS_BUDGET = 6e8  # entries of the cost matrix times passes that the plain loops may spend


class Clouds(NamedTuple):
    """Student and teacher states with their masks, in units of the teacher's scale."""

    x: Tensor
    y: Tensor
    x_mask: Tensor
    y_mask: Tensor

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.x_mask / self.x_mask.sum(dim=1, keepdim=True), self.y_mask / self.y_mask.sum(dim=1, keepdim=True)

    def masks(self) -> dict[str, Any]:
        return {"x_mask": self.x_mask, "y_mask": self.y_mask}

    def first(self, texts: int) -> "Clouds":
        return Clouds(*(part[:texts] for part in self))


# A solver takes clouds and ε, and gives the value [batch] and a function for the cross plan, which is not timed.


def kdda(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
    out = sinkhorn_divergence(clouds.x, clouds.y, epsilon=epsilon, tolerance=TOLERANCE, **clouds.masks())
    return out.value, out.plan


def kdda_without_numba(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
    """As where the extra `compiled` is not installed, which short texts are solved by."""
    with patch.object(compiled, "is_installed", lambda: False):
        return kdda(clouds, epsilon)


def with_geomloss(scaling: float) -> "Solver":
    def solve(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
        a, b = clouds.weights()
        settings = {"p": 2, "blur": epsilon**0.5, "scaling": scaling, "backend": "tensorized"}

        def plan() -> Tensor:
            loss = geomloss.SamplesLoss("sinkhorn", debias=False, potentials=True, **settings)
            f, g = loss(a, clouds.x.detach(), b, clouds.y)
            cost = half_squared_distances(clouds.x.detach(), clouds.y)
            exponent = (f[:, :, None] + g[:, None, :] - cost) / epsilon
            return torch.exp(exponent.clamp(max=50)) * a[:, :, None] * b[:, None, :]

        return geomloss.SamplesLoss("sinkhorn", **settings)(a, clouds.x, b, clouds.y), plan

    return solve


def by_plans(transport: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]) -> "Solver":
    """The divergence from a function that gives OT_ε's value and plan, with Danskin's gradient at no extra passes."""

    def solve(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
        a, b = clouds.weights()
        plans, total = [], torch.zeros(len(a), device=a.device)
        for u, v, p, q, weight in (
            (clouds.x, clouds.y, a, b, 1.0),
            (clouds.x, clouds.x, a, a, -0.5),
            (clouds.y, clouds.y, b, b, -0.5),
        ):
            cost = half_squared_distances(u, v)
            value, plan = transport(cost.detach(), p, q, epsilon)
            plans.append(plan)
            tied = (plan * cost).sum(dim=(1, 2))
            total = total + weight * (value + tied - tied.detach())
        return total, lambda: plans[0]

    return solve


def pot(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    passes = int(PASS_BUDGET / cost.numel())
    options = {"method": "log_sinkhorn", "reg_type": "kl", "grad": "detach", "tol": TOLERANCE / 10, "max_iter": passes}
    out = ot.batch.solve_batch(cost, epsilon, a, b, **options)
    kl = torch.special.xlogy(out.plan, out.plan) - torch.special.xlogy(out.plan, a[:, :, None] * b[:, None, :])
    return (out.plan * cost).sum(dim=(1, 2)) + epsilon * kl.nan_to_num().sum(dim=(1, 2)), out.plan


@torch.no_grad()
def plain_loop(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Log-domain Sinkhorn at ε from zero, until the marginal error is reached: what a textbook says."""
    kernel, log_a, log_b = -cost / epsilon, a.log(), b.log()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for i in range(int(PASS_BUDGET / cost.numel())):
        f = -(kernel + (g + log_b)[:, None, :]).logsumexp(dim=2)
        if i % 10 == 0:
            plan = torch.exp(kernel + (f + log_a)[:, :, None] + (g + log_b)[:, None, :])
            if (plan.sum(dim=1) - b).abs().sum(dim=1).max() <= TOLERANCE:
                break
        g = -(kernel + (f + log_a)[:, :, None]).logsumexp(dim=1)
    return epsilon * ((a * f).sum(dim=1) + (b * g).sum(dim=1)), plan


Solver = Callable[[Clouds, float], tuple[Tensor, Callable[[], Tensor]]]
SOLVERS: dict[str, Solver] = {
    "kdda": kdda,
    "kdda, no numba": kdda_without_numba,
    "geomloss .5": with_geomloss(0.5),
    "geomloss .9": with_geomloss(0.9),
    "POT batch": by_plans(pot),
    "plain loop": by_plans(plain_loop),
}


# Errors --------------------------------------------------------------------------------------------------------------


def value_and_gradient(solver: Solver, clouds: Clouds, epsilon: float) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
    x = clouds.x.detach().requires_grad_()
    value, plan = solver(clouds._replace(x=x), epsilon)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient, plan


def reference(clouds: Clouds, epsilon: float) -> tuple[Tensor, Tensor]:
    few = clouds.first(REFERENCE_TEXTS)
    few = few._replace(x=few.x.double().requires_grad_(), y=few.y.double())
    out = sinkhorn_divergence(few.x, few.y, epsilon=epsilon, tolerance=1e-10, **few.masks())
    assert out.converged.all(), out.marginal_error
    (gradient,) = torch.autograd.grad(out.value.sum(), few.x)
    return out.value.detach(), gradient


def errors(value: Tensor, gradient: Tensor, clouds: Clouds, truth: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Relative errors of the value and of the gradient, of the worst of the first texts."""
    gradient = gradient[:REFERENCE_TEXTS] * clouds.x_mask[:REFERENCE_TEXTS, :, None]
    missed = (gradient - truth[1]).flatten(1).norm(dim=1)
    off = ((value[:REFERENCE_TEXTS] - truth[0]) / truth[0]).abs().max()
    return float(off), float((missed / truth[1].flatten(1).norm(dim=1)).max())


@torch.no_grad()
def marginal_error(plan: Tensor, clouds: Clouds) -> float:
    a, b = clouds.weights()
    return float(((plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)).max())
