"""The cost of a training step: kdda's against a straightforward program's (bench/plain.py).

    python bench/step.py --write docs/performance.md      # ten to twenty minutes on two cores
    python bench/step.py --recipes mini-nli --folder F --part 1      # a part of it; --part 0 for the tables

Models, rows, batches, order and mathematics are the same on both sides, and so are loss curves; dropout is 0 in the
student, since padding to another length would change its random masks. The programs are separate processes that take
turns, a step each, in four parts; a program is compared with those of its part. Teachers are the recipe's, fine-tuned
beforehand on the few rows that are used here, and kdda's cache of their states is filled beforehand: this measures a
step, and bench/grid.py whole runs.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from aims import Aim, publish
from page import arguments, machine, table
from plain import SolverSettings, encoder_of, padded, plain_trainer, tokenized
from solvers import SOLVERS as DIVERGENCES
from solvers import Clouds, errors, marginal_error, reference, value_and_gradient
from step_report import DEFAULT, EXACT, FORWARD, LONGEST, PLAIN, PLAIN_IN_BF16, SCRIPTS, WARM, aims, report
from tiny import tiny_recipe
from transformers import AutoModel
from turns import Program, Turns, in_turns, send, start, take_turns

from kdda.experiment.context import RunContext, with_labels
from kdda.experiment.specs import StudentRun, TeacherRun
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from kdda.recipe.schema import Recipe
from kdda.runtime.numbers import ceil_div
from kdda.teachers.cache import TeacherCache
from kdda.training.sampler import LanguageBatchSampler

SEED = 1
LIVE, IN_BF16 = ("teacher_cache_gb=0",), ("training.precision=bf16",)
# kdda's programs: an arm, and the changes to its recipe.
KDDA: dict[str, tuple[str, tuple[str, ...]]] = {
    "kdda": ("student-kdda", ()),
    "kdda, live teacher": ("student-kdda", LIVE),
    "kdda, DA": ("student-da", ()),
    "kdda, bfloat16": ("student-kdda", IN_BF16),
    "kdda, DA, bfloat16": ("student-da", IN_BF16),
}
# Programs that take turns: all at once would need the memory of twelve. The reports take each from its first part, and
# ratios as the mean over the parts that have both: those with and without stored states differ by less than two
# processes of one program at times do.
STORED_AND_DA = ("kdda", "kdda, DA", "kdda, bfloat16", "kdda, DA, bfloat16")
PARTS: tuple[tuple[str, ...], ...] = (
    (*STORED_AND_DA, "plain"),
    (*STORED_AND_DA, LONGEST, DEFAULT),
    (*STORED_AND_DA, EXACT, PLAIN_IN_BF16),
    ("kdda", "kdda, DA", "kdda, live teacher", FORWARD, "plain, DA"),
)


# The common start of all programs -------------------------------------------------------------------------------------


def recipe_of(name: str, steps: int, batch_size: int | None, student: str = "", more: tuple[str, ...] = ()) -> Recipe:
    """A built-in recipe on so few rows that an epoch is about so many steps, logged one by one."""
    size = batch_size or load_recipe(name).training.batch_size
    rows = ceil_div(steps, 2) * size  # of a language, at least: a question may have more than one window
    changes = ["training.log_every=1", "training.epochs=1", f"training.batch_size={size}", "training.precision=fp32"]
    for language in ("vi", "en"):
        changes.append(f"data.{language}.limit={{train: {rows}, dev: 8, test: 8}}")
        changes.append(f"teachers.{language}.training={{epochs: 1}}")
    if load_recipe(name).task == "qa":  # longer than any passage, so that no teacher reads a window in two parts
        changes.append(f"training.max_length={SCRIPTS['qa'][1]}")
    if student:
        changes.append(f"student={student}")
    return load_recipe(name, [*changes, *more])


def student_without_dropout(recipe: Recipe, task: Any, labels: list[str], folder: Path) -> str:
    """A checkpoint with a head, so that both sides begin with the same weights."""
    torch.manual_seed(SEED)
    checkpoint = load_checkpoint(recipe.student.model, head=task.head, labels=labels if task.labelled else None)
    checkpoint.model.config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    checkpoint.model.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)
    return str(folder)


def quiet(_: str) -> None:
    pass


def prepare(recipe: Recipe, out: Path) -> tuple[RunContext, SolverSettings, float]:
    """Teachers, their stored states and scales, and the seconds that storing took."""
    context = RunContext.open(with_labels(recipe), out, print)
    student = student_without_dropout(recipe, context.task, context.labels, out / "start")
    teachers, scales = {}, {}
    seconds = 0.0
    encoder = load_checkpoint(student).encoder(recipe.training.max_length, recipe.training.stride)
    for language, (spec, *_) in recipe.teachers_by_language().items():
        context.execute(TeacherRun(language, spec))
        teacher = context.teacher(language, spec).open()
        features = context.task.encode(context.data[language]["train"], encoder)
        began = time.perf_counter()
        cache = TeacherCache.build(
            teacher,
            context.task.text_spans(features),
            labels=context.labels,
            max_length=recipe.training.max_length,
            stride=recipe.training.stride,
            folder=out / "teachers" / "states",
            precision=recipe.training.precision,
        )
        seconds += time.perf_counter() - began
        teachers[language], scales[language] = teacher.name, cache.scales[0]
    return context, SolverSettings(student, teachers, scales), seconds


# Children -------------------------------------------------------------------------------------------------------------


def child(order: Mapping[str, Any]) -> None:
    """Run one of the programs, in its process."""
    name, out = order["name"], Path(order["out"])
    steps = order["steps"] + (0 if name in PLAIN else order["more"])
    take_turns(steps)
    settings = SolverSettings(**order["settings"])
    recipe = recipe_of(
        order["recipe"], order["steps"] + order["more"], order["batch_size"], settings.student, more_of(name, settings)
    )
    folder = out / folder_of(name)
    arm, _ = KDDA.get(name, ("", ()))
    context = RunContext.open(with_labels(recipe), out, quiet)
    languages = list(recipe.data)
    if name == FORWARD:
        run_teachers(context, settings, languages, Turns(steps))
    if name in PLAIN:
        longest = {LONGEST: recipe.training.max_length, DEFAULT: SCRIPTS[recipe.task][1]}.get(name)
        teachers = {} if name == "plain, DA" else settings.teachers
        settings = replace(settings, teachers=teachers, longest=longest, exact=name == EXACT)
        plain_trainer(context, settings, languages, SEED, folder).train()
    else:
        (folder / "teachers").mkdir(parents=True)
        (folder / "teachers" / "states").symlink_to(out / "teachers" / "states")
        replace(context, out=folder).execute(StudentRun(arm, SEED))


def folder_of(name: str) -> str:
    """Of a program, where it writes."""
    return "of-" + name.replace(" ", "-")


def more_of(name: str, settings: SolverSettings) -> tuple[str, ...]:
    """Changes to a program's recipe."""
    changes = []
    for language, folder in settings.teachers.items():
        changes.append(f"teachers.{language}={{model: {folder}, finetuned: true}}")
    if name in KDDA:
        changes += KDDA[name][1]
    if name == PLAIN_IN_BF16:
        changes += IN_BF16
    return tuple(changes)


@torch.inference_mode()
def run_teachers(context: RunContext, settings: SolverSettings, languages: list[str], turns: Turns) -> None:
    """Run the teachers' forward passes alone, on each batch in its turn."""
    models = {name: AutoModel.from_pretrained(folder).eval() for name, folder in settings.teachers.items()}
    rows = tokenized(context, settings, languages, encoder_of(settings.student, context.recipe))
    lengths = {name: [len(row["inputs"]["input_ids"]) for row in rows if row["language"] == name] for name in languages}
    batches = iter(LanguageBatchSampler(lengths, context.recipe.training.batch_size, SEED))
    send(ready=True)
    turns.wait()
    for batch in batches:
        inputs = padded([rows[i]["teacher"] for i in batch], None)
        models[rows[batch[0]]["language"]](**inputs)
        turns.over()


# The parent -----------------------------------------------------------------------------------------------------------


def programs(order: dict[str, Any], names: Sequence[str], bf16: bool) -> dict[str, Program]:
    """The programs to compare, without those in bfloat16 where the device has no instructions for it."""
    if not bf16:
        names = [name for name in names if "bfloat16" not in name]
    if load_recipe(order["recipe"]).task == "qa":  # its windows are as long as the script's
        names = [name for name in names if name != DEFAULT]
    return {name: Program(name, (__file__, "--child", json.dumps({**order, "name": name}))) for name in names}


def measure_part(order: dict[str, Any], number: int) -> None:
    """Let the programs of a part take turns, and write what was measured to the folder."""
    bf16 = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    by_name = programs(order, PARTS[number - 1], bf16)
    for name in by_name:
        shutil.rmtree(Path(order["out"]) / folder_of(name), ignore_errors=True)  # of a measurement before
    start(list(by_name.values()))
    in_turns(list(by_name.values()), order["steps"])
    in_turns([program for program in by_name.values() if program.name not in PLAIN], order["more"])
    for program in by_name.values():
        program.process.wait()
    measured = {name: program.measured() for name, program in by_name.items()}
    part_file(Path(order["out"]), number).write_text(json.dumps(measured), encoding="utf-8")


def part_file(out: Path, number: int) -> Path:
    """Where a part's measurements are."""
    return out / f"part-{number}.json"


def measured_programs(out: Path) -> dict[str, Program]:
    """The programs of the parts measured so far, in the order of the report, each as in its first part."""
    by_name: dict[str, Program] = {}
    for number in range(1, len(PARTS) + 1):
        if not part_file(out, number).is_file():
            continue
        values = json.loads(part_file(out, number).read_text(encoding="utf-8"))
        part = {name: Program(name, (), **of_program) for name, of_program in values.items()}
        by_name = {**part, **by_name}
        for name in part:
            by_name[name].parts.append(part)
    return {name: by_name[name] for name in (*KDDA, *PLAIN, FORWARD) if name in by_name}


def accuracy(context: RunContext, settings: SolverSettings, rows: int) -> list[list[str]]:
    """The errors of the divergences that the loss curves were computed with, on the first rows of each language."""
    recipe, task = context.recipe, context.task
    encoder, epsilon = encoder_of(settings.student, recipe), recipe.distill.epsilon
    student = AutoModel.from_pretrained(settings.student).eval()
    lines = []
    for language in settings.teachers:
        features = task.encode(context.data[language]["train"], encoder)
        cache = TeacherCache.build(
            context.teacher(language, recipe.teachers_by_language()[language][0]).open(),
            task.text_spans(features)[:rows],
            labels=context.labels,
            max_length=recipe.training.max_length,
            stride=recipe.training.stride,
            precision=recipe.training.precision,
        )
        (teacher,) = cache.batch(range(rows))
        inputs = encoder.pad(features.windows[:rows])
        unit = settings.scales[language] ** -0.5
        with torch.no_grad():
            states = student(**inputs).last_hidden_state
        assert teacher.mask is not None
        clouds = Clouds(states * unit, teacher.states * unit, inputs["attention_mask"].bool(), teacher.mask)
        truth = reference(clouds, epsilon)
        for name in ("kdda", "geomloss .9"):
            value, gradient, plan = value_and_gradient(DIVERGENCES[name], clouds, epsilon)
            numbers = marginal_error(plan(), clouds), *errors(value, gradient, clouds, truth)
            lines.append([language, name, *(f"{number:.0e}" for number in numbers)])
    return lines


def prepared(recipe: Recipe, out: Path) -> tuple[RunContext, SolverSettings, float]:
    """`prepare`, or what it has prepared in this folder before."""
    record = out / "prepared.json"
    if record.is_file():
        values, seconds = json.loads(record.read_text(encoding="utf-8"))
        return RunContext.open(with_labels(recipe), out, quiet), SolverSettings(**values), seconds
    context, settings, seconds = prepare(recipe, out)
    record.write_text(json.dumps([asdict(settings), seconds]), encoding="utf-8")
    return context, settings, seconds


def measure(name: str, options: argparse.Namespace, out: Path) -> tuple[list[str], list[Aim]]:
    """Measure one recipe, or a part of its programs.

    Args:
        out: folder of what is prepared and measured.

    Returns:
        The lines of its tables, and the aims.
    """
    recipe = recipe_of(name, options.steps + options.more, options.batch_size)
    context, settings, seconds = prepared(recipe, out)
    order = {
        "recipe": name,
        "steps": options.steps,
        "more": options.more,
        "batch_size": options.batch_size,
        "out": str(out),
        "settings": asdict(settings),
    }
    parts = range(1, len(PARTS) + 1) if options.part is None else [options.part]
    for number in parts:
        if number:
            measure_part(order, number)
    by_name = measured_programs(out)
    if not by_name:
        sys.exit(f"{out} has no measurements yet: begin with --part 1.")
    exact = accuracy(context, settings, recipe.training.batch_size)
    size, length = recipe.training.batch_size, recipe.training.max_length
    counts = [len(program.seconds) - WARM for program in by_name.values()]
    counted = f"medians of {min(counts)} to {max(counts)} steps"
    head = f"**{name}**, batches of {size}, windows of at most {length} tokens; {counted}."
    lines = [
        head,
        "",
        *report(recipe.task, by_name, size),
        "",
        f"Storing teacher states: {seconds:.1f} s, once.",
        "",
    ]
    titles = ("language", "divergence", "marginal error", "value's error", "gradient's error")
    return [*lines, *table(titles, exact), ""], aims(name, recipe.task, by_name)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipes", default="mini-nli,mini-qa")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--more", type=int, default=8, help="steps of kdda's programs after those")
    parser.add_argument("--batch-size", type=int, help="the recipe's by default")
    parser.add_argument("--folder", type=Path, help="keep teachers and measurements there")
    parser.add_argument("--part", type=int, choices=range(len(PARTS) + 1), help="of the programs; all by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        sys.exit("the rows suffice for fewer steps than --steps and --more")
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            options.recipes, options.steps, options.more = tiny_recipe("nli", Path(folder)), WARM + 1, 1
        for name in options.recipes.split(","):
            out = (options.folder or Path(folder)) / Path(name).stem
            lines, measured = measure(name, options, out)
            publish(options, "step", [machine(), "", *lines], measured, name)


if __name__ == "__main__":
    main()
