"""What a grid of runs costs: `kdda run` of one recipe against separate runs of the program in bench/plain.py.

    python bench/grid.py --write docs/performance.md      # about eight minutes on two cores

Thirty cells: two objectives × five λ × three seeds, on a small slice of mini-nli's rows. kdda fine-tunes two teachers,
stores what they say, and runs all thirty in one command, which is timed whole: importing, reading, development and
test scores, checkpoints, saved models, the table. A separate run is a process that loads its models, tokenizes, trains
with the teachers asked in each step and batches padded to their longest window, scores the same rows, and saves its
model; it keeps no checkpoints. The teachers that separate runs listen to are fine-tuned once by that same program and
shared by hand, as a careful person would; what it costs when every run makes its own is told beside it.

Both sides begin with the same checkpoint and compute in float32. Separate runs are all alike in cost, so `--sample` of
the thirty are run, evenly spaced, and their mean stands for the others; `--sample 30` runs all.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from page import machine, replace, table
from plain import SolverSettings, encoder_of, plain_trainer

from kdda.data.examples import Example
from kdda.experiment.context import RunContext, with_labels
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from kdda.runs.folder import MODEL_FOLDER, PREDICTIONS
from kdda.tasks.base import predict
from kdda.training.fine_tune import load_model

OBJECTIVES, WEIGHTS, SEEDS = ("sinkhorn", "energy"), (0.03, 0.1, 0.3, 1.0, 3.0), (1, 2, 3)
TO_REACH = 2.5


def arm(objective: str, weight: float) -> str:
    return f"{objective}-{weight:g}"


def recipe_file(rows: int, folder: Path) -> Path:
    """mini-nli on so many rows of each language, with an arm an objective and λ."""
    names = {
        arm(*pair): {"distill": {"objective": pair[0], "lambda": pair[1]}} for pair in product(OBJECTIVES, WEIGHTS)
    }
    limits = {"train": rows, "dev": 48, "test": 48}
    values: dict[str, Any] = {
        "extends": "mini-nli",
        "student": str(folder / "start"),
        "data": {language: {"limit": limits} for language in ("vi", "en")},
        "teachers": {language: {"training": {"epochs": 1}} for language in ("vi", "en")},
        "training": {"epochs": 1, "precision": "fp32"},
        "arms": names,
        "seeds": list(SEEDS),
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def timed(out: Path, *command: object) -> float:
    """Seconds of a whole process. Models that it has finished under `out` are removed, to spare the disk."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.2)
        for scored in out.rglob(PREDICTIONS):  # written last
            shutil.rmtree(scored.parent / MODEL_FOLDER, ignore_errors=True)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with code {process.returncode}")
    return time.perf_counter() - began


# One separate run -----------------------------------------------------------------------------------------------------


def separate(order: Mapping[str, Any]) -> None:
    """Train, score and save one cell, or a teacher: a program that knows of no other."""
    recipe = load_recipe(order["recipe"], order["sets"])
    context = RunContext.open(recipe, Path(order["out"]), lambda _: None)
    settings, out = SolverSettings(**order["settings"]), Path(order["out"])
    trainer = plain_trainer(context, settings, order["languages"], order["seed"], out)
    trainer.train()
    encoder = encoder_of(settings.student, recipe)
    scores = {}
    for language in order["languages"]:
        for split in ("dev", "test"):
            rows: Sequence[Example] = context.data[language].get(split, [])
            if rows:
                features = context.task.encode(rows, encoder)
                found = predict(trainer.model, context.task, features, encoder, context.labels, language)
                scores[language, split] = context.task.score(found, context.labels)["accuracy"]
    trainer.save_model(str(out))
    encoder.tokenizer.save_pretrained(out)
    print(scores)


def run_separately(settings: SolverSettings, languages: list[str], out: Path, **order: Any) -> float:
    """Seconds of one."""
    whole = {"settings": asdict(settings), "languages": languages, "out": str(out), "seed": 1, "sets": [], **order}
    return timed(out, __file__, "--one", json.dumps(whole))


def teachers_of_their_own(recipe: Path, folder: Path) -> tuple[dict[str, str], float]:
    """Both teachers, fine-tuned by the same program, and the seconds that it takes."""
    made, seconds = {}, 0.0
    own = load_recipe(str(recipe))
    for language, spec in own.teachers.items():
        start, out = folder / f"start-{language}", folder / f"teacher-{language}"
        checkpoint = load_checkpoint(spec.model, head="classification", labels=own.labels)
        checkpoint.model.save_pretrained(start)
        checkpoint.tokenizer.save_pretrained(start)
        settings = SolverSettings(str(start), {}, {})
        seconds += run_separately(settings, [language], out, recipe=str(recipe))
        made[language] = str(out)
    return made, seconds


def sampled(cells: list[Any], count: int) -> list[Any]:
    return cells[:: -(-len(cells) // count)]


# Both ways ------------------------------------------------------------------------------------------------------------


def compare(own: argparse.Namespace, folder: Path) -> list[str]:
    recipe = recipe_file(own.rows, folder)
    read = load_recipe("mini-nli")
    context = RunContext.open(with_labels(read), folder, print)
    start = load_model(read.student, context.task, context.labels)
    start.model.save_pretrained(folder / "start")
    start.tokenizer.save_pretrained(folder / "start")
    teachers, making = teachers_of_their_own(recipe, folder)
    scales = dict.fromkeys(teachers, 10.0)  # a number that a person has found before; its value costs nothing
    seconds = []
    for objective, weight, seed in sampled(list(product(OBJECTIVES, WEIGHTS, SEEDS)), own.sample):
        sets = [f"distill.objective={objective}", f"distill.lambda={weight}"]
        settings = SolverSettings(str(folder / "start"), teachers, scales)
        out = folder / f"separate-{arm(objective, weight)}-{seed}"
        seconds.append(run_separately(settings, list(teachers), out, recipe=str(recipe), sets=sets, seed=seed))
        print(f"{out.name}: {seconds[-1]:.1f} s", flush=True)
        shutil.rmtree(out)
    ours = timed(folder / "runs", "-m", "kdda", "run", recipe, "--out", folder / "runs")
    print(f"kdda: {ours:.0f} s", flush=True)
    return report(ours, making, seconds, own.rows)


def report(ours: float, making: float, seconds: list[float], rows: int) -> list[str]:
    cells = len(OBJECTIVES) * len(WEIGHTS) * len(SEEDS)
    each = statistics.fmean(seconds)
    shared, alone = cells * each + making, cells * (each + making)
    how = "all of them run" if len(seconds) == cells else f"{len(seconds)} of the {cells} run, the mean × {cells}"
    ways = {
        "`kdda run grid.yaml`": ours,
        f"separate runs, teachers made once ({how})": shared,
        "the same, if each run makes its teachers": alone,
    }
    lines = [[name, f"{s:.0f}", f"{s / cells:.1f}", f"{s / ours:.2f}"] for name, s in ways.items()]
    size = load_recipe("mini-nli").training.batch_size
    head = (
        f"mini-nli, {rows} rows of each language, one epoch: {2 * rows // size} steps a run, so that loading and "
        f"saving weigh more than they would in a real grid. Aim: {TO_REACH} × the first."
    )
    return [head, "", *table(("30 cells", "s", "s a cell", "× kdda's"), lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48, help="of a language")
    parser.add_argument("--sample", type=int, default=4, help="separate runs that are really made")
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose table is replaced")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.one:
        separate(json.loads(own.one))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = [machine(), "", *compare(own, Path(folder))]
    print("\n".join(lines))
    if own.write:
        replace(own.write, "grid", lines)


if __name__ == "__main__":
    main()
