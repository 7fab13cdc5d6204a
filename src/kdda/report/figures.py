"""Drawings of run folders, as SVG text that a page can hold."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from kdda.errors import KddaError
from kdda.metrics.significance import mean_sd
from kdda.report.comparison import baseline
from kdda.report.differences import Difference
from kdda.report.render import Figure, Table
from kdda.runs.folder import Run

FEW = 8  # names that a drawing has room for

LABEL = 0.25  # inches that a name takes

LEADER = {"arrowstyle": "-", "color": "0.8", "relpos": (0, 0.5), "shrinkA": 1}  # from a name to its point

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
        for number, (arm, points) in enumerate(arms.items()):
            steps, style = sorted(points), ("-", "--", ":")[number // 10 % 3]  # there are ten colours
            axes.plot(steps, [fmean(points[step]) for step in steps], style, label=arm, linewidth=1.2)
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
        [run for run in runs if run.configuration == next(own.configuration for own in runs if own.arm == plain)]
        if plain
        else []
    )
    dev = [run.dev[language][metric] for run in like if run.arm == plain and language in run.dev]
    spoken = {run.arm: run.teachers[language][metric] for run in like if language in run.teachers}
    points = [own for own in found if own.baseline == plain and own.arm in spoken]
    if not dev or len({spoken[own.arm] for own in points}) < 2:
        return []
    by_lead: dict[float, list[Difference]] = defaultdict(list)
    for own in sorted(points, key=lambda own: own.by_example.mean):
        by_lead[spoken[own.arm] - fmean(dev)].append(own)
    height = max(4.0, 1.0 + LABEL * max(map(len, by_lead.values())))
    what = metric.replace("_", " ")
    x, y = f"the {language} teacher's lead over {plain}: {what}, development rows", "gain, test rows"
    figure, axes = _canvas(x, y, height)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.margins(x=0.3)  # names stand beside their points
    for lead, group in by_lead.items():
        for gain in (own.by_example for own in group):
            axes.errorbar(lead, gain.mean, yerr=[[gain.mean - gain.low], [gain.high - gain.mean]], fmt="o", color="C0")
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    beside: dict[str, Any] = {"fontsize": "small", "va": "center", "arrowprops": LEADER}
    for lead, group in by_lead.items():
        gains = [own.by_example.mean for own in group]
        places = _apart(gains, LABEL * (high - low) / height)
        axes.plot([lead] * len(places), places, color="none")  # the drawing grows where names need it
        for own, mean, place in zip(group, gains, places, strict=True):
            axes.annotate(own.arm, (lead, mean), (lead + 0.03 * (right - left), place), **beside)
    return [drawn(f"Gain over {plain} against the teacher's lead", figure)]


def scores_by_weight(runs: Sequence[Run], language: str, metric: str) -> list[Figure]:
    """The score against λ, a line for each three arms or more that differ in nothing else, over their common seeds."""
    lines: dict[str, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    names: dict[str, str] = {}
    for run in (run for run in runs if run.is_distilled):
        own = dict(run.recipe["arms"][run.arm])
        changes = dict(own.pop("distill")) if isinstance(own["distill"], dict) else {}
        weight = float(changes.pop("lambda", run.recipe["distill"]["lambda"]))
        own["distill"] = changes or True
        alike = repr(sorted(own.items()))
        names.setdefault(alike, run.arm)
        lines[alike][weight][run.seed] = run.test[language][metric]
    drawn_lines = {}
    for alike, weights in lines.items():
        common = set.intersection(*(set(scores) for scores in weights.values()))
        if len(weights) >= 3 and common:
            drawn_lines[names[alike]] = {w: mean_sd([weights[w][seed] for seed in common]) for w in sorted(weights)}
    if not drawn_lines:
        return []
    figure, axes = _canvas("λ", f"{metric.replace('_', ' ')}, {language} test rows")
    for name, line in drawn_lines.items():
        means, errors = [mean for mean, _ in line.values()], [sd or 0 for _, sd in line.values()]
        axes.errorbar(list(line), means, yerr=errors, fmt="o-", capsize=3, label=f"as {name}")
    if len(drawn_lines) > 1:
        axes.legend(fontsize="small")
    return [drawn("Score against λ", figure)]


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Places of labels for values that rise: no two nearer than `gap`.

    >>> _apart([0.0, 0.1, 5.0], 1.0)
    [-0.45, 0.55, 5.0]
    """
    places: list[list[float]] = []  # clusters of values whose labels touch
    for value in values:
        places.append([value])
        while len(places) > 1 and fmean(places[-1]) - fmean(places[-2]) < gap * len(places[-2] + places[-1]) / 2:
            last = places.pop()
            places[-1] += last
    return [fmean(own) + gap * (k - (len(own) - 1) / 2) for own in places for k in range(len(own))]


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
