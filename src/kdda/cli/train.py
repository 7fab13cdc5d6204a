"""The commands `run` (trains and compares the arms of a recipe), `plan` (its cost) and `recipes`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.doc_pages import see
from kdda.cli.language import tr
from kdda.cli.next_steps import after_run
from kdda.cli.shared import FAILED, Device, app, check_model_folder, parse_names, parse_seeds, print_plan, say
from kdda.errors import KddaError
from kdda.runtime.folders import RUNS

if TYPE_CHECKING:
    from kdda.data.examples import Example
    from kdda.experiment.run import Experiment
    from kdda.recipe.schema import Recipe
    from kdda.serve.watch import Watch


def _recipes_beginning(incomplete: str) -> list[str]:
    """The built-in recipes whose names begin with what was typed so far, for the shell's completion."""
    from kdda.recipe.load import built_in

    return [name for name in built_in() if name.startswith(incomplete)]


RecipeName = Annotated[
    str,
    typer.Argument(
        help="A built-in recipe's name (see `kdda recipes`) or a YAML file.", autocompletion=_recipes_beginning
    ),
]

Arms = Annotated[str, typer.Option(help="Only these of the recipe's arms, for example a,b. All by default.")]

Seeds = Annotated[str, typer.Option(help="Seeds to use instead of the recipe's, for example 1,2,3.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a field, for example teachers.vi=vinai/phobert-base. May be repeated."),
]

Out = Annotated[Path, typer.Option(help="The folder of the run folders: OUT/<task>/<arm>/seed-<n>.")]


@app.command()
def run(
    recipe: RecipeName,
    arms: Arms = "",
    seeds: Seeds = "",
    set_: Overrides = None,
    out: Out = RUNS,
    workers: Annotated[int, typer.Option(min=0, help="Runs at the same time, each in its process.")] = 0,
    ray: Annotated[str, typer.Option(help="The address of a Ray cluster, or auto, to execute the runs on.")] = "",
    save: Annotated[
        str, typer.Option(help="The models to save: all, the best of each arm on development rows (best), or none.")
    ] = "all",
    watch: Annotated[
        int | None,
        typer.Option(
            help="A port of this machine for a page that shows the runs; 0 takes a free one.", min=0, max=65535
        ),
    ] = None,
    device: Device = "",
) -> None:
    """Fine-tune the teachers, train every arm of a recipe with every seed, and print the table of scores.

    Finished runs are reused and unfinished runs are continued: after Ctrl-C, give the same command again. The other
    runs go on when one fails; the exit code is then 1.
    """
    from kdda.recipe.load import load_recipe

    check_model_folder("--out", out)
    loaded, numbers = load_recipe(recipe, set_ or []), parse_seeds(seeds)
    from kdda.experiment.saving import as_save

    saved = as_save(save)
    missing = _what_is_missing(loaded, parse_names(arms))
    if missing:
        raise KddaError("\n".join(missing))
    from kdda.experiment.executors import make_executor
    from kdda.experiment.run import Experiment
    from kdda.runtime import distributed
    from kdda.runtime.memory import leave_out_live_objects

    with _page(watch) as page:
        experiment = Experiment(loaded, out, parse_names(arms), numbers, save=saved)
        if page is not None:
            page.start(out / experiment.task.name)
            experiment.show(f"The runs while they are trained: {page.url}")
        leave_out_live_objects()
        failures = experiment.run(make_executor(workers, ray))
        if page is not None and page.exit_code is not None:
            experiment.show(f"WARNING: the page of --watch ended early (exit code {page.exit_code})")
    experiment.show("\n" + experiment.table())
    if loaded.systems and distributed.is_main_process():
        _compare_systems(experiment)
    next_steps = after_run(experiment)
    if next_steps:
        experiment.say("\n" + next_steps)
    if failures:
        sys.exit(say(failures_in_words(failures), FAILED))


def _what_is_missing(recipe: Recipe, arms: list[str]) -> list[str]:
    """What is not there of the files that some arms of a recipe need, told before seconds are spent to import torch.

    Raises:
        KddaError: the recipe has no such arm.
    """
    from kdda.experiment.missing import what_is_missing
    from kdda.experiment.specs import chosen_arms

    return what_is_missing(recipe, chosen_arms(recipe, arms))


def _page(port: int | None) -> AbstractContextManager[Watch | None]:
    """The page of ``--watch``; None without one, and in processes that help the main one to train.

    Raises:
        KddaError: a port that is taken, or what serving needs is not installed.
    """
    from kdda.runtime import distributed

    if port is None:
        return nullcontext()
    distributed.init()
    if not distributed.is_main_process():
        return nullcontext()
    from kdda.serve.packages import check_packages

    check_packages("--watch")  # before what imports them
    from kdda.serve.watch import Watch

    return Watch(port)


def failures_in_words(failures: Mapping[str, str]) -> str:
    """The runs that failed with their reasons, a line each, and whether the same command can get further.

    Args:
        failures: a run → the reason in one line.
    """
    from kdda.experiment.worker import can_pass

    reasons = ""
    advice = ""
    for name, reason in failures.items():
        reasons += f"\n  {name}: {reason}"
        if can_pass(reason):
            advice = "; the same command tries them again"
    return f"kdda: some runs failed{advice}:{reasons}\n{see('recipes.md#many-runs')}"


def _compare_systems(experiment: Experiment) -> None:
    """Score the recipe's open-domain systems among all passages of its target language, and print their tables."""
    from kdda.experiment.open_domain import SystemsEvaluation

    target = experiment.recipe.targets[0]  # a recipe with systems has one
    rows: list[Example] = []
    for split in experiment.all_rows(target).values():
        rows.extend(split)
    splits = experiment.context.data[target]
    runs = experiment.comparison().runs
    comparison = SystemsEvaluation(experiment.recipe, experiment.out, runs, splits, rows, experiment.say)
    comparison.run()
    experiment.show("\n" + comparison.tables())


@app.command()
def plan(
    recipe: RecipeName,
    arms: Arms = "",
    seeds: Seeds = "",
    set_: Overrides = None,
    out: Out = RUNS,
    workers: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    device: Device = "",
) -> None:
    """Print what a recipe needs and will cost on this machine, before anything runs.

    The exit code is 1 if something is missing.
    """
    from kdda.recipe.load import load_recipe

    loaded, numbers = load_recipe(recipe, set_ or []), parse_seeds(seeds)
    missing = _what_is_missing(loaded, parse_names(arms))
    if missing:
        from kdda.experiment.missing import plan_of_missing

        print_plan(plan_of_missing(loaded, missing))
        sys.exit(FAILED)
    from kdda.experiment.plan import Plan

    made = Plan(loaded, out, parse_names(arms), numbers, workers)
    print_plan(made.document())
    if made.missing:
        sys.exit(FAILED)


@app.command()
def recipes(
    show: Annotated[
        str,
        typer.Option(
            help="Print this recipe as it is written, for a file to change.", autocompletion=_recipes_beginning
        ),
    ] = "",
) -> None:
    """List the built-in recipes with what each is for, or print one."""
    from kdda.recipe.load import built_in, description, find
    from kdda.runtime.text_files import read_text

    if show:
        print(read_text(find(show)), end="")
        return
    for name in built_in():
        print(f"{name:26} {tr(description(name))}")
