"""Gradients by Danskin: right, cheap to keep, and only where they are asked for."""

import torch

from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport, sinkhorn_divergence

ROWS = torch.tensor([[True] * 4, [True, True, False, True]])


def test_gradcheck_holds_in_float64_for_both_clouds(clouds):
    x, y = clouds(batch=2, n=4, m=3, width=2)

    def value(x, y):
        return sinkhorn_divergence(x, y, x_mask=ROWS, epsilon=0.2, tolerance=1e-11).value

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


def test_gradcheck_holds_between_masses(clouds):
    x, y = clouds(batch=2, n=4, m=3, width=2)
    masses = ROWS * torch.tensor([1.0, 0.1, 2.0, 0.5], dtype=x.dtype)

    def value(x, y):
        return sinkhorn_divergence(x, y, x_mask=masses, y_mask=masses[:, 1:], epsilon=0.2, tolerance=1e-11).value

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


def test_gradcheck_holds_for_plain_transport_with_more_columns_than_rows(clouds):
    x, y = clouds(batch=2, n=3, m=4, width=2)

    def value(x, y):
        return entropic_transport(x, y, y_mask=ROWS, epsilon=0.3, scale=1.5, tolerance=1e-11).value

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


def test_gradcheck_holds_through_the_scales_that_change_vectors(clouds):
    x, y = clouds(batch=2, n=4, m=3, width=4)
    for scale in ("cosine", "layernorm"):

        def value(x, scale=scale):
            return sinkhorn_divergence(x, y, x_mask=ROWS, epsilon=0.2, scale=scale, tolerance=1e-11).value

        assert torch.autograd.gradcheck(value, (x.requires_grad_(),))


def test_float32_gradients_are_within_a_thousandth_of_float64s(clouds):
    x, y = clouds(batch=8, n=20, m=15, width=32)
    scale = mean_pairwise_cost(y)

    def gradient(x, y, tolerance):
        x = x.clone().requires_grad_()
        sinkhorn_divergence(x, y, scale=scale, tolerance=tolerance).value.sum().backward()
        return x.grad.double().flatten(1)

    want, got = gradient(x, y, 1e-11), gradient(x.float(), y.float(), 1e-4)
    assert ((got - want).norm(dim=1) / want.norm(dim=1)).max() < 1e-3


def test_padding_gets_no_gradient_even_where_it_is_nan(clouds):
    x, y = clouds(batch=2, n=4, m=3, dtype=torch.float32)
    for scale in (2.0, "teacher", "cosine", "layernorm"):
        dirty = x.masked_fill(~ROWS[..., None], torch.nan).requires_grad_()
        sinkhorn_divergence(dirty, y, x_mask=ROWS, scale=scale).value.sum().backward()
        assert dirty.grad[~ROWS].eq(0).all()
        assert dirty.grad[ROWS].isfinite().all()
        assert dirty.grad[ROWS].abs().sum() > 0


def test_at_the_minimum_the_gradient_vanishes(clouds):
    x, _ = clouds(dtype=torch.float32)
    moving = x.clone().requires_grad_()
    sinkhorn_divergence(moving, x.flip(1), scale="teacher").value.sum().backward()
    assert moving.grad.abs().max() < 1e-4


def test_descending_brings_the_clouds_together(clouds):
    x, y = clouds(dtype=torch.float32)
    x = x.requires_grad_()
    for _ in range(10):
        value = sinkhorn_divergence(x, y, epsilon=0.05).value.sum()
        (step,) = torch.autograd.grad(value, x)
        x = (x - 7 * 0.5 * step).detach().requires_grad_()
    assert sinkhorn_divergence(x, y, epsilon=0.05).value.sum() < 0.1 * sinkhorn_divergence(*clouds()).value.sum()


def test_each_text_keeps_its_own_weight_in_the_gradient(clouds):
    x, y = clouds(dtype=torch.float32)
    x = x.requires_grad_()
    out = sinkhorn_divergence(x, y).value
    (all_of_them,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(3 * out[1], x)
    assert torch.allclose(second[1], 3 * all_of_them[1])
    assert second[0].eq(0).all()


def test_only_the_value_carries_a_gradient_and_only_to_who_asked(clouds):
    x, y = clouds(dtype=torch.float32)
    out = sinkhorn_divergence(x.requires_grad_(), y)
    assert out.value.requires_grad
    assert not any(part.requires_grad for part in (out.marginal_error, out.f, out.g, out.y_term, out.plan()))
    assert not sinkhorn_divergence(x.detach(), y).value.requires_grad


def test_gradients_come_back_in_the_precision_of_the_cloud(clouds):
    x, y = clouds(dtype=torch.float32)
    x = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sinkhorn_divergence(x, y).value.mean().backward()
    assert x.grad.dtype == torch.bfloat16


def test_what_is_kept_for_the_gradient_does_not_grow_with_iterations(clouds):
    x, y = clouds(dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part.numel()) or part, lambda part: part):
        sinkhorn_divergence(x.requires_grad_(), y, epsilon=1e-3)
    assert sum(kept) <= 2 * x.numel()
