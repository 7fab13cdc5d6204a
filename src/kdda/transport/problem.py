"""From a caller's clouds, masks and settings to the problem that the solvers see: checked, trimmed, scaled, centred."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kdda.transport.checks import check_clouds, check_finite, check_mask, check_settings
from kdda.transport.cost import apply_scale
from kdda.transport.numerics import at_least_float32, full_precision

SMALLEST_TOTAL = 1e-30  # of a text's masses: below, float32 loses their digits


@dataclass(frozen=True)
class SolverSettings:
    """The accuracy and effort of a solve.

    Attributes:
        epsilon: strength of the entropy, in units of the scaled cost.
        tolerance: marginal error (L1) at which a problem counts as solved.
        max_iterations: evaluations of the plan after which a problem is reported as not converged.
    """

    epsilon: float
    tolerance: float
    max_iterations: int

    def __post_init__(self) -> None:
        check_settings(self.epsilon, self.tolerance, self.max_iterations)


class Problem(NamedTuple):
    """Two batches of clouds, detached from autograd, with the cost `unit`²·½‖x − y‖².

    Attributes:
        x, y: `[batch, n, d]` and `[batch, m, d]`, no longer than the longest real text; padding finite.
        a, b: their weights, 0 at padding, in the precision to solve in.
    """

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    unit: float

    def part(self, rows: slice | Tensor, n: int | None = None, m: int | None = None) -> "Problem":
        """The problems of these rows of the batch, up to column n of `x` and m of `y`."""
        return Problem(self.x[:, :n][rows], self.y[:, :m][rows], self.a[:, :n][rows], self.b[:, :m][rows], self.unit)

    def cpu(self) -> "Problem":
        """The same problem on the CPU, which has float64 where an accelerator lacks it."""
        return Problem(self.x.cpu(), self.y.cpu(), self.a.cpu(), self.b.cpu(), self.unit)

    def double(self) -> "Problem":
        """The same problem, to be solved in float64."""
        return Problem(self.x, self.y, weights(self.a, torch.float64), weights(self.b, torch.float64), self.unit)

    def clouds(self) -> tuple[Tensor, Tensor]:
        """Copies of both, in units of the cost, around the mean of `y`, 0 at padding."""
        y = self.y.to(torch.promote_types(self.y.dtype, self.b.dtype))  # float64 where float32 would round the centre
        centre = torch.bmm(self.b[:, None, :].to(y), y)
        return _centred(self.x, centre, self.unit, self.a), _centred(y, centre, self.unit, self.b)


def make_problem(
    x: Tensor, y: Tensor, x_mask: Tensor | None, y_mask: Tensor | None, scale: float | str
) -> tuple[Problem, Tensor, Tensor]:
    """The problem, and the two clouds, still tied to autograd, whose gradients it will have.

    Raises:
        ValueError: clouds, masks or a scale that make no sense.
    """
    check_clouds(x, y)
    x_mask = check_mask(x_mask, x, "x")
    y_mask = check_mask(y_mask, y, "y")
    dtype = torch.promote_types(at_least_float32(x).dtype, at_least_float32(y).dtype)
    x, x_mask = without_padding(x, x_mask, "x")
    y, y_mask = without_padding(y, y_mask, "y")
    with full_precision(x.device):
        x, y, divisor = apply_scale(x, x_mask > 0, y, y_mask > 0, scale)
        problem = Problem(x.detach(), y.detach(), weights(x_mask, dtype), weights(y_mask, dtype), divisor**-0.5)
    return problem, x, y


def without_padding(cloud: Tensor, mask: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """A cloud and its mask without the columns that are padding in every text, and finite at all other padding."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    length = int((places * (mask > 0).any(dim=0)).amax())
    cloud = cloud[:, :length]
    mask = mask[:, :length]
    if not bool(cloud.detach().sum().isfinite()):
        cloud = torch.where(mask[..., None] > 0, cloud, 0)
        check_finite(cloud, name)
    return cloud, mask


def weights(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Masses that are 1 together: 1/n at the n real tokens of each text, or in the ratio of those given."""
    mass = mask.to(dtype)
    total = mass.sum(dim=1, keepdim=True)
    if mask.is_floating_point() and not bool(((total > SMALLEST_TOTAL) & total.isfinite()).all()):
        exact = mask.double()
        exact = exact / exact.amax(dim=1, keepdim=True)
        mass = exact / exact.sum(dim=1, keepdim=True)
        return mass.to(dtype)
    return mass / total


def _centred(cloud: Tensor, centre: Tensor, unit: float, weight: Tensor) -> Tensor:
    """`unit`·(cloud − centre), 0 where `weight` is."""
    centred = cloud - centre
    factor = unit * (weight > 0).to(centred)
    return centred.mul_(factor[..., None]).to(weight)
