"""The commands `runs` (state, score, size of run folders) and `clean` (removes checkpoints, teacher states, models)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.language import tr
from kdda.cli.shared import app, is_a_dialogue, show, show_table, warn
from kdda.runtime.folders import RUNS
from kdda.runtime.numbers import count_of

if TYPE_CHECKING:
    from kdda.runs.listing import RunEntry

LONGEST_DETAIL = 60  # columns of a state's reason in a table; failure.txt of the run has all

Folder = Annotated[Path, typer.Argument(help="The folder of `kdda run --out`, or one below it.")]


@app.command()
def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of `kdda run --out`, or below one; runs by default.")
    ] = None,
) -> None:
    """List run folders and fine-tuned teachers with their state, score and size on disk."""
    from kdda.report.render import Table
    from kdda.runs.cleaning import Cleaning
    from kdda.runs.listing import list_runs
    from kdda.runtime.folders import folder_size, size_in_words

    entries: dict[Path, RunEntry] = {}  # by folder, since one of the arguments may lie below another
    totals = []
    for folder in folders or [RUNS]:
        listed = list_runs(folder)
        for entry in listed:
            entries.setdefault(entry.folder.resolve(), entry)
        total = f"{count_of(len(listed), 'folder')}; {folder} takes {size_in_words(folder_size(folder))}"
        freed = Cleaning.of(folder, models=False).size
        if freed:
            total += f", of which kdda clean {folder} frees {size_in_words(freed)}"
        freed_with_models = Cleaning.of(folder, models=True).size
        if freed_with_models > freed:
            total += f"; kdda clean {folder} --models frees {size_in_words(freed_with_models)}"
        totals.append(total if listed else f"{folder}: no run and no teacher")
    rows = []
    for entry in entries.values():
        rows.append([str(entry.folder), _state(entry), entry.score, size_in_words(entry.size)])
    if rows:
        show_table(Table("Runs", ["run", "state", "score", "size"], rows))
    for total in totals:
        show(total)


def _state(entry: RunEntry) -> str:
    """An entry's state with its detail, shortened."""
    from kdda.runtime.shorten import shorten

    if not entry.detail:
        return entry.state
    return f"{entry.state}: {shorten(entry.detail, LONGEST_DETAIL)}"


@app.command()
def clean(
    folder: Folder = RUNS,
    models: Annotated[bool, typer.Option("--models", help="Models of runs, and fine-tuned teachers, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove checkpoints and stored teacher states, after a list of them with their sizes.

    Scores, predictions and recipes stay, so that reports do. What a running process uses stays, too. Off a terminal,
    and without --yes, they are only listed.
    """
    from kdda.runs.cleaning import Cleaning
    from kdda.runtime.folders import size_in_words

    cleaning = Cleaning.of(folder, models)
    for path in cleaning.in_use:
        warn(f"{path} is in use; it stays, and all teachers that it may read")
    if not cleaning.removable:
        with_models = Cleaning.of(folder, models=True).size
        if with_models:
            show(f"{folder}: nothing to remove but models; with --models they go, too: {size_in_words(with_models)}")
        else:
            show(f"{folder}: nothing to remove")
        return
    for item in cleaning.removable:
        show(f"{size_in_words(item.size):>9}  {item.folder}  ({item.what})")
    total = size_in_words(cleaning.size)
    show(f"{total:>9}  in all")
    if not yes and not is_a_dialogue():
        show("nothing was removed; --yes removes it")
        return
    if not yes and not typer.confirm(tr("Remove all of it?"), default=False):
        show("nothing was removed")
        return
    for item in cleaning.removable:
        item.remove()
    show(f"removed: {total}")
