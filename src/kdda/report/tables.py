"""The comparison of arms, with the spread that its numbers have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from kdda.metrics.significance import mean_sd
from kdda.report.comparison import comparison_baselines
from kdda.report.render import Table
from kdda.runs.folder import Run


@runtime_checkable
class Scored(Protocol):
    """What a table must know of a task."""

    @property
    def metric(self) -> str: ...

    @property
    def scores(self) -> tuple[str, ...]: ...


def comparison(
    runs: Sequence[Run],
    language: str,
    task: Scored,
    arms: Sequence[str],
    note: str = "",
    split: str = "test",
    against: str | None = None,
) -> Table:
    """Arms against each other on one language's test rows; differences are paired by seed.

    Args:
        task: its scores are shown, its metric is compared.
        arms: their order.
        split: which rows the scores of `runs` are of, where they are not the test rows.
        against: the one arm that all are held against, instead of those that `comparison_baselines` finds.
    """
    by_arm = {arm: {run.seed: run for run in runs if run.arm == arm and language in run.test} for arm in arms}
    shown = [arm for arm in arms if by_arm[arm]]
    held = comparison_baselines(runs, against)
    baselines = [arm for arm in dict.fromkeys(run.arm for run in runs) if any(arm in held[other] for other in shown)]
    header = [
        "arm",
        *(score.replace("_", "-") for score in task.scores),
        *(f"vs {b}" for b in baselines),
        "seconds",
    ]
    rows = [_row(by_arm, arm, {b: b in held[arm] for b in baselines}, language, task) for arm in shown]
    return Table(f"{language}, {split} rows", header, rows, _notes(by_arm, shown, language, task.metric, note, split))


def _row(
    by_arm: dict[str, dict[int, Run]], arm: str, baselines: Mapping[str, bool], language: str, task: Scored
) -> list[str]:
    """An arm's line.

    Args:
        baselines: whether it is held against each.
    """
    runs = by_arm[arm]
    cells = [spread([run.test[language][score] for run in runs.values()]) for score in task.scores]
    for baseline, held in baselines.items():
        common = sorted(set(runs) & set(by_arm[baseline]))
        gaps = [
            _score(runs[s], language, task.metric) - _score(by_arm[baseline][s], language, task.metric) for s in common
        ]
        cells.append("" if not held else spread(gaps, signed=True) if gaps else "no common seed")
    return [arm, *cells, spread([run.seconds for run in runs.values()], digits=0)]


def _score(run: Run, language: str, score: str) -> float:
    return float(run.test[language][score])


def spread(values: Sequence[float], signed: bool = False, digits: int = 1) -> str:
    """``mean ± sd``, or the one value there is.

    >>> spread([50.0, 52.0]), spread([1.25], signed=True)
    ('51.0 ± 1.4', '+1.2')
    """
    mean, sd = mean_sd(values)
    text = f"{mean:{'+' if signed else ''}.{digits}f}"
    return text if sd is None else f"{text} ± {sd:.{digits}f}"


def _notes(
    by_arm: dict[str, dict[int, Run]], shown: Sequence[str], language: str, score: str, note: str, split: str
) -> list[str]:
    seeds = {arm: sorted(by_arm[arm]) for arm in shown}
    counts = {len(s) for s in seeds.values()}
    notes = []
    if counts == {1}:
        notes.append("One seed: these differences may be luck; --seeds 1,2,3 shows their spread.")
    elif len({tuple(s) for s in seeds.values()}) > 1:
        notes.append(f"Seeds differ between arms ({seeds}); differences use the common ones.")
    elif counts:
        notes.append(f"Mean ± sample sd over seeds {', '.join(map(str, next(iter(seeds.values()))))}.")
    notes += _sampling_error(by_arm, shown, language, score, split)
    return [*notes, note] if note else notes


def _sampling_error(
    by_arm: dict[str, dict[int, Run]], shown: Sequence[str], language: str, score: str, split: str
) -> list[str]:
    first = next((run for arm in shown for run in by_arm[arm].values()), None)
    if first is None:
        return []
    own, name = first.test[language], score.replace("_", "-")
    compared = [f"Differences (vs) are of {name}."] if len(shown) > 1 else []
    error = f"one run's {name} has a standard error of about {own['standard_error']:.1f} points"
    return [*compared, f"{own['rows']} {split} rows: {error}."]
