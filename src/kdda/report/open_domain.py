"""Tables of systems: answers from the passage that is given, and from all passages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from kdda.report.render import Table
from kdda.report.tables import spread
from kdda.runs.events import read_metrics
from kdda.runs.folder import METRICS, PREDICTIONS, is_system

CLOSED, OPEN = "closed", "open"

RECALL = "recall@"

NOTES = [
    "Closed: the passage that contains the answer is given. Open: it is retrieved from all passages of the language; "
    "R@k: share of the questions whose passage is among the first k.",
    "The number of passages that are read (n) and the reader's weight in a score (μ) were chosen on the development "
    "rows of each seed.",
]


@dataclass(frozen=True)
class SystemRun:
    """One system at one seed, as its folder holds it.

    Attributes:
        chosen: the event with how it answers: arm, retriever, passages, mu.
        test: setting → its scores on the test rows; those of the open setting include recall.
    """

    folder: Path
    name: str
    seed: int
    chosen: dict[str, Any]
    test: dict[str, dict[str, Any]]


def find_systems(folder: Path) -> list[SystemRun]:
    """All complete systems below a folder, ordered by name and seed."""
    runs = []
    for path in sorted(folder.rglob(PREDICTIONS)):
        if is_system(path.parent):
            runs.append(read_system(path.parent))
    return sorted(runs, key=lambda run: (run.name, run.seed))


def read_system(folder: Path) -> SystemRun:
    """A complete system from its folder, ``<system>/seed-<n>``."""
    chosen: dict[str, Any] = {}
    test: dict[str, dict[str, Any]] = {}
    for event in read_metrics(folder / METRICS):
        if event["event"] == "system" and not chosen:
            chosen = event
        elif event["event"] == "final-test":
            test[event["setting"]] = event
    return SystemRun(folder, folder.parent.name, int(folder.name.removeprefix("seed-")), chosen, test)


def systems_tables(runs: Sequence[SystemRun], order: Sequence[str] = ()) -> list[Table]:
    """One table of systems, with both settings beside each other; none without runs.

    Args:
        order: of the systems; that of `runs` by default.
    """
    by_name: dict[str, list[SystemRun]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    names = [name for name in order or by_name if name in by_name]
    if not names:
        return []
    ks = _recall_depths(runs)
    rows = []
    for name in names:
        rows.append(_row(name, by_name[name], ks))
    return [Table("Systems, test rows", _header(ks), rows, _notes(by_name, names))]


def _recall_depths(runs: Sequence[SystemRun]) -> list[int]:
    """Every k for which some run has a recall@k."""
    depths = set[int]()
    for run in runs:
        for key in run.test[OPEN]:
            if key.startswith(RECALL):
                depths.add(int(key.removeprefix(RECALL)))
    return sorted(depths)


def _header(ks: Sequence[int]) -> list[str]:
    header = ["system", "reader", "closed EM", "closed F1", "open EM", "open F1"]
    for k in ks:
        header.append(f"R@{k}")
    return [*header, "n", "μ"]


def _row(name: str, runs: Sequence[SystemRun], ks: Sequence[int]) -> list[str]:
    cells = [name, str(runs[0].chosen["arm"])]
    for setting in (CLOSED, OPEN):
        for score in ("exact_match", "f1"):
            cells.append(_spread(runs, setting, score))
    for k in ks:
        cells.append(_spread(runs, OPEN, f"{RECALL}{k}"))
    return [*cells, _chosen(runs, "passages"), _chosen(runs, "mu")]


def _spread(runs: Sequence[SystemRun], setting: str, score: str) -> str:
    return spread([run.test[setting][score] for run in runs])


def _chosen(runs: Sequence[SystemRun], key: str) -> str:
    """One value where all seeds agree, else that of each seed."""
    values = []
    for run in runs:
        values.append(f"{run.chosen[key]:g}")
    if len(set(values)) == 1:
        return values[0]
    return ", ".join(values)


def _notes(by_name: dict[str, list[SystemRun]], names: Sequence[str]) -> list[str]:
    first = by_name[names[0]][0]
    test = first.test[OPEN]
    sizes = (
        f"{test['rows']} test rows, {first.chosen['corpus']:,} passages; "
        f"one F1 has a standard error of about {test['standard_error']:.1f} points."
    )
    return [*NOTES, _seeds_note(by_name, names), sizes]


def _seeds_note(by_name: dict[str, list[SystemRun]], names: Sequence[str]) -> str:
    seeds: dict[str, list[int]] = {}
    for name in names:
        seeds[name] = list(map(attrgetter("seed"), by_name[name]))
    first = seeds[names[0]]
    if len(set(map(tuple, seeds.values()))) > 1:
        return f"Seeds differ between systems: {seeds}."
    if len(first) == 1:
        return "One seed: differences may be luck; --seeds 1,2,3 shows their spread."
    return f"Mean ± sample sd over seeds {', '.join(map(str, first))}."
