"""Commands that train and compare: from a recipe to runs, scores and reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.shared import FAILED, app, names, numbers_of, pairs_of, say

if TYPE_CHECKING:
    from kdda.experiment import Experiment


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
    from kdda.recipe import load_recipe

    chosen = load_recipe(recipe, set_ or [])
    numbers = numbers_of(seeds)
    from kdda.distill import ranks
    from kdda.experiment import Experiment, Grid

    experiment = Experiment(chosen, out, names(arms) or None, numbers or None)
    failed = experiment.run(Grid(workers, ray))
    experiment.say("\n" + experiment.table())
    if chosen.systems and ranks.first():
        _compare_systems(experiment)
    if failed:
        reasons = "".join(f"\n  {name}: {why}" for name, why in failed.items())
        sys.exit(say(f"kdda: not everything was done; the same command tries again:{reasons}", FAILED))


def _compare_systems(experiment: Experiment) -> None:
    """The recipe's readers among all passages of its target language."""
    from kdda.systems import Comparison

    rows = [row for split in experiment.all_rows(experiment.recipe.target).values() for row in split]
    splits = experiment.workshop.data[experiment.recipe.target]
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
    from kdda.recipe import load_recipe

    chosen, numbers = load_recipe(recipe, set_ or []), numbers_of(seeds)
    from kdda.experiment import Plan
    from kdda.report import markdown

    planned = Plan(chosen, out, names(arms) or None, numbers or None, workers)
    print(markdown(planned.document()), end="")
    if planned.missing:
        sys.exit(FAILED)


@app.command()
def doctor() -> None:
    """Say which versions, devices and extras there are."""
    from kdda.experiment import doctor as examine
    from kdda.report import to_markdown

    for table in examine():
        print(f"{table.title}\n\n{to_markdown(table)}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint: a folder, such as runs/qa/student-kdda/seed-1/model.")],
    task: Annotated[str, typer.Option(help="qa or nli.")],
    data: Annotated[str, typer.Option(help="A file (SQuAD JSON, JSONL, JSON, CSV, TSV, Parquet), or a Hub split.")],
    language: Annotated[str, typer.Option(help="Whose scoring rules hold; the model's own by default.")] = "",
    columns: Annotated[str, typer.Option(help="The file's names: premise=sentence1,label=gold.")] = "",
    labels: Annotated[str, typer.Option(help="The file's labels: 0=entailment,1=neutral,2=contradiction.")] = "",
    header: Annotated[str, typer.Option(help="Names of the columns of a CSV or TSV without a first line.")] = "",
    out: Annotated[Path, typer.Option(help="Where the predictions go.")] = Path("predictions.jsonl"),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a checkpoint on a file and save its predictions."""
    from kdda.data import Schema, Source
    from kdda.predict import evaluate as run_evaluation
    from kdda.predict import write_predictions

    schema = Schema((), pairs_of("--columns", columns), pairs_of("--labels", labels))
    found = run_evaluation(model, task, Source(data, names(header) or None), schema, language or None)
    write_predictions(out, found.predictions)
    for remark in found.remarks:
        print(remark, file=sys.stderr)
    if json_:
        print(json.dumps(found.scores, ensure_ascii=False))
        return
    for name, value in found.scores.items():
        print(f"{name.replace('_', ' '):20} {f'{value:.1f}' if isinstance(value, float) else value}")
    print(f"predictions in {out}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `kdda run --out` has written.")],
    out: Annotated[Path | None, typer.Option(help="A file ending in .html, .md, .tex or .csv.")] = None,
    arms: Annotated[str, typer.Option(help="Some of the arms: a,b. All by default.")] = "",
    seeds: Annotated[str, typer.Option(help="Some of the seeds: 1,2. All by default.")] = "",
    dev: Annotated[bool, typer.Option("--dev", help="Development rows alone: what choices are made on.")] = False,
    against: Annotated[str, typer.Option(help="The arm that all others are held against.")] = "",
) -> None:
    """Tables, paired differences with intervals, costs and curves, from run folders alone."""
    from kdda.report import write_report

    text = write_report(runs, out, names(arms) or None, numbers_of(seeds) or None, dev, against or None)
    print(f"written: {out}" if out else text)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A run's folder, such as runs/nli/student-kdda/seed-1.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the Hugging Face Hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Send it. Without this, only what would be sent is said.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; else it is private.")] = False,
) -> None:
    """Send a saved model with its card to the Hugging Face Hub."""
    from kdda.report.push import push as send

    print(*send(folder, repository, agreed=yes, public=public), sep="\n")


@app.command()
def recipes() -> None:
    """List the built-in recipes."""
    from kdda.recipe import built_in, load_recipe

    for name in built_in():
        print(f"{name:26} {load_recipe(name).note}")
