"""What all benchmarks write: tables between markers of a page of the docs, with the machine that they speak of."""

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch


def replace(path: Path, name: str, lines: Sequence[str], part: str = "") -> None:
    """Put a table between its markers; a benchmark that is run in parts has some for each."""
    text = path.read_text(encoding="utf-8")
    own = f"bench/{name}.py {part}".strip()
    start, end = f"<!-- {own}:start -->", f"<!-- {own}:end -->"
    before, rest = text.split(start)
    path.write_text(
        before + start + "\n" + "\n".join(lines).strip() + "\n" + end + rest.split(end)[1], encoding="utf-8"
    )


def machine() -> str:
    """What ratios were measured on, and when."""
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line.lower()]
    model = f" ({names[0]})" if cpu.exists() and names else ""
    return f"{platform.machine()}{model}, {os.cpu_count()} cores, torch {torch.__version__}, {datetime.date.today()}."


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Words to the left in the first column, numbers to the right in the others."""
    return [_line(titles), "|---|" + "--:|" * (len(titles) - 1), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
