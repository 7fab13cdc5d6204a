"""The divergence is held to its identities, not to stored numbers."""

import pytest
import torch
from jaxtyping import config as jaxtyping_config

from kdda.transport import entropic_transport, sinkhorn_divergence


def clouds(batch=3, n=7, m=5, width=6, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, n, width, generator=generator, dtype=dtype)
    y = torch.randn(batch, m, width, generator=generator, dtype=dtype) + 0.3
    return x, y


def test_the_divergence_of_a_cloud_with_itself_is_zero():
    x, _ = clouds()
    out = sinkhorn_divergence(x, x.clone(), scale="teacher")
    assert out.converged.all()
    assert torch.allclose(out.value, torch.zeros(3, dtype=x.dtype), atol=1e-6)


def test_gradcheck_holds_in_float64_for_both_clouds():
    x, y = clouds(batch=2, n=4, m=3, width=2)
    x_mask = torch.tensor([[True] * 4, [True, True, False, True]])

    def value(x, y):
        return sinkhorn_divergence(x, y, x_mask=x_mask, epsilon=0.2, tolerance=1e-11).value

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


def test_three_terms_recompose():
    x, y = clouds()
    args = {"scale": 5.0, "epsilon": 0.05, "tolerance": 1e-9}
    xy, xx, yy = (entropic_transport(*pair, **args).value for pair in ((x, y), (x, x), (y, y)))
    assert torch.allclose(sinkhorn_divergence(x, y, **args).value, xy - 0.5 * xx - 0.5 * yy, atol=1e-9)
