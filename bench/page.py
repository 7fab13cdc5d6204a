"""What all benchmarks share: options --write and --quick, the line of the machine, tables between markers.

A script makes its options with `arguments`, and gives its lines and aims to `publish` of bench/aims.py.
"""

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Arguments(argparse.ArgumentParser):
    """Options of a benchmark; a quick run is refused together with a page to write to."""

    def parse_args(self, *values: Any) -> argparse.Namespace:  # type: ignore[override]
        options: argparse.Namespace = super().parse_args(*values)
        if options.quick and options.write:
            self.error("--quick tries the script out on tiny sizes; its numbers are not written")
        return options


def arguments(description: str | None, page: str = "docs/performance.md") -> Arguments:
    """A parser with the options that all benchmarks have.

    Args:
        description: the script's docstring.
        page: the page that has the script's markers.
    """
    parser = Arguments(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", type=existing_page, metavar="PAGE", help=f"{page}, whose tables and aims are replaced"
    )
    parser.add_argument("--quick", action="store_true", help="try it out: tiny sizes, under a minute, nothing written")
    return parser


def existing_page(name: str) -> Path:
    """A page that exists, checked before anything is measured."""
    path = Path(name)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{name} is no file; from the repository's folder: docs/performance.md")
    return path


def markers_replaced(text: str, marker: str, lines: Sequence[str]) -> str:
    """A page's text with other lines between `<!-- MARKER:start -->` and `<!-- MARKER:end -->`."""
    start, end = f"<!-- {marker}:start -->", f"<!-- {marker}:end -->"
    if start not in text or end not in text:
        sys.exit(f"the page has no markers {start} and {end}")
    before, rest = text.split(start)
    return before + start + "\n" + "\n".join(lines).strip() + "\n" + end + rest.split(end)[1]


def machine() -> str:
    """The processor, cores and torch version of this machine, and the date."""
    return f"{processor()}, {datetime.date.today()}."


def processor() -> str:
    """The processor, cores and torch version of this machine.

    The name alone does not tell a virtual machine's processor: families and models of one name differ in speed.
    """
    cpu = Path("/proc/cpuinfo")
    facts: dict[str, str] = {}
    if cpu.exists():
        for line in cpu.read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip().lower(), value.strip())
    model = ""
    if "model name" in facts:
        model = f" ({facts['model name']}"
        if "cpu family" in facts:
            model += f", family {facts['cpu family']}, model {facts.get('model', 'unknown')}"
        model += ")"
    return f"{platform.machine()}{model}, {os.cpu_count()} cores, torch {version('torch')}"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> list[str]:
    """A Markdown table whose first columns are left-aligned and the others right-aligned."""
    aligned = "|---" * text_columns + "|--:" * (len(titles) - text_columns) + "|"
    return [_line(titles), aligned, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
