"""Drawings of run folders: training curves, scores, teachers, gains and distillation weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from kdda.metrics.significance import mean_sd
from kdda.report.canvas import empty_canvas, finished
from kdda.report.comparison import Comparison, score_name
from kdda.report.differences import Difference
from kdda.report.render import Figure
from kdda.report.teacher_check import TeacherScore, compared_students
from kdda.runs.folder import Run

WIDTH = 7.0  # inches

FEW = 8  # names that a drawing has room for

LABEL = 0.25  # inches that a name takes

LEADER = {"arrowstyle": "-", "color": "0.8", "relpos": (0, 0.5), "shrinkA": 1}  # from a name to its point

TERMS = ("task", "transport")

STYLES = ("-", "--", ":")  # the next one after every ten colours

POINTS_AT_LEAST = 3  # weights that make a line

Curves = dict[str, dict[int, list[float]]]  # arm → step → values, one a run


def curves(runs: Sequence[Run]) -> list[Figure]:
    """The terms of the loss against the step, a drawing a language, seeds averaged."""
    panels: dict[tuple[str, str], Curves] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        for term, event in _training_terms(run):
            panels[term, event["language"]][run.arm][event["step"]].append(event[term])
    figures = []
    for (term, language), arms in sorted(panels.items()):
        figures.append(_curve(term, language, arms))
    return figures


def _training_terms(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every term of the loss that a run has logged, with its event."""
    for event in run.events:
        if event["event"] == "train":
            for term in TERMS:
                if term in event:
                    yield term, event


def _curve(term: str, language: str, arms: Curves) -> Figure:
    height = 3.0
    if len(arms) > FEW:
        height += LABEL * len(arms)
    figure, axes = _canvas("step", f"{term}, {language}", height)
    for number, (arm, points) in enumerate(arms.items()):
        steps = sorted(points)
        means = [fmean(points[step]) for step in steps]
        style = STYLES[number // 10 % len(STYLES)]
        axes.plot(steps, means, style, label=arm, linewidth=1.2)
    _legend(figure, axes, len(arms))
    return finished(f"Training: {term}, {language}", figure)


def scores_by_arm(comparison: Comparison) -> Figure:
    """Each arm's mean and standard deviation over seeds, and the seeds themselves."""
    arms = list(reversed(comparison.arms))
    x = f"{score_name(comparison.metric)}, {comparison.target} test rows"
    figure, axes = _canvas(x, "", height=0.5 + 0.4 * len(arms))
    for place, arm in enumerate(arms):
        values = list(comparison.scores(arm, comparison.metric).values())
        mean, sd = mean_sd(values)
        axes.errorbar(mean, place, xerr=sd or 0, fmt="o", color="C0", capsize=3, clip_on=False)
        axes.plot(values, [place] * len(values), "|", color="C1", markersize=12, clip_on=False)
    _rows(axes, arms)
    return finished("Scores by arm: mean and standard deviation, one stroke per seed", figure)


def teachers_and_students(teachers: Sequence[TeacherScore], metric: str) -> list[Figure]:
    """What teachers score on the development rows of their languages, beside the undistilled arms."""
    if not teachers:
        return []
    rows = list(reversed(teachers))
    x = f"{score_name(metric)} on the development rows of the teacher's language"
    figure, axes = _canvas(x, "", height=1.2 + 0.4 * len(rows))
    places = range(len(rows))
    axes.plot([row.score for row in rows], places, "o", label="teacher", markersize=8, clip_on=False)
    for arm in compared_students(teachers):
        scores = [row.students.get(arm, math.nan) for row in rows]
        axes.plot(scores, places, "|", label=arm, markersize=16, clip_on=False)
    _rows(axes, [row.label for row in rows])
    figure.legend(loc="outside lower center", fontsize="small", ncols=3)
    return [finished("Teachers and students without a teacher", figure)]


def gains_by_lead(comparison: Comparison, measured: Sequence[Difference]) -> list[Figure]:
    """What each arm gained by distillation, against how much better its teacher is than the undistilled arm.

    Both are of the target language: gains on test rows with intervals by row, leads on development rows. Arms with
    another student, training or rows are not drawn.
    """
    leads = _teacher_leads(comparison)
    by_lead: dict[float, list[Difference]] = defaultdict(list)
    for difference in sorted(measured, key=lambda difference: difference.by_example.mean):
        if difference.baseline == comparison.plain_baseline and difference.arm in leads:
            by_lead[leads[difference.arm]].append(difference)
    if len(by_lead) < 2:
        return []
    height = max(4.0, 1.0 + LABEL * max(map(len, by_lead.values())))
    baseline, what = comparison.plain_baseline, score_name(comparison.metric)
    x = f"the {comparison.target} teacher's lead over {baseline}: {what}, development rows"
    figure, axes = _canvas(x, "gain, test rows", height)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.margins(x=0.3)  # names stand beside their points
    _gain_points(axes, by_lead)
    _gain_names(axes, by_lead, height)
    return [finished(f"Gain over {baseline} against the teacher's lead", figure)]


def _teacher_leads(comparison: Comparison) -> dict[str, float]:
    """Arm → its teacher's score minus the plain baseline's, both of the target language, on development rows."""
    language, metric, baseline = comparison.target, comparison.metric, comparison.plain_baseline
    if baseline is None:
        return {}
    plain_runs = list(comparison.by_arm[baseline].values())
    dev = [run.dev[language][metric] for run in plain_runs if language in run.dev]
    leads = {}
    for run in comparison.runs:
        if dev and language in run.teachers and run.configuration == plain_runs[0].configuration:
            leads[run.arm] = run.teachers[language][metric] - fmean(dev)
    return leads


def _gain_points(axes: Any, by_lead: Mapping[float, Sequence[Difference]]) -> None:
    for lead, group in by_lead.items():
        for difference in group:
            gain = difference.by_example
            error = [[gain.mean - gain.low], [gain.high - gain.mean]]
            axes.errorbar(lead, gain.mean, yerr=error, fmt="o", color="C0", clip_on=False)


def _gain_names(axes: Any, by_lead: Mapping[float, Sequence[Difference]], height: float) -> None:
    """The arms' names beside their points, moved apart where they would cover each other."""
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    beside: dict[str, Any] = {"fontsize": "small", "va": "center", "arrowprops": LEADER}
    for lead, group in by_lead.items():
        gains = [difference.by_example.mean for difference in group]
        places = _apart(gains, gap=float(LABEL * (high - low) / height))
        axes.plot([lead] * len(places), places, color="none")  # the drawing grows where names need it
        for difference, mean, place in zip(group, gains, places, strict=True):
            axes.annotate(difference.arm, (lead, mean), (lead + 0.03 * (right - left), place), **beside)


def scores_by_weight(comparison: Comparison) -> list[Figure]:
    """The score against λ, a line for each three arms or more that differ in nothing else, over their common seeds."""
    lines = _lines_by_weight(comparison)
    if not lines:
        return []
    figure, axes = _canvas("λ", f"{score_name(comparison.metric)}, {comparison.target} test rows")
    for name, line in lines.items():
        means, errors = [], []
        for mean, sd in line.values():
            means.append(mean)
            errors.append(sd or 0)
        axes.errorbar(list(line), means, yerr=errors, fmt="o-", capsize=3, label=f"as {name}", clip_on=False)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    return [finished("Score against λ", figure)]


def _lines_by_weight(comparison: Comparison) -> dict[str, dict[float, tuple[float, float | None]]]:
    """The first of some arms that differ in λ alone → λ → mean and standard deviation of their score."""
    groups: dict[str, dict[float, dict[int, float]]] = defaultdict(dict)
    names: dict[str, str] = {}
    for arm, runs in comparison.by_arm.items():
        first = next(iter(runs.values()))
        if first.is_distilled:
            rest, weight = _settings_without_weight(first)
            names.setdefault(rest, arm)
            scores = groups[rest].setdefault(weight, {})
            scores.update(comparison.scores(arm, comparison.metric))
    lines = {}
    for rest, weights in groups.items():
        if len(weights) >= POINTS_AT_LEAST:
            lines[names[rest]] = _over_common_seeds(weights)
    return {name: line for name, line in lines.items() if line}


def _settings_without_weight(run: Run) -> tuple[str, float]:
    """An arm's settings but for λ, as text that equal settings share, and its λ."""
    settings = dict(run.arm_settings)
    distill = settings.pop("distill")
    changes = dict(distill) if isinstance(distill, dict) else {}
    weight = float(changes.pop("lambda", run.recipe["distill"]["lambda"]))
    settings["distill"] = changes or True
    return repr(sorted(settings.items())), weight


def _over_common_seeds(weights: Mapping[float, Mapping[int, float]]) -> dict[float, tuple[float, float | None]]:
    """λ → mean and standard deviation over the seeds that all λ have; empty where there is no such seed."""
    common = set.intersection(*map(set, weights.values()))
    line = {}
    for weight in sorted(weights):
        values = []
        for seed, score in weights[weight].items():
            if seed in common:
                values.append(score)
        if values:
            line[weight] = mean_sd(values)
    return line


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Places of labels for values that rise: no two nearer than `gap`.

    >>> _apart([0.0, 0.1, 5.0], 1.0)
    [-0.45, 0.55, 5.0]
    """
    clusters: list[list[float]] = []  # of values whose labels touch
    for value in values:
        clusters.append([value])
        while len(clusters) > 1 and _touch(clusters[-2], clusters[-1], gap):
            last = clusters.pop()
            clusters[-1] += last
    places = []
    for cluster in clusters:
        first = fmean(cluster) - gap * (len(cluster) - 1) / 2
        places += [first + gap * k for k in range(len(cluster))]
    return places


def _touch(lower: Sequence[float], upper: Sequence[float], gap: float) -> bool:
    return fmean(upper) - fmean(lower) < gap * (len(lower) + len(upper)) / 2


def _rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a drawing, with half a row of room above and below."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(-0.5, len(names) - 0.5)


def _legend(figure: Any, axes: Any, names: int) -> None:
    """Names in the drawing where they are few, else below it."""
    if names <= FEW:
        axes.legend(fontsize="small")
    else:
        figure.legend(loc="outside lower center", fontsize="small", ncols=3)


def _canvas(x: str, y: str, height: float = 3.0) -> tuple[Any, Any]:
    figure, axes = empty_canvas(WIDTH, max(1.6, height))
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes
