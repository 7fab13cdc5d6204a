"""Arms against each other: differences paired by seed and by row, and verdicts that claim no more than they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from kdda.metrics.significance import Interval, bootstrap_interval, holm, seed_interval
from kdda.report.comparison import Comparison, score_name
from kdda.report.render import Table
from kdda.report.tables import seed_list
from kdda.runs.folder import Run
from kdda.runs.predictions import RowScore, row_scores

EXPLANATION = (
    "Each line is the first arm minus the second. By row: 95 % interval of a paired bootstrap over test rows, which "
    "draws whole premises or passages; seeds are averaged. By seed: 95 % t interval of the seeds' differences. "
    'Verdict: "higher" or "lower" only where both intervals exclude zero. p is that of the bootstrap; beside it, '
    "adjusted for the number of lines by Holm's method."
)


@dataclass(frozen=True)
class Difference:
    """One arm minus another on the same seeds and the same rows, in points."""

    arm: str
    baseline: str
    seeds: list[int]
    by_example: Interval
    by_seed: Interval | None

    @property
    def name(self) -> str:
        return f"{self.arm} − {self.baseline}"

    @property
    def verdict(self) -> str:
        """No direction is claimed unless both intervals exclude zero."""
        if len(self.seeds) == 1:
            return "one seed: no conclusion"
        if self.by_seed is None:
            return "no spread between seeds: no conclusion"
        if self.by_example.excludes_zero and self.by_seed.excludes_zero:
            return "higher" if self.by_example.mean > 0 else "lower"
        return "no evidence of a difference"


def differences(comparison: Comparison) -> list[Difference]:
    """Every arm minus each of its baselines, over the seeds that both have run."""
    measured: dict[tuple[str, str], Difference] = {}
    for baseline in comparison.baselines:
        for arm in comparison.by_arm:
            compared = baseline in comparison.baselines_of(arm) and (baseline, arm) not in measured
            if compared and comparison.common_seeds(arm, baseline):
                measured[arm, baseline] = _difference(comparison, arm, baseline)
    return list(measured.values())


def _difference(comparison: Comparison, arm: str, baseline: str) -> Difference:
    seeds = comparison.common_seeds(arm, baseline)
    runs, others = comparison.by_arm[arm], comparison.by_arm[baseline]
    pairs = [_row_pairs(runs[seed], others[seed], comparison.target) for seed in seeds]
    rows = _common_rows(pairs)
    per_seed = []
    for pair in pairs:
        gaps = [_gap(pair[row]) for row in rows]
        per_seed.append(fmean(gaps))
    per_row, groups = [], []
    for row in rows:
        gaps = [_gap(pair[row]) for pair in pairs]
        per_row.append(fmean(gaps))
        groups.append(pairs[0][row][0].group)
    return Difference(arm, baseline, seeds, bootstrap_interval(per_row, groups), seed_interval(per_seed))


RowPair = tuple[RowScore, RowScore]


def _row_pairs(run: Run, other: Run, language: str) -> dict[str, RowPair]:
    """Id → both runs' scores of a row, of the rows that both have."""
    scores, others = row_scores(run, language), row_scores(other, language)
    pairs = {}
    for row, score in scores.items():
        if row in others:
            pairs[row] = (score, others[row])
    return pairs


def _common_rows(pairs: Sequence[Mapping[str, RowPair]]) -> list[str]:
    """The ids that all seeds have, in the first seed's order."""
    rows = []
    for row in pairs[0]:
        if all(row in pair for pair in pairs):
            rows.append(row)
    return rows


def _gap(pair: RowPair) -> float:
    return pair[0].score - pair[1].score


def difference_table(measured: Sequence[Difference], metric: str) -> Table:
    """Differences with their intervals; p-values are those of the bootstrap, adjusted for their number."""
    score = score_name(metric)
    adjusted = holm([difference.by_example.p for difference in measured])
    rows = [_row(difference, p) for difference, p in zip(measured, adjusted, strict=True)]
    header = ["arms", f"Δ {score}", "95 % by row", "95 % by seed", "p", "p, Holm", "verdict"]
    return Table("Differences", header, rows, [EXPLANATION, *_seed_notes(measured)])


def _seed_notes(measured: Sequence[Difference]) -> list[str]:
    seeds = set[int]()
    for difference in measured:
        seeds.update(difference.seeds)
    notes = [f"Seeds compared: {seed_list(seeds)}."]
    fewer = []
    for difference in measured:
        if len(difference.seeds) < len(seeds):
            fewer.append(f"{difference.name} ({seed_list(difference.seeds)})")
    if fewer:
        notes.append(f"Common seeds only: {'; '.join(fewer)}.")
    return notes


def _row(difference: Difference, adjusted: float) -> list[str]:
    interval = difference.by_example
    ranges = [_range(interval), _range(difference.by_seed)]
    p_values = [_p(interval.p), _p(adjusted)]
    return [difference.name, signed(interval.mean), *ranges, *p_values, difference.verdict]


def signed(value: float) -> str:
    """A difference in points.

    >>> signed(-1.24)
    '−1.2'
    """
    return f"{value:+.1f}".replace("-", "−")


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"[{signed(interval.low)}, {signed(interval.high)}]"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
