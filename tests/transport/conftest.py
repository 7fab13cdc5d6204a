"""Clouds, ragged batches, and the errors that a user without pytest's type checker sees."""

from collections.abc import Callable, Iterator

import pytest
import torch
from jaxtyping import config
from torch import Tensor

torch.set_num_threads(1)

Batch = tuple[Tensor, Tensor]


@pytest.fixture
def clouds() -> Callable[..., Batch]:
    """Two Gaussian batches, `y` moved a little."""

    def make(batch=3, n=7, m=5, width=6, dtype=torch.float64, seed=0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, n, width, generator=generator, dtype=dtype)
        return x, torch.randn(batch, m, width, generator=generator, dtype=dtype) + 0.3

    return make


@pytest.fixture
def without_type_checker() -> Iterator[None]:
    """Outside pytest there is no beartype, and shapes are checked by kdda's own sentences."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def plain_sinkhorn(cost: Tensor, epsilon: float, passes: int = 20_000, tolerance: float = 1e-10) -> Tensor:
    """OT_ε of one uniform problem by the plainest log-domain loop, in float64: the oracle."""
    cost = cost.double()
    n, m = cost.shape
    log_a, log_b = -torch.tensor(float(n)).log(), -torch.tensor(float(m)).log()
    g = torch.zeros(m, dtype=cost.dtype)
    for _ in range(passes):
        f = -epsilon * ((g - cost) / epsilon + log_b).logsumexp(dim=1)
        new = -epsilon * ((f[:, None] - cost) / epsilon + log_a).logsumexp(dim=0)
        moved, g = float((new - g).abs().max()), new
        if moved < tolerance:
            break
    return f.mean() + g.mean()


def plain_divergence(x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """S_ε of one text by `plain_sinkhorn`, cost ½‖x − y‖²."""

    def transport(u: Tensor, v: Tensor) -> Tensor:
        return plain_sinkhorn(0.5 * torch.cdist(u.double(), v.double()).square(), epsilon)

    return transport(x, y) - 0.5 * transport(x, x) - 0.5 * transport(y, y)
