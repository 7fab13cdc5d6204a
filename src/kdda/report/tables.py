"""The comparison of arms, with the spread that its numbers have, and what the arms were trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from kdda.metrics.significance import mean_sd
from kdda.report.comparison import Comparison, runs_by_arm, score_name
from kdda.report.render import Table
from kdda.runs.folder import Run


def comparison_table(comparison: Comparison, note: str = "") -> Table:
    """Every arm's scores on the target language's rows, and its differences from its baselines, paired by seed.

    Args:
        note: the recipe's, which stands below the table.
    """
    header = ["arm"]
    header += map(score_name, comparison.task.scores)
    header += [f"vs {baseline}" for baseline in comparison.baselines]
    header.append("seconds")
    rows = [_comparison_row(comparison, arm) for arm in comparison.arms]
    notes = [*_explanation(comparison), *_seed_notes(comparison), *_sampling_error(comparison)]
    if note:
        notes.append(note)
    return Table(f"{comparison.target}, {comparison.split} rows", header, rows, notes)


def _comparison_row(comparison: Comparison, arm: str) -> list[str]:
    cells = [arm]
    for score in comparison.task.scores:
        cells.append(spread(comparison.scores(arm, score).values()))
    for baseline in comparison.baselines:
        cells.append(_gain_cell(comparison, arm, baseline))
    seconds = [run.seconds for run in comparison.by_arm[arm].values()]
    return [*cells, spread(seconds, digits=0)]


def _gain_cell(comparison: Comparison, arm: str, baseline: str) -> str:
    """The mean difference of two arms; empty where they are not compared."""
    if baseline not in comparison.baselines_of(arm):
        return ""
    gains = comparison.paired_gains(arm, baseline)
    return spread(gains, signed=True) if gains else "no common seed"


def _explanation(comparison: Comparison) -> list[str]:
    """What the rows and columns of the table are."""
    sentence = "An arm is one way to train the student."
    if comparison.baselines:
        metric = score_name(comparison.metric)
        sentence += f' A column "vs X" is the {metric} of the row\'s arm minus that of arm X, paired by seed.'
    return [sentence]


def _seed_notes(comparison: Comparison) -> list[str]:
    arms_by_seeds: dict[str, list[str]] = defaultdict(list)
    for arm, runs in comparison.by_arm.items():
        arms_by_seeds[seed_list(runs)].append(arm)
    return seed_notes(arms_by_seeds)


def seed_notes(arms_by_seeds: Mapping[str, Collection[str]]) -> list[str]:
    """What the seeds of a table allow to say.

    Args:
        arms_by_seeds: seeds, as `seed_list` writes them → the arms that have run just these.
    """
    if len(arms_by_seeds) > 1:
        groups = [f"{seeds}: {', '.join(arms)}" for seeds, arms in arms_by_seeds.items()]
        return [f"Seeds differ between arms ({'; '.join(groups)}); differences use the seeds that both arms have."]
    for seeds in arms_by_seeds:
        if "," in seeds:
            return [f"Mean ± sample standard deviation over seeds {seeds}."]
        return ["One seed: no conclusion, differences may be due to chance; --seeds 1,2,3 shows their spread."]
    return []


def seed_list(seeds: Iterable[int]) -> str:
    """Seeds as a sentence names them.

    >>> seed_list([2, 1])
    '1, 2'
    """
    return ", ".join(map(str, sorted(seeds)))


def _sampling_error(comparison: Comparison) -> list[str]:
    """How much one run's score varies with the rows that were drawn."""
    for runs in comparison.by_arm.values():
        for run in runs.values():
            facts, metric = comparison.facts(run), score_name(comparison.metric)
            error = f"one run's {metric} has a standard error of about {facts['standard_error']:.1f} points"
            return [f"{facts['rows']} {comparison.split} rows: {error}."]
    return []


def data_table(runs: Sequence[Run]) -> Table:
    """What each arm was trained on, in tokens of its student, and how many rows chose and scored it."""
    rows = []
    for arm, (first, *_) in runs_by_arm(runs).items():
        for language, sizes in first.task_event.get("data", {}).items():
            counts = [sizes["rows"], sizes["windows"], sizes["tokens"]]
            for scores in (first.dev, first.test):
                counts.append(scores.get(language, {}).get("rows", 0))
            rows.append([f"{arm}, {language}", *map(_count, counts)])
    header = ["arm, language", "training rows", "windows", "tokens", "dev rows", "test rows"]
    return Table("Data", header, rows)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def spread(values: Iterable[float], signed: bool = False, digits: int = 1) -> str:
    """``mean ± sample standard deviation``, or the value alone where there is one.

    >>> spread([50.0, 52.0]), spread([1.25], signed=True)
    ('51.0 ± 1.4', '+1.2')
    """
    mean, sd = mean_sd(list(values))
    sign = "+" if signed else ""
    text = f"{mean:{sign}.{digits}f}"
    return text if sd is None else f"{text} ± {sd:.{digits}f}"
