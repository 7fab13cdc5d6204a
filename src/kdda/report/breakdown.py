"""Test scores broken down by label, or by the length of the gold answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from kdda.report.comparison import Comparison
from kdda.report.render import Table
from kdda.report.tables import spread
from kdda.runs.folder import Run
from kdda.runs.predictions import row_scores

LENGTHS = ((2, "1 to 2"), (6, "3 to 6"))  # most syllables (words) of an answer, and what such answers are called

LONGEST = "7 or more"

NO_ANSWER = "no answer"


def breakdown_table(comparison: Comparison) -> Table | None:
    """Each arm's test scores by part; None for a task whose scores are not broken down."""
    kind = comparison.task.breakdown
    if kind is None:
        kind = _kind_of_older_run(comparison)
    if kind not in BREAKDOWNS:
        return None
    parts_of = BREAKDOWNS[kind]
    by_arm: dict[str, dict[str, list[float]]] = {}
    for arm, runs in comparison.by_arm.items():
        by_arm[arm] = _scores_by_part([parts_of(run, comparison.target) for run in runs.values()])
    columns = sorted(set().union(*by_arm.values()))
    rows = []
    for arm, parts in by_arm.items():
        rows.append([arm, *(spread(parts[column]) if column in parts else "" for column in columns)])
    return Table(f"F1 by {kind}, {comparison.target} test rows", ["arm", *columns], rows)


def _kind_of_older_run(comparison: Comparison) -> str:
    """Runs of before `breakdown` show by their scores what their task breaks them down by."""
    for run in comparison.runs:
        if "per_label" in run.test[comparison.target]:
            return "label"
    return "answer length"


def _scores_by_part(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    parts: dict[str, list[float]] = defaultdict(list)
    for scores in runs:
        for part, score in scores.items():
            parts[part].append(score)
    return parts


def _by_label(run: Run, language: str) -> Mapping[str, float]:
    labels: Mapping[str, float] = run.test[language]["per_label"]
    return labels


def _by_answer_length(run: Run, language: str) -> dict[str, float]:
    parts: dict[str, list[float]] = defaultdict(list)
    for row in row_scores(run, language).values():
        parts[_answer_length(row.row)].append(row.score)
    return {part: fmean(scores) for part, scores in parts.items()}


def _answer_length(row: Mapping[str, Any]) -> str:
    """The length of a row's first gold answer, as a column names it."""
    if not row["golds"]:
        return NO_ANSWER
    count = len(row["golds"][0].split())
    for most, name in LENGTHS:
        if count <= most:
            return name
    return LONGEST


BREAKDOWNS: dict[str, Callable[[Run, str], Mapping[str, float]]] = {
    "label": _by_label,
    "answer length": _by_answer_length,
}
