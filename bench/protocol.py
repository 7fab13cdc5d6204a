"""How long `kdda plan` takes, how accurate its estimate of a run's time is, and how long a large report takes.

    python bench/protocol.py            # runs mini-nli with one seed: about a quarter of an hour on two quiet cores

Whole processes are timed, importing included. The report's folders are copies of the runs just made.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

FOLDERS = 60
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def timed(*arguments: object) -> tuple[float, str]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "kdda", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def estimated_seconds(plan: str) -> float:
    estimate = re.search(r"Time left: about (\S+) (s|min|h)", plan)
    assert estimate
    return float(estimate[1]) * UNITS[estimate[2]]


def multiply(runs: Path, out: Path) -> None:
    """Copy the run folders of a recipe until there are `FOLDERS`, each with another seed."""
    made = sorted(path.parent for path in runs.glob("*/*/seed-*/predictions.jsonl"))
    for number in range(FOLDERS):
        source, seed = made[number % len(made)], 1 + number // len(made)
        target = out / source.parent.relative_to(runs) / f"seed-{seed}"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("model"))
        recipe = yaml.safe_load((source / "recipe.yaml").read_text(encoding="utf-8"))
        (target / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "seeds": [seed]}), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mini-nli")
    parser.add_argument("--arms", default="", help="only these arms: `--arms student` takes three minutes")
    options = parser.parse_args()
    recipe = options.recipe
    arms = ["--arms", options.arms] if options.arms else []
    with tempfile.TemporaryDirectory() as folder:
        out, many = Path(folder) / "runs", Path(folder) / "many"
        planning, plan = timed("plan", recipe, *arms, "--out", out)
        running, _ = timed("run", recipe, *arms, "--out", out)
        multiply(out, many)
        reporting, _ = timed("report", many, "--out", Path(folder) / "report.html")
    print("| what | seconds |\n|---|---:|")
    recipe = " ".join([recipe, *arms])
    print(f"| `kdda plan {recipe}` | {planning:.1f} |")
    print(f"| the time it estimates | {estimated_seconds(plan):.0f} |")
    print(f"| `kdda run {recipe}` | {running:.0f} |")
    print(f"| estimated / real | {estimated_seconds(plan) / running:.2f} |")
    print(f"| `kdda report`, {FOLDERS} run folders, one page | {reporting:.1f} |")


if __name__ == "__main__":
    main()
