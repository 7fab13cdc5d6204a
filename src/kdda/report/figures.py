"""Drawings of run folders, as SVG text that a page can hold."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from kdda.errors import KddaError
from kdda.evaluate import mean_sd
from kdda.report.document import Figure, Table
from kdda.report.paired import Difference
from kdda.report.runs import Run, baseline

FEW = 8  # names that a drawing has room for
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
        figure, axes = _canvas("step", f"{term}, {language}", height=3.0 + 0.25 * (len(arms) if len(arms) > FEW else 0))
        for arm, points in arms.items():
            steps = sorted(points)
            axes.plot(steps, [fmean(points[step]) for step in steps], label=arm, linewidth=1.2)
        _legend(figure, axes, len(arms))
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
    figure, axes = _canvas(worth.title.removeprefix("Worth listening to? "), "", height=0.6 + 0.4 * len(worth.rows))
    for column, name in enumerate(worth.header[1:], 1):
        scores = [float(row[column]) if row[column] else math.nan for row in reversed(worth.rows)]
        axes.plot(scores, range(len(scores)), "o" if column == 1 else "|", label=name, markersize=8 * min(column, 2))
    axes.set_yticks(range(len(worth.rows)), [row[0] for row in reversed(worth.rows)], parse_math=False)
    axes.legend(fontsize="small")
    return drawn("Teachers and the students that heard none", figure)


def gains_by_lead(runs: Sequence[Run], found: Sequence[Difference], language: str, metric: str) -> list[Figure]:
    """What each arm gained by listening, against how much better its teacher is than the arm that heard none.

    Both are of the target language: gains on test rows with intervals by row, leads on development rows. Arms whose
    student is another, or is trained otherwise, are left out.
    """
    plain = baseline(runs)
    like = (
        [run for run in runs if run.made_as == next(own.made_as for own in runs if own.arm == plain)] if plain else []
    )
    dev = [run.dev[language][metric] for run in like if run.arm == plain and language in run.dev]
    spoken = {run.arm: run.teachers[language][metric] for run in like if language in run.teachers}
    points = [own for own in found if own.baseline == plain and own.arm in spoken]
    if not dev or len({spoken[own.arm] for own in points}) < 2:
        return []
    what = metric.replace("_", " ")
    figure, axes = _canvas(
        f"the {language} teacher's lead over {plain}: {what}, development rows", "gain, test rows", 4.0
    )
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.margins(x=0.2)  # names stand beside their points
    for own in points:
        lead, gain = spoken[own.arm] - fmean(dev), own.by_example
        axes.errorbar(lead, gain.mean, yerr=[[gain.mean - gain.low], [gain.high - gain.mean]], fmt="o", color="C0")
        axes.annotate(own.arm, (lead, gain.mean), textcoords="offset points", xytext=(5, 4), fontsize="small")
    return [drawn(f"Gain over {plain} against the teacher's lead", figure)]


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


def _legend(figure: Any, axes: Any, names: int) -> None:
    """Names in the drawing where they are few, else below it."""
    if names <= FEW:
        axes.legend(fontsize="small")
    else:
        figure.legend(loc="outside lower center", fontsize="small", ncols=3)


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
