"""Clouds, ragged batches, and the errors that a user without pytest's type checker sees."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from jaxtyping import config
from torch import Tensor

from kdda.transport import compiled

torch.set_num_threads(1)

Batch = tuple[Tensor, Tensor]


@pytest.fixture(params=["compiled", "torch"])
def each_solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the compiled solver, and as where numba is not installed."""
    monkeypatch.setattr(compiled, "is_installed", lambda: request.param == "compiled")


@pytest.fixture
def torch_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where numba is not installed."""
    monkeypatch.setattr(compiled, "is_installed", lambda: False)


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


def plain_self_term(cost: Tensor, epsilon: float) -> Tensor:
    """OT_ε(α, α) by the symmetric log-domain loop of Feydy et al. (2019), in float64."""
    f = torch.zeros(len(cost), dtype=torch.float64)
    for _ in range(500):
        f = 0.5 * (f - epsilon * ((f - cost.double()) / epsilon).logsumexp(dim=1) + epsilon * math.log(len(cost)))
    return 2 * f.mean()


def plain_divergence(x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """S_ε of one text by plain loops, cost ½‖x − y‖²."""
    xy, xx, yy = (0.5 * torch.cdist(u.double(), v.double()).square() for u, v in ((x, y), (x, x), (y, y)))
    return plain_sinkhorn(xy, epsilon) - 0.5 * plain_self_term(xx, epsilon) - 0.5 * plain_self_term(yy, epsilon)
