"""How fast, how exact, how large: the Sinkhorn divergence of `kdda.transport` against geomloss, POT and a plain loop.

    python bench/transport.py            # writes the table and the figure of docs/transport.md; about half an hour
    python bench/transport.py --quick    # one small batch, half a minute, nothing written

Clouds are hidden states of real models: mini/multilingual is the student and mini/english the teacher, each reading
the same English windows (of the LICENSE, or of `--text`) through its own tokenizer. 768-wide states are the last two
layers side by side. Two stages of training are measured: "start" takes the student as it is; "end" moves each of its
states 90 % of the way to where the plan sends it, which is what distillation works towards, and where plans are
hardest.

Every solver gives the value and the gradient in the student's states of S_ε at the same cost ½‖x − y‖²/s, over the same
masks (as zero weights where a library has no masks). Errors are against kdda's own solver in float64, run to a
marginal error of 1e-10, and are those of the worst of the first texts.
"""

import argparse
import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import geomloss
import matplotlib
import ot
import torch
from torch import Tensor

from kdda.models.load import load_checkpoint
from kdda.transport.cost import half_squared_distances, mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport, sinkhorn_divergence

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

ROOT = Path(__file__).parents[1]
SIZES = ((32, 48, 40, 384), (32, 128, 96, 384), (8, 384, 256, 768), (32, 512, 512, 768))
EPSILONS = (0.05, 0.005)
STAGES = ("start", "end")
TOLERANCE = 1e-4
REFERENCE_TEXTS = 4
PASS_BUDGET = 6e8  # entries of the cost matrix times passes that the plain loops may spend
MARKERS = ("<!-- bench:start -->", "<!-- bench:end -->")


class Clouds(NamedTuple):
    """Student and teacher states with their masks, in units of the teacher's scale."""

    x: Tensor
    y: Tensor
    x_mask: Tensor
    y_mask: Tensor

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.x_mask / self.x_mask.sum(dim=1, keepdim=True), self.y_mask / self.y_mask.sum(dim=1, keepdim=True)

    def masks(self) -> dict[str, Any]:
        return {"x_mask": self.x_mask, "y_mask": self.y_mask}

    def first(self, texts: int) -> "Clouds":
        return Clouds(*(part[:texts] for part in self))


@dataclass
class Row:
    """One line of the table."""

    size: tuple[int, ...]
    epsilon: float
    stage: str
    solver: str
    seconds: float = float("nan")
    marginal: float = float("nan")
    value: float = float("nan")
    gradient: float = float("nan")
    memory: float = float("nan")


# Clouds -------------------------------------------------------------------------------------------------------------


def windows(text: str, count: int, words: int) -> list[str]:
    """`count` windows of about `words` words, spread evenly over the text, of lengths between half and whole."""
    tokens = text.split()
    starts = [i * max(1, len(tokens) - words) // max(1, count - 1) for i in range(count)]
    return [" ".join(tokens[start : start + words - (7 * i) % (words // 2)]) for i, start in enumerate(starts)]


@torch.no_grad()
def states(name: str, texts: list[str], length: int, width: int) -> tuple[Tensor, Tensor]:
    """The last layer's states, the last two layers' side by side if the width asks for it, and the mask."""
    checkpoint = load_checkpoint(name)
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    layers = width // model.config.hidden_size
    parts = [
        torch.cat(model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-layers:], dim=2)
        for ids, mask in zip(batch["input_ids"].split(8), batch["attention_mask"].split(8), strict=True)
    ]
    return torch.cat(parts), batch["attention_mask"].bool()


def make_clouds(size: tuple[int, ...], text: str) -> Clouds:
    batch, n, m, width = size
    texts = windows(text, batch, int(0.75 * min(n, m)))
    x, x_mask = states("mini/multilingual", texts, n, width)
    y, y_mask = states("mini/english", texts, m, width)
    unit = mean_pairwise_cost(y, y_mask) ** -0.5
    return Clouds(x * unit, y * unit, x_mask, y_mask)


def distilled(clouds: Clouds) -> Clouds:
    """The student's states moved 90 % of the way to where the plan sends them."""
    plan = entropic_transport(clouds.x, clouds.y, epsilon=0.02, **clouds.masks()).plan()
    target = plan @ clouds.y / plan.sum(dim=2, keepdim=True).clamp(min=1e-9)
    return clouds._replace(x=0.1 * clouds.x + 0.9 * target)


# Solvers: (clouds, ε) -> (value [batch], a function that gives the cross plan, not timed) ----------------------------


def kdda(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
    out = sinkhorn_divergence(clouds.x, clouds.y, epsilon=epsilon, tolerance=TOLERANCE, **clouds.masks())
    return out.value, out.plan


def with_geomloss(scaling: float) -> "Solver":
    def solve(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
        a, b = clouds.weights()
        settings = {"p": 2, "blur": epsilon**0.5, "scaling": scaling, "backend": "tensorized"}

        def plan() -> Tensor:
            loss = geomloss.SamplesLoss("sinkhorn", debias=False, potentials=True, **settings)
            f, g = loss(a, clouds.x.detach(), b, clouds.y)
            cost = half_squared_distances(clouds.x.detach(), clouds.y)
            exponent = (f[:, :, None] + g[:, None, :] - cost) / epsilon
            return torch.exp(exponent.clamp(max=50)) * a[:, :, None] * b[:, None, :]

        return geomloss.SamplesLoss("sinkhorn", **settings)(a, clouds.x, b, clouds.y), plan

    return solve


def by_plans(transport: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]) -> "Solver":
    """The divergence from a function that gives OT_ε's value and plan, with Danskin's gradient at no extra passes."""

    def solve(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
        a, b = clouds.weights()
        plans, total = [], torch.zeros(len(a))
        for u, v, p, q, weight in (
            (clouds.x, clouds.y, a, b, 1.0),
            (clouds.x, clouds.x, a, a, -0.5),
            (clouds.y, clouds.y, b, b, -0.5),
        ):
            cost = half_squared_distances(u, v)
            value, plan = transport(cost.detach(), p, q, epsilon)
            plans.append(plan)
            tied = (plan * cost).sum(dim=(1, 2))
            total = total + weight * (value + tied - tied.detach())
        return total, lambda: plans[0]

    return solve


def pot(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    passes = int(PASS_BUDGET / cost.numel())
    options = {"method": "log_sinkhorn", "reg_type": "kl", "grad": "detach", "tol": TOLERANCE / 10, "max_iter": passes}
    out = ot.batch.solve_batch(cost, epsilon, a, b, **options)
    kl = torch.special.xlogy(out.plan, out.plan) - torch.special.xlogy(out.plan, a[:, :, None] * b[:, None, :])
    return (out.plan * cost).sum(dim=(1, 2)) + epsilon * kl.nan_to_num().sum(dim=(1, 2)), out.plan


@torch.no_grad()
def plain_loop(cost: Tensor, a: Tensor, b: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Log-domain Sinkhorn at ε from zero, until the marginal error is reached: what a textbook says."""
    kernel, log_a, log_b = -cost / epsilon, a.log(), b.log()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for i in range(int(PASS_BUDGET / cost.numel())):
        f = -(kernel + (g + log_b)[:, None, :]).logsumexp(dim=2)
        if i % 10 == 0:
            plan = torch.exp(kernel + (f + log_a)[:, :, None] + (g + log_b)[:, None, :])
            if (plan.sum(dim=1) - b).abs().sum(dim=1).max() <= TOLERANCE:
                break
        g = -(kernel + (f + log_a)[:, :, None]).logsumexp(dim=1)
    return epsilon * ((a * f).sum(dim=1) + (b * g).sum(dim=1)), plan


Solver = Callable[[Clouds, float], tuple[Tensor, Callable[[], Tensor]]]
SOLVERS: dict[str, Solver] = {
    "kdda": kdda,
    "geomloss .5": with_geomloss(0.5),
    "geomloss .9": with_geomloss(0.9),
    "POT batch": by_plans(pot),
    "plain loop": by_plans(plain_loop),
}


# Measuring ----------------------------------------------------------------------------------------------------------


def value_and_gradient(solver: Solver, clouds: Clouds, epsilon: float) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
    x = clouds.x.detach().requires_grad_()
    value, plan = solver(clouds._replace(x=x), epsilon)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient, plan


def reference(clouds: Clouds, epsilon: float) -> tuple[Tensor, Tensor]:
    few = clouds.first(REFERENCE_TEXTS)
    few = few._replace(x=few.x.double().requires_grad_(), y=few.y.double())
    out = sinkhorn_divergence(few.x, few.y, epsilon=epsilon, tolerance=1e-10, **few.masks())
    assert out.converged.all(), out.marginal_error
    (gradient,) = torch.autograd.grad(out.value.sum(), few.x)
    return out.value.detach(), gradient


def measure(row: Row, clouds: Clouds, truth: tuple[Tensor, Tensor], repeats: int) -> Row:
    """Fill a row: memory and errors from the first run, time from the fastest."""
    solver = SOLVERS[row.solver]
    first: list[tuple[Tensor, Tensor, Callable[[], Tensor]]] = []

    def run() -> None:
        first[:] = [value_and_gradient(solver, clouds, row.epsilon)]

    row.memory, row.seconds = peak_memory(run)
    value, gradient, plan = first[0]
    row.marginal = marginal_error(plan(), clouds)
    row.value, row.gradient = errors(value, gradient, clouds, truth)
    row.seconds = min([row.seconds, *(timed(run) for _ in range(repeats - 1))])
    return row


def errors(value: Tensor, gradient: Tensor, clouds: Clouds, truth: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Relative errors of the value and of the gradient, of the worst of the first texts."""
    gradient = gradient[:REFERENCE_TEXTS] * clouds.x_mask[:REFERENCE_TEXTS, :, None]
    missed = (gradient - truth[1]).flatten(1).norm(dim=1)
    off = ((value[:REFERENCE_TEXTS] - truth[0]) / truth[0]).abs().max()
    return float(off), float((missed / truth[1].flatten(1).norm(dim=1)).max())


@torch.no_grad()
def marginal_error(plan: Tensor, clouds: Clouds) -> float:
    a, b = clouds.weights()
    return float(((plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)).max())


def timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(run: Callable[[], None]) -> tuple[float, float]:
    """Bytes that a run holds at most beyond what was held before (Linux; NaN elsewhere), and its seconds."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan"), timed(run)

    def kilobytes(key: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS:")
    seconds = timed(run)
    return 1024.0 * (kilobytes("VmHWM:") - before), seconds


def measure_all(sizes: tuple[tuple[int, ...], ...], text: str) -> Iterator[Row]:
    for size in sizes:
        start = make_clouds(size, text)
        for stage in STAGES:
            clouds = start if stage == "start" else distilled(start)
            for epsilon in EPSILONS:
                truth = reference(clouds, epsilon)
                for solver in SOLVERS:
                    repeats = 1 if solver in ("POT batch", "plain loop") else 2 if size[1] >= 512 else 5
                    yield measure(Row(size, epsilon, stage, solver), clouds, truth, repeats)


# Reporting ----------------------------------------------------------------------------------------------------------


def line(row: Row, fastest: float) -> str:
    batch, n, m, _ = row.size
    cells = [
        "×".join(map(str, row.size)), row.stage, f"{row.epsilon:g}", row.solver, f"{1e3 * row.seconds:.0f}",
        f"{row.seconds / fastest:.1f}×", f"{row.marginal:.0e}", f"{row.value:.0e}", f"{row.gradient:.0e}",
        f"{row.memory / 2**20:.0f}", f"{row.memory / (4 * batch * n * m):.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(rows: list[Row]) -> str:
    titles = (
        "B×n×m×d", "stage", "ε", "solver", "ms", "to kdda", "marginal error", "value error", "gradient error",
        "peak MB", "in cost matrices",
    )  # fmt: skip
    ours = {(row.size, row.stage, row.epsilon): row.seconds for row in rows if row.solver == "kdda"}
    lines = [line(row, ours[row.size, row.stage, row.epsilon]) for row in rows]
    return "\n".join(["| " + " | ".join(titles) + " |", "|---" * 4 + "|---:" * 7 + "|", *lines])


def figure(rows: list[Row], path: Path) -> None:
    """Gradient error against time, a panel a size, a colour a solver, a marker a stage, hollow at the smaller ε."""
    sizes = list(dict.fromkeys(row.size for row in rows))
    fig, axes = plt.subplots(1, len(sizes), figsize=(4 * len(sizes), 4), squeeze=False, sharey=True)
    for size, panel in zip(sizes, axes[0], strict=True):
        for colour, solver in enumerate(SOLVERS):
            for row in (row for row in rows if row.size == size and row.solver == solver):
                panel.plot(
                    1e3 * row.seconds, row.gradient, marker="o" if row.stage == "start" else "s", color=f"C{colour}",
                    fillstyle="full" if row.epsilon == EPSILONS[0] else "none", linestyle="",
                )  # fmt: skip
            panel.plot([], [], marker="o", color=f"C{colour}", linestyle="", label=solver)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.axhline(1e-3, color="grey", linewidth=0.5)
        panel.set(xscale="log", yscale="log", xlabel="value + gradient, ms", title="×".join(map(str, size)))
    axes[0][0].set_ylabel("relative gradient error, worst text")
    axes[0][-1].legend(fontsize="small")
    fig.text(0.01, 0.01, "● start  ■ end of distillation; filled ε = .05, hollow ε = .005", fontsize="small")
    fig.tight_layout(rect=(0, 0.04, 1, 1))
    fig.savefig(path)


def write(rows: list[Row], docs: Path) -> None:
    page = docs / "transport.md"
    before, rest = page.read_text().split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    setting = f"torch {torch.__version__}, {torch.get_num_threads()} threads."
    page.write_text(f"{before}{MARKERS[0]}\n{setting}\n\n{table(rows)}\n{MARKERS[1]}{after}")
    figure(rows, docs / "transport.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a batch of 4×48×40×384; print, write nothing")
    parser.add_argument("--text", type=Path, default=ROOT / "LICENSE", help="English text to take windows from")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where transport.md and the figure go")
    arguments = parser.parse_args()
    rows = []
    for row in measure_all(((4, *SIZES[0][1:]),) if arguments.quick else SIZES, arguments.text.read_text()):
        rows.append(row)
        print(f"{row.size} {row.stage} ε={row.epsilon} {row.solver}: {1e3 * row.seconds:.0f} ms", flush=True)
    print(table(rows))
    if not arguments.quick:
        write(rows, arguments.docs)


if __name__ == "__main__":
    main()
