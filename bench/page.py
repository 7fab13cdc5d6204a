"""Writing a benchmark's tables between the markers of a page of the docs, with the machine they were measured on."""

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch


def replace(path: Path, name: str, lines: Sequence[str], part: str = "") -> None:
    """Replace the lines between a benchmark's markers in a page.

    Args:
        path: the page.
        name: the benchmark's file, without its ending.
        lines: the new lines, a table with its heading.
        part: of a benchmark that is run in parts, each with its markers.
    """
    text = path.read_text(encoding="utf-8")
    marker = f"bench/{name}.py {part}".strip()
    start, end = f"<!-- {marker}:start -->", f"<!-- {marker}:end -->"
    before, rest = text.split(start)
    path.write_text(
        before + start + "\n" + "\n".join(lines).strip() + "\n" + end + rest.split(end)[1], encoding="utf-8"
    )


def machine() -> str:
    """The processor, cores and torch version of this machine, and the date."""
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line.lower()]
    model = f" ({names[0]})" if cpu.exists() and names else ""
    return f"{platform.machine()}{model}, {os.cpu_count()} cores, torch {torch.__version__}, {datetime.date.today()}."


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose first column is left-aligned and the others right-aligned."""
    return [_line(titles), "|---|" + "--:|" * (len(titles) - 1), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
