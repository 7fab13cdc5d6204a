"""Readers as systems: what they answer from the passage that is given, and from all passages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.report.render import Table
from kdda.report.tables import spread
from kdda.runs.events import read_metrics
from kdda.runs.folder import METRICS, PREDICTIONS, is_system

CLOSED, OPEN = "closed", "open"

SHOWN = ("exact_match", "f1")

NOTES = [
    "Closed: the passage that holds the answer is given. Open: it must be found among all passages of the language; "
    "R@k: questions whose passage is among the first k.",
    "How many passages are read (n) and the reader's part of a score (μ) were chosen on the development rows of each "
    "seed.",
]


@dataclass(frozen=True)
class SystemRun:
    """One system at one seed, as its folder says.

    Attributes:
        chosen: the event that says how it answers: arm, retriever, passages, mu.
        test: setting → its scores on the test rows, recall among those of the open one.
    """

    folder: Path
    name: str
    seed: int
    chosen: dict[str, Any]
    test: dict[str, dict[str, Any]]


def find_systems(folder: Path) -> list[SystemRun]:
    """All finished systems below a folder, ordered by name and seed."""
    done = [path.parent for path in sorted(folder.rglob(PREDICTIONS)) if is_system(path.parent)]
    return sorted(map(_read, done), key=lambda own: (own.name, own.seed))


def _read(folder: Path) -> SystemRun:
    events = read_metrics(folder / METRICS)
    chosen = next((own for own in events if own["event"] == "system"), {})
    test = {own["setting"]: own for own in events if own["event"] == "final-test"}
    return SystemRun(folder, folder.parent.name, int(folder.name.removeprefix("seed-")), chosen, test)


def systems_tables(runs: Sequence[SystemRun], order: Sequence[str] = ()) -> list[Table]:
    """One table of systems, both settings beside each other and kept apart; none where no system has run.

    Args:
        order: of the systems; by name by default.
    """
    by_name: dict[str, list[SystemRun]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    names = [name for name in order or by_name if name in by_name]
    if not names:
        return []
    ks = sorted({int(key[7:]) for run in runs for key in run.test[OPEN] if key.startswith("recall@")})
    header = ["system", "reader", *(f"{setting} {name}" for setting in (CLOSED, OPEN) for name in ("EM", "F1"))]
    rows = [_row(name, by_name[name], ks) for name in names]
    return [Table("Systems, test rows", [*header, *(f"R@{k}" for k in ks), "n", "μ"], rows, _notes(by_name, names))]


def _row(name: str, runs: Sequence[SystemRun], ks: Sequence[int]) -> list[str]:
    cells = [spread([own.test[setting][key] for own in runs]) for setting in (CLOSED, OPEN) for key in SHOWN]
    recall = [spread([own.test[OPEN][f"recall@{k}"] for own in runs]) for k in ks]
    chosen = [_each([f"{own.chosen[key]:g}" for own in runs]) for key in ("passages", "mu")]
    return [name, str(runs[0].chosen["arm"]), *cells, *recall, *chosen]


def _each(values: Sequence[str]) -> str:
    """One value where all seeds agree, else each seed's."""
    return values[0] if len(set(values)) == 1 else ", ".join(values)


def _notes(by_name: dict[str, list[SystemRun]], names: Sequence[str]) -> list[str]:
    first = by_name[names[0]][0]
    seeds = {name: [run.seed for run in by_name[name]] for name in names}
    each = sorted(set().union(*seeds.values()))
    spoken = f"Mean ± sample sd over seeds {', '.join(map(str, each))}."
    if len({tuple(own) for own in seeds.values()}) > 1:
        spoken = f"Seeds differ between systems: {seeds}."
    elif len(each) == 1:
        spoken = "One seed: differences may be luck; --seeds 1,2,3 shows their spread."
    own = first.test[OPEN]
    counts = f"{own['rows']} test rows, {first.chosen['corpus']:,} passages; "
    return [*NOTES, spoken, counts + f"one F1 has a standard error of about {own['standard_error']:.1f} points."]
