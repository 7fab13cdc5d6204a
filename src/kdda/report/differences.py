"""Differences between arms, paired by seed and by row: 95 % intervals, p-values (Holm), verdicts (higher, lower)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from kdda.errors import KddaError
from kdda.metrics.correlation import RankedRows, spearman, spearman_interval
from kdda.metrics.significance import (
    Interval,
    RowStatistic,
    WeightedMean,
    holm,
    mean_bootstrap_interval,
    seed_interval,
)
from kdda.report.comparison import Comparison, score_name
from kdda.report.render import Table
from kdda.report.tables import seed_list
from kdda.runs.folder import Run
from kdda.runs.predictions import CORRELATION, RowScore, row_scores

EXPLANATION = (
    "Each line is the first arm minus the second. By row: 95 % interval of a paired bootstrap over test rows, which "
    "draws whole premises or passages; seeds are averaged. By seed: 95 % t interval of the seeds' differences. "
    'Verdict: "higher" or "lower" only where both intervals exclude zero. p is that of the bootstrap; beside it, '
    "adjusted for the number of lines by Holm's method."
)


@dataclass(frozen=True)
class Difference:
    """One arm minus another on the same seeds and the same rows, in points.

    Attributes:
        arm: whose scores are counted as positive.
        baseline: whose scores are subtracted.
        seeds: that both have run.
        by_example: mean over rows, with the interval of a bootstrap over rows and its p-value.
        by_seed: the t interval over seeds; None for one seed, and for seeds that agree exactly.
    """

    arm: str
    baseline: str
    seeds: list[int]
    by_example: Interval
    by_seed: Interval | None

    @property
    def name(self) -> str:
        """The line's title in the table: "arm − baseline"."""
        return f"{self.arm} − {self.baseline}"

    @property
    def verdict(self) -> str:
        """What the intervals allow to say: no direction is claimed unless both exclude zero."""
        if len(self.seeds) == 1:
            return "one seed: no conclusion"
        if self.by_seed is None:
            return "no spread between seeds: no conclusion"
        if self.by_example.excludes_zero and self.by_seed.excludes_zero:
            return "higher" if self.by_example.mean > 0 else "lower"
        return "no evidence of a difference"


def differences(comparison: Comparison) -> list[Difference]:
    """Every arm minus each of its baselines, over the seeds that both have run.

    Of two arms that are baselines of each other, one difference is measured, not both.
    """
    measured: dict[tuple[str, str], Difference] = {}  # by arm and baseline
    for baseline in comparison.baselines:
        for arm in comparison.by_arm:
            compared = baseline in comparison.baselines_of(arm) and (baseline, arm) not in measured
            if compared and comparison.common_seeds(arm, baseline):
                measured[arm, baseline] = _difference(comparison, arm, baseline)
    return list(measured.values())


def _difference(comparison: Comparison, arm: str, baseline: str) -> Difference:
    """Measure one arm minus another, over the seeds that both have run and the test rows that all these runs have.

    Of several targets it is the mean of theirs, however many rows each has.
    """
    seeds = comparison.common_seeds(arm, baseline)
    runs = comparison.by_arm[arm]
    baseline_runs = comparison.by_arm[baseline]
    gains: list[list[float]] = [[] for _ in seeds]  # of each seed, the mean over rows of the difference, one a target
    samples = []
    ranked: list[RankedRows] = []  # of tasks whose arms are compared by a correlation over rows
    for target in comparison.targets:
        pairs_by_seed = []
        for seed in seeds:
            pairs_by_seed.append(_row_pairs(runs[seed], baseline_runs[seed], target))
        ids = _common_ids(pairs_by_seed)
        if not ids:
            raise KddaError(
                f"{runs[seeds[0]].folder} and {baseline_runs[seeds[0]].folder} share no {comparison.split} row of "
                f'language "{target}": their predictions are of other rows, or broken; report them one by one'
            )
        if comparison.task.row_score == CORRELATION:
            ranked.append(_ranked_rows(pairs_by_seed, ids))
            continue
        statistic, target_gains = _compared(pairs_by_seed, ids)
        for seed_gains, gain in zip(gains, target_gains, strict=True):
            seed_gains.append(gain)
        groups = []  # the premise or passage of each row
        for row_id in ids:
            groups.append(pairs_by_seed[0][row_id].group)
        samples.append((statistic, groups))
    if ranked:
        return Difference(arm, baseline, seeds, spearman_interval(ranked), seed_interval(_correlation_gains(ranked)))
    return Difference(arm, baseline, seeds, mean_bootstrap_interval(samples), seed_interval(list(map(fmean, gains))))


def _compared(
    pairs_by_seed: Sequence[Mapping[str, RowPair]], ids: Sequence[str]
) -> tuple[RowStatistic, Sequence[float]]:
    """What a bootstrap draws of the rows of a language, averaged over seeds; and the difference of each seed.

    Args:
        pairs_by_seed: row id → both runs' scores of the row, one mapping a seed.
        ids: of the rows that all these runs have.
    """
    weighted = []  # two a seed: the arm's mean, and the baseline's
    gains = []
    for pairs in pairs_by_seed:
        ours = _weighted_mean([pairs[row_id].arm for row_id in ids], 1 / len(pairs_by_seed))
        theirs = _weighted_mean([pairs[row_id].baseline for row_id in ids], -1 / len(pairs_by_seed))
        weighted += [ours, theirs]
        gains.append(ours.value - theirs.value)
    if any(weight != 1 for mean in weighted for weight in mean.weights):
        return weighted, gains
    per_row = []  # mean over seeds of the difference, one number a row
    for row_id in ids:
        per_row.append(fmean(pairs[row_id].gain for pairs in pairs_by_seed))
    return per_row, [fmean(pairs[row_id].gain for row_id in ids) for pairs in pairs_by_seed]


def _weighted_mean(rows: Sequence[RowScore], factor: float) -> WeightedMean:
    """The mean of some rows' scores by their weights, with its factor in a sum of such means."""
    return WeightedMean([row.score for row in rows], [row.weight for row in rows], factor)


def _ranked_rows(pairs_by_seed: Sequence[Mapping[str, RowPair]], ids: Sequence[str]) -> RankedRows:
    """The golds and similarities of the rows of one language, by which two arms' correlations are compared.

    Args:
        pairs_by_seed: row id → both runs' predictions of it, one mapping a seed.
        ids: of the rows that all runs have.
    """
    first = pairs_by_seed[0]
    golds = [float(first[row_id].arm.row["gold"]) for row_id in ids]
    ours, theirs = [], []
    for pairs in pairs_by_seed:
        ours.append([float(pairs[row_id].arm.row["similarity"]) for row_id in ids])
        theirs.append([float(pairs[row_id].baseline.row["similarity"]) for row_id in ids])
    return RankedRows(golds, ours, theirs, [first[row_id].group for row_id in ids])


def _correlation_gains(ranked: Sequence[RankedRows]) -> list[float]:
    """Spearman's ρ of an arm minus that of its baseline, the mean over languages, one number a seed."""
    gains: list[list[float]] = [[] for _ in ranked[0].predictions]
    for rows in ranked:
        for seed_gains, ours, theirs in zip(gains, rows.predictions, rows.baselines, strict=True):
            seed_gains.append(spearman(ours, rows.golds) - spearman(theirs, rows.golds))
    return list(map(fmean, gains))


class RowPair(NamedTuple):
    """The scores of a test row by a run of an arm and by a run of its baseline."""

    arm: RowScore
    baseline: RowScore

    @property
    def gain(self) -> float:
        """The arm's score minus the baseline's, in points."""
        return self.arm.score - self.baseline.score

    @property
    def group(self) -> str:
        """The premise or passage of the row, whose rows are not independent."""
        return self.arm.group


def _row_pairs(run: Run, baseline_run: Run, language: str) -> dict[str, RowPair]:
    """Row id → both runs' scores of the row, of the rows of a language that both have."""
    scores = row_scores(run, language)
    baseline_scores = row_scores(baseline_run, language)
    pairs = {}
    for row_id, score in scores.items():
        if row_id in baseline_scores:
            pairs[row_id] = RowPair(score, baseline_scores[row_id])
    return pairs


def _common_ids(pairs_by_seed: Sequence[Mapping[str, RowPair]]) -> list[str]:
    """The row ids that all seeds have, in the first seed's order."""
    ids = []
    for row_id in pairs_by_seed[0]:
        if all(row_id in pairs for pairs in pairs_by_seed):
            ids.append(row_id)
    return ids


def difference_table(measured: Sequence[Difference], metric: str, title: str = "Differences") -> Table:
    """A row for each difference, with its intervals, its p-value by the bootstrap, that p adjusted, and a verdict.

    Args:
        metric: the score that was compared, as events name it.
    """
    score = score_name(metric)
    adjusted = holm([difference.by_example.p for difference in measured])
    rows = []
    for difference, adjusted_p in zip(measured, adjusted, strict=True):
        rows.append(_table_row(difference, adjusted_p))
    header = ["arms", f"Δ {score}", "95 % by row", "95 % by seed", "p", "p, Holm", "verdict"]
    return Table(title, header, rows, [EXPLANATION, *_seed_notes(measured)])


def _seed_notes(measured: Sequence[Difference]) -> list[str]:
    """Which seeds were compared, and which differences have fewer of them."""
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


def _table_row(difference: Difference, adjusted_p: float) -> list[str]:
    """The cells of a difference, in the order of the table's header."""
    interval = difference.by_example
    return [
        difference.name,
        signed(interval.mean),
        _interval_text(interval),
        _interval_text(difference.by_seed),
        _p_text(interval.p),
        _p_text(adjusted_p),
        difference.verdict,
    ]


def signed(value: float) -> str:
    """A difference in points, with its sign: a minus and not a hyphen.

    >>> signed(-1.24)
    '−1.2'
    """
    return f"{value:+.1f}".replace("-", "−")


def _interval_text(interval: Interval | None) -> str:
    """An interval as a cell writes it; empty without one.

    >>> _interval_text(Interval(1.0, -0.5, 2.5, 0.2))
    '[−0.5, +2.5]'
    """
    if interval is None:
        return ""
    return f"[{signed(interval.low)}, {signed(interval.high)}]"


def _p_text(p: float) -> str:
    """A p-value as a cell writes it.

    >>> _p_text(0.0214), _p_text(0.0002)
    ('.021', '< .001')
    """
    if p < 0.001:
        return "< .001"
    return f"{p:.3f}".removeprefix("0")
