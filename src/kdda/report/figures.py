"""Figures of a report, 7 inches wide: loss curves, scores by arm, teachers, gains by lead, scores by weight λ."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from kdda.errors import KddaError
from kdda.metrics.significance import mean_sd
from kdda.report.canvas import as_figure, empty_canvas
from kdda.report.comparison import Comparison, score_name
from kdda.report.differences import Difference
from kdda.report.render import Figure
from kdda.report.teacher_check import TeacherScore, compared_students
from kdda.runs.folder import Run

WIDTH = 7.0  # inches

FEW_NAMES = 8  # for which a legend inside the drawing has room

NAME_HEIGHT = 0.25  # inches that a line with a name takes

# the line from an arm's name to its point, as matplotlib's `arrowprops`: light grey, without a head, from the middle of
# the name's left edge (relpos), with 1 point of space to the name (shrinkA)
LEADER = {"arrowstyle": "-", "color": "0.8", "relpos": (0, 0.5), "shrinkA": 1}

TERMS = ("task", "transport")  # of the loss, as the `train` events of metrics.jsonl name them

COLOURS = 10  # of matplotlib's cycle, C0 to C9

STYLES = ("-", "--", ":")  # solid, dashed, dotted: the next one after every ten colours

MIN_WEIGHTS = 3  # different values of λ that make a line of scores

MeanAndSd = tuple[float, float | None]  # of one value the deviation is None

# In this file `drawing` and `axes` are matplotlib's, and "C0", "C1" the first colours of its cycle; `clip_on=False`
# draws points on the edge of the axes in full.


def loss_curves(runs: Sequence[Run]) -> list[Figure]:
    """Each term of the loss against the step: a figure a term and language, a curve an arm, seeds averaged."""
    panels: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = {}  # term, language → arm → step → values
    for run in runs:
        for term, event in _logged_terms(run):
            arms = panels.setdefault((term, event["language"]), {})
            steps = arms.setdefault(run.arm, {})
            steps.setdefault(event["step"], []).append(event[term])
    figures = []
    for (term, language), arms in sorted(panels.items()):
        figures.append(_loss_figure(term, language, arms))
    return figures


def _logged_terms(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every term of the loss that a run has logged, with the `train` event that has its value, step and language."""
    for event in run.events:
        if event["event"] == "train":
            for term in TERMS:
                if term in event:
                    yield term, event


def _loss_figure(term: str, language: str, arms: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """A figure with a curve for each arm.

    Args:
        arms: arm → step → values of the term, one a run.
    """
    height = 3.0
    if len(arms) > FEW_NAMES:  # the legend stands below the curves
        height += NAME_HEIGHT * len(arms)
    drawing, axes = _canvas_with_grid("step", f"{term}, {language}", height)
    for number, (arm, values_by_step) in enumerate(arms.items()):
        steps = sorted(values_by_step)
        means = [fmean(values_by_step[step]) for step in steps]
        style = STYLES[number // COLOURS % len(STYLES)]
        axes.plot(steps, means, style, label=arm, linewidth=1.2)
    _add_legend(drawing, axes, len(arms))
    return as_figure(f"Training: {term}, {language}", drawing)


def scores_by_arm(comparison: Comparison) -> Figure:
    """Each arm's mean and standard deviation over seeds, and the seeds themselves."""
    arms = list(reversed(comparison.arms))  # rows are numbered from below, and the first arm stands above
    x = f"{score_name(comparison.metric)}, {comparison.target} test rows"
    drawing, axes = _canvas_with_grid(x, "", height=0.5 + 0.4 * len(arms))
    for row, arm in enumerate(arms):
        values = list(comparison.scores(arm, comparison.metric).values())
        mean, sd = mean_sd(values)
        axes.errorbar(mean, row, xerr=sd or 0, fmt="o", color="C0", capsize=3, clip_on=False)
        axes.plot(values, [row] * len(values), "|", color="C1", markersize=12, clip_on=False)
    _name_rows(axes, arms)
    return as_figure("Scores by arm: mean and standard deviation, one stroke per seed", drawing)


def teachers_and_students(teachers: Sequence[TeacherScore], metric: str) -> list[Figure]:
    """What teachers score on the development rows of their languages, beside the undistilled arms.

    A figure in a list, which is empty without teachers.
    """
    if not teachers:
        return []
    from_below = list(reversed(teachers))  # rows are numbered from below, and the first teacher stands above
    x = f"{score_name(metric)} on the development rows of the teacher's language"
    drawing, axes = _canvas_with_grid(x, "", height=1.2 + 0.4 * len(teachers))
    rows = range(len(teachers))
    axes.plot([teacher.score for teacher in from_below], rows, "o", label="teacher", markersize=8, clip_on=False)
    for arm in compared_students(teachers):
        scores = [teacher.students.get(arm, math.nan) for teacher in from_below]  # matplotlib draws no NaN
        axes.plot(scores, rows, "|", label=arm, markersize=16, clip_on=False)
    _name_rows(axes, [teacher.label for teacher in from_below])
    drawing.legend(loc="outside lower center", fontsize="small", ncols=3)
    return [as_figure("Teachers and students without a teacher", drawing)]


def gains_by_lead(comparison: Comparison, measured: Sequence[Difference]) -> list[Figure]:
    """What each arm gained by distillation, against how much better its teacher is than the undistilled arm.

    Both are of the target language, of which there is one: gains on test rows with intervals by row, leads on
    development rows. Arms with another student, training or rows are not drawn. A figure in a list, which is empty for
    fewer than two leads.

    Args:
        measured: differences between arms; those from the plain baseline are the gains.
    """
    leads = _teacher_leads(comparison)
    by_lead: dict[float, list[Difference]] = defaultdict(list)
    for difference in sorted(measured, key=lambda difference: difference.by_example.mean):
        if difference.baseline == comparison.plain_baseline and difference.arm in leads:
            by_lead[leads[difference.arm]].append(difference)
    if len(by_lead) < 2:
        return []
    most_names = max(map(len, by_lead.values()))  # that stand one above the other
    height = max(4.0, 1.0 + NAME_HEIGHT * most_names)
    baseline = comparison.plain_baseline
    x = f"the {comparison.target} teacher's lead over {baseline}: {score_name(comparison.metric)}, development rows"
    drawing, axes = _canvas_with_grid(x, "gain, test rows", height)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.margins(x=0.3)  # names stand beside their points
    _draw_gains(axes, by_lead)
    _draw_gain_names(axes, by_lead, height)
    return [as_figure(f"Gain over {baseline} against the teacher's lead", drawing)]


def _teacher_leads(comparison: Comparison) -> dict[str, float]:
    """Arm → its teacher's score minus the plain baseline's, both of the target language, on development rows.

    Empty where there is no plain baseline, or it has no scores on development rows.
    """
    language = comparison.targets[0]
    metric = comparison.metric
    if comparison.plain_baseline is None:
        return {}
    baseline_runs = list(comparison.by_arm[comparison.plain_baseline].values())
    baseline_scores = []
    for run in baseline_runs:
        if language in run.dev:
            baseline_scores.append(run.dev[language][metric])
    if not baseline_scores:
        return {}
    leads = {}
    for run in comparison.runs:
        scores = []
        for teacher in run.teachers:
            if teacher["language"] == language and metric in teacher:
                scores.append(teacher[metric])
        if scores and run.configuration == baseline_runs[0].configuration:
            leads[run.arm] = fmean(scores) - fmean(baseline_scores)  # of several teachers their mean
    return leads


def _draw_gains(axes: Any, by_lead: Mapping[float, Sequence[Difference]]) -> None:
    """A point for each gain, at its teacher's lead, with its 95 % interval by row."""
    for lead, differences in by_lead.items():
        for difference in differences:
            gain = difference.by_example
            lengths = [[gain.mean - gain.low], [gain.high - gain.mean]]  # of the bar below and above the point
            axes.errorbar(lead, gain.mean, yerr=lengths, fmt="o", color="C0", clip_on=False)


def _draw_gain_names(axes: Any, by_lead: Mapping[float, Sequence[Difference]], height: float) -> None:
    """The arms' names beside their points, moved apart where they would cover each other.

    Args:
        by_lead: a teacher's lead → the gains at it, rising.
        height: of the drawing, in inches.
    """
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    gap = float(NAME_HEIGHT * (high - low) / height)  # points of gain that a name takes
    style: dict[str, Any] = {"fontsize": "small", "va": "center", "arrowprops": LEADER}
    for lead, differences in by_lead.items():
        gains = [difference.by_example.mean for difference in differences]
        places = _spread_labels(gains, gap)
        axes.plot([lead] * len(places), places, color="none")  # invisible: the axes grow to where names stand
        for difference, gain, place in zip(differences, gains, places, strict=True):
            name_at = (lead + 0.03 * (right - left), place)
            axes.annotate(difference.arm, (lead, gain), name_at, **style)


def scores_by_weight(comparison: Comparison) -> list[Figure]:
    """The score on test rows against the distillation weight λ: a line for arms that differ in nothing else.

    A line needs `MIN_WEIGHTS` different λ; its means are over the seeds that all its arms have run, and the legend
    names it by its first arm, "as student-kdda". A figure in a list, which is empty without a line.
    """
    lines = _scores_by_weight_of_like_arms(comparison)
    if not lines:
        return []
    drawing, axes = _canvas_with_grid("λ", f"{score_name(comparison.metric)}, {comparison.target} test rows")
    for first_arm, line in lines.items():
        means = []
        deviations = []
        for mean, sd in line.values():
            means.append(mean)
            deviations.append(sd or 0)
        weights = list(line)
        label = f"as {first_arm}"  # the line's arms have the settings of this one, apart from λ
        axes.errorbar(weights, means, yerr=deviations, fmt="o-", capsize=3, label=label, clip_on=False)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    return [as_figure("Score against λ", drawing)]


def _scores_by_weight_of_like_arms(comparison: Comparison) -> dict[str, dict[float, MeanAndSd]]:
    """Group the distilled arms whose settings differ in λ alone, and average each arm's scores over seeds.

    Returns:
        The first arm of each group, which names it → λ, rising → mean and standard deviation of the metric over the
        group's common seeds. Groups of fewer than `MIN_WEIGHTS` λ, or without a common seed, are left out.
    """
    groups: dict[str, dict[float, dict[int, float]]] = defaultdict(dict)  # settings but for λ → λ → seed → score
    first_arms: dict[str, str] = {}  # settings but for λ → the first arm that has them
    for arm, runs in comparison.by_arm.items():
        first_run = next(iter(runs.values()))  # all runs of an arm have its settings
        if first_run.is_distilled:
            settings, weight = _settings_without_weight(first_run)
            first_arms.setdefault(settings, arm)
            scores = groups[settings].setdefault(weight, {})
            scores.update(comparison.scores(arm, comparison.metric))
    lines = {}
    for settings, scores_by_weight in groups.items():
        if len(scores_by_weight) >= MIN_WEIGHTS:
            line = _means_over_common_seeds(scores_by_weight)
            if line:
                lines[first_arms[settings]] = line
    return lines


def _settings_without_weight(run: Run) -> tuple[str, float]:
    """An arm's settings but for λ, as text that equal settings share, and its λ.

    An arm's `distill` is true, or holds what the arm changes of the recipe's `distill`; λ is "lambda" in both.
    """
    settings = dict(run.arm_settings)
    distill = settings.pop("distill")
    changes = dict(distill) if isinstance(distill, dict) else {}
    written = changes.pop("lambda", run.recipe["distill"]["lambda"])
    try:
        weight = float(written)
    except (TypeError, ValueError):
        raise KddaError(f"{run.folder}: its recipe.yaml has {written!r} as distill.lambda, expected a number") from None
    settings["distill"] = changes or True  # an arm that changes λ alone is like one that changes nothing
    return repr(sorted(settings.items())), weight


def _means_over_common_seeds(scores_by_weight: Mapping[float, Mapping[int, float]]) -> dict[float, MeanAndSd]:
    """λ → mean and standard deviation over the seeds that all λ have; empty where there is no such seed.

    Args:
        scores_by_weight: λ → seed → score.
    """
    common_seeds = set.intersection(*map(set, scores_by_weight.values()))
    means = {}
    for weight in sorted(scores_by_weight):
        values = []
        for seed, score in scores_by_weight[weight].items():
            if seed in common_seeds:
                values.append(score)
        if values:
            means[weight] = mean_sd(values)
    return means


def _spread_labels(values: Sequence[float], gap: float) -> list[float]:
    """Places of labels, each near its value, no two nearer than `gap`: labels that would touch are stacked.

    A stack stands around the mean of its values.

    Args:
        values: rising.
        gap: in the unit of the values.

    >>> _spread_labels([0.0, 0.1, 5.0], 1.0)
    [-0.45, 0.55, 5.0]
    """
    stacks: list[list[float]] = []  # of values whose labels touch
    for value in values:
        stacks.append([value])
        while len(stacks) > 1 and _stacks_touch(stacks[-2], stacks[-1], gap):
            last = stacks.pop()
            stacks[-1] += last
    places = []
    for stack in stacks:
        lowest = fmean(stack) - gap * (len(stack) - 1) / 2
        for number in range(len(stack)):
            places.append(lowest + gap * number)
    return places


def _stacks_touch(lower: Sequence[float], upper: Sequence[float], gap: float) -> bool:
    """Whether two stacks of labels, each around the mean of its values, need more room than there is between them."""
    return fmean(upper) - fmean(lower) < gap * (len(lower) + len(upper)) / 2


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows 0, 1, … of a drawing from below, with half a row of room above and below."""
    axes.set_yticks(range(len(names)), names, parse_math=False)  # a name with dollar signs is no formula
    axes.set_ylim(-0.5, len(names) - 0.5)


def _add_legend(drawing: Any, axes: Any, names: int) -> None:
    """Names in the drawing where they are few, else below it."""
    if names <= FEW_NAMES:
        axes.legend(fontsize="small")
    else:
        drawing.legend(loc="outside lower center", fontsize="small", ncols=3)


def _canvas_with_grid(x: str, y: str, height: float = 3.0) -> tuple[Any, Any]:
    """An empty drawing of the report's width and its axes, with a grid and these axis labels.

    Args:
        height: in inches, at least 1.6.
    """
    drawing, axes = empty_canvas(WIDTH, max(1.6, height))
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return drawing, axes
