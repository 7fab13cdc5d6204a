"""The table of costs: seconds of training, peak memory in MB, and points gained per extra minute over a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from kdda.metrics.significance import mean_sd
from kdda.report.comparison import Comparison
from kdda.report.differences import Difference, signed
from kdda.report.render import Table
from kdda.report.tables import SECONDS_NOTE, spread
from kdda.runs.folder import Run

MEMORY_NOTE = "Peak memory is the process's, which may have run other arms before."

TEACHERS_NOTE = (
    "A teacher is fine-tuned once, and all arms and seeds that are distilled from it share it: its seconds are in no "
    "arm's."
)


def cost_table(comparison: Comparison, measured: Sequence[Difference]) -> Table:
    """Seconds and peak memory of each arm, points per additional minute, and the seconds of each teacher.

    Args:
        measured: differences; those from the main baseline are set against the minutes that they cost.
    """
    baseline = comparison.main_baseline
    gains: dict[str, Difference] = {}  # by arm
    for difference in measured:
        if difference.baseline == baseline:
            gains[difference.arm] = difference
    header = ["arm or teacher", "seconds", "seconds a step", "peak MB"]
    rows = []
    for arm in comparison.arms:
        rows.append(_arm_row(arm, list(comparison.by_arm[arm].values())))
    notes = [SECONDS_NOTE, MEMORY_NOTE]
    if gains:
        header.append(f"points per extra minute vs {baseline}")
        for arm, row in zip(comparison.arms, rows, strict=True):
            row.append(_points_per_minute(comparison, gains.get(arm)))
        notes.append(_minutes_note(baseline))
    teachers = _teacher_rows(comparison, columns=len(header))
    if any(run.teachers for run in comparison.runs):
        notes.append(TEACHERS_NOTE)
    return Table("Cost", header, rows + teachers, notes)


def _minutes_note(baseline: str | None) -> str:
    """What the column of points per extra minute shows, and where it is blank."""
    return (
        "Points per extra minute: the difference from the baseline, divided by the additional minutes of training; "
        f"blank where these are within twice the standard deviation of {baseline}'s, which one seed does not have."
    )


def _arm_row(arm: str, runs: Sequence[Run]) -> list[str]:
    """An arm's cells: name, seconds, seconds a step, peak megabytes, each with its spread over the arm's runs."""
    seconds = []
    seconds_per_step = []
    for run in runs:
        seconds.append(run.seconds)
        if run.steps:
            seconds_per_step.append(run.seconds / run.steps)
    return [
        arm,
        spread(seconds, digits=0),
        _spread_or_blank(seconds_per_step, digits=2),
        _spread_or_blank(_peak_megabytes(runs), digits=0),
    ]


def _spread_or_blank(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation with so many decimals; empty without values."""
    if not values:
        return ""
    return spread(values, digits=digits)


def _peak_megabytes(runs: Sequence[Run]) -> list[float]:
    """Peak memory of the processes of some runs, in megabytes, of the runs that have measured it."""
    peaks = []
    for run in runs:
        for event in run.events:
            if event["event"] == "final-cost" and "peak_mb" in event:
                peaks.append(float(event["peak_mb"]))
    return peaks


def _teacher_rows(comparison: Comparison, columns: int) -> list[list[str]]:
    """A row for each teacher that was fine-tuned here, with its seconds; blank in the other columns.

    Args:
        columns: of the table, with those of the name and the seconds.
    """
    rows = []
    for (language, name), seconds in sorted(_teacher_seconds(comparison.runs).items()):
        blanks = [""] * (columns - 2)
        rows.append([f"teacher {language}, {name}", ", ".join(seconds), *blanks])
    return rows


def _teacher_seconds(runs: Sequence[Run]) -> Mapping[tuple[str, str], list[str]]:
    """Language and name → whole seconds of fine-tuning; several where arms fine-tune one model differently."""
    seconds: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for event in run.teachers:
            value = event.get("training_seconds")
            if value is None:  # it was not fine-tuned here
                continue
            values = seconds.setdefault((event["language"], event["name"]), [])
            if f"{value:.0f}" not in values:
                values.append(f"{value:.0f}")
    return seconds


def _points_per_minute(comparison: Comparison, gain: Difference | None) -> str:
    """60 · points gained / additional seconds, over the common seeds, as text.

    Empty where the additional seconds may be chance (at most twice the standard deviation of the baseline's), and
    where there is no gain to divide.
    """
    if gain is None:
        return ""
    baseline_runs = comparison.by_arm[gain.baseline]
    _, sd = mean_sd([run.seconds for run in baseline_runs.values()])
    extra = _mean_seconds(comparison.by_arm[gain.arm], gain.seeds) - _mean_seconds(baseline_runs, gain.seeds)
    if sd is None or extra <= 2 * sd:
        return ""
    return signed(60 * gain.by_example.mean / extra)


def _mean_seconds(runs: Mapping[int, Run], seeds: Sequence[int]) -> float:
    """The mean training time of an arm's runs (by seed) at some seeds."""
    return fmean(runs[seed].seconds for seed in seeds)
