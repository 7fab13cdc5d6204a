"""The cost of prediction: kdda's predictor against plain loops of transformers, and exports against torch.

    python bench/use.py --reader runs/qa/student-da/seed-1/model --judge runs/nli/student-kdda/seed-1/model

All programs predict the same rows of the embedded test sets (Vietnamese) in turns, `--rounds` times; ratios are of the
medians within one run. Scores are on all of those rows. Writes the tables of docs/performance.md; run it on an idle
machine. `--rows 8 --rounds 1` tries it out. With `--optimum PYTHON`, of an environment of its own, optimum's export to
onnxruntime takes turns, too (bench/with_optimum.py).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from aims import Aim, publish
from page import arguments, machine
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from with_optimum import Optimum

import kdda
from kdda.data.examples import Example, Schema, check_rows
from kdda.data.sources import Source, read_rows
from kdda.inference.onnx import export
from kdda.inference.predictor import Predictor
from kdda.metrics.significance import bootstrap_interval
from kdda.models.families import position_limit
from kdda.runs.predictions import row_score
from kdda.runtime.device import in_bfloat16
from kdda.tasks.base import Prediction, Task

ROOT = Path(__file__).parents[1]
TARGETS = {"transformers, one by one": 3.0, "transformers, padded batches of 32": 1.5}
FASTER_IN_8_BITS, LOST_IN_8_BITS = 2.0, 0.5
HEADS = {"qa": AutoModelForQuestionAnswering, "nli": AutoModelForSequenceClassification}
DATA = {"qa": "embedded:reading/vi/test", "nli": "embedded:nli/vi/test"}


def row_limit(config: Any) -> int:
    """The tokens of a row at most, of programs that read each row in one window."""
    return min(getattr(config, "kdda_max_length", None) or 384, position_limit(config))


def plain_loop(name: str, task: str, examples: Sequence[Example], size: int) -> Callable[[], None]:
    """A straightforward loop: rows in their order, padded to the longest of a batch, one window a row."""
    model, tokenizer = HEADS[task].from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    longest = row_limit(model.config)
    cut = "only_second" if task == "qa" else True

    def run() -> None:
        for start in range(0, len(examples), size):
            sides = zip(*(example.texts for example in examples[start : start + size]), strict=True)
            options: Any = {"truncation": cut, "max_length": longest, "padding": True, "return_tensors": "pt"}
            with torch.no_grad():
                outputs = model(**tokenizer(*map(list, sides), **options))
            if task == "qa":
                list(zip(outputs.start_logits.argmax(-1).tolist(), outputs.end_logits.argmax(-1).tolist(), strict=True))
            else:
                outputs.logits.softmax(-1).tolist()

    return run


def pipeline_of(name: str, examples: Sequence[Example]) -> Callable[[], object]:
    """transformers' pipeline as its documentation calls it for pairs of texts."""
    classify: Any = pipeline("text-classification", model=name, tokenizer=name, top_k=None, device="cpu")
    rows = [{"text": example.texts[0], "text_pair": example.texts[1]} for example in examples]
    return partial(classify, rows, truncation=True, batch_size=32)


def rows_a_second(ways: dict[str, Callable[[], Any]], count: int, rounds: int) -> dict[str, float]:
    """Rows a second of each program, by the median of rounds in which all take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    return {name: count / statistics.median(times) for name, times in seconds.items()}


def measure(name: str, options: argparse.Namespace, folder: Path) -> tuple[list[str], list[Aim]]:
    """The rows of one model's table with a sentence below, and the aims."""
    predictor = kdda.load(name, precision="fp32")
    task = predictor.task.name
    schema = Schema(labels=tuple(predictor.labels))
    examples = check_rows(read_rows(Source(DATA[task])), predictor.task.convert(schema)).examples[: options.rows]
    exports = {"kdda, ONNX": False, "kdda, ONNX in 8 bits": True}
    predictors: dict[str, Predictor] = {
        "kdda, torch": predictor,
        "kdda, torch in bfloat16": kdda.load(name, precision="bf16"),
    }
    for label, int8 in exports.items():
        out = folder / f"{task}-{int8}"
        if not out.exists():
            print(f"{label}: {export(name, out, int8=int8)}")
        predictors[label] = kdda.load(out)
    pairs = [(example.texts[0], example.texts[1]) for example in examples]
    ways: dict[str, Callable[[], Any]] = {
        "transformers, one by one": plain_loop(name, task, examples, 1),
        "transformers, padded batches of 32": plain_loop(name, task, examples, 32),
    }
    if task == "nli":
        ways["transformers, pipeline, batches of 32"] = pipeline_of(name, examples)
    for label, reader in predictors.items():
        ways[label] = partial(reader.read, pairs)
    predictions = {label: reader.predict(examples, "vi") for label, reader in predictors.items()}
    with ExitStack() as processes:
        if options.optimum:
            order = {"model": name, "task": task, "rows": pairs, "longest": row_limit(predictor.engine.config)}
            optimum = Optimum(options.optimum, order, folder / f"{task}-optimum")
            processes.callback(optimum.close)
            ways |= optimum.ways()
            if task == "nli":
                for label, predict in optimum.ways().items():
                    predictions[label] = with_labels(predictions["kdda, torch"], predictor.labels, predict())
        rates = rows_a_second(ways, len(examples), options.rounds)
    scores = {label: score(predictor, of_label) for label, of_label in predictions.items()}
    lines = [line(label, rate, rates, scores.get(label)) for label, rate in rates.items()]
    return [*lines, "", changed_in_8_bits(predictor.task, predictions)], aims_of(task, rates, scores)


def aims_of(task: str, rates: dict[str, float], scores: dict[str, float]) -> list[Aim]:
    """What was aimed at, from rows a second and scores of each program.

    kdda is as its users have it: `kdda.load` takes bfloat16 where the processor has the instructions.
    """
    default = "kdda, torch in bfloat16" if in_bfloat16("auto") else "kdda, torch"
    aims = []
    for name, goal in TARGETS.items():
        aims.append(Aim(f"{task}: {default}", rates[default] / rates[name], "≥", goal, f"× {name}"))
    faster = rates["kdda, ONNX in 8 bits"] / rates["kdda, torch"]
    lost = max(0.0, scores["kdda, torch"] - scores["kdda, ONNX in 8 bits"])
    aims.append(Aim(f"{task}: ONNX in 8 bits", faster, "≥", FASTER_IN_8_BITS, "× torch in float32"))
    return [*aims, Aim(f"{task}: score lost in 8 bits", lost, "≤", LOST_IN_8_BITS, "points")]


def with_labels(predictions: Sequence[Any], names: Sequence[str], labels: Sequence[int]) -> list[Any]:
    """Predictions of the same rows with other labels, by their numbers."""
    return [replace(one, predicted=names[label]) for one, label in zip(predictions, labels, strict=True)]


def score(predictor: Predictor, predictions: Sequence[Prediction]) -> float:
    task = predictor.task
    return float(task.score(predictions, predictor.labels)[task.metric])


def changed_in_8_bits(task: Task, predictions: Mapping[str, Sequence[Prediction]]) -> str:
    """By how many points 8 bits change the score, as far as these rows can tell: paired, by passages or premises."""
    differences, groups = [], []
    for single, small in zip(predictions["kdda, torch"], predictions["kdda, ONNX in 8 bits"], strict=True):
        differences.append(row_score(asdict(small), task.row_score) - row_score(asdict(single), task.row_score))
        groups.append(single.group)
    change, low, high, _ = (f"{number:.1f}".replace("-", "−") for number in bootstrap_interval(differences, groups))
    return f"8 bits change the score by {change} points (95 % interval of these rows: {low} to {high})."


def line(label: str, rate: float, rates: dict[str, float], score: float | None) -> str:
    ratios = [f"{rate / rates[name]:.2f}" for name in (*TARGETS, "kdda, torch")]
    last_cell = "" if score is None else f"{score:.1f}"
    return f"| {label} | {rate:.1f} | {' | '.join(ratios)} | {last_cell} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--reader", default="", help="a checkpoint that answers questions")
    parser.add_argument("--judge", default="", help="a checkpoint that labels pairs")
    parser.add_argument("--exports", type=Path, help="a folder with the exports of an earlier run, which it keeps")
    parser.add_argument("--optimum", metavar="PYTHON", help="of an environment with optimum-onnx, to compare with it")
    parser.add_argument("--rows", type=int, default=450)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds = 8, 1
    top = f"{machine()} {torch.get_num_threads()} threads, {options.rounds} rounds."
    with tempfile.TemporaryDirectory() as folder:
        for part, name, metric in (("qa", options.reader, "F1"), ("nli", options.judge, "accuracy")):
            if name:
                titles = f"| {name} | rows/s | vs one by one | vs padded 32 | vs kdda, torch | {metric} |"
                rows, aims = measure(name, options, options.exports or Path(folder))
                publish(options, "use", [top, "", titles, "|---|--:|--:|--:|--:|--:|", *rows], aims, part)


if __name__ == "__main__":
    main()
