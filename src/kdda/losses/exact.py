"""Exact transport, in many dimensions by a linear program and in one by sorting."""

from types import ModuleType

import torch
from torch import Tensor

from kdda.losses.representations import (
    Clouds,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    clouds,
    in_full_precision,
    unsolved,
)
from kdda.transport.cost import half_squared_distances
from kdda.transport.problem import weights


@in_full_precision
def emd(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """min_{P ∈ U(α, β)} ⟨P, C⟩: the earth mover's distance, by POT's network simplex, one text at a time on the CPU.

    The gradient holds the optimal plan fixed (Danskin). Reads `scale`. Source: Bonneel, van de Panne, Paris, Heidrich,
    "Displacement Interpolation Using Lagrangian Mass Transport", SIGGRAPH Asia 2011; Flamary et al., JMLR 22(78), 2021.

    Raises:
        ImportError: POT is not installed.
    """
    ot = _pot()
    x, y, a, b = clouds(student, teacher, settings.scale)
    cost = half_squared_distances(x, y)
    plan = torch.stack([_simplex(ot, *one) for one in zip(a, b, cost.detach(), strict=True)])
    error = (plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)
    return ObjectiveOutput((plan * cost).sum(dim=(1, 2)), error, 0)


def _simplex(ot: ModuleType, a: Tensor, b: Tensor, cost: Tensor) -> Tensor:
    rows, columns = a > 0, b > 0
    plan = torch.zeros_like(cost, dtype=torch.float64)
    real = cost[rows][:, columns].double().cpu().numpy()
    masses = (weights(own[kept][None], torch.float64)[0].cpu().numpy() for own, kept in ((a, rows), (b, columns)))
    solved = torch.from_numpy(ot.emd(*masses, real, numItermax=1_000_000)).to(plan)
    plan[rows[:, None] & columns[None, :]] = solved.flatten()
    return plan.to(cost)


def _pot() -> ModuleType:
    try:
        import ot
    except ImportError as error:
        raise ImportError("the objective 'emd' needs POT's exact solver: pip install pot") from error
    return ot  # type: ignore[no-any-return]


@in_full_precision
def sliced(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """d · mean_θ ½W₂²(θ·α, θ·β) over `projections` fixed random directions θ: exact transport in one dimension each.

    The factor d makes single points cost what they cost elsewhere, ½‖x − y‖². Reads `scale`, `projections`, `seed`.
    Source: Bonneel, Rabin, Peyré, Pfister, "Sliced and Radon Wasserstein Barycenters of Measures", JMIV 51, 2015.
    """
    measured = clouds(student, teacher, settings.scale)
    for name, side in (("student", student), ("teacher", teacher)):
        if side.mask is not None and side.mask.is_floating_point():
            raise ValueError(
                f"'sliced' takes all tokens of a text alike, and the {name}'s have masses: pass a boolean mask."
            )
    width = measured.x.shape[2]
    generator = torch.Generator().manual_seed(settings.seed)
    directions = torch.randn(width, settings.projections, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(measured.x)
    x, y = _sorted(measured.x @ directions, measured.a), _sorted(measured.y @ directions, measured.b)
    width_of, i, j = _overlaps(measured)
    steps = x.gather(1, i[..., None].expand(-1, -1, x.shape[2])) - y.gather(1, j[..., None].expand(-1, -1, y.shape[2]))
    return unsolved(0.5 * width * torch.einsum("bt,btk->bk", width_of, steps.square()).mean(dim=1))


def _sorted(projected: Tensor, weight: Tensor) -> Tensor:
    """Sorted along the tokens, padding last."""
    return projected.masked_fill((weight == 0)[..., None], torch.inf).sort(dim=1).values


def _overlaps(measured: Clouds) -> tuple[Tensor, Tensor, Tensor]:
    """Quantile intervals on which neither sorted cloud changes point: their widths, and the two points' indices."""
    edges = [torch.cumsum(weight, dim=1, dtype=torch.float64).clamp(max=1) for weight in (measured.a, measured.b)]
    ends = torch.cat(edges, dim=1).sort(dim=1).values
    starts = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)
    middle = (starts + ends) / 2
    i, j = (
        (middle * count[:, None]).long().clamp(max=count[:, None] - 1)
        for count in ((measured.a > 0).sum(dim=1), (measured.b > 0).sum(dim=1))
    )
    return (ends - starts).to(measured.x), i, j
