"""What was chosen on development rows, and whom it was worth listening to: never by test rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from kdda.report.comparison import comparison_baselines
from kdda.report.render import Table
from kdda.runs.folder import Run


def select_rates(runs: Sequence[Run], language: str, metric: str) -> tuple[list[Run], list[str]]:
    """Of each arm the runs at the learning rate that does best on the development rows, and what was chosen, in words.

    The score of a rate is its mean over the seeds that all of the arm's rates have run; of equals the lowest is chosen.
    """
    by_arm: dict[str, dict[float | None, dict[int, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        by_arm[run.arm][run.learning_rate][run.seed] = run
    chosen: list[Run] = []
    warnings = []
    for arm, rates in by_arm.items():
        seeds = set.intersection(*(set(own) for own in rates.values())) or {s for own in rates.values() for s in own}
        scores = {
            rate: fmean([own[seed].dev[language][metric] for seed in seeds if seed in own])
            for rate, own in sorted(rates.items(), key=lambda pair: pair[0] or 0.0)
            if len(rates) > 1
        }
        best = max(scores, key=lambda rate: scores[rate]) if scores else next(iter(rates))
        chosen += rates[best].values()
        if scores:
            found = ", ".join(f"{rate:g} {score:.1f}" for rate, score in scores.items())
            warnings.append(f"Learning rate of {arm}: {best:g}, by development {metric.replace('_', ' ')} ({found}).")
    return chosen, warnings


def teacher_check(runs: Sequence[Run], metric: str) -> Table | None:
    """Each teacher beside the arms that heard none, on its language's development rows; None where no teacher spoke.

    They are those that its own students are held against.
    """
    said = {(language, own["name"]): own[metric] for r in runs for language, own in r.teachers.items()}
    if not said:
        return None
    held, heard = comparison_baselines(runs), defaultdict[tuple[str, str], set[str]](set)
    for run in runs:
        for language, own in run.teachers.items():
            heard[language, own["name"]].update(held[run.arm])
    met = set.union(*heard.values())
    plain = list(dict.fromkeys(run.arm for run in runs if not run.is_distilled and run.arm in met))
    rows, notes = [], []
    for (language, model), score in sorted(said.items()):
        beside = [arm for arm in plain if arm in heard[language, model]]
        means = {arm: fmean([r.dev[language][metric] for r in runs if r.arm == arm]) for arm in beside}
        cells = [f"{means[arm]:.1f}" if arm in means else "" for arm in plain]
        rows.append([f"{language}, {model}", f"{score:.1f}", *cells])
        if means and score <= (most := max(means.values())):
            arm = next(arm for arm in beside if means[arm] == most)
            notes.append(
                f"WARNING: this teacher is no better than the student it teaches: {language}, {model} {score:.1f}, "
                f"{arm} {most:.1f}."
            )
    title = f"Worth listening to? {metric.replace('_', ' ')} on each language's own development rows"
    return Table(title, ["teacher", "its own", *plain], rows, notes)
