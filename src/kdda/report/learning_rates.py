"""Learning rates are chosen on development rows, never on test rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from kdda.runs.folder import Run

BySeed = dict[int, Run]


def select_rates(runs: Sequence[Run], language: str, metric: str) -> tuple[list[Run], list[str]]:
    """Of each arm the runs at the learning rate that does best on the development rows, and a note on each choice.

    The score of a rate is its mean over the seeds that all of the arm's rates have run; of equals the lowest is chosen.

    Args:
        language: whose development rows decide.
        metric: the score that decides.
    """
    by_arm: dict[str, dict[float | None, BySeed]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        by_arm[run.arm][run.learning_rate][run.seed] = run
    chosen: list[Run] = []
    notes = []
    for arm, rates in by_arm.items():
        best = next(iter(rates))
        if len(rates) > 1:
            means = _mean_scores(rates, language, metric)
            best = max(means, key=lambda rate: means[rate])  # of equals the first, which is the lowest
            notes.append(_note(arm, best, means, metric))
        chosen += rates[best].values()
    return chosen, notes


def _mean_scores(rates: Mapping[float | None, BySeed], language: str, metric: str) -> dict[float | None, float]:
    """Each rate's mean score on the development rows over the common seeds, rates rising."""
    seeds = _common_seeds(rates)
    means = {}
    for rate in sorted(rates, key=lambda rate: rate or 0.0):
        scores = [run.dev[language][metric] for seed, run in rates[rate].items() if seed in seeds]
        means[rate] = fmean(scores)
    return means


def _common_seeds(rates: Mapping[float | None, BySeed]) -> set[int]:
    """The seeds that all rates have run; all seeds where there is no such."""
    seeds = [set(runs) for runs in rates.values()]
    return set.intersection(*seeds) or set.union(*seeds)


def _note(arm: str, best: float | None, means: Mapping[float | None, float], metric: str) -> str:
    scores = ", ".join(f"{rate:g} {mean:.1f}" for rate, mean in means.items())
    return f"Learning rate of {arm}: {best:g}, by development {metric.replace('_', ' ')} ({scores})."
