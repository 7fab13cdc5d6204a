"""The table and the figure of bench/transport.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from solvers import SOLVERS

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

EPSILONS = (0.05, 0.005)


@dataclass
class Row:
    """One line of the table.

    Attributes:
        size: texts, student tokens, teacher tokens and width.
        stage: ``start`` or ``end`` of training.
        seconds: of value and gradient together, the fastest run.
        marginal: the plan's marginal error, the worst of all texts.
        value, gradient: relative errors, the worst of the first texts.
        memory: peak bytes of a run.
    """

    size: tuple[int, ...]
    epsilon: float
    stage: str
    solver: str
    seconds: float = float("nan")
    marginal: float = float("nan")
    value: float = float("nan")
    gradient: float = float("nan")
    memory: float = float("nan")


def line(row: Row, kdda_seconds: float) -> str:
    batch, n, m, _ = row.size
    cells = [
        "×".join(map(str, row.size)), row.stage, f"{row.epsilon:g}", row.solver, f"{1e3 * row.seconds:.0f}",
        f"{row.seconds / kdda_seconds:.1f}×", f"{row.marginal:.0e}", f"{row.value:.0e}", f"{row.gradient:.0e}",
        f"{row.memory / 2**20:.0f}", f"{row.memory / (4 * batch * n * m):.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def table(rows: list[Row]) -> str:
    titles = (
        "B×n×m×d", "stage", "ε", "solver", "ms", "to kdda", "marginal error", "value error", "gradient error",
        "peak MB", "in cost matrices",
    )  # fmt: skip
    kdda = {(row.size, row.stage, row.epsilon): row.seconds for row in rows if row.solver == "kdda"}
    lines = [line(row, kdda[row.size, row.stage, row.epsilon]) for row in rows]
    return "\n".join(["| " + " | ".join(titles) + " |", "|---" * 4 + "|---:" * 7 + "|", *lines])


def figure(rows: list[Row], path: Path) -> None:
    """Draw the gradient error against time: a panel a size, a colour a solver, a marker a stage."""
    sizes = list(dict.fromkeys(row.size for row in rows))
    fig, axes = plt.subplots(1, len(sizes), figsize=(4 * len(sizes), 4), squeeze=False, sharey=True)
    for size, panel in zip(sizes, axes[0], strict=True):
        for row in rows:
            if row.size == size:
                draw_point(panel, row)
        for solver in SOLVERS:
            panel.plot([], [], marker="o", color=colour_of(solver), linestyle="", label=solver)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.axhline(1e-3, color="grey", linewidth=0.5)
        panel.set(xscale="log", yscale="log", xlabel="value + gradient, ms", title="×".join(map(str, size)))
    axes[0][0].set_ylabel("relative gradient error, worst text")
    axes[0][-1].legend(fontsize="small")
    fig.text(0.01, 0.01, "● start  ■ end of distillation; filled ε = .05, hollow ε = .005", fontsize="small")
    fig.tight_layout(rect=(0, 0.04, 1, 1))
    fig.savefig(path)


def draw_point(panel: Any, row: Row) -> None:
    marker = "o" if row.stage == "start" else "s"
    fill = "full" if row.epsilon == EPSILONS[0] else "none"
    colour = colour_of(row.solver)
    panel.plot(1e3 * row.seconds, row.gradient, marker=marker, color=colour, fillstyle=fill, linestyle="")


def colour_of(solver: str) -> str:
    return f"C{list(SOLVERS).index(solver)}"
