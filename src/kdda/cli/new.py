"""The command `new`: looks at files, guesses task, languages, columns, labels and models, and writes a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.language import tr, tr_message
from kdda.cli.shared import (
    FAILED,
    Device,
    app,
    is_a_dialogue,
    parse_label_map,
    parse_names,
    parse_pairs,
    print_plan,
    show,
)
from kdda.errors import KddaError
from kdda.runtime.folders import RUNS

if TYPE_CHECKING:
    from kdda.draft.draft import Draft, Request
    from kdda.recipe.schema import Recipe

LONG = 30 * 60  # seconds of a plan, above which shorter ways are named

FEW_ROWS = 50  # training rows of a language in a shorter run

DROP = "-"  # the answer that leaves out rows with a label


@app.command()
def new(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="As --data.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="A file or folder of rows. May repeat.")] = None,
    task: Annotated[str, typer.Option(help="nli, qa, classify, tag, similarity, choose; guessed by default.")] = "",
    languages: Annotated[str, typer.Option(help="Codes with commas between, the target first: km,en.")] = "",
    columns: Annotated[str, typer.Option(help="Columns by the task's fields: text=comment,label=topic.")] = "",
    labels: Annotated[str, typer.Option(help="What labels mean: 0=entailment,1=neutral,x=null (left out).")] = "",
    student: Annotated[str, typer.Option(help="The model to train: mini/…, a folder, or a Hub id.")] = "",
    teachers: Annotated[str, typer.Option(help="A language's teacher: vi=mini/vietnamese,en=FOLDER.")] = "",
    out: Annotated[Path, typer.Option(help="The recipe's file, which must not be there yet.")] = Path("recipe.yaml"),
    device: Device = "",
) -> None:
    """Write a recipe for files of rows: what they are is guessed, shown, and on a terminal asked.

    The recipe's comments say what was guessed and from what. The exit code is 1 if its plan misses something.
    """
    from kdda.draft.draft import Request
    from kdda.draft.writing import check_new, write_recipe

    check_new(out)
    names = [*(files or []), *(data or [])]
    asks = is_a_dialogue()
    if not names and asks:
        names = typer.prompt(tr("Files or folders of rows, with spaces between")).split()
    if not names:
        raise KddaError("which files? Name files or folders of rows: kdda new train.csv dev.csv test.csv")
    label_map = parse_label_map("--labels", labels)
    fields = parse_pairs("--columns", columns)
    named_teachers = parse_pairs("--teachers", teachers)
    request = Request(names, task, parse_names(languages), student, named_teachers, label_map, fields)
    drafted = _confirmed(request) if asks else _shown(_drafted(request, asks=False))
    recipe = write_recipe(drafted, out)
    show(f"\nwritten: {out}\n")
    _show_plan(recipe, out)


def _shown(drafted: Draft) -> Draft:
    """A draft, after what was guessed is printed."""
    from kdda.draft.writing import summary

    for line in summary(drafted):
        show(line)
    return drafted


def _drafted(request: Request, asks: bool) -> Draft:
    """The draft for a request; labels that are numbers are asked for, if a user can answer."""
    from dataclasses import replace

    from kdda.draft.draft import draft
    from kdda.draft.labels import UnknownLabelsError

    try:
        return draft(request)
    except UnknownLabelsError as error:
        if not asks:
            raise
        labels = dict(request.labels)
        for row in error.rows:
            print(f"  {row}")
        for value in error.values:
            question = f'What does the label "{value}" mean ({", ".join(error.names)}; {DROP} leaves such rows out)?'
            answer = typer.prompt(tr_message(question))
            labels[value] = answer
            if answer == DROP:
                labels[value] = None
        return draft(replace(request, labels=labels))


def _confirmed(request: Request) -> Draft:
    """The draft that a user has agreed to, after changes to what was guessed."""
    from dataclasses import replace

    while True:
        drafted = _shown(_drafted(request, asks=True))
        if typer.confirm(tr("Is that right?"), default=True):
            return drafted
        known = ",".join(drafted.languages)
        request = replace(
            request,
            task=typer.prompt(tr("Task"), default=drafted.task),
            languages=parse_names(typer.prompt(tr("Languages, the target first"), default=known)),
            student=typer.prompt(tr("Student"), default=drafted.models.student),
        )


def _shorter_ways(recipe: Recipe, out: Path) -> str:
    """What to type instead of a run that takes long: one arm, or fewer rows."""
    changes = ""
    for language in recipe.data:
        changes += f' --set "data.{language}.limit={{train: {FEW_ROWS}}}"'
    arm = next(iter(recipe.arms))
    return (
        f"That is long. One arm, without a teacher: kdda run {out} --arms {arm}\n"
        f"Fewer rows, for a first try: kdda run {out} --out runs-short{changes}"
    )


def _show_plan(recipe: Recipe, out: Path) -> None:
    """Print what the recipe needs and will cost here; exit code 1 if something is missing."""
    from kdda.draft.models import needs_download
    from kdda.experiment.plan import Plan
    from kdda.experiment.specs import roles

    for _role, spec in roles(recipe, list(recipe.arms)):
        if needs_download(spec.model):
            show(f"Its models are on the Hub: kdda plan {out} fetches them, and measures what the recipe costs here.")
            return
    made = Plan(recipe, RUNS)
    print_plan(made.document())
    show(f"\nNext: kdda run {out}")
    if made.seconds > LONG:
        show(_shorter_ways(recipe, out))
    if made.missing:
        sys.exit(FAILED)
