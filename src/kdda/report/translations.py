"""The table of translation retrieval among development rows, of tasks that turn texts into vectors."""

from __future__ import annotations

from collections import defaultdict

from kdda.report.comparison import Comparison
from kdda.report.render import Table
from kdda.report.tables import spread


def translation_table(comparison: Comparison) -> Table | None:
    """How often a text's nearest one in another language is its translation, an arm a row; None where no run says."""
    columns = set[str]()
    pairs = set[int]()
    by_arm: dict[str, dict[str, list[float]]] = {}  # arm → direction, such as "vi → en" → accuracies, one a seed
    for arm, runs in comparison.by_arm.items():
        by_arm[arm] = defaultdict(list)
        for run in runs.values():
            for event in run.events:
                if event["event"] == "final-retrieval":
                    language, other = event["language"], event["other"]
                    by_arm[arm][f"{language} → {other}"].append(event["src_to_tgt"])
                    by_arm[arm][f"{other} → {language}"].append(event["tgt_to_src"])
                    columns |= {f"{language} → {other}", f"{other} → {language}"}
                    pairs.add(event["pairs"])
    if not columns:
        return None
    header = sorted(columns)
    rows = []
    for arm, accuracies in by_arm.items():
        cells = [arm]
        for column in header:
            cells.append(spread(accuracies[column]) if column in accuracies else "")
        rows.append(cells)
    note = f"The share of texts whose nearest one in the other language is their translation, of {_range(pairs)} pairs."
    return Table("Translation retrieval, development rows", ["arm", *header], rows, [note])


def _range(counts: set[int]) -> str:
    """A number, or the least and the greatest of several."""
    if len(counts) == 1:
        return f"{min(counts):,}"
    return f"{min(counts):,} to {max(counts):,}"
