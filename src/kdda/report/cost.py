"""What arms and teachers cost: seconds, memory, and what additional minutes of training have given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from kdda.metrics.significance import mean_sd
from kdda.report.comparison import Comparison
from kdda.report.differences import Difference, signed
from kdda.report.render import Table
from kdda.report.tables import spread
from kdda.runs.folder import Run

SECONDS_NOTE = (
    "Seconds of training, over all sittings. Peak memory is the process's, which may have run other arms before."
)

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
    gains = {difference.arm: difference for difference in measured if difference.baseline == baseline}
    header = ["arm or teacher", "seconds", "seconds a step", "peak MB"]
    rows = [_arm_row(arm, list(comparison.by_arm[arm].values())) for arm in comparison.arms]
    notes = [SECONDS_NOTE]
    if gains:
        header.append(f"points per extra minute vs {baseline}")
        for row in rows:
            row.append(_points_per_minute(comparison, gains.get(row[0])))
        notes.append(_minutes_note(baseline))
    teachers = _teacher_rows(comparison, columns=len(header))
    if any(run.teachers for run in comparison.runs):
        notes.append(TEACHERS_NOTE)
    return Table("Cost", header, rows + teachers, notes)


def _minutes_note(baseline: str | None) -> str:
    return (
        "Points per extra minute: the difference from the baseline, divided by the additional minutes of training; "
        f"blank where these are within twice the standard deviation of {baseline}'s, which one seed does not have."
    )


def _arm_row(arm: str, runs: Sequence[Run]) -> list[str]:
    seconds = []
    for run in runs:
        seconds.append(run.seconds)
    per_step = []
    for run in runs:
        steps = _steps(run)
        if steps:
            per_step.append(run.seconds / steps)
    return [arm, spread(seconds, digits=0), _spread(per_step, digits=2), _spread(_peaks(runs), digits=0)]


def _spread(values: Sequence[float], digits: int) -> str:
    return spread(values, digits=digits) if values else ""


def _steps(run: Run) -> int:
    return max((event.get("step", 0) for event in run.events), default=0)


def _peaks(runs: Sequence[Run]) -> list[float]:
    """Peak memory of the processes of some runs, in megabytes."""
    peaks = []
    for run in runs:
        for event in run.events:
            if event["event"] == "final-cost":
                peaks.append(float(event["peak_mb"]))
    return peaks


def _teacher_rows(comparison: Comparison, columns: int) -> list[list[str]]:
    """A row for each teacher that was fine-tuned here, with its seconds; blank in the other columns."""
    rows = []
    for (language, name), seconds in sorted(_teacher_seconds(comparison.runs).items()):
        blanks = [""] * (columns - 2)
        rows.append([f"teacher {language}, {name}", ", ".join(seconds), *blanks])
    return rows


def _teacher_seconds(runs: Sequence[Run]) -> Mapping[tuple[str, str], list[str]]:
    """Language and name → whole seconds of fine-tuning; several where arms fine-tune one model differently."""
    seconds: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for language, event in run.teachers.items():
            value = event.get("training_seconds")  # None where it was not fine-tuned here
            values = seconds.setdefault((language, event["name"]), [])
            if value is not None and f"{value:.0f}" not in values:
                values.append(f"{value:.0f}")
    return {teacher: values for teacher, values in seconds.items() if values}


def _points_per_minute(comparison: Comparison, gain: Difference | None) -> str:
    """Points for each additional minute over the common seeds; empty where minutes may differ by chance."""
    if gain is None:
        return ""
    baseline_runs = comparison.by_arm[gain.baseline]
    _, sd = mean_sd([run.seconds for run in baseline_runs.values()])
    extra = _mean_seconds(comparison.by_arm[gain.arm], gain.seeds) - _mean_seconds(baseline_runs, gain.seeds)
    if sd is None or extra <= 2 * sd:
        return ""
    return signed(60 * gain.by_example.mean / extra)


def _mean_seconds(runs: Mapping[int, Run], seeds: Sequence[int]) -> float:
    return fmean(runs[seed].seconds for seed in seeds)
