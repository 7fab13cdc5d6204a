"""The aims of the benchmarks: `Aim`, the results that scripts write to docs/results/bench, and the one table of all.

    python bench/aims.py docs/performance.md      # writes the table anew from the results

The script that measures an aim names it, its goal and its figure; nothing of it stands in another file.
"""

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from page import existing_page, markers_replaced, processor, table

# The scripts in the order in which bench/all.py runs them and the table shows their aims, with about how many minutes
# each takes on two cores of a server's processor.
SCRIPTS = {
    "step": 17, "grid": 6, "transport": 8, "unbalanced": 1, "use": 10, "serve": 5, "systems": 8, "rows": 13,
    "stored_precision": 2, "scale": 9, "kills": 2, "protocol": 2, "reading": 1,
}  # fmt: skip
RESULTS = Path("results", "bench")  # beside the page
PAGE = "performance.md"  # which has the table of all aims


@dataclass(frozen=True)
class Aim:
    """One aim and what was measured.

    Attributes:
        name: what is measured, and against what.
        measured: the figure.
        bound: whether the figure should be at least (``≥``) or at most (``≤``) the goal.
        goal: what was aimed at beforehand.
        unit: of both, such as ``×`` or ``MB``.
    """

    name: str
    measured: float
    bound: Literal["≥", "≤"]
    goal: float
    unit: str = ""

    @property
    def reached(self) -> bool:
        if self.bound == "≥":
            return self.measured >= self.goal
        return self.measured <= self.goal


@dataclass(frozen=True)
class Result:
    """The aims that one script, or one part of it, measured on a day.

    Attributes:
        script: the file in bench, without its ending.
        part: of a script that writes its tables in parts.
        machine: processor, cores and torch.
        date: of the measurement, in ISO form.
    """

    script: str
    part: str
    aims: Sequence[Aim]
    machine: str = field(default_factory=processor)
    date: str = field(default_factory=lambda: str(datetime.date.today()))


def publish(
    options: argparse.Namespace, name: str, lines: Sequence[str], aims: Sequence[Aim] = (), part: str = ""
) -> None:
    """Print a benchmark's lines and aims; with --write, write both.

    The lines replace what stands between `<!-- bench/NAME.py PART:start -->` and `:end` in the page; the aims go to
    their file, and the table of all aims is written anew.

    Args:
        options: with `write`, the page or None.
        name: the benchmark's file, without its ending.
        lines: its tables, with what stands above and below them.
        aims: what it measured of the goals that were set.
        part: of a benchmark that is run in parts, each with its markers.
    """
    print("\n".join(lines), flush=True)
    for aim in aims:
        verdict = "reached" if aim.reached else "not reached"
        measured = f"{_number(aim.measured)} {aim.unit}".strip()
        print(f"aim: {aim.name}: {measured}, goal {aim.bound} {_number(aim.goal)}: {verdict}", flush=True)
    if not options.write:
        return
    marker = f"bench/{name}.py {part}".strip()
    text = options.write.read_text(encoding="utf-8")
    options.write.write_text(markers_replaced(text, marker, lines), encoding="utf-8")
    if aims:
        write_result(Result(name, part, aims), options.write.parent)


def write_result(result: Result, docs: Path) -> None:
    """Write a result to its file below the pages' folder, and the table of all aims anew."""
    folder = docs / RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, (result.script, result.part)))
    text = json.dumps(asdict(result), ensure_ascii=False, indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_table(docs)


def read_results(docs: Path) -> list[Result]:
    """The results below the pages' folder, in the order of `SCRIPTS`."""
    results = []
    for path in sorted((docs / RESULTS).glob("*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        aims = [Aim(**aim) for aim in values.pop("aims")]
        results.append(Result(aims=aims, **values))
    return sorted(results, key=lambda result: list(SCRIPTS).index(result.script))


def write_table(docs: Path) -> None:
    """Replace the table of all aims in its page."""
    page = docs / PAGE
    text = page.read_text(encoding="utf-8")
    page.write_text(markers_replaced(text, "bench/aims.py", table_of_aims(read_results(docs))), encoding="utf-8")


def table_of_aims(results: Sequence[Result]) -> list[str]:
    """The lines of the table, a row an aim, after a line that counts them."""
    rows = []
    reached = 0
    for result in results:
        for aim in result.aims:
            reached += aim.reached
            name = f"{aim.name} ({aim.unit})" if aim.unit else aim.name
            verdict = "yes" if aim.reached else "**no**"
            numbers = (_number(aim.measured), f"{aim.bound} {_number(aim.goal)}")
            rows.append((name, *numbers, verdict, f"`{result.script}.py`", result.date))
    titles = ("aim", "measured", "goal", "reached", "script", "date")
    return [f"{reached} of {len(rows)} aims are reached.", "", *table(titles, rows)]


def _number(value: float) -> str:
    """A number with four digits at most after its thousands."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 10 else f"{round(value, 3):g}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=existing_page, help="docs/performance.md, whose table is written anew")
    write_table(parser.parse_args().page.parent)
