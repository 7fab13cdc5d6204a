"""The choice of each arm's learning rate: the best mean score on development rows, never on test rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from kdda.runs.folder import Run

RunBySeed = dict[int, Run]


def select_rates(runs: Sequence[Run], languages: Sequence[str], metric: str) -> tuple[list[Run], list[str]]:
    """Of each arm the runs at the learning rate that does best on the development rows, and a note on each choice.

    The score of a rate is its mean over the seeds that all of the arm's rates have run; of equals the lowest is chosen.

    Args:
        runs: of one experiment, at all learning rates.
        languages: whose development rows decide, by their mean score.
        metric: the score that decides.
    """
    # arm → rate → seed → run; the rate is None for an arm that searches for none
    by_arm: dict[str, dict[float | None, RunBySeed]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        by_arm[run.arm][run.learning_rate][run.seed] = run
    chosen: list[Run] = []
    notes = []
    for arm, rates in by_arm.items():
        best = next(iter(rates))
        if len(rates) > 1:
            means = _mean_scores(rates, languages, metric)
            best = max(means, key=lambda rate: means[rate])  # of equals the first, which is the lowest
            notes.append(_choice_note(arm, best, means, metric))
        chosen += rates[best].values()
    return chosen, notes


def _mean_scores(
    rates: Mapping[float | None, RunBySeed], languages: Sequence[str], metric: str
) -> dict[float | None, float]:
    """Each rate's mean score on the development rows over the common seeds, rates rising.

    Args:
        rates: of one arm: rate → seed → run.
    """
    seeds = _common_seeds(rates)
    means = {}
    for rate in sorted(rates, key=lambda rate: rate or 0.0):
        scores = []
        for seed, run in rates[rate].items():
            if seed in seeds:
                scores.append(fmean(run.dev[language][metric] for language in languages))
        means[rate] = fmean(scores)
    return means


def _common_seeds(rates: Mapping[float | None, RunBySeed]) -> set[int]:
    """The seeds that all rates have run; all seeds where there is no such."""
    seeds_by_rate = [set(runs) for runs in rates.values()]
    return set.intersection(*seeds_by_rate) or set.union(*seeds_by_rate)


def _choice_note(arm: str, best: float | None, means: Mapping[float | None, float], metric: str) -> str:
    """The sentence of a report that names an arm's chosen rate, and the mean score of each rate that was tried."""
    scores = []
    for rate, mean in means.items():
        scores.append(f"{rate:g} {mean:.1f}")
    return f"Learning rate of {arm}: {best:g}, by development {metric.replace('_', ' ')} ({', '.join(scores)})."
