"""Distances keep their digits, and each scale keeps its promise."""

import pytest
import torch

from kdda.transport.cost import SCALES, half_squared_distances, mean_pairwise_cost
from kdda.transport.sinkhorn import sinkhorn_divergence


def test_costs_are_half_squared_distances(clouds):
    x, y = clouds()
    assert torch.allclose(half_squared_distances(x, y), 0.5 * torch.cdist(x, y).square())


def test_clouds_far_from_the_origin_keep_their_digits(clouds):
    x, y = clouds(dtype=torch.float32)
    far = half_squared_distances(x + 500, y + 500)
    assert torch.allclose(far, half_squared_distances(x, y), rtol=1e-3, atol=1e-3)


def test_costs_are_never_negative_and_never_low_precision(clouds):
    x, _ = clouds(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = half_squared_distances(x.bfloat16(), x.bfloat16())
    assert cost.dtype == torch.float32
    assert (cost >= 0).all()
    assert half_squared_distances(x.double(), x).dtype == torch.float64


def test_costs_are_differentiable(clouds):
    x, y = clouds(batch=1, n=3, m=2, width=2)
    assert torch.autograd.gradcheck(half_squared_distances, (x.requires_grad_(), y.requires_grad_()))


def test_the_teachers_scale_is_the_mean_over_pairs_of_different_real_tokens(clouds):
    _, y = clouds(m=6)
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False], [False, True] + [False] * 4])
    means = []
    for row in (0, 1):  # the third text has one token, so no pair
        real = y[row, mask[row]]
        cost = 0.5 * torch.cdist(real, real).square()
        means.append(float(cost.sum() / (len(real) * (len(real) - 1))))
    y[~mask] = torch.nan
    assert mean_pairwise_cost(y, mask) == pytest.approx(sum(means) / 2)


def test_the_scale_by_name_is_the_scale_by_number(clouds):
    x, y = clouds()
    named, numbered = (sinkhorn_divergence(x, y, scale=scale) for scale in ("teacher", mean_pairwise_cost(y)))
    assert torch.equal(named.value, numbered.value)


def test_none_is_the_raw_cost(clouds):
    x, y = clouds()
    assert torch.equal(sinkhorn_divergence(x, y, scale="none").value, sinkhorn_divergence(x, y, scale=1.0).value)


@pytest.mark.parametrize("scale", ["teacher", "cosine", "layernorm"])
def test_these_scales_do_not_see_the_size_of_the_numbers(clouds, scale):
    x, y = clouds()
    large, small = (sinkhorn_divergence(k * x, k * y, scale=scale, tolerance=1e-8).value for k in (300.0, 1.0))
    assert torch.allclose(large, small, rtol=1e-3)


def test_the_cosine_cost_is_one_minus_the_cosine(clouds):
    x, y = clouds()
    scaled = SCALES["cosine"](x, y, torch.ones(3, 5, dtype=torch.bool))
    cosine = torch.nn.functional.cosine_similarity(x[:, :, None], y[:, None], dim=-1)
    assert torch.allclose(half_squared_distances(scaled.x, scaled.y) / scaled.divisor, 1 - cosine)


def test_a_zero_vector_has_a_cosine_cost_and_a_finite_gradient(clouds):
    x, y = clouds(dtype=torch.float32)
    x[0, 0] = 0
    x = x.requires_grad_()
    sinkhorn_divergence(x, y, scale="cosine").value.sum().backward()
    assert x.grad.isfinite().all()
