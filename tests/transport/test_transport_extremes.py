"""Sizes, ε and masses far from 1: the right value or a refusal, and never a wrong value called converged."""

import math

import pytest
import torch

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport, self_term, sinkhorn_divergence

pytestmark = pytest.mark.usefixtures("each_solver")

SIZES = [1e-30, 1e-15, 1e-6, 1e9, 1e10, 1e12, 1e18]


def clouds(size=1.0, dtype=torch.float32):
    x = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.5, 0.25]]], dtype=torch.float64)
    y = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]], dtype=torch.float64)
    return (x * size).to(dtype).requires_grad_(True), (y * size).to(dtype)


def divergence(size, epsilon, dtype=torch.float32, **settings):
    x, y = clouds(size, dtype)
    out = sinkhorn_divergence(x, y, epsilon=epsilon, **settings)
    out.value.sum().backward()
    return out, x.grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_a_factor_of_both_clouds_is_a_factor_of_the_gradient_and_its_square_of_the_value(size, dtype):
    expected, gradient = divergence(1.0, 0.1, torch.float64)
    out, scaled = divergence(size, 0.1 * size**2, dtype)
    assert out.converged
    accuracy = 5e-2 if dtype == torch.bfloat16 else 1e-4  # bfloat16 rounds the clouds themselves
    underflow = 2e-45  # the smallest float32
    assert float(out.value.detach()) == pytest.approx(
        float(expected.value.detach()) * size**2, rel=accuracy, abs=underflow
    )
    torch.testing.assert_close(scaled.double() / size, gradient, rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [1.0, 10.0, 1e3, 1e5, 1e12, 1e30, 1e50])
def test_far_above_the_cost_the_divergence_is_half_the_squared_distance_of_the_means(epsilon, dtype):
    x, y = clouds(1e-3, dtype)
    limit = 0.5 * float((x.detach().double().mean(dim=1) - y.double().mean(dim=1)).square().sum())
    out = sinkhorn_divergence(x, y, epsilon=epsilon)
    assert out.converged and float(out.value.detach()) == pytest.approx(limit, rel=1e-5)
    mean_cost = float(0.5 * (x.detach().double()[:, :, None] - y.double()[:, None]).square().sum(dim=3).mean())
    assert float(entropic_transport(x, y, epsilon=epsilon).value.detach()) == pytest.approx(mean_cost, rel=1e-5)
    inner = float(0.5 * (y.double()[:, :, None] - y.double()[:, None]).square().sum(dim=3).mean())
    assert float(self_term(y, epsilon=epsilon)) == pytest.approx(inner, rel=1e-5)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 1.0, 1e6])
def test_equal_clouds_are_at_distance_0_and_never_below(epsilon):
    x, _ = clouds()
    value = sinkhorn_divergence(x, x.detach().clone(), epsilon=epsilon).value
    assert 0 <= float(value.detach()) < 1e-10


@pytest.mark.parametrize("mass", [1e-44, 1e-38, 1e38, 2e38])
def test_masses_count_in_their_ratio_whatever_their_sum(mass):
    x, y = clouds()
    expected = sinkhorn_divergence(x, y).value
    out = sinkhorn_divergence(x, y, x_mask=torch.full((1, 3), mass), y_mask=torch.full((1, 2), mass))
    assert out.converged
    torch.testing.assert_close(out.value, expected)


def test_masses_of_float64_that_float32_lacks_count_in_their_ratio():
    x, y = clouds()
    masses = torch.tensor([[1e300, 3e300]], dtype=torch.float64)
    expected = sinkhorn_divergence(x, y, y_mask=torch.tensor([[1.0, 3.0]])).value
    torch.testing.assert_close(sinkhorn_divergence(x, y, y_mask=masses).value, expected)


def test_usual_texts_of_a_batch_are_solved_as_without_an_unusual_one():
    usual, y = clouds()
    x = torch.cat([usual.detach(), usual.detach() * 1e12])
    both = sinkhorn_divergence(x, torch.cat([y, y * 1e12]))
    assert torch.equal(both.value[:1], sinkhorn_divergence(usual, y).value.detach())


def test_a_value_that_the_precision_lacks_is_refused():
    with pytest.raises(ValueError, match="squared distances overflow"):
        divergence(1e30, 0.1)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e37])
def test_a_scale_is_calibrated_on_states_of_any_size(size):
    _, y = clouds(size)
    assert mean_pairwise_cost(y) == pytest.approx(size**2, rel=1e-3)


@pytest.mark.parametrize("scale", ["teacher", "cosine"])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_scales_take_the_size_out(size, scale):
    out, _ = divergence(size, 0.1, scale=scale)
    expected, _ = divergence(1.0, 0.1, scale=scale)
    torch.testing.assert_close(out.value, expected.value, rtol=1e-4, atol=1e-6)


# by which power of a common factor of all states each objective grows
DEGREES = {"emd": 2, "sliced": 2, "energy": 1, "mse-pooled": 2, "cosine-pooled": 0, "cka": 0}


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("size", [1e-17, 1e17])
def test_an_objective_of_huge_or_tiny_states_grows_as_its_formula(name, size):
    x, y = clouds()
    x = torch.cat([x.detach(), 0.5 * x.detach() + 1]).requires_grad_(True)
    y = torch.cat([y, y - 0.5])
    settings = ObjectiveSettings(scale="none")
    expected = OBJECTIVES[name](Representations(x), Representations(y), settings).value
    large = (x.detach() * size).requires_grad_(True)
    value = OBJECTIVES[name](Representations(large), Representations(y * size), settings).value
    torch.testing.assert_close(value.double() / size ** DEGREES[name], expected.double(), rtol=1e-3, atol=1e-5)
    value.sum().backward()
    assert bool(large.grad.isfinite().all())


@pytest.mark.parametrize("temperature", [1e2, 1e4, 1e8, 1e15, 1e30])
def test_at_high_temperatures_logits_differ_by_half_the_variance_of_their_difference(temperature):
    states = torch.zeros(1, 1, 1)
    student = torch.tensor([[0.0, 1.0, 5.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, 2.0]])
    settings = ObjectiveSettings(temperature=temperature)
    objective = OBJECTIVES["kd-logits"]
    value = objective(Representations(states, None, student), Representations(states, None, teacher), settings)
    limit = 0.5 * float((teacher - student.detach()).var(correction=0))
    assert float(value.value.detach()) == pytest.approx(limit, rel=5 / temperature + 1e-5)
    value.value.sum().backward()
    assert bool(student.grad.isfinite().all()) and math.isclose(float(student.grad.sum()), 0, abs_tol=1e-5)


def test_an_objective_whose_value_overflows_is_refused_by_name():
    states = Representations(torch.full((1, 2, 2), 1e30))
    with pytest.raises(ValueError, match="objective 'mse-pooled' is inf in row 0"):
        OBJECTIVES["mse-pooled"](states, Representations(torch.zeros(1, 2, 2)), ObjectiveSettings(scale="none"))


@pytest.mark.parametrize("scale", ["cosine", "layernorm"])
@pytest.mark.parametrize("padded", [False, True])
def test_clouds_far_from_the_origin_are_measured_by_their_directions_to_four_digits(scale, padded):
    generator = torch.Generator().manual_seed(0)
    offset = 1e6 * torch.randn(2, 1, 6, generator=generator)
    x = (offset + torch.randn(2, 5, 6, generator=generator)).requires_grad_(True)
    y = offset + torch.randn(2, 4, 6, generator=generator)
    masks = {}
    if padded:
        x.data[:, 3:] = 0
        masks["x_mask"] = torch.tensor([[True, True, True, False, False]] * 2)
    exact = x.detach().double().requires_grad_(True)
    expected = sinkhorn_divergence(exact, y.double(), scale=scale, **masks).value
    out = sinkhorn_divergence(x, y, scale=scale, **masks)
    assert bool(out.converged.all())
    torch.testing.assert_close(out.value.double(), expected, rtol=1e-4, atol=0)
    expected.sum().backward()
    out.value.sum().backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-3, atol=1e-3 * float(exact.grad.abs().max()))
    assert torch.allclose(self_term(y, scale=scale).double(), self_term(y.double(), scale=scale), rtol=1e-4, atol=0)
    weights = {}
    if padded:
        weights["mask"] = masks["x_mask"]
    settings = ObjectiveSettings(scale=scale)
    for name in ("emd", "energy"):
        value = OBJECTIVES[name](Representations(x, **weights), Representations(y), settings).value
        right = OBJECTIVES[name](Representations(exact, **weights), Representations(y.double()), settings).value
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=0)


@pytest.mark.parametrize("objective", [None, "sinkhorn", "mse-pooled"])
def test_a_gradient_that_float16_cannot_hold_is_refused(objective):
    x = torch.full((1, 2, 2), 400.0, dtype=torch.float16, requires_grad=True)
    y = torch.zeros(1, 2, 2, dtype=torch.float16)
    if objective is None:
        value = sinkhorn_divergence(x, y, scale=1e-3).value
    else:
        settings = ObjectiveSettings(scale=1e-3)
        value = OBJECTIVES[objective](Representations(x), Representations(y), settings).value
    with pytest.raises(ValueError, match=r"gradient .* does not fit float16, which ends at 65504"):
        value.sum().backward()


def test_a_gradient_that_a_loss_scaler_has_made_too_large_for_float16_is_left_to_the_scaler():
    x = torch.full((1, 2, 2), 4.0, dtype=torch.float16, requires_grad=True)
    value = sinkhorn_divergence(x, torch.zeros(1, 2, 2, dtype=torch.float16)).value
    (value.sum() * 2**16).backward()
    assert bool(x.grad.isinf().all())


@pytest.mark.parametrize("size", [1e-12, 1e4, 1e9, 1e12, 1e18])
def test_a_plan_is_that_of_the_clouds_whatever_their_size(size):
    x, y = clouds()
    epsilon = 0.01
    expected = sinkhorn_divergence(x.double(), y.double(), epsilon=epsilon).plan()
    out = sinkhorn_divergence(x * size, y * size, epsilon=epsilon * size**2)
    torch.testing.assert_close(out.plan().double(), expected, rtol=1e-3, atol=1e-4)
    if size > 1:  # then the usual ε is as good as none: each point goes to one
        few = torch.tensor([[True, False, True]])
        sharp = sinkhorn_divergence(x * size, y * size, x_mask=few)
        pairs = torch.tensor([[[0.0, 0.5], [0.0, 0.0], [0.5, 0.0]]])
        assert bool(sharp.converged.all())
        torch.testing.assert_close(sharp.plan(), pairs, rtol=0, atol=1e-3)


def test_a_plan_in_a_batch_with_huge_states_is_that_of_each_text_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 64, generator=generator), torch.randn(2, 5, 64, generator=generator)
    x[1] *= 1e18
    y[1] *= 1e18
    plan = sinkhorn_divergence(x, y).plan()
    for row in range(2):
        alone = sinkhorn_divergence(x[row : row + 1].double(), y[row : row + 1].double()).plan()
        torch.testing.assert_close(plan[row : row + 1].double(), alone, rtol=1e-3, atol=1e-4)
