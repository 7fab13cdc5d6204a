"""Arms against each other: differences paired by seed and by row, and words that say no more than they do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from kdda.metrics.significance import Interval, bootstrap_interval, holm, seed_interval
from kdda.report.comparison import comparison_baselines
from kdda.report.render import Table
from kdda.runs.folder import Run
from kdda.runs.predictions import row_scores


@dataclass(frozen=True)
class Difference:
    """One arm less another on the same seeds and the same rows."""

    arm: str
    baseline: str
    seeds: list[int]
    by_example: Interval
    by_seed: Interval | None

    @property
    def verdict(self) -> str:
        """No direction is claimed unless both intervals exclude zero."""
        if self.by_seed is None:
            return "one seed: nothing to say" if len(self.seeds) == 1 else "seeds of no spread: nothing to say"
        if self.by_example.excludes_zero and self.by_seed.excludes_zero:
            return "above" if self.by_example.mean > 0 else "below"
        return "no evidence of a difference"


def differences(runs: Sequence[Run], language: str, against: str | None = None) -> list[Difference]:
    """Every arm against those that `comparison_baselines` finds for it, over the seeds that both have run."""
    by_arm: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        by_arm[run.arm][run.seed] = run
    held = comparison_baselines(runs, against)
    pairs: dict[tuple[str, str], list[int]] = {}
    for baseline in (own for own in by_arm if any(own in others for others in held.values())):
        for arm in (arm for arm in by_arm if baseline in held[arm]):
            common = sorted(set(by_arm[arm]) & set(by_arm[baseline]))
            if common and (baseline, arm) not in pairs:
                pairs[arm, baseline] = common
    return [_difference(by_arm[a], by_arm[b], common, language) for (a, b), common in pairs.items()]


def _difference(ours: dict[int, Run], theirs: dict[int, Run], seeds: list[int], language: str) -> Difference:
    pairs = [(row_scores(ours[seed], language), row_scores(theirs[seed], language)) for seed in seeds]
    rows = [key for key in pairs[0][0] if all(key in side for pair in pairs for side in pair)]
    per_seed = [fmean(mine[key].score - other[key].score for key in rows) for mine, other in pairs]
    per_row = [fmean(mine[key].score - other[key].score for mine, other in pairs) for key in rows]
    groups = [pairs[0][0][key].group for key in rows]
    arm, baseline = ours[seeds[0]].arm, theirs[seeds[0]].arm
    return Difference(arm, baseline, seeds, bootstrap_interval(per_row, groups), seed_interval(per_seed))


def difference_table(found: Sequence[Difference], score: str) -> Table:
    """Differences with their intervals; p-values are those of the bootstrap, adjusted for their number."""
    adjusted = holm([own.by_example.p for own in found])
    rows = [_row(own, p) for own, p in zip(found, adjusted, strict=True)]
    header = ["arms", f"Δ {score}", "95 % by row", "95 % by seed", "p", "p, Holm", "reading"]
    seeds = sorted({seed for own in found for seed in own.seeds})
    notes = [
        "By row: paired bootstrap over rows, whole premises or passages drawn together, seeds averaged. By seed: t "
        "interval of the seeds' differences. An arm is called above or below only where both exclude zero.",
        f"Seeds compared: {', '.join(map(str, seeds))}.",
    ]
    uneven = [f"{own.arm} − {own.baseline} ({own.seeds})" for own in found if own.seeds != seeds]
    if uneven:
        notes.append(f"Common seeds only: {'; '.join(uneven)}.")
    return Table("Differences", header, rows, notes)


def _row(own: Difference, adjusted: float) -> list[str]:
    name, mean = f"{own.arm} − {own.baseline}", _signed(own.by_example.mean)
    ranges = [_range(own.by_example), _range(own.by_seed)]
    return [name, mean, *ranges, _p(own.by_example.p), _p(adjusted), own.verdict]


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _range(own: Interval | None) -> str:
    return "" if own is None else f"[{_signed(own.low)}, {_signed(own.high)}]"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
