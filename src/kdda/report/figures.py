"""Drawings of run folders, as SVG text that a page can hold."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from kdda.errors import KddaError
from kdda.evaluate import mean_sd
from kdda.report.document import Figure, Table
from kdda.report.runs import Run

TERMS = ("task", "transport")


def curves(runs: Sequence[Run]) -> list[Figure]:
    """The loss's terms against the step, a panel a language, seeds averaged."""
    found: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in runs:
        for event in run.events:
            for term in TERMS if event["event"] == "train" else ():
                if term in event:
                    found[term, event["language"]][run.arm][event["step"]].append(event[term])
    figures = []
    for (term, language), arms in sorted(found.items()):
        figure, axes = _canvas("step", f"{term}, {language}")
        for arm, points in arms.items():
            steps = sorted(points)
            axes.plot(steps, [fmean(points[step]) for step in steps], label=arm, linewidth=1.2)
        axes.legend(fontsize="small")
        figures.append(drawn(f"Training: {term}, {language}", figure))
    return figures


def scores_by_arm(runs: Sequence[Run], language: str, metric: str) -> Figure:
    """Each arm's mean and standard deviation over seeds, and the seeds themselves."""
    by_arm: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_arm[run.arm].append(run.test[language][metric])
    figure, axes = _canvas(f"{metric.replace('_', ' ')}, {language} test rows", "", height=0.5 + 0.4 * len(by_arm))
    for place, values in enumerate(reversed(by_arm.values())):
        mean, sd = mean_sd(values)
        axes.errorbar(mean, place, xerr=sd or 0, fmt="o", color="C0", capsize=3)
        axes.plot(values, [place] * len(values), "|", color="C1", markersize=12)
    axes.set_yticks(range(len(by_arm)), list(reversed(by_arm)))
    return drawn("Scores by arm: mean and sd, a stroke a seed", figure)


def teachers_by_arm(worth: Table) -> Figure:
    """What teachers score on their development rows, beside the arms that heard none (`listening`)."""
    names = worth.header[1:]
    figure, axes = _canvas(worth.title.removeprefix("Worth listening to? "), "", height=0.6 + 0.4 * len(worth.rows))
    for column, name in enumerate(names, 1):
        scores = [float(row[column]) for row in reversed(worth.rows)]
        axes.plot(
            scores, range(len(scores)), "o" if column == 1 else "|", label=name, markersize=7 if column == 1 else 14
        )
    axes.set_yticks(range(len(worth.rows)), [row[0] for row in reversed(worth.rows)])
    axes.legend(fontsize="small")
    return Figure("Teachers and the students that heard none", _svg(figure))


def scores_by_weight(runs: Sequence[Run], language: str, metric: str) -> list[Figure]:
    """The score against λ, where three arms or more differ in nothing else that matters to the drawing."""
    by_weight: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        own = run.recipe["arms"][run.arm].get("distill")
        if own:
            changes = own if isinstance(own, dict) else {}
            by_weight[float(changes.get("lambda", run.recipe["distill"]["lambda"]))].append(run.test[language][metric])
    if len(by_weight) < 3:
        return []
    figure, axes = _canvas("λ", f"{metric.replace('_', ' ')}, {language} test rows")
    weights = sorted(by_weight)
    spreads = [mean_sd(by_weight[weight]) for weight in weights]
    axes.errorbar(weights, [mean for mean, _ in spreads], yerr=[sd or 0 for _, sd in spreads], fmt="o-", capsize=3)
    return [drawn("Score against λ", figure)]


def teachers(runs: Sequence[Run], folder: Path, metric: str) -> list[Figure]:
    """Each teacher's score on its own language's development rows, beside the arms' there."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((folder / "teachers").glob("*/teacher.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        if metric in said["dev"]:
            found[path.parent.name.rpartition("-")[0]][f"teacher {said['model']}"].append(float(said["dev"][metric]))
    for run in runs if found else ():
        for language in found.keys() & run.dev.keys():
            found[language][run.arm].append(float(run.dev[language][metric]))
    return [_beside(f"Teachers and arms, {language}", own, metric, language) for language, own in sorted(found.items())]


def _beside(title: str, found: dict[str, list[float]], metric: str, language: str) -> Figure:
    figure, axes = _canvas(f"{metric.replace('_', ' ')}, {language} development rows", "", 0.5 + 0.4 * len(found))
    for place, values in enumerate(reversed(found.values())):
        mean, sd = mean_sd(values)
        axes.errorbar(mean, place, xerr=sd or 0, fmt="o", color="C0", capsize=3)
    axes.set_yticks(range(len(found)), list(reversed(found)), parse_math=False)
    return drawn(title, figure)


def _canvas(x: str, y: str, height: float = 3.0) -> tuple[Any, Any]:
    figure, axes = empty_canvas(7.0, max(1.6, height))
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def empty_canvas(width: float, height: float) -> tuple[Any, Any]:
    """A drawing of so many inches, and its one pair of axes."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise KddaError("drawings need matplotlib: pip install matplotlib") from None
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def drawn(title: str, figure: Any) -> Figure:
    """A finished drawing."""
    return Figure(title, _svg(figure), figure)


def _svg(figure: Any) -> str:
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "kdda"}):  # text stays text; the same runs, the same file
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
