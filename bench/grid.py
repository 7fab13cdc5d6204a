"""What a grid of runs costs: `kdda run` of one recipe against separate runs of the program in bench/plain.py.

    python bench/grid.py --write docs/performance.md      # about eight minutes on two cores

Thirty runs: two objectives × five λ × three seeds, on a small slice of mini-nli's rows. kdda fine-tunes two teachers,
stores their states, and does all thirty runs in one command, whose whole time is measured: importing, reading,
development and test scores, checkpoints, saved models, the table. A separate run is a process that loads its models,
tokenizes, trains with a teacher's forward pass in each step and batches padded to their longest window, scores the same
rows, and saves its model; it writes no checkpoints. The teachers of separate runs are fine-tuned once by that same
program and shared by hand, as a careful person would; the cost of fine-tuning them in every run is given as well.

Both sides begin with the same checkpoint and compute in float32. Separate runs all cost about the same, so only
`--sample` of the thirty are made, evenly spaced, and their mean stands for the others; `--sample 30` makes all.
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
from kdda.runtime.numbers import ceil_div
from kdda.tasks.base import predict
from kdda.training.fine_tune import load_model

OBJECTIVES, WEIGHTS, SEEDS = ("sinkhorn", "energy"), (0.03, 0.1, 0.3, 1.0, 3.0), (1, 2, 3)
AIM = 2.5  # separate runs' time against kdda's


def arm(objective: str, weight: float) -> str:
    return f"{objective}-{weight:g}"


def recipe_file(rows: int, folder: Path) -> Path:
    """mini-nli on so many rows of each language, with an arm for each objective and λ."""
    arms = {}
    for objective, weight in product(OBJECTIVES, WEIGHTS):
        arms[arm(objective, weight)] = {"distill": {"objective": objective, "lambda": weight}}
    limits = {"train": rows, "dev": 48, "test": 48}
    values: dict[str, Any] = {
        "extends": "mini-nli",
        "student": str(folder / "start"),
        "data": {language: {"limit": limits} for language in ("vi", "en")},
        "teachers": {language: {"training": {"epochs": 1}} for language in ("vi", "en")},
        "training": {"epochs": 1, "precision": "fp32"},
        "arms": arms,
        "seeds": list(SEEDS),
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def timed(out: Path, *command: object) -> float:
    """Seconds of a whole process. The models of finished runs under `out` are removed, to save disk space."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.2)
        for predictions in out.rglob(PREDICTIONS):  # written last
            shutil.rmtree(predictions.parent / MODEL_FOLDER, ignore_errors=True)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with code {process.returncode}")
    return time.perf_counter() - began


# One separate run -----------------------------------------------------------------------------------------------------


def separate(order: Mapping[str, Any]) -> None:
    """Train, score and save one student or teacher, in a program that shares nothing with the other runs."""
    recipe = with_labels(load_recipe(order["recipe"], order["sets"]))
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
                predictions = predict(trainer.model, context.task, features, encoder, context.labels, language)
                scores[language, split] = context.task.score(predictions, context.labels)["accuracy"]
    trainer.save_model(str(out))
    encoder.tokenizer.save_pretrained(out)
    print(scores)


def run_separately(settings: SolverSettings, languages: list[str], out: Path, **order: Any) -> float:
    """Seconds of one separate run."""
    whole = {"settings": asdict(settings), "languages": languages, "out": str(out), "seed": 1, "sets": [], **order}
    return timed(out, __file__, "--one", json.dumps(whole))


def fine_tune_teachers(recipe: Path, folder: Path) -> tuple[dict[str, str], float]:
    """Folders of both teachers, fine-tuned by the same program, and the seconds it took."""
    folders: dict[str, str] = {}
    seconds = 0.0
    whole_recipe = with_labels(load_recipe(str(recipe)))
    for language, (spec, *_) in whole_recipe.teachers_by_language().items():
        start, out = folder / f"start-{language}", folder / f"teacher-{language}"
        checkpoint = load_checkpoint(spec.model, head="classification", labels=whole_recipe.labels)
        checkpoint.model.save_pretrained(start)
        checkpoint.tokenizer.save_pretrained(start)
        settings = SolverSettings(str(start), {}, {})
        seconds += run_separately(settings, [language], out, recipe=str(recipe))
        folders[language] = str(out)
    return folders, seconds


def sampled(runs: list[Any], count: int) -> list[Any]:
    """So many of the runs, evenly spaced."""
    return runs[:: ceil_div(len(runs), count)]


# Both ways ------------------------------------------------------------------------------------------------------------


def compare(options: argparse.Namespace, folder: Path) -> list[str]:
    recipe = recipe_file(options.rows, folder)
    mini_nli = load_recipe("mini-nli")
    context = RunContext.open(with_labels(mini_nli), folder, print)
    start = load_model(mini_nli.student, context.task, context.labels)
    start.model.save_pretrained(folder / "start")
    start.tokenizer.save_pretrained(folder / "start")
    teachers, teachers_seconds = fine_tune_teachers(recipe, folder)
    scales = dict.fromkeys(teachers, 10.0)  # any value: it does not change the cost
    seconds = []
    for objective, weight, seed in sampled(list(product(OBJECTIVES, WEIGHTS, SEEDS)), options.sample):
        sets = [f"distill.objective={objective}", f"distill.lambda={weight}"]
        settings = SolverSettings(str(folder / "start"), teachers, scales)
        out = folder / f"separate-{arm(objective, weight)}-{seed}"
        seconds.append(run_separately(settings, list(teachers), out, recipe=str(recipe), sets=sets, seed=seed))
        print(f"{out.name}: {seconds[-1]:.1f} s", flush=True)
        shutil.rmtree(out)
    kdda_seconds = timed(folder / "runs", "-m", "kdda", "run", recipe, "--out", folder / "runs")
    print(f"kdda: {kdda_seconds:.0f} s", flush=True)
    return report(kdda_seconds, teachers_seconds, seconds, options.rows)


def report(kdda_seconds: float, teachers_seconds: float, seconds: list[float], rows: int) -> list[str]:
    """The table.

    Args:
        kdda_seconds: of kdda's one command.
        teachers_seconds: of fine-tuning both teachers separately.
        seconds: of each separate run that was made.
        rows: training rows of a language.
    """
    runs = len(OBJECTIVES) * len(WEIGHTS) * len(SEEDS)
    mean = statistics.fmean(seconds)
    sample = f"{len(seconds)} of the {runs} made, the mean × {runs}"
    if len(seconds) == runs:
        sample = "all of them made"
    ways = {
        "`kdda run grid.yaml`": kdda_seconds,
        f"separate runs, teachers fine-tuned once ({sample})": runs * mean + teachers_seconds,
        "the same, if each run fine-tunes its teachers": runs * (mean + teachers_seconds),
    }
    lines = []
    for name, total in ways.items():
        lines.append([name, f"{total:.0f}", f"{total / runs:.1f}", f"{total / kdda_seconds:.2f}"])
    size = load_recipe("mini-nli").training.batch_size
    head = (
        f"mini-nli, {rows} rows of each language, one epoch: {2 * rows // size} steps a run, so loading and "
        f"saving have a larger share than in a real grid. Aim: {AIM} × the first."
    )
    return [head, "", *table(("30 runs", "s", "s a run", "× kdda's"), lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48, help="of a language")
    parser.add_argument("--sample", type=int, default=4, help="number of separate runs that are made")
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose table is replaced")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        separate(json.loads(options.one))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = [machine(), "", *compare(options, Path(folder))]
    print("\n".join(lines))
    if options.write:
        replace(options.write, "grid", lines)


if __name__ == "__main__":
    main()
