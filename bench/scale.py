"""How the cost of a step grows: time and memory against the length of windows, the size of batches, and processes.

    python bench/scale.py --write docs/performance.md     # about ten minutes on two cores
    python bench/scale.py --parts processes

Each measurement is made in a separate process. Length and batch: steps of mini/multilingual, 12 × 384, with stored
teacher states, and of the same student without teachers. Processes: the same recipe in one process on one core, and in
two on two cores (torchrun, gloo), in turns. bench/rows.py measures the cost against the number of rows.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aims import Aim, publish
from page import arguments, machine, table
from process import whole_process
from tiny import tiny_models, tiny_recipe, write_rows
from turns import Program, in_turns, start, take_turns

from kdda.data.sources import Source, read_rows
from kdda.experiment.context import RunContext, with_labels
from kdda.experiment.specs import StudentRun
from kdda.recipe.load import load_recipe
from kdda.runtime.numbers import ceil_div

LENGTHS, AT_BATCH = (32, 64, 128, 256, 512), 8
BATCHES, AT_LENGTH = (1, 4, 16, 64), 64
STEPS, WARM = 5, 2
SIZES = {"length": LENGTHS, "batch": BATCHES}
ROUNDS = 2  # of one process and two, in turns
FASTER = 1.7  # at least, two processes on two cores
LANGUAGES = ("aa", "bb")
ARMS = ("student-da", "student-kdda")
MODELS = ("mini/multilingual", "mini/vietnamese", "mini/english")  # student, teachers
TEXTS = {"aa": "vi", "bb": "en"}


@dataclass(frozen=True)
class Measurement:
    """The cost of a step.

    Attributes:
        kind: what grows, a key of `SIZES`.
        size: the length or the batch size.
        arm: the recipe's arm.
        seconds: the median of steps.
        peak: peak resident memory in MB.
    """

    kind: str
    size: int
    arm: str
    seconds: float
    peak: float


def written(values: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(dict(values), allow_unicode=True), encoding="utf-8")
    return path


def recipe(student: str, teachers: Sequence[str], rows: Mapping[str, str], **training: Any) -> dict[str, Any]:
    """A recipe of two languages; its teachers have random weights, which cost the same."""
    data = {}
    specs = {}
    for language, teacher in zip(LANGUAGES, teachers, strict=True):
        data[language] = {"train": rows[language], "dev": rows["dev"], "test": rows["dev"]}
        specs[language] = {"model": teacher, "random": True}
    return {
        "task": "nli",
        "target": LANGUAGES[0],
        "student": student,
        "teachers": specs,
        "data": data,
        "training": {"epochs": 1, "log_every": 1, "precision": "fp32", **training},
    }


# Steps ----------------------------------------------------------------------------------------------------------------


def long_rows(folder: Path, language: str, count: int) -> str:
    """A file of pairs longer than any window: stretches of the embedded passages, one after another."""
    rows = read_rows(Source(f"embedded:reading/{TEXTS[language]}/train"))
    text = " ".join(dict.fromkeys(row.values["context"] for row in rows)).split()
    pairs: list[dict[str, Any]] = []
    for i in range(count):
        at = 7 * i % (len(text) - 800)
        pair = {"premise": " ".join(text[at : at + 400]), "hypothesis": " ".join(text[at + 400 : at + 800])}
        pairs.append({**pair, "label": ("entailment", "neutral", "contradiction")[i % 3]})
    return write_rows(folder / f"{language}-{count}.jsonl", pairs)


def measure_steps(kind: str, quick: bool, folder: Path) -> Iterator[Measurement]:
    """Steps on batches whose windows are all full; in a quick run, of tiny models at the smallest size."""
    sizes, (student, *teachers) = SIZES[kind], MODELS
    if quick:
        sizes, (student, *teachers) = SIZES[kind][:1], tiny_models(folder).values()
    for size in sizes:
        length, batch = (size, AT_BATCH) if kind == "length" else (AT_LENGTH, size)
        size_folder = folder / f"{kind}-{size}"
        size_folder.mkdir()
        count = batch * ceil_div(STEPS, 2)
        rows = {language: long_rows(size_folder, language, count) for language in LANGUAGES}
        rows["dev"] = long_rows(size_folder, "aa", 4)
        values = recipe(student, teachers, rows, batch_size=batch, max_length=length)
        path = written(values, size_folder)
        programs = [Program(arm, (__file__, "--child", json.dumps([arm, str(path)]))) for arm in ARMS]
        start(programs)
        in_turns(programs, STEPS, lambda _: None)
        for program in programs:
            yield Measurement(kind, size, program.name, statistics.median(program.seconds[WARM:]), program.peaks[-1])


def child(arm: str, path: str) -> None:
    take_turns(STEPS)
    recipe = with_labels(load_recipe(path))
    context = RunContext.open(recipe, Path(path).parent / arm, lambda _: None)
    context.execute(StudentRun(arm, 1))


# Processes ------------------------------------------------------------------------------------------------------------


def measure_processes(recipe: str, rounds: int, folder: Path) -> tuple[float, float, float]:
    """Seconds a step of one process on one core and of two on two, medians over rounds, and the median of ratios."""
    more = ["--arms", "student-kdda", "--set", "training.log_every=1", "--set", "training.batch_size=32",
            "--set", "training.precision=fp32", "--set", "training.epochs=1"]  # fmt: skip
    for language in ("vi", "en"):
        more += ["--set", f"data.{language}.limit={{train: 128, dev: 8, test: 8}}"]
        more += ["--set", f"teachers.{language}.random=true"]
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    seconds: dict[str, list[float]] = {"one": [], "two": []}
    for number in range(rounds):
        for name, launch in (("one", ()), ("two", two)):
            out = folder / f"{name}-{number}"
            command = (sys.executable, *launch, "-m", "kdda", "run", recipe, "--out", out, *more)
            whole_process(*command, OMP_NUM_THREADS="1")
            seconds[name].append(seconds_a_step(out))
    ratios = [one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]
    return statistics.median(seconds["one"]), statistics.median(seconds["two"]), statistics.median(ratios)


def seconds_a_step(out: Path) -> float:
    """The mean of a run's steps from its log, without the first ones, which warm up."""
    (log,) = out.rglob("student-kdda/**/metrics.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    at: list[float] = [event["seconds"] for event in events if event["event"] == "step"][WARM:]
    return (at[-1] - at[0]) / (len(at) - 1)


# Reporting ------------------------------------------------------------------------------------------------------------

KINDS = {
    "length": f"tokens a window, batches of {AT_BATCH}, a step",
    "batch": f"rows a batch, windows of {AT_LENGTH} tokens, a step",
}


def report(kind: str, measurements: Sequence[Measurement]) -> list[str]:
    by_size_and_arm = {(measurement.size, measurement.arm): measurement for measurement in measurements}
    rows = []
    for size in dict.fromkeys(measurement.size for measurement in measurements):
        da, kdda = by_size_and_arm[size, "student-da"], by_size_and_arm[size, "student-kdda"]
        times = [f"{da.seconds:.2f}", f"{kdda.seconds:.2f}", f"{kdda.seconds / da.seconds:.2f}"]
        rows.append([f"{size:,}", *times, f"{da.peak:,.0f}", f"{kdda.peak:,.0f}"])
    return table((KINDS[kind], "DA, s", "KDDA, s", "KDDA / DA", "DA, peak MB", "KDDA, peak MB"), rows)


def processes(one: float, two: float, faster: float) -> list[str]:
    rows = [["one, on one core", f"{one:.2f}", "1"], ["two, on two cores", f"{two:.2f}", f"{faster:.2f}"]]
    return table(
        (f"processes, batches of 32, medians of {ROUNDS} runs", "s a step", f"× one's speed (aim {FASTER})"), rows
    )


def figure(kind: str, measurements: Sequence[Measurement], path: Path) -> None:
    """Draw seconds in the left panel and megabytes in the right one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "kdda"  # the same figure for the same numbers
    fig, panels = plt.subplots(1, 2, figsize=(7, 2.8))
    for arm in ARMS:
        of_arm = [measurement for measurement in measurements if measurement.arm == arm]
        sizes = [measurement.size for measurement in of_arm]
        panels[0].plot(sizes, [measurement.seconds for measurement in of_arm], "o-", label=arm)
        panels[1].plot(sizes, [measurement.peak for measurement in of_arm], "o-", label=arm)
    for panel in panels:
        panel.set(xscale="log", xlabel=KINDS[kind].split(",")[0])
    panels[0].set(yscale="log", ylabel="seconds")
    panels[1].set(ylim=(0, None), ylabel="peak MB")
    panels[0].legend(fontsize="small")
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--parts", default="length,batch,processes")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*json.loads(options.child))
        return
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts.split(","):
            lines, aims = measure(part, options, Path(folder))
            publish(options, "scale", [machine(), "", *lines], aims, part)


def measure(part: str, options: argparse.Namespace, folder: Path) -> tuple[list[str], list[Aim]]:
    """Measure one part; its figure is drawn beside the page, if one is written.

    Returns:
        The lines of its table, and the aims.
    """
    if part == "processes":
        recipe = tiny_recipe("nli", folder) if options.quick else "mini-nli"
        one, two, faster = measure_processes(recipe, 1 if options.quick else ROUNDS, folder)
        return processes(one, two, faster), [Aim("two processes on two cores", faster, "≥", FASTER, "× one's speed")]
    measurements = []
    for measurement in measure_steps(part, options.quick, folder):
        print(measurement, flush=True)
        measurements.append(measurement)
    if options.write:
        figure(part, measurements, options.write.parent / f"scale-{part}.svg")
    return report(part, measurements), []


if __name__ == "__main__":
    main()
