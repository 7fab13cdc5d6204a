"""The table of open-domain systems: exact match and F1, closed (passage given) and open (retrieved), and R@k."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.report.render import Table
from kdda.report.tables import spread
from kdda.runs.events import read_metrics
from kdda.runs.folder import METRICS, PREDICTIONS, is_system
from kdda.runtime.numbers import count_of

# settings, as `final-test` events name them: the passage that contains the answer is given, or is retrieved
CLOSED, OPEN = "closed", "open"

RECALL = "recall@"  # beginning of the keys under which an event has recall: recall@1, recall@5, recall@10

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
        chosen: its `system` event, with how it answers: arm, retriever, passages, mu; and with the size of its corpus.
        test: setting → its scores on the test rows; those of the open setting include recall.
    """

    folder: Path
    name: str
    seed: int
    chosen: dict[str, Any]
    test: dict[str, dict[str, Any]]

    @property
    def reader_digest(self) -> str | None:
        """The digest of the test predictions of the run whose model is the reader; None in older folders.

        The run's predictions have another digest once it was trained again.
        """
        digest: str | None = self.chosen.get("reader")
        return digest


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
        order: names of the systems to show, in this order; all by default, in that of `runs`.
    """
    by_name: dict[str, list[SystemRun]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    shown = {}
    for name in order or by_name:
        if name in by_name:
            shown[name] = by_name[name]
    if not shown:
        return []
    ks = _recall_depths(runs)
    rows = []
    for name, system_runs in shown.items():
        rows.append(_table_row(name, system_runs, ks))
    return [Table("Systems, test rows", _header(ks), rows, _notes(shown))]


def _recall_depths(runs: Sequence[SystemRun]) -> list[int]:
    """Every k for which some run has a recall@k, rising."""
    depths = set[int]()
    for run in runs:
        for key in run.test[OPEN]:
            if key.startswith(RECALL):
                depths.add(int(key.removeprefix(RECALL)))
    return sorted(depths)


def _header(ks: Sequence[int]) -> list[str]:
    """The titles of the columns; R@k for each k, then the number of passages (n) and the reader's weight (μ)."""
    header = ["system", "reader", "closed EM", "closed F1", "open EM", "open F1"]
    for k in ks:
        header.append(f"R@{k}")
    return [*header, "n", "μ"]


def _table_row(name: str, runs: Sequence[SystemRun], ks: Sequence[int]) -> list[str]:
    """The cells of a system, in the order of `_header`.

    Args:
        runs: of the system, one a seed.
    """
    cells = [name, str(runs[0].chosen["arm"])]
    for setting in (CLOSED, OPEN):
        for score in ("exact_match", "f1"):
            cells.append(_spread(runs, setting, score))
    for k in ks:
        cells.append(_spread(runs, OPEN, f"{RECALL}{k}"))
    return [*cells, _chosen_values(runs, "passages"), _chosen_values(runs, "mu")]


def _spread(runs: Sequence[SystemRun], setting: str, score: str) -> str:
    """Mean and standard deviation over seeds of a score in a setting."""
    return spread([run.test[setting][score] for run in runs])


def _chosen_values(runs: Sequence[SystemRun], key: str) -> str:
    """What was chosen on the development rows: one value where all seeds agree, else that of each seed.

    Args:
        key: "passages" or "mu".
    """
    values = []
    for run in runs:
        values.append(f"{run.chosen[key]:g}")
    if len(set(values)) == 1:
        return values[0]
    return ", ".join(values)


def _notes(by_name: Mapping[str, Sequence[SystemRun]]) -> list[str]:
    """What stands below the table; numbers of rows and passages are those of the first system's first seed."""
    first = next(iter(by_name.values()))[0]
    test = first.test[OPEN]
    sizes = (
        f"{count_of(test['rows'], 'test row')}, {count_of(first.chosen['corpus'], 'passage')}; "
        f"one F1 has a standard error of about {test['standard_error']:.1f} points."
    )
    return [*NOTES, _seeds_note(by_name), sizes]


def _seeds_note(by_name: Mapping[str, Sequence[SystemRun]]) -> str:
    """Over which seeds the table's numbers are, and that one seed shows no spread."""
    seeds: dict[str, list[int]] = {}
    for name, runs in by_name.items():
        seeds[name] = [run.seed for run in runs]
    first = next(iter(seeds.values()))
    if any(others != first for others in seeds.values()):
        return f"Seeds differ between systems: {seeds}."
    if len(first) == 1:
        return "One seed: differences may be luck; --seeds 1,2,3 shows their spread."
    return f"Mean ± sample sd over seeds {', '.join(map(str, first))}."
