"""What a recipe names and is not there, files of rows and folders of models, known at once: no torch is imported."""

from __future__ import annotations

from collections.abc import Sequence

from kdda.data.sources import check_source
from kdda.errors import KddaError
from kdda.experiment.specs import roles
from kdda.models.no_model import refuse_missing_path
from kdda.recipe.schema import Data, Recipe
from kdda.report.render import Report


def what_is_missing(recipe: Recipe, arms: Sequence[str]) -> list[str]:
    """A sentence for each file of rows, and each folder of a model of some arms, that is not on this machine's disk."""
    missing = []
    for role, spec in roles(recipe, arms):
        try:
            refuse_missing_path(spec.model)
        except KddaError as error:
            missing.append(f"{role}: {error}")
    for language, data in recipe.data.items():
        for split in ("train", "dev", "test"):
            source = getattr(data, split)
            if source is None:
                continue
            try:
                check_source(source)
            except KddaError as error:
                missing.append(refusal_of_rows(error, data, language, split))
    return missing


def refusal_of_rows(error: KddaError, data: Data, language: str, split: str) -> str:
    """The refusal of a split's rows, led by the field of the recipe; at its end the recipe's hint how to get them."""
    access = f"\n  how to get these rows: {data.access}" if data.access else ""
    return f"data.{language}.{split}: {error}{access}"


def title_of_plan(recipe: Recipe) -> str:
    """What a plan is of: the recipe's name, task and targets."""
    return f"{recipe.name}: task {recipe.task}, target {', '.join(recipe.targets)}"


def plan_of_missing(recipe: Recipe, missing: Sequence[str]) -> Report:
    """The plan of a recipe that cannot run: what is missing, alone, since nothing else is worth the wait for it."""
    lines = [f"MISSING: {message}" for message in missing]
    lines.append("Models, rows and costs are planned once all of this is there.")
    return Report(title_of_plan(recipe), lines, [])
