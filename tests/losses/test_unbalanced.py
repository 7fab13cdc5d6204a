"""Unbalanced transport: its formula, its limits, its residual, and what it does with tokens that lie far away."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveOutput, ObjectiveSettings, Representations
from kdda.transport.cost import half_squared_distances
from kdda.transport.unbalanced import UnbalancedSolution, solve_unbalanced

RELAXATIONS = [1e-3, 0.03, 1.0, 30.0, 1e6]


def settings(relaxation: float, epsilon: float = 0.05, tolerance: float = 1e-4) -> ObjectiveSettings:
    options = {"relaxation": relaxation}
    return ObjectiveSettings(epsilon=epsilon, scale=1.0, tolerance=tolerance, options=options)


def clouds(dtype: torch.dtype = torch.float64, spread: float = 0.7, tokens: int = 9) -> tuple[Tensor, Tensor]:
    """Three texts of two models, in which costs are near 1."""
    generator = torch.Generator().manual_seed(0)
    x = spread * torch.randn(3, tokens, 3, generator=generator, dtype=torch.float64)
    y = spread * torch.randn(3, tokens - 2, 3, generator=generator, dtype=torch.float64) + 0.2
    return x.to(dtype), y.to(dtype)


def unbalanced(x: Tensor, y: Tensor, *arguments: Any, **more: Any) -> ObjectiveOutput:
    return OBJECTIVES["unbalanced"](Representations(x), Representations(y), settings(*arguments, **more))


def plain(x: Tensor, y: Tensor, epsilon: float, relaxation: float) -> Tensor:
    """UOT of one text by the damped passes of Chizat et al. (2018) in the log domain, until nothing changes."""
    cost = half_squared_distances(x[None], y[None])[0]
    damping = relaxation / (relaxation + epsilon)
    log_a, log_b = -math.log(len(x)), -math.log(len(y))
    g = torch.zeros(len(y), dtype=torch.float64)
    for _ in range(20_000):
        f = -damping * epsilon * ((g - cost) / epsilon + log_b).logsumexp(dim=1)
        new = -damping * epsilon * ((f[:, None] - cost) / epsilon + log_a).logsumexp(dim=0)
        moved, g = float((new - g).abs().max()), new
        if moved < 1e-12:
            break
    plan = ((f[:, None] + g - cost) / epsilon + log_a + log_b).exp()
    primal = (plan * cost).sum() + epsilon * divergence(plan, math.exp(log_a + log_b))
    of_rows = divergence(plan.sum(dim=1), math.exp(log_a))
    return primal + relaxation * (of_rows + divergence(plan.sum(dim=0), math.exp(log_b)))


def divergence(p: Tensor, q: float) -> Tensor:
    """KL(p ‖ q) of masses that need not be 1 together, against equal ones."""
    return (torch.xlogy(p, p / q) - p + q).sum()


@pytest.mark.parametrize("relaxation", [0.03, 1.0, 5.0])
def test_it_is_its_formula(relaxation: float) -> None:
    x, y = clouds()
    out = unbalanced(x, y, relaxation, 0.1, tolerance=1e-8).value
    for row in range(2):
        terms = [plain(u[row], v[row], 0.1, relaxation) for u, v in ((x, y), (x, x), (y, y))]
        assert out[row].item() == pytest.approx(float(terms[0] - 0.5 * (terms[1] + terms[2])), rel=1e-6)


def test_a_large_relaxation_is_the_sinkhorn_divergence() -> None:
    x, y = clouds(torch.float32)
    out = unbalanced(x, y, 1e6)
    balanced = OBJECTIVES["sinkhorn"](Representations(x), Representations(y), settings(1.0))
    torch.testing.assert_close(out.value, balanced.value, rtol=1e-4, atol=1e-5)


def test_a_small_relaxation_is_a_gaussian_kernels_discrepancy() -> None:
    x, y = clouds()
    kernel = ObjectiveSettings(scale=1.0, options={"bandwidth": 2.0})
    discrepancy = OBJECTIVES["mmd-gaussian"](Representations(x), Representations(y), kernel).value
    torch.testing.assert_close(unbalanced(x, y, 1e-3, 2.0).value, 2.0 * discrepancy, rtol=5e-3, atol=0)


@pytest.mark.parametrize("epsilon", [1e3, 1e8, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_above_the_cost_it_compares_means(epsilon: float, dtype: torch.dtype) -> None:
    x, y = clouds(dtype)
    means = OBJECTIVES["mse-pooled"](Representations(x), Representations(y), settings(1.0)).value
    torch.testing.assert_close(unbalanced(x, y, 1.0, epsilon).value, means, rtol=5e-3, atol=1e-6)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_two_points_cost_what_their_formula_says(relaxation: float) -> None:
    x, y = torch.zeros(1, 1, 2), torch.tensor([[[0.6, 0.8]]])  # cost ½
    bound = 2 * relaxation + 0.005
    assert unbalanced(x, y, relaxation, 0.005).value.item() == pytest.approx(
        -bound * math.expm1(-0.5 / bound), rel=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_every_text_is_solved_at_the_usual_epsilon(relaxation: float, dtype: torch.dtype) -> None:
    x, y = clouds(dtype, tokens=40)
    close = x[:, :38] + 0.05 * y  # as near the end of training, where plans are sharp
    far = y + 3
    for teacher in (y, close, far):
        out = unbalanced(x, teacher, relaxation, 0.005)
        assert float(out.marginal_error.max()) <= 1e-4 and bool((out.value >= 0).all())
        assert out.iterations < 80


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("epsilon", [0.005, 8.0])
def test_uneven_masses_and_outliers_are_solved_in_float32_as_in_float64(relaxation: float, epsilon: float) -> None:
    x, y = clouds(tokens=20)
    x[:, 0] *= 100
    masses = torch.linspace(0.05, 1, 18, dtype=torch.float64).pow(6).expand(3, 18)
    student, teacher = Representations(x), Representations(y, masses)
    expected = OBJECTIVES["unbalanced"](student, teacher, settings(relaxation, epsilon, tolerance=1e-8))
    student, teacher = Representations(x.float()), Representations(y.float(), masses.float())
    out = OBJECTIVES["unbalanced"](student, teacher, settings(relaxation, epsilon))
    assert float(out.marginal_error.max()) <= 1e-4 and out.iterations < 100
    torch.testing.assert_close(out.value.double(), expected.value, rtol=2e-4, atol=1e-6)


def test_outliers_of_long_texts_do_not_hold_up_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 480, 64, generator=generator) / 8
    y = torch.randn(1, 420, 64, generator=generator) / 8
    x[:, 0] *= 20
    y[:, 1] *= 10
    y = 0.5 * x[:, :420] + y
    out = unbalanced(x, y, 1.0, 0.005)
    assert float(out.marginal_error.max()) <= 1e-4 and out.iterations < 60


def solved(x: Tensor, y: Tensor, relaxation: float) -> UnbalancedSolution:
    a, b = torch.full(x.shape[:2], 1 / x.shape[1]).to(x), torch.full(y.shape[:2], 1 / y.shape[1]).to(y)
    accuracy: dict[str, Any] = {"epsilon": 0.01, "tolerance": 1e-8, "max_iterations": 500}
    return solve_unbalanced(half_squared_distances(x, y), a, b, relaxation=relaxation, **accuracy)


def test_the_plan_moves_less_mass_the_weaker_its_marginals_are() -> None:
    x, y = clouds()
    masses = [solved(x, y, relaxation).plan.sum(dim=(1, 2)) for relaxation in RELAXATIONS]
    for less, more in pairwise(masses):
        assert bool((less < more).all())
    torch.testing.assert_close(masses[-1], torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5)


def test_a_token_far_from_all_others_is_not_moved() -> None:
    x, y = clouds()
    x[:, 0] = 9.0
    moved = solved(x, y, 1.0).plan.sum(dim=2)
    assert float(moved[:, 0].max()) < 1e-3 * float(moved[:, 1:].min())
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(unbalanced(x, y, 1.0).value.sum(), x)
    balanced = OBJECTIVES["sinkhorn"](Representations(x), Representations(y), settings(1.0)).value
    (before,) = torch.autograd.grad(balanced.sum(), x)
    assert float(gradient[:, 0].norm()) < 1e-3 * float(before[:, 0].norm())
    assert float(gradient[:, 1:].norm()) > 0.1 * float(before[:, 1:].norm())


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_the_order_of_tokens_and_the_sides_do_not_matter(relaxation: float) -> None:
    x, y = clouds()
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(1))
    value = unbalanced(x, y, relaxation).value
    torch.testing.assert_close(unbalanced(x[:, order], y, relaxation).value, value, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(unbalanced(y, x, relaxation).value, value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_clouds_cost_nothing(relaxation: float, dtype: torch.dtype) -> None:
    x, _ = clouds(dtype)
    value = unbalanced(x, x.clone(), relaxation, 0.005).value
    assert float(value.min()) >= 0 and float(value.max()) < 1e-10


@pytest.mark.parametrize("relaxation", [0.03, 1.0, 30.0])
def test_its_gradient_is_that_of_its_value(relaxation: float) -> None:
    x, y = clouds(tokens=5)
    x, y = x[:1].requires_grad_(), y[:1]
    assert torch.autograd.gradcheck(lambda x: unbalanced(x, y, relaxation, 0.2, tolerance=1e-10).value, (x,), atol=1e-6)
