"""What a training step costs: kdda's against the program that a person writes first (bench/plain.py).

    python bench/step.py --write docs/performance.md      # about eight minutes on two cores

Models, rows, batches, order and mathematics are the same on both sides, and so are loss curves; dropout is 0 in the
student, since padding to another length would draw it otherwise. Every program is a process of its own, and they take
turns, a step each. Teachers are the recipe's, fine-tuned beforehand on the few rows that are used here, and kdda's
store of what they say is filled beforehand: this is a step's cost, and bench/grid.py has the whole.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from page import machine, table
from page import replace as write_table
from plain import SolverSettings, encoder_of, padded, plain_trainer, tokenized
from transformers import AutoModel
from transport import SOLVERS as DIVERGENCES
from transport import Clouds, errors, marginal_error, reference, value_and_gradient
from turns import Program, Turns, disagreement, in_turns, ratio, send, start, take_turns

from kdda.experiment.context import RunContext, with_labels
from kdda.experiment.specs import StudentRun, TeacherRun
from kdda.models.load import load_checkpoint
from kdda.recipe.load import load_recipe
from kdda.recipe.schema import Recipe
from kdda.teachers.cache import TeacherCache
from kdda.training.sampler import LanguageBatchSampler

WARM = 3  # steps that are not counted
SEED = 1
LIVE, IN_BF16 = ("teacher_cache_gb=0",), ("training.precision=bf16",)
OWN: dict[str, tuple[str, tuple[str, ...]]] = {  # an arm, and what its recipe says otherwise
    "kdda": ("student-kdda", ()),
    "kdda, live teacher": ("student-kdda", LIVE),
    "kdda, DA": ("student-da", ()),
    "kdda, bfloat16": ("student-kdda", IN_BF16),
    "kdda, DA, bfloat16": ("student-da", IN_BF16),
}
LONGEST = "plain, padded to the recipe's maximum"
DEFAULT = "plain, padded to run_{}.py's maximum"
EXACT = "plain, kdda.transport for geomloss"
PLAIN_IN_BF16 = "plain, bfloat16"  # autocast, for a person who knows that the device has it and says so
PLAIN = ("plain", LONGEST, DEFAULT, EXACT, PLAIN_IN_BF16, "plain, DA")
SCRIPTS = {"nli": ("glue", 128), "qa": ("qa", 384)}  # what transformers' example scripts pad to if not told otherwise
FORWARD = "teacher alone"
TARGETS = {
    "nli": {"plain": 2.0, LONGEST: 4.0},
    "qa": {"plain": 1.5, LONGEST: 2.0},
}


# What every program starts from ---------------------------------------------------------------------------------------


def recipe_of(name: str, steps: int, batch_size: int | None, student: str = "", more: tuple[str, ...] = ()) -> Recipe:
    """A built-in recipe on so few rows that an epoch is about so many steps, logged one by one."""
    size = batch_size or load_recipe(name).training.batch_size
    # a question may have more than one window, so rows that suffice for windows do
    own = [f"data.{language}.limit={{train: {-(-steps // 2) * size}, dev: 8, test: 8}}" for language in ("vi", "en")]
    fixed = ["training.log_every=1", "training.epochs=1", f"training.batch_size={size}", "training.precision=fp32"]
    fixed += ["teachers.vi.training={epochs: 1}", "teachers.en.training={epochs: 1}"]
    if load_recipe(name).task == "qa":  # longer than any passage, so that no teacher reads a window in two parts
        fixed.append(f"training.max_length={SCRIPTS['qa'][1]}")
    return load_recipe(name, [*own, *fixed, *([f"student={student}"] if student else []), *more])


def student_without_dropout(recipe: Recipe, task: Any, labels: list[str], folder: Path) -> str:
    """A checkpoint with a head, so that both sides begin with the same weights."""
    torch.manual_seed(SEED)
    made = load_checkpoint(recipe.student.model, head=task.head, labels=labels if task.labelled else None)
    made.model.config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return str(folder)


def quiet(_: str) -> None:
    pass


def prepared(recipe: Recipe, out: Path) -> tuple[RunContext, SolverSettings, float]:
    """Teachers, their stored states and scales, and the seconds that storing took."""
    context = RunContext.open(with_labels(recipe), out, print)
    student = student_without_dropout(recipe, context.task, context.labels, out / "start")
    teachers, scales, seconds = {}, {}, 0.0
    encoder = load_checkpoint(student).encoder(recipe.training.max_length, recipe.training.stride)
    for language, spec in recipe.teachers.items():
        context.do(TeacherRun(language, spec))
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
    """Be one of the programs."""
    name, out = order["name"], Path(order["out"])
    steps = order["steps"] + (0 if name in PLAIN else order["more"])
    settings = SolverSettings(**order["settings"])
    recipe = recipe_of(
        order["recipe"], order["steps"] + order["more"], order["batch_size"], settings.student, more_of(name, settings)
    )
    own = out / name.replace(" ", "-")
    arm, _ = OWN.get(name, ("", ()))
    context = RunContext.open(with_labels(recipe), out, quiet)
    languages = list(recipe.data)
    if name == FORWARD:
        ask_teachers(context, settings, languages, Turns(steps))
    take_turns(steps)
    if name in PLAIN:
        longest = {LONGEST: recipe.training.max_length, DEFAULT: SCRIPTS[recipe.task][1]}.get(name)
        teachers = {} if name == "plain, DA" else settings.teachers
        told = replace(settings, teachers=teachers, longest=longest, exact=name == EXACT)
        plain_trainer(context, told, languages, SEED, own).train()
    else:
        (own / "teachers").mkdir(parents=True)
        (own / "teachers" / "states").symlink_to(out / "teachers" / "states")
        replace(context, out=own).do(StudentRun(arm, SEED))


def more_of(name: str, settings: SolverSettings) -> tuple[str, ...]:
    """What a program's recipe says otherwise."""
    finished = [
        f"teachers.{language}={{model: {folder}, finetuned: true}}" for language, folder in settings.teachers.items()
    ]
    return *finished, *OWN.get(name, ("", IN_BF16 if name == PLAIN_IN_BF16 else ()))[1]


@torch.inference_mode()
def ask_teachers(context: RunContext, settings: SolverSettings, languages: list[str], turns: Turns) -> None:
    """Teachers' forward passes alone, on each batch in its turn."""
    models = {name: AutoModel.from_pretrained(folder).eval() for name, folder in settings.teachers.items()}
    rows = tokenized(context, settings, languages)
    lengths = {name: [len(row["inputs"]["input_ids"]) for row in rows if row["language"] == name] for name in languages}
    batches = iter(LanguageBatchSampler(lengths, context.recipe.training.batch_size, SEED))
    send(ready=True)
    turns.wait()
    for batch in batches:
        inputs = padded([rows[i]["teacher"] for i in batch], None)
        models[rows[batch[0]]["language"]](**inputs)
        turns.over()


# The parent -----------------------------------------------------------------------------------------------------------


def programs(order: dict[str, Any], bf16: bool) -> dict[str, Program]:
    own = [name for name, (_, more) in OWN.items() if bf16 or more != IN_BF16]
    names = [*own, *(name for name in PLAIN if bf16 or name != PLAIN_IN_BF16), FORWARD]
    if order["recipe"] == "mini-qa":  # whose windows are as long as the script's
        names.remove(DEFAULT)
    return {name: Program(name, (__file__, "--child", json.dumps({**order, "name": name}))) for name in names}


def report(task: str, found: Mapping[str, Program], batch_size: int) -> list[str]:
    """A line a program: its steps against kdda's on the same batches."""
    ours = found["kdda"]
    goal = TARGETS[task]
    rows = []
    for name, own in found.items():
        seconds = statistics.median(own.seconds[WARM:])
        reach = f" (aim {goal[name]:g})" if name in goal else ""
        slower = f"{ratio(own, ours, WARM):.2f}{reach}"
        curve = "" if "DA" in name or name == FORWARD else f"{disagreement(own, ours):.2%}"
        called = name.format(SCRIPTS[task][0])
        rows.append(
            [called, f"{1e3 * seconds:.0f}", f"{batch_size / seconds:.1f}", slower, f"{own.peak:,.0f}", curve],
        )
    titles = ("program", "ms a step", "examples/s", "× kdda's step", "peak MB", "loss, from kdda's")
    return [*table(titles, rows), "", *summary(task, found)]


def summary(task: str, found: Mapping[str, Program]) -> list[str]:
    """The ratios between kdda's programs."""
    da, live, forward = found["kdda, DA"], found["kdda, live teacher"], found[FORWARD]
    both = replace(da, seconds=[a + b for a, b in zip(da.seconds, forward.seconds, strict=True)])
    memory = found["kdda"].peak / found["plain"].peak
    low = [found[name] for name in ("kdda, bfloat16", "kdda, DA, bfloat16") if name in found]
    return [
        f"Stored states: {ratio(found['kdda'], da, WARM):.3f} × kdda's DA step (aim 1.05)"
        + (f", in bfloat16 {ratio(low[0], low[1], WARM):.3f}" if low else "")
        + ". Live teacher: "
        f"{ratio(live, both, WARM):.3f} × (DA step + teacher's forward) (aim 1.03). "
        f"Peak memory: {memory:.2f} of plain's (aim 0.5).",
        *against_bf16(task, found),
    ]


def against_bf16(task: str, found: Mapping[str, Program]) -> list[str]:
    """Both sides as they are where nobody chooses a precision: kdda's is then bfloat16 where the device has it."""
    if "kdda, bfloat16" not in found:
        return []
    own, script = found["kdda, bfloat16"], SCRIPTS[task][0]
    names = [name for name in ("plain", LONGEST, DEFAULT, PLAIN_IN_BF16) if name in found]
    ratios = ", ".join(f"{name.format(script)} {ratio(found[name], own, WARM):.2f}" for name in names)
    return [f"Against kdda's step in bfloat16, its default here: {ratios}."]


def accuracy(context: RunContext, settings: SolverSettings, rows: int) -> list[list[str]]:
    """How near to the truth each divergence comes that the loss curves were made with, on a language's first rows."""
    recipe, task = context.recipe, context.task
    encoder, epsilon = encoder_of(settings.student, recipe), recipe.distill.epsilon
    student = AutoModel.from_pretrained(settings.student).eval()
    lines = []
    for language in settings.teachers:
        features = task.encode(context.data[language]["train"], encoder)
        cache = TeacherCache.build(
            context.teacher(language, recipe.teachers[language]).open(),
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
            found = marginal_error(plan(), clouds), *errors(value, gradient, clouds, truth)
            lines.append([language, name, *(f"{one:.0e}" for one in found)])
    return lines


def measured(name: str, own: argparse.Namespace) -> list[str]:
    """One recipe's tables."""
    recipe = recipe_of(name, own.steps + own.more, own.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        context, settings, seconds = prepared(recipe, out)
        order = {"recipe": name, "steps": own.steps, "more": own.more, "batch_size": own.batch_size, "out": folder}
        bf16 = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
        found = programs({**order, "settings": asdict(settings)}, bf16)
        start(list(found.values()))
        in_turns(list(found.values()), own.steps)
        in_turns([program for program in found.values() if program.name not in PLAIN], own.more)
        exact = accuracy(context, settings, recipe.training.batch_size)
    size, length = recipe.training.batch_size, recipe.training.max_length
    counted = f"medians of {own.steps - WARM} steps, of kdda's programs {own.steps + own.more - WARM}"
    head = f"**{name}**, batches of {size}, windows of at most {length} tokens; {counted}."
    lines = [
        head,
        "",
        *report(recipe.task, found, size),
        "",
        f"Storing teacher states: {seconds:.1f} s, once.",
        "",
    ]
    titles = ("language", "divergence", "marginal error", "value's error", "gradient's error")
    return [*lines, *table(titles, exact), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", default="mini-nli,mini-qa")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--more", type=int, default=24, help="steps of kdda's programs after those")
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's")
    parser.add_argument("--write", type=Path, help="docs/performance.md, whose table is replaced")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.child:
        child(json.loads(own.child))
        sys.exit("the rows gave fewer steps than were asked for")
    for name in own.recipes.split(","):
        lines = [machine(), "", *measured(name, own)]
        print("\n".join(lines))
        if own.write:
            write_table(own.write, "step", lines, name)


if __name__ == "__main__":
    main()
