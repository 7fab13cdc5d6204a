"""Commands that train and compare: from a recipe to runs, scores and reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.shared import FAILED, app, names, numbers_of, say

if TYPE_CHECKING:
    from kdda.experiment.run import Experiment


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe's name (see `kdda recipes`) or a YAML file.")],
    arms: Annotated[str, typer.Option(help="Some of the recipe's arms: a,b. All by default.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds instead of the recipe's: 1,2,3.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: teachers.vi=vinai/phobert-base. May repeat.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run folders go: OUT/<task>/<arm>/seed-<n>.")] = Path("runs"),
    workers: Annotated[int, typer.Option(min=0, help="Runs at once, each in a process of its own.")] = 0,
    ray: Annotated[str, typer.Option(help="The address of a Ray cluster (or auto), which does the runs.")] = "",
) -> None:
    """Fine-tune the teachers, train every arm of a recipe at every seed, and print the table.

    Finished runs are kept and unfinished ones continued, so the same command goes on after Ctrl-C. A run that fails
    stops no other; the exit code is then 1.
    """
    from kdda.recipe.load import load_recipe

    chosen = load_recipe(recipe, set_ or [])
    numbers = numbers_of(seeds)
    from kdda.experiment.executors import Grid
    from kdda.experiment.run import Experiment
    from kdda.runtime import distributed

    experiment = Experiment(chosen, out, names(arms) or None, numbers or None)
    failed = experiment.run(Grid(workers, ray))
    experiment.say("\n" + experiment.table())
    if chosen.systems and distributed.is_main_process():
        _compare_systems(experiment)
    if failed:
        reasons = "".join(f"\n  {name}: {why}" for name, why in failed.items())
        sys.exit(say(f"kdda: not everything was done; the same command tries again:{reasons}", FAILED))


def _compare_systems(experiment: Experiment) -> None:
    """The recipe's readers among all passages of its target language."""
    from kdda.experiment.open_domain import Comparison

    rows = [row for split in experiment.all_rows(experiment.recipe.target).values() for row in split]
    splits = experiment.context.data[experiment.recipe.target]
    own = Comparison(experiment.recipe, experiment.out, experiment.chosen()[0], splits, rows, experiment.say)
    own.run()
    experiment.say("\n" + own.tables())


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe's name (see `kdda recipes`) or a YAML file.")],
    arms: Annotated[str, typer.Option(help="As for `kdda run`.")] = "",
    seeds: Annotated[str, typer.Option(help="As for `kdda run`.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="As for `kdda run`.")] = None,
    out: Annotated[Path, typer.Option(help="As for `kdda run`.")] = Path("runs"),
    workers: Annotated[int, typer.Option(min=1, help="As for `kdda run`.")] = 1,
) -> None:
    """Say what a recipe needs and what it will cost here, before anything runs: exit code 1 if something is missing."""
    from kdda.recipe.load import load_recipe

    chosen, numbers = load_recipe(recipe, set_ or []), numbers_of(seeds)
    from kdda.experiment.plan import Plan
    from kdda.report.render import markdown

    planned = Plan(chosen, out, names(arms) or None, numbers or None, workers)
    print(markdown(planned.document()), end="")
    if planned.missing:
        sys.exit(FAILED)


@app.command()
def recipes() -> None:
    """List the built-in recipes."""
    from kdda.recipe.load import built_in, load_recipe

    for name in built_in():
        print(f"{name:26} {load_recipe(name).note}")
