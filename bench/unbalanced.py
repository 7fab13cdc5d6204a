"""Time and error of the objectives `unbalanced` and `anchored` of kdda against POT's unbalanced solvers and `sinkhorn`.

    python bench/unbalanced.py --write docs/transport.md     # a minute
    python bench/unbalanced.py --quick                       # four texts, nothing written

Clouds are those of bench/transport.py at the start of distillation, 48 and 40 tokens. All solvers of the unbalanced
divergence give its value and gradient for the same costs and masses, and run until the plan fulfils the conditions of
the optimum to the same error: ‖P1 − a·exp(−f/ρ)‖₁ + ‖Pᵀ1 − b·exp(−g/ρ)‖₁ at most 1e-4, with f and g those of the plan.
POT solves one text at a time, in float64, and goes on from where it stopped until that error is reached or so many
passes are done. `anchored` has no counterpart elsewhere, and stands beside `sinkhorn`, whose cost it adds to.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ot
import torch
from aims import publish
from page import arguments, machine
from solvers import Clouds, by_plans
from torch import Tensor
from transport import SIZES, make_clouds

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-4
RELAXATION = 1.0
EPSILONS = (0.05, 0.005)
PASSES = 100  # of POT between two looks at the error
MOST_PASSES = 20_000
POT = {
    "POT": ot.unbalanced.sinkhorn_knopp_unbalanced,
    "POT, translation invariant": ot.unbalanced.sinkhorn_unbalanced_translation_invariant,
}


def places(mask: Tensor) -> Tensor:
    """Intervals of length 1 for the tokens of each text, `[batch, tokens, 2]`."""
    first = torch.arange(mask.shape[1], dtype=torch.float32).expand_as(mask)
    return torch.stack([first, first + 1], dim=2)


def with_kdda(name: str, clouds: Clouds, epsilon: float) -> tuple[Tensor, float]:
    """An objective's values, and the largest error that it certifies."""
    objective = OBJECTIVES[name]
    settings = ObjectiveSettings(epsilon=epsilon, scale=1.0, tolerance=TOLERANCE, options=dict(objective.options))
    student = Representations(clouds.x, clouds.x_mask, places=places(clouds.x_mask))
    teacher = Representations(clouds.y, clouds.y_mask, places=places(clouds.y_mask))
    out = objective(student, teacher, settings)
    return out.value, float(out.marginal_error.max())


def residual(plan: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor) -> float:
    """The error of a plan exp((f ⊕ g − C)/ε)·(a ⊗ b)."""
    rows = (plan.sum(dim=1) - a * (-f / RELAXATION).exp()).abs().sum()
    columns = (plan.sum(dim=0) - b * (-g / RELAXATION).exp()).abs().sum()
    return float(rows + columns)


def solved_by_pot(
    solve: Callable[..., Tensor], errors: list[float], cost: Tensor, a: Tensor, b: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """UOT and plan of each text by POT; the errors that it reached are appended to `errors`."""
    values, plans = torch.zeros(len(cost)), torch.zeros_like(cost)
    for row in range(len(cost)):
        rows, columns = a[row] > 0, b[row] > 0
        p, q, c = a[row][rows].double(), b[row][columns].double(), cost[row][rows][:, columns].double()
        settings = {"reg": epsilon, "reg_m": RELAXATION, "reg_type": "kl", "numItermax": PASSES, "stopThr": 0.0}
        start, error = None, float("inf")
        for _ in range(MOST_PASSES // PASSES):
            plan, log = solve(p, q, c, warmstart=start, log=True, **settings)
            start = (log["logu"], log["logv"])
            error = residual(plan, epsilon * log["logu"], epsilon * log["logv"], p, q)
            if error <= TOLERANCE:
                break
        errors.append(error)
        values[row] = objective_of(plan, c, p, q, epsilon)
        plans[row].masked_scatter_(rows[:, None] & columns, plan.float())
    return values, plans


def objective_of(plan: Tensor, cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    """⟨P, C⟩ + ε·KL(P ‖ a⊗b) + ρ·KL(P1 ‖ a) + ρ·KL(Pᵀ1 ‖ b)."""
    marginals = divergence(plan.sum(dim=1), a) + divergence(plan.sum(dim=0), b)
    total: Tensor = (plan * cost).sum() + epsilon * divergence(plan, a[:, None] * b) + RELAXATION * marginals
    return total


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ p log(p/q) − p + q."""
    total: Tensor = (torch.special.xlogy(p, p / q) - p + q).sum()
    return total


def with_pot(name: str, clouds: Clouds, epsilon: float) -> tuple[Tensor, float]:
    """The divergence's values by POT, and the largest error that it reached."""
    errors: list[float] = []
    values, _ = by_plans(partial(solved_by_pot, POT[name], errors))(clouds, epsilon)
    return values, max(errors)


def measure(run: Callable[[Clouds, float], tuple[Tensor, float]], clouds: Clouds, epsilon: float, repeats: int) -> str:
    """Cells: milliseconds of value and gradient of the fastest run, error, mean value."""
    seconds = []
    for _ in range(repeats):
        x = clouds.x.detach().requires_grad_()
        started = time.perf_counter()
        values, error = run(clouds._replace(x=x), epsilon)
        torch.autograd.grad(values.sum(), x)
        seconds.append(time.perf_counter() - started)
    return f"{1e3 * min(seconds):.0f} | {error:.0e} | {float(values.detach().mean()):.6f}"


def main() -> None:
    parser = arguments(__doc__, "docs/transport.md")
    parser.add_argument("--text", type=Path, default=ROOT / "LICENSE", help="English text to take windows from")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="ot")  # of every hundred passes that do not reach the end
    size = SIZES[0]
    if options.quick:
        size = (4, *size[1:])
    clouds = make_clouds(size, options.text.read_text())
    lines = [f"{machine()} {torch.get_num_threads()} threads, {'×'.join(map(str, size))}, ρ = {RELAXATION:g}.", ""]
    lines += ["| ε | objective | solver | ms | error | mean value |", "|---|---|---|---:|---:|---:|"]
    for epsilon in EPSILONS:
        for name in ("sinkhorn", "anchored", "unbalanced"):
            lines.append(f"| {epsilon:g} | `{name}` | kdda | {measure(partial(with_kdda, name), clouds, epsilon, 5)} |")
        for name in POT:
            lines.append(
                f"| {epsilon:g} | `unbalanced` | {name} | {measure(partial(with_pot, name), clouds, epsilon, 1)} |"
            )
            print(lines[-1], flush=True)
    publish(options, "unbalanced", lines)


if __name__ == "__main__":
    main()
