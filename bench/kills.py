"""Runs that are killed at random moments and started again: their weights against those of a run that never stopped.

    python bench/kills.py --write docs/performance.md      # about five minutes on two cores

Tiny models and rows are made by the script. Each try starts `kdda run` in a new folder, kills it (SIGKILL) at a random
moment of its time, and runs the same command again to its end. Every model of the run, teachers included, must equal
the uninterrupted run's to the last bit.
"""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aims import Aim, publish
from page import arguments, machine
from tiny import Bench


def command(recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "kdda", "run", str(recipe), "--out", str(out), "--arms", "student-kdda"]


def weights(out: Path) -> dict[str, str]:
    """A hash of each model, by its arm or the language of the teacher."""
    hashes = {}
    for path in sorted(out.rglob("model/model.safetensors")):
        place = path.relative_to(out).parts
        name = place[1].partition("-")[0] if place[0] == "teachers" else place[1]
        hashes[f"{place[0]} {name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def killed(recipe: Path, out: Path, moment: float) -> None:
    """Start a run and kill it after so many seconds."""
    process = subprocess.Popen(command(recipe, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    if options.quick:
        options.kills = 1
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = Bench(folder).write()
        started = time.monotonic()
        subprocess.run(command(recipe, folder / "whole"), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        whole, equal = weights(folder / "whole"), 0
        for number in range(options.kills):
            out = folder / f"killed-{number}"
            killed(recipe, out, chance.uniform(0.3, 1.0) * seconds)
            subprocess.run(command(recipe, out), check=True, stdout=subprocess.DEVNULL)
            equal += weights(out) == whole
            print(f"{equal} of {number + 1}", flush=True)
    line = f"{equal} of {options.kills} killed runs ended with the weights of the one that never stopped."
    aim = Aim("killed runs that end with the weights of one that never stopped", equal, "≥", options.kills, "runs")
    publish(options, "kills", [f"{machine()} {line}"], [aim])
    if equal < options.kills:
        sys.exit(1)


if __name__ == "__main__":
    main()
