"""The command `doctor`, which describes this machine and installation, or checkpoints and how they fit a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from kdda.cli.shared import FAILED, app, show, show_table


@app.command()
def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(help="Checkpoints: folders, mini models, Hub ids. None: this machine.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Say whether the checkpoints fit this recipe's student and task.")] = "",
) -> None:
    """Print versions, devices and extras of this installation; or whether checkpoints are sound and fit a recipe."""
    if models or recipe:
        _examine(models or [], recipe)
        return
    from kdda.experiment.doctor import installation

    for table in installation():
        show_table(table)


def _examine(models: list[str], name: str) -> None:
    """Print the findings about each checkpoint; exit code 1 if one of them cannot be used."""
    from kdda.experiment.model_doctor import examine_models, fit_lines, tokenization_lines
    from kdda.experiment.specs import roles
    from kdda.recipe.load import load_recipe

    recipe = load_recipe(name) if name else None
    if recipe is not None and not models:
        models = [spec.model for _, spec in roles(recipe, list(recipe.arms))]
    reports = examine_models(list(dict.fromkeys(models)))
    for report in reports:
        show("\n".join(report.lines()) + "\n")
    show("\n".join(tokenization_lines(reports)))
    if recipe is not None:
        show("\n" + "\n".join(fit_lines(recipe, reports)))
    if not all(report.is_usable for report in reports):
        raise typer.Exit(FAILED)
