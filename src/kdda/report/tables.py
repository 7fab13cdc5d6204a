"""The comparison of arms, with the spread that its numbers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdda.evaluate import mean_sd
from kdda.report.runs import Run

BASELINES = ("student", "student-da")


@dataclass(frozen=True)
class Table:
    """A titled table; `notes` say what a reader must know before quoting it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def comparison(runs: Sequence[Run], language: str, scores: Sequence[str], arms: Sequence[str], note: str = "") -> Table:
    """Arms against each other on one language's test rows; differences are paired by seed.

    Args:
        scores: names of the scores to show; the first one is compared.
        arms: their order.
    """
    by_arm = {arm: {run.seed: run for run in runs if run.arm == arm and language in run.test} for arm in arms}
    shown = [arm for arm in arms if by_arm[arm]]
    baselines = [arm for arm in BASELINES if arm in shown and len(shown) > 1]
    header = ["arm", *(score.replace("_", "-") for score in scores), *(f"vs {b}" for b in baselines), "seconds"]
    rows = [_row(by_arm, arm, baselines, language, scores) for arm in shown]
    return Table(f"{language}, test rows", header, rows, _notes(by_arm, shown, language, scores[0], note))


def _row(
    by_arm: dict[str, dict[int, Run]], arm: str, baselines: Sequence[str], language: str, scores: Sequence[str]
) -> list[str]:
    runs = by_arm[arm]
    cells = [spread([run.test[language][score] for run in runs.values()]) for score in scores]
    for baseline in baselines:
        common = sorted(set(runs) & set(by_arm[baseline]))
        gaps = [_score(runs[s], language, scores[0]) - _score(by_arm[baseline][s], language, scores[0]) for s in common]
        cells.append("" if arm == baseline else spread(gaps, signed=True) if gaps else "no common seed")
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


def _notes(by_arm: dict[str, dict[int, Run]], shown: Sequence[str], language: str, score: str, note: str) -> list[str]:
    seeds = {arm: sorted(by_arm[arm]) for arm in shown}
    counts = {len(s) for s in seeds.values()}
    notes = []
    if counts == {1}:
        notes.append("One seed: these differences may be luck; --seeds 1,2,3 shows their spread.")
    elif len({tuple(s) for s in seeds.values()}) > 1:
        notes.append(f"Seeds differ between arms ({seeds}); differences use the common ones.")
    elif counts:
        notes.append(f"Mean ± sample sd over seeds {', '.join(map(str, next(iter(seeds.values()))))}.")
    notes += _sampling_error(by_arm, shown, language, score)
    return [*notes, note] if note else notes


def _sampling_error(by_arm: dict[str, dict[int, Run]], shown: Sequence[str], language: str, score: str) -> list[str]:
    first = next((run for arm in shown for run in by_arm[arm].values()), None)
    if first is None or score != "accuracy":
        return []
    rows = first.test[language]["rows"]
    share = first.test[language][score] / 100
    error = 100 * (share * (1 - share) / rows) ** 0.5
    return [f"{rows} test rows: one run's accuracy has a standard error of about {error:.1f} points."]


def to_markdown(table: Table) -> str:
    """The table in Markdown, aligned to be read as it is."""
    widths = [max(len(row[i]) for row in [table.header, *table.rows]) for i in range(len(table.header))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [table.header, *table.rows]
    ]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:], "", *table.notes])
