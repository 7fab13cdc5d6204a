"""How a step grows: time and memory against length of windows, size of batches, and processes.

    python bench/scale.py --write docs/performance.md     # about ten minutes on two cores
    python bench/scale.py --parts processes

Each measure is a process of its own. Length and batch: steps of mini/multilingual, 12 × 384, with stored teacher
states, and of the same student without teachers. Processes: the same recipe in one process on one core, and shared by
two on two (torchrun, gloo), in turns. What grows with the number of rows is in bench/rows.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from page import machine, replace, table
from turns import Program, in_turns, start, take_turns

from kdda.data.sources import Source, read_rows
from kdda.experiment.context import RunContext
from kdda.experiment.specs import StudentRun
from kdda.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import write_rows  # noqa: E402

LENGTHS, AT_BATCH = (32, 64, 128, 256, 512), 8
BATCHES, AT_LENGTH = (1, 4, 16, 64), 64
STEPS, WARM = 5, 2
SIZES = {"length": LENGTHS, "batch": BATCHES}
ROUNDS = 2  # of one process and two, in turns
LANGUAGES = ("aa", "bb")
TEXTS = {"aa": "vi", "bb": "en"}
Measure = tuple[str, int, str, float, float]  # what grows, its size, the arm, seconds a step or a run, peak MB


def whole_run(*command: object, **environment: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} ended with status {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 2**10


def written(values: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(dict(values), allow_unicode=True), encoding="utf-8")
    return path


def recipe(
    folder: Path, student: str, teachers: Sequence[str], rows: Mapping[str, str], **training: Any
) -> dict[str, Any]:
    """Two languages that differ in name; teachers with random weights, since it is costs that are measured."""
    data = {name: {"train": rows[name], "dev": rows["dev"], "test": rows["dev"]} for name in LANGUAGES}
    return {
        "task": "nli",
        "target": LANGUAGES[0],
        "student": student,
        "teachers": {name: {"model": own, "random": True} for name, own in zip(LANGUAGES, teachers, strict=True)},
        "data": data,
        "training": {"epochs": 1, "log_every": 1, "precision": "fp32", **training},
    }


# Steps ----------------------------------------------------------------------------------------------------------------


def long_rows(folder: Path, language: str, count: int) -> str:
    """Texts longer than any window: the embedded passages, end to end."""
    rows = read_rows(Source(f"embedded:reading/{TEXTS[language]}/train"))
    text = " ".join(dict.fromkeys(row.values["context"] for row in rows)).split()
    made: list[dict[str, Any]] = []
    for i in range(count):
        at = 7 * i % (len(text) - 800)
        made.append({"premise": " ".join(text[at : at + 400]), "hypothesis": " ".join(text[at + 400 : at + 800])})
        made[-1]["label"] = ("entailment", "neutral", "contradiction")[i % 3]
    return write_rows(folder / f"{language}-{count}.jsonl", made)


def against_steps(kind: str, sizes: Sequence[int], folder: Path) -> Iterator[Measure]:
    """Steps of one batch of windows that are all full."""
    for size in sizes:
        length, batch = (size, AT_BATCH) if kind == "length" else (AT_LENGTH, size)
        own = folder / f"{kind}-{size}"
        own.mkdir()
        count = batch * -(-STEPS // 2)
        rows = {name: long_rows(own, name, count) for name in LANGUAGES} | {"dev": long_rows(own, "aa", 4)}
        teachers = ("mini/vietnamese", "mini/english")
        values = recipe(own, "mini/multilingual", teachers, rows, batch_size=batch, max_length=length)
        path = written(values, own)
        arms = {
            arm: Program(arm, (__file__, "--child", json.dumps([arm, str(path)])))
            for arm in ("student-da", "student-kdda")
        }
        start(list(arms.values()))
        in_turns(list(arms.values()), STEPS, lambda _: None)
        for arm, found in arms.items():
            yield kind, size, arm, statistics.median(found.seconds[WARM:]), found.peak


def child(arm: str, path: str) -> None:
    take_turns(STEPS)
    context = RunContext.open(load_recipe(path), Path(path).parent / arm, lambda _: None)
    context.do(StudentRun(arm, 1))


# Processes ------------------------------------------------------------------------------------------------------------


def against_processes(folder: Path) -> tuple[float, float, float]:
    """Seconds a step of one process on one core and of two on two, medians over rounds, and the median of ratios."""
    more = ["--arms", "student-kdda", "--set", "training.log_every=1", "--set", "training.batch_size=32",
            "--set", "training.precision=fp32", "--set", "training.epochs=1"]  # fmt: skip
    for language in ("vi", "en"):
        more += ["--set", f"data.{language}.limit={{train: 128, dev: 8, test: 8}}"]
        more += ["--set", f"teachers.{language}.random=true"]
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    found: dict[str, list[float]] = {"one": [], "two": []}
    for number in range(ROUNDS):
        for name, launch in (("one", ()), ("two", two)):
            out = folder / f"{name}-{number}"
            command = (sys.executable, *launch, "-m", "kdda", "run", "mini-nli", "--out", out, *more)
            whole_run(*command, OMP_NUM_THREADS="1")
            found[name].append(seconds_a_step(out))
    ratios = [one / two for one, two in zip(found["one"], found["two"], strict=True)]
    return statistics.median(found["one"]), statistics.median(found["two"]), statistics.median(ratios)


def seconds_a_step(out: Path) -> float:
    """From the log of a run; its first steps warm up."""
    (log,) = out.rglob("student-kdda/**/metrics.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    at: list[float] = [event["seconds"] for event in events if event["event"] == "step"][WARM:]
    return (at[-1] - at[0]) / (len(at) - 1)


# Reporting ------------------------------------------------------------------------------------------------------------

KINDS = {
    "length": f"tokens a window, batches of {AT_BATCH}, a step",
    "batch": f"rows a batch, windows of {AT_LENGTH} tokens, a step",
}


def report(kind: str, found: Sequence[Measure]) -> list[str]:
    rows = []
    for size in dict.fromkeys(size for _, size, *_ in found):
        da, kdda = (next(m for m in found if m[1:3] == (size, arm)) for arm in ("student-da", "student-kdda"))
        times = [f"{da[3]:.2f}", f"{kdda[3]:.2f}", f"{kdda[3] / da[3]:.2f}"]
        rows.append([f"{size:,}", *times, f"{da[4]:,.0f}", f"{kdda[4]:,.0f}"])
    return table((KINDS[kind], "DA, s", "KDDA, s", "KDDA / DA", "DA, peak MB", "KDDA, peak MB"), rows)


def processes(one: float, two: float, faster: float) -> list[str]:
    rows = [["one, on one core", f"{one:.2f}", "1"], ["two, on two cores", f"{two:.2f}", f"{faster:.2f}"]]
    return table((f"processes, batches of 32, medians of {ROUNDS} runs", "s a step", "× one's speed (aim 1.7)"), rows)


def figure(kind: str, found: Sequence[Measure], path: Path) -> None:
    """Seconds to the left, megabytes to the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "kdda"  # the same figure for the same numbers
    fig, panels = plt.subplots(1, 2, figsize=(7, 2.8))
    for at, panel in ((3, panels[0]), (4, panels[1])):
        for arm in ("student-da", "student-kdda"):
            own = [m for m in found if m[2] == arm]
            panel.plot([m[1] for m in own], [m[at] for m in own], "o-", label=arm)
        panel.set(xscale="log", xlabel=KINDS[kind].split(",")[0])
    panels[0].set(yscale="log", ylabel="seconds")
    panels[1].set(ylim=(0, None), ylabel="peak MB")
    panels[0].legend(fontsize="small")
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="length,batch,processes")
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose tables are replaced")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.child:
        child(*json.loads(own.child))
        return
    with tempfile.TemporaryDirectory() as folder:
        for part in own.parts.split(","):
            lines = [machine(), "", *measured(part, own, Path(folder))]
            print("\n".join(lines), flush=True)
            if own.write:
                replace(own.write, "scale", lines, part)


def measured(part: str, own: argparse.Namespace, folder: Path) -> list[str]:
    """One part's table, and its figure beside the page that is written."""
    if part == "processes":
        return processes(*against_processes(folder))
    found = []
    for measure in against_steps(part, SIZES[part], folder):
        print(*measure, flush=True)
        found.append(measure)
    if own.write:
        figure(part, found, own.write.parent / f"scale-{part}.svg")
    return report(part, found)


if __name__ == "__main__":
    main()
