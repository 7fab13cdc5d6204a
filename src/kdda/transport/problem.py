"""From a caller's clouds, masks and settings to the problem that the solvers see: checked, trimmed, scaled, centred."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import check_clouds, check_finite, check_mask, check_settings
from .cost import apply_scale, centred_cost
from .numerics import at_least_float32, full_precision


@dataclass(frozen=True, eq=False)
class Settings:
    """What the solvers are asked for.

    Attributes:
        epsilon: strength of the entropy, in units of the scaled cost.
        tolerance: marginal error (L1) at which a problem counts as solved.
        max_iterations: evaluations of the kernel after which a problem is given up.
    """

    epsilon: float
    tolerance: float
    max_iterations: int

    def __post_init__(self) -> None:
        check_settings(self.epsilon, self.tolerance, self.max_iterations)


@dataclass(frozen=True, eq=False)
class Problem:
    """Two batches of clouds, cost ½‖x − y‖².

    Attributes:
        x, y: `[batch, n, d]` and `[batch, m, d]`, around the origin, 0 at padding, no longer than the longest real text.
        a, b: their uniform weights, 0 at padding.
        lengths: the numbers of tokens, padding included, that the caller gave and gets back.
    """

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    lengths: tuple[int, int]

    def cost(self) -> Tensor:
        return centred_cost(self.x, self.y)


def make_problem(
    x: Tensor, y: Tensor, x_mask: Tensor | None, y_mask: Tensor | None, scale: float | str
) -> Problem:
    """Check the input (`ValueError`), cut trailing padding off, apply the scale, centre both clouds on the mean of `y`."""
    check_clouds(x, y)
    x_mask, y_mask = check_mask(x_mask, x, "x"), check_mask(y_mask, y, "y")
    lengths = (x.shape[1], y.shape[1])
    dtype = torch.promote_types(at_least_float32(x).dtype, at_least_float32(y).dtype)
    (x, x_mask), (y, y_mask) = _trimmed(x.to(dtype), x_mask), _trimmed(y.to(dtype), y_mask)
    check_finite(x, "x")
    check_finite(y, "y")
    with full_precision(x.device):
        a, b = _uniform(x_mask, dtype), _uniform(y_mask, dtype)
        scaled = apply_scale(x, y, y_mask, scale)
        centre = torch.bmm(b[:, None, :], scaled.y.detach())
        unit = scaled.divisor**-0.5
        x = ((scaled.x - centre) * unit).masked_fill(~x_mask[..., None], 0)
        y = ((scaled.y - centre) * unit).masked_fill(~y_mask[..., None], 0)
    return Problem(x, y, a, b, lengths)


def _trimmed(cloud: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Without the columns that are padding in every text, and 0 at what padding is left, whatever stood there."""
    length = int(mask.any(dim=0).nonzero().max()) + 1
    mask = mask[:, :length]
    return cloud[:, :length].masked_fill(~mask[..., None], 0), mask


def _uniform(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return mask.to(dtype) / mask.sum(dim=1, keepdim=True)
