"""The commands `report` (tables of run folders), `plot` (pictures) and `push` (a model to the Hub)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdda.cli.shared import Device, app, finite, parse_names, parse_seeds, show


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
    from kdda.report.build import write_report
    from kdda.runtime.live import BRIEF, showing

    with showing("report", delay=BRIEF):
        text = write_report(runs, out, parse_names(arms) or None, parse_seeds(seeds) or None, dev, against or None)
    if out:
        show(f"written: {out}")
    else:
        print(text)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A run's folder, such as runs/nli/student-kdda/seed-1.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the Hugging Face Hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Send it; else the files are only listed.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; else it is private.")] = False,
) -> None:
    """Send a saved model with its card to the Hugging Face Hub."""
    from kdda.hub.push import push as send

    for line in send(folder, repository, confirmed=yes, public=public):
        show(line)


@app.command()
def plot(
    folders: Annotated[
        list[Path], typer.Argument(help="Run folders, for curves, λ and teachers; or models, for a plan.")
    ],
    out: Annotated[Path, typer.Option(help="A folder for the pictures.")] = Path("plots"),
    form: Annotated[str, typer.Option("--format", help="png or svg.")] = "png",
    teacher: Annotated[str, typer.Option(help="The other model of a plan: a folder, a Hub id, or a mini model.")] = "",
    text: Annotated[str, typer.Option(help="The sentence that both models of a plan read.")] = "",
    epsilon: Annotated[float, typer.Option(help="Of the plan.", callback=finite)] = 0.005,
    device: Device = "",
) -> None:
    """Draw run folders (curves, λ, teachers), and with --teacher and --text the plan between two models."""
    from kdda.visualize.files import Sentence, plot_all

    for path in plot_all(folders, out, form, Sentence(text, teacher, epsilon) if teacher or text else None):
        print(path)
