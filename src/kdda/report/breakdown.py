"""Test scores broken down by label, or by the gold answer's length: none, 1 to 2, 3 to 6, 7 or more syllables."""

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

# the most syllables (words between spaces) of an answer, and the title of the column of such answers
ANSWER_LENGTHS = ((2, "1 to 2"), (6, "3 to 6"))

LONGER_ANSWERS = "7 or more"  # title of the column of all longer answers

NO_ANSWER = "no answer"  # title of the column of unanswerable questions


def breakdown_table(comparison: Comparison) -> Table | None:
    """Each arm's test scores, a column a part: a label, or a range of answer lengths.

    None for a task whose scores are not broken down.

    Args:
        comparison: of one target.
    """
    language = comparison.targets[0]
    kind = comparison.task.breakdown
    if kind is None:
        kind = _kind_of_older_run(comparison)
    if kind not in BREAKDOWNS:
        return None
    scores_of_run = BREAKDOWNS[kind]
    by_arm: dict[str, dict[str, list[float]]] = {}  # arm → part → scores, one a seed
    columns = set[str]()
    for arm, runs in comparison.by_arm.items():
        by_arm[arm] = defaultdict(list)
        for run in runs.values():
            for part, score in scores_of_run(run, language).items():
                by_arm[arm][part].append(score)
                columns.add(part)
    header = sorted(columns)
    rows = []
    for arm, parts in by_arm.items():
        rows.append([arm, *_cells(parts, header)])
    return Table(f"F1 by {kind}, {comparison.target} test rows", ["arm", *header], rows)


def _cells(parts: Mapping[str, Sequence[float]], columns: Sequence[str]) -> list[str]:
    """Mean and standard deviation of an arm's scores in each column; empty where the arm has no such part."""
    cells = []
    for column in columns:
        cells.append(spread(parts[column]) if column in parts else "")
    return cells


def _kind_of_older_run(comparison: Comparison) -> str:
    """What the scores of older runs are broken down by: their `task` events do not name it, but their scores show it.

    Runs of a classification task have the F1 of each label; the only other task at the time was question answering.
    """
    for run in comparison.runs:
        if "per_label" in run.test[comparison.targets[0]]:
            return "label"
    return "answer length"


def _f1_by_label(run: Run, language: str) -> Mapping[str, float]:
    """Label → its F1 on a run's test rows of a language, in per cent, as the run has computed it."""
    labels: Mapping[str, float] = run.test[language]["per_label"]
    return labels


def _f1_by_answer_length(run: Run, language: str) -> dict[str, float]:
    """Column of `_length_column` → mean score of a run's test rows of a language, in per cent."""
    scores: dict[str, list[float]] = defaultdict(list)
    for scored in row_scores(run, language).values():
        scores[_length_column(scored.row)].append(scored.score)
    means = {}
    for column, values in scores.items():
        means[column] = fmean(values)
    return means


def _length_column(row: Mapping[str, Any]) -> str:
    """The title of the column that a row of predictions.jsonl belongs to, by the length of its first gold answer."""
    if not row["golds"]:
        return NO_ANSWER
    count = len(row["golds"][0].split())
    for most, column in ANSWER_LENGTHS:
        if count <= most:
            return column
    return LONGER_ANSWERS


# what a task's `breakdown` may be → the function that gives a run's scores in a language by part
BREAKDOWNS: dict[str, Callable[[Run, str], Mapping[str, float]]] = {
    "label": _f1_by_label,
    "answer length": _f1_by_answer_length,
}
