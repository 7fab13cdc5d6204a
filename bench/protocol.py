"""How long `kdda plan` takes, how accurate its estimate of a run's time is, and how long a large report takes.

    python bench/protocol.py --write docs/reporting.md      # runs mini-nli with one seed: a quarter of an hour

Whole processes are timed, importing included. The report's folders are copies of the runs just made.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from aims import publish
from page import arguments, machine, table
from tiny import tiny_recipe

FOLDERS, FEW_FOLDERS = 60, 4
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def timed(*arguments: object) -> tuple[float, str]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "kdda", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def estimated_seconds(plan: str) -> float:
    estimate = re.search(r"Time: about (\S+) (s|min|h)", plan)
    assert estimate
    return float(estimate[1]) * UNITS[estimate[2]]


def multiply(runs: Path, out: Path, count: int) -> None:
    """Copy the run folders of a recipe until there are so many, each with another seed."""
    made = sorted(path.parent for path in runs.glob("*/*/seed-*/predictions.jsonl"))
    for number in range(count):
        source, seed = made[number % len(made)], 1 + number // len(made)
        target = out / source.parent.relative_to(runs) / f"seed-{seed}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("model"))
        recipe = yaml.safe_load((source / "recipe.yaml").read_text(encoding="utf-8"))
        (target / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [seed]}), encoding="utf-8")


def main() -> None:
    parser = arguments(__doc__, "docs/reporting.md")
    parser.add_argument("--recipe", default="mini-nli")
    parser.add_argument("--arms", default="", help="only these arms: `--arms student` takes three minutes")
    options = parser.parse_args()
    folders = FEW_FOLDERS if options.quick else FOLDERS
    arms = ["--arms", options.arms] if options.arms else []
    with tempfile.TemporaryDirectory() as folder:
        out, many = Path(folder) / "runs", Path(folder) / "many"
        recipe = tiny_recipe("nli", Path(folder)) if options.quick else options.recipe
        planning, plan = timed("plan", recipe, *arms, "--out", out)
        running, _ = timed("run", recipe, *arms, "--out", out)
        multiply(out, many, folders)
        reporting, _ = timed("report", many, "--out", Path(folder) / "report.html")
    recipe = " ".join([recipe, *arms])
    rows = [
        (f"`kdda plan {recipe}`", f"{planning:.1f}"),
        ("the time that it announces", f"{estimated_seconds(plan):.0f}"),
        (f"`kdda run {recipe}`", f"{running:.0f}"),
        ("announced / real", f"{estimated_seconds(plan) / running:.2f}"),
        (f"`kdda report`, {folders} run folders, one page", f"{reporting:.1f}"),
    ]
    publish(options, "protocol", [machine(), "", *table(("what", "seconds"), rows)])


if __name__ == "__main__":
    main()
