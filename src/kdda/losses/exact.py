"""emd and sliced (128 projections, seed 0): exact transport, by a linear program (POT), and by sorting in random
directions.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kdda.losses.representations import (
    Clouds,
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
    clouds,
    in_full_precision,
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
    ot = _import_pot()
    x, y, a, b = clouds(student, teacher, settings.scale)
    cost = half_squared_distances(x, y)
    plans = [_exact_plan(ot, *text) for text in zip(a, b, cost.detach(), strict=True)]
    plan = torch.stack(plans)
    error = (plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)
    return ObjectiveOutput((plan * cost).sum(dim=(1, 2)), error, 0)


def _exact_plan(ot: ModuleType, a: Tensor, b: Tensor, cost: Tensor) -> Tensor:
    """The optimal plan `[n, m]` of one text by POT's network simplex, 0 at padding."""
    rows, columns = a > 0, b > 0
    plan = torch.zeros_like(cost, dtype=torch.float64)
    real = cost[rows][:, columns].double().cpu().numpy()
    largest = real.max()
    if not 1e-12 < largest < 1e12:  # far from what POT's tolerances are meant for; a factor does not change the plan
        real = real / max(largest, 5e-324)
    source, target = _float64_masses(a[rows]), _float64_masses(b[columns])
    solved = torch.from_numpy(ot.emd(source, target, real, numItermax=1_000_000)).to(plan)
    plan[rows[:, None] & columns[None, :]] = solved.flatten()
    return plan.to(cost)


def _float64_masses(weight: Tensor) -> Any:
    """Masses as a NumPy array whose sum is 1 to float64's last digits, which POT demands."""
    return weights(weight[None], torch.float64)[0].cpu().numpy()


def _import_pot() -> ModuleType:
    """POT, which is an optional dependency."""
    try:
        import ot
    except ImportError as error:
        raise ImportError("the objective 'emd' needs POT's exact solver: pip install pot") from error
    return ot  # type: ignore[no-any-return]


@in_full_precision
def sliced(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """d · mean_θ ½W₂²(θ·α, θ·β) over `projections` fixed random directions θ: exact transport in one dimension each.

    The factor d makes single points cost what they cost elsewhere, ½‖x − y‖². Reads `scale` and the
    options `projections` and `seed` (of the directions, which are the same at every call).
    Source: Bonneel, Rabin, Peyré, Pfister, "Sliced and Radon Wasserstein Barycenters of Measures", JMIV 51, 2015.
    """
    measured = clouds(student, teacher, settings.scale)
    _refuse_masses(student, "student")
    _refuse_masses(teacher, "teacher")
    width = measured.x.shape[2]
    generator = torch.Generator().manual_seed(settings.options["seed"])
    directions = torch.randn(width, settings.options["projections"], generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(measured.x)
    x, y = _sorted(measured.x @ directions, measured.a), _sorted(measured.y @ directions, measured.b)
    width_of, i, j = _overlaps(measured)
    steps = x.gather(1, i[..., None].expand(-1, -1, x.shape[2])) - y.gather(1, j[..., None].expand(-1, -1, y.shape[2]))
    return closed_form(0.5 * width * torch.einsum("bt,btk->bk", width_of, steps.square()).mean(dim=1))


def _refuse_masses(side: Representations, name: str) -> None:
    """`ValueError` where tokens of one text may have different masses: sorting takes them all alike."""
    if side.mask is not None and side.mask.is_floating_point():
        raise ValueError(
            f"'sliced' takes all tokens of a text alike, and the {name}'s have masses: pass a boolean mask."
        )


def _sorted(projected: Tensor, weight: Tensor) -> Tensor:
    """Sorted along the tokens, padding last."""
    return projected.masked_fill((weight == 0)[..., None], torch.inf).sort(dim=1).values


def _overlaps(measured: Clouds) -> tuple[Tensor, Tensor, Tensor]:
    """Quantile intervals on which neither sorted cloud changes point: their widths, and the two points' indices."""
    ends = torch.cat([_cumulative_masses(measured.a), _cumulative_masses(measured.b)], dim=1).sort(dim=1).values
    starts = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)
    middle = (starts + ends) / 2
    return (
        (ends - starts).to(measured.x),
        _index_of_point_at(middle, measured.a),
        _index_of_point_at(middle, measured.b),
    )


def _cumulative_masses(weight: Tensor) -> Tensor:
    """The quantile at which each token ends, when tokens stand in order; 1 at the last one and at padding."""
    return torch.cumsum(weight, dim=1, dtype=torch.float64).clamp(max=1)


def _index_of_point_at(quantile: Tensor, weight: Tensor) -> Tensor:
    """The index of the sorted point that holds a quantile, where real points have equal weights."""
    count = (weight > 0).sum(dim=1)[:, None]
    return (quantile * count).long().clamp(max=count - 1)


EMD = Objective("emd", emd)
SLICED = Objective(
    "sliced",
    sliced,
    token_masses=False,
    options={"projections": 128, "seed": 0},
    bounds={"projections": (1.0, 1e6), "seed": (0.0, 2.0**32 - 1)},
)
