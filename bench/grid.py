"""What a grid of runs costs: `kdda run` of one recipe against separate runs of the program in bench/plain.py.

    python bench/grid.py --write docs/performance.md      # about seven minutes on two cores
    python bench/grid.py --save best --seeds 2            # kdda keeps one model an arm; five minutes

Thirty runs: two objectives × five λ × three seeds (`--seeds`), on a small slice of mini-nli's rows. kdda fine-tunes
two teachers, stores their states, and does all thirty runs in one command, whose whole time is measured: importing,
reading, development and test scores, checkpoints, saved models, the table. A separate run is a process that loads its
models, tokenizes, trains with a teacher's forward pass in each step and batches padded to their longest window, scores
the same rows, and saves its model; it writes no checkpoints. The teachers of separate runs are fine-tuned once by that
same program and shared by hand, as a careful person would; the cost of fine-tuning them in every run is given as well.

Both sides begin with the same checkpoint and compute in float32. Separate runs all cost about the same, so only
`--sample` of the thirty are made, evenly spaced, and their mean stands for the others; `--sample 30` makes all.

Beside the time that passes stands the processor's, user and system, which other programs on the machine change less.
Below the table stands what kdda's process holds in memory after its first and after its last runs.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml
from aims import Aim, publish
from page import arguments, machine, table
from plain import SolverSettings, plain_trainer
from tiny import tiny_recipe

from kdda.data.examples import Example
from kdda.experiment.context import RunContext, with_labels
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from kdda.runs.folder import MODEL_FOLDER, PREDICTIONS
from kdda.runtime.numbers import ceil_div
from kdda.tasks.prediction import predict
from kdda.training.fine_tune import load_model

OBJECTIVES, WEIGHTS, SEEDS = ("sinkhorn", "energy"), (0.03, 0.1, 0.3, 1.0, 3.0), (1, 2, 3)
AIM, AIM_WITH_TEACHERS = 2.5, 4.0  # separate runs' time against kdda's


def arm(objective: str, weight: float) -> str:
    return f"{objective}-{weight:g}"


def recipe_file(base: str, rows: int, seeds: Sequence[int], folder: Path) -> Path:
    """A recipe on so many rows of each language, with an arm for each objective and λ."""
    arms = {}
    for objective, weight in product(OBJECTIVES, WEIGHTS):
        arms[arm(objective, weight)] = {"distill": {"objective": objective, "lambda": weight}}
    limits = {"train": rows, "dev": 48, "test": 48}
    values: dict[str, Any] = {
        "extends": base,
        "student": str(folder / "start"),
        "data": {language: {"limit": limits} for language in ("vi", "en")},
        "teachers": {language: {"training": {"epochs": 1}} for language in ("vi", "en")},
        "training": {"epochs": 1, "precision": "fp32"},
        "arms": arms,
        "seeds": list(seeds),
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


class Cost(NamedTuple):
    """Seconds of a process that passed, and of the processor (user and system, of its children too)."""

    wall: float
    processor: float

    def times(self, count: int) -> "Cost":
        return Cost(self.wall * count, self.processor * count)

    def plus(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.processor + other.processor)


def mean_of(costs: Sequence[Cost]) -> Cost:
    total = Cost(0.0, 0.0)
    for cost in costs:
        total = total.plus(cost)
    return Cost(total.wall / len(costs), total.processor / len(costs))


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(out: Path, *command: object) -> tuple[Cost, list[float]]:
    """The cost of a whole process, and the MB that it holds after each finished run under `out`.

    The models of finished runs are removed, to save disk space.
    """
    began, processor = time.perf_counter(), processor_seconds()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    memory: list[float] = []
    while process.poll() is None:
        time.sleep(0.2)
        finished = list(out.rglob(PREDICTIONS))  # written last
        if len(finished) > len(memory):
            with suppress(psutil.Error):  # it has just ended
                memory.append(watched.memory_info().rss / 1e6)
        for predictions in finished:
            shutil.rmtree(predictions.parent / MODEL_FOLDER, ignore_errors=True)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with code {process.returncode}")
    return Cost(time.perf_counter() - began, processor_seconds() - processor), memory


# One separate run -----------------------------------------------------------------------------------------------------


def separate(order: Mapping[str, Any]) -> None:
    """Train, score and save one student or teacher, in a program that shares nothing with the other runs."""
    recipe = with_labels(load_recipe(order["recipe"], order["sets"]))
    context = RunContext.open(recipe, Path(order["out"]), lambda _: None)
    settings, out = SolverSettings(**order["settings"]), Path(order["out"])
    trainer = plain_trainer(context, settings, order["languages"], order["seed"], out)
    trainer.train()
    encoder = trainer.encoder
    scores = {}
    for language in order["languages"]:
        for split in ("dev", "test"):
            rows: Sequence[Example] = context.data[language].get(split, [])
            if rows:
                features = context.task.encode(rows, encoder)
                predictions = predict(trainer.model, context.task, features, encoder, context.labels, language)
                scores[language, split] = context.task.score(predictions, context.labels)["accuracy"]
    trainer.save_model(str(out))
    print(scores)


def run_separately(settings: SolverSettings, languages: list[str], out: Path, **order: Any) -> Cost:
    """The cost of one separate run."""
    whole = {"settings": asdict(settings), "languages": languages, "out": str(out), "seed": 1, "sets": [], **order}
    cost, _memory = measured(out, __file__, "--one", json.dumps(whole))
    return cost


def fine_tune_teachers(recipe: Path, folder: Path) -> tuple[dict[str, str], Cost]:
    """Folders of both teachers, fine-tuned by the same program, and what it cost."""
    folders: dict[str, str] = {}
    total = Cost(0.0, 0.0)
    whole_recipe = with_labels(load_recipe(str(recipe)))
    for language, (spec, *_) in whole_recipe.teachers_by_language().items():
        start, out = folder / f"start-{language}", folder / f"teacher-{language}"
        checkpoint = load_checkpoint(spec.model, head="classification", labels=whole_recipe.labels)
        checkpoint.model.save_pretrained(start)
        checkpoint.tokenizer.save_pretrained(start)
        settings = SolverSettings(str(start), {}, {})
        total = total.plus(run_separately(settings, [language], out, recipe=str(recipe)))
        folders[language] = str(out)
    return folders, total


def sampled(runs: list[Any], count: int) -> list[Any]:
    """So many of the runs, evenly spaced."""
    return runs[:: ceil_div(len(runs), count)]


# Both ways ------------------------------------------------------------------------------------------------------------


def compare(options: argparse.Namespace, folder: Path) -> tuple[list[str], list[Aim]]:
    """Both ways of doing the runs: the lines of the table, and the aims."""
    seeds = SEEDS[: options.seeds]
    base = tiny_recipe("nli", folder) if options.quick else "mini-nli"
    recipe = recipe_file(base, options.rows, seeds, folder)
    base_recipe = load_recipe(base)
    context = RunContext.open(with_labels(base_recipe), folder, print)
    start = load_model(base_recipe.student, context.task, context.labels)
    start.model.save_pretrained(folder / "start")
    start.tokenizer.save_pretrained(folder / "start")
    teachers, teachers_cost = fine_tune_teachers(recipe, folder)
    scales = dict.fromkeys(teachers, 10.0)  # any value: it does not change the cost
    costs = []
    for objective, weight, seed in sampled(list(product(OBJECTIVES, WEIGHTS, seeds)), options.sample):
        sets = [f"distill.objective={objective}", f"distill.lambda={weight}"]
        settings = SolverSettings(str(folder / "start"), teachers, scales)
        out = folder / f"separate-{arm(objective, weight)}-{seed}"
        costs.append(run_separately(settings, list(teachers), out, recipe=str(recipe), sets=sets, seed=seed))
        print(f"{out.name}: {costs[-1].wall:.1f} s, processor {costs[-1].processor:.1f} s", flush=True)
        shutil.rmtree(out)
    command = ["-m", "kdda", "run", recipe, "--out", folder / "runs", "--save", options.save]
    kdda_cost, memory = measured(folder / "runs", *command)
    print(f"kdda: {kdda_cost.wall:.0f} s, processor {kdda_cost.processor:.0f} s", flush=True)
    lines, aims = report(kdda_cost, teachers_cost, costs, len(seeds), options)
    tenth = max(memory[:10])  # by which all kinds of runs have been made
    held = f"kdda's process holds {tenth:,.0f} MB after the first ten runs at most, and {memory[-1]:,.0f} MB after all."
    return [*lines, "", held], aims


def report(
    kdda_cost: Cost, teachers_cost: Cost, costs: Sequence[Cost], seeds: int, options: argparse.Namespace
) -> tuple[list[str], list[Aim]]:
    """The table and the aims.

    Args:
        kdda_cost: of kdda's one command.
        teachers_cost: of fine-tuning both teachers separately.
        costs: of each separate run that was made.
        seeds: how many there are.
    """
    runs = len(OBJECTIVES) * len(WEIGHTS) * seeds
    mean = mean_of(costs)
    sample = f"{len(costs)} of the {runs} made, the mean × {runs}"
    if len(costs) == runs:
        sample = "all of them made"
    separate_runs, with_teachers = mean.times(runs).plus(teachers_cost), mean.plus(teachers_cost).times(runs)
    ways = {
        f"`kdda run grid.yaml --save {options.save}`": kdda_cost,
        f"separate runs, teachers fine-tuned once ({sample})": separate_runs,
        "the same, if each run fine-tunes its teachers": with_teachers,
    }
    aims = [
        Aim(f"grid of {runs} runs: separate runs", separate_runs.wall / kdda_cost.wall, "≥", AIM, "× kdda's"),
        Aim(
            f"grid of {runs} runs: separate runs that fine-tune their teachers",
            with_teachers.wall / kdda_cost.wall, "≥", AIM_WITH_TEACHERS, "× kdda's",
        ),
    ]  # fmt: skip
    lines = []
    for name, total in ways.items():
        ratio, processor_ratio = total.wall / kdda_cost.wall, total.processor / kdda_cost.processor
        seconds = [f"{total.wall:.0f}", f"{total.wall / runs:.1f}", f"{ratio:.2f}"]
        lines.append([name, *seconds, f"{total.processor / runs:.1f}", f"{processor_ratio:.2f}"])
    size = load_recipe("mini-nli").training.batch_size
    head = (
        f"mini-nli, {options.rows} rows of each language, one epoch: {2 * options.rows // size} steps a run, so that "
        f"loading and saving weigh more than they would in a real grid. Aims: {AIM} × the first, {AIM_WITH_TEACHERS} × "
        "where runs fine-tune their teachers."
    )
    columns = (f"{runs} runs", "s", "s a run", "× kdda's", "processor s a run", "× kdda's")
    return [head, "", *table(columns, lines)], aims


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=48, help="of a language")
    parser.add_argument("--seeds", type=int, choices=(1, 2, 3), default=3, help="of each objective and λ")
    parser.add_argument("--save", choices=("all", "best", "none"), default="all", help="option of kdda run")
    parser.add_argument("--sample", type=int, default=3, help="number of separate runs that are made")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        separate(json.loads(options.one))
        return
    if options.quick:
        options.rows, options.seeds, options.sample = 8, 1, 1
    with tempfile.TemporaryDirectory() as folder:
        lines, aims = compare(options, Path(folder))
    publish(options, "grid", [machine(), "", *lines], aims)


if __name__ == "__main__":
    main()
