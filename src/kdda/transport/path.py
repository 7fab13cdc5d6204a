"""The central path ε → P_ε: where a batch of problems stands on it, and the moves that change it (Newton's, a Sinkhorn
pass, a step undone); the first ε, and how ε falls.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.newton import column_sums, row_sums

START = 2.0  # first ε, in standard deviations of the doubly centred cost

LANDING = 1.2  # an ε within this factor of the target becomes the target

REJECT = 0.5  # marginal error above which a step that made things worse is undone

# Exponents below count as this one: float64 rounds such a share of a row away, and its square is no denormal number of
# float32, which would be slow.
UNDERFLOW = -36.0


class Point(NamedTuple):
    """Where the path stands: the plan (rows exact), its row sums before normalisation, column sums, marginal error."""

    plan: Float[Tensor, "batch n m"]
    mass: Float[Tensor, "batch n"]
    columns: Float[Tensor, "batch m"]
    error: Float[Tensor, " batch"]

    def keep(self, rows: Tensor) -> "Point":
        """The point of these problems of the batch alone."""
        return Point(*(part.index_select(0, rows) for part in self))


@dataclass
class Path:
    """Problems on their way down. Every field has the batch first, so that solved problems can be dropped.

    Attributes:
        rows: where in the caller's batch these problems are.
        residual: R = C − f − g, which stays near 0 where the plan has mass.
        step: the last change of g, made of `newton`, and of `tangent` times the change of ε from `base_epsilon`.
        fall: the last fall of log ε.
        newton: the Newton step that the last change of g was made of, which is repeated, shorter, where it is undone.
        base_error: the marginal error before the last step.
    """

    rows: Tensor
    a: Tensor
    b: Tensor
    inverse_a: Tensor
    residual: Tensor
    f: Tensor
    g: Tensor
    epsilon: Tensor
    step: Tensor
    newton: Tensor
    tangent: Tensor
    fall: Tensor
    base_epsilon: Tensor
    base_error: Tensor

    def keep(self, rows: Tensor) -> "Path":
        """The paths of these problems of the batch alone."""
        return Path(**{field.name: getattr(self, field.name).index_select(0, rows) for field in fields(self)})


def start(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> Path:
    """Begin at an ε from the spread of what its column means leave of the cost, and at the g that solves ε → ∞: these
    means, and what makes the columns of a⊗softmax(g/ε) have the masses b.
    """
    g = column_sums(cost, a)
    g = torch.where(b > 0, g - (g * b).sum(dim=1, keepdim=True), 0)
    residual = cost.sub_(g[:, None, :])
    squared_deviation = (residual - row_sums(residual, b)[:, :, None]).square_()  # of the doubly centred cost
    first = (START * (column_sums(squared_deviation, a) * b).sum(dim=1).sqrt()).clamp(min=epsilon)
    masses = first[:, None] * relative_log(b)
    g = g + masses
    far = 3 * residual.amax(dim=(1, 2)).clamp(min=0) + 100 * first  # above it an entry has no mass in any row
    residual = residual.sub_(torch.where(b > 0, masses, -far[:, None])[:, None, :])
    inverse_a = torch.where(a > 0, 1 / a, 0)
    no_step = torch.zeros_like(b)
    no_fall = torch.zeros_like(first)
    return Path(
        rows=torch.arange(len(a), device=a.device), a=a, b=b, inverse_a=inverse_a, residual=residual,
        f=torch.zeros_like(a), g=g, epsilon=first, step=no_step, newton=no_step, tangent=no_step, fall=no_fall,
        base_epsilon=first, base_error=no_fall + 2,
    )  # fmt: skip


def evaluate(path: Path) -> Point:
    """The plan at the path's g and ε: a log-domain Sinkhorn pass on the rows, with the least of each absorbed by f."""
    plan = kernel(path)
    mass = plan.sum(dim=2)
    plan *= (path.a / mass)[:, :, None]
    columns = plan.sum(dim=1)
    return Point(plan, mass, columns, (columns - path.b).abs().sum(dim=1))


def kernel(path: Path) -> Tensor:
    """exp(−R/ε), after f has absorbed the least R of each row, so that the largest entry of each is 1."""
    shift = path.residual.amin(dim=2)
    path.residual -= shift[:, :, None]
    path.f = path.f + shift
    return (path.residual * (-1 / path.epsilon)[:, None, None]).clamp_(min=UNDERFLOW).exp_()


def potentials(path: Path, point: Point) -> tuple[Tensor, Tensor]:
    """f and g with P = exp((f ⊕ g − C)/ε)·(a ⊗ b), 0 at padding."""
    epsilon = path.epsilon[:, None]
    weight = path.b.amax(dim=1, keepdim=True)
    f = path.f - epsilon * (point.mass * weight).log()
    g = path.g - epsilon * relative_log(path.b)
    return torch.where(path.a > 0, f, 0), torch.where(path.b > 0, g, 0)


def relative_log(weight: Tensor) -> Tensor:
    """log of each mass over the largest of its text: 0 for uniform ones, and at padding."""
    return torch.where(weight > 0, (weight / weight.amax(dim=1, keepdim=True)).log(), 0)


def is_worse(path: Path, point: Point) -> Tensor:
    """True for problems that the last step made worse, so that it is to be undone."""
    return ~(point.error <= (1.5 * path.base_error).clamp(min=REJECT))  # True for NaN too


def move(
    path: Path, point: Point, newton: Tensor, tangent: Tensor, fall: Tensor, target: float, *, any_worse: bool = True
) -> None:
    """Step from here; where the last step made things worse, undo it and step again, shorter, from where it began.

    Args:
        any_worse: whether that may be so for some problem of the batch.
    """
    undone = None
    if not any_worse:
        path.base_epsilon = path.epsilon
        path.base_error = point.error
    else:
        good = ~is_worse(path, point)
        each = good[:, None]
        undone = torch.where(each, 0, path.step)
        newton = torch.where(each, newton, torch.where(path.fall > 0, 1.0, 0.25)[:, None] * path.newton)
        tangent = torch.where(each, tangent, path.tangent)
        fall = torch.where(good, fall, torch.where(path.fall > 0.1, path.fall / 4, 0))
        path.base_epsilon = torch.where(good, path.epsilon, path.base_epsilon)
        path.base_error = torch.where(good, point.error, path.base_error)
    path.newton = newton
    path.tangent = tangent
    path.fall = fall
    epsilon = path.base_epsilon * torch.exp(-fall)
    path.epsilon = epsilon.masked_fill_(epsilon < LANDING * target, target)
    path.step = torch.addcmul(newton, (path.epsilon - path.base_epsilon)[:, None], tangent)
    change = path.step
    if undone is not None:
        change = path.step - undone
    change_g(path, change)


def sinkhorn_pass(path: Path, point: Point, target: float) -> None:
    """One log-domain pass on the columns, ε falling by a fifth until the target."""
    step = path.epsilon[:, None] * log_ratio(path, point)
    path.epsilon = (0.8 * path.epsilon).clamp(min=target)
    change_g(path, step)


def log_ratio(path: Path, point: Point) -> Tensor:
    """log(b/c), the step of a Sinkhorn pass in units of ε; 0 at padding."""
    tiny = torch.finfo(path.b.dtype).tiny
    log_b = path.b.clamp(min=tiny).log()
    log_columns = point.columns.nan_to_num().clamp(min=tiny).log()
    return torch.where(path.b > 0, log_b - log_columns, 0)


def change_g(path: Path, change: Tensor) -> None:
    """Add `change [batch, m]` to g, and so subtract it from every row of R = C − f − g."""
    path.g = path.g + change
    path.residual -= change[:, None, :]
