"""docs/recipes.md lists every field of a recipe, with its default, and its examples are recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from kdda.recipe.load import load_recipe
from kdda.recipe.schema import (
    Arm,
    ArmTraining,
    Data,
    Distill,
    ModelSpec,
    Recipe,
    Sentences,
    StudentSpec,
    System,
    TeacherSpec,
    Training,
    TrainingChanges,
)

PAGE = (Path(__file__).parents[2] / "docs/recipes.md").read_text(encoding="utf-8")
SECTIONS: list[tuple[type[BaseModel], str]] = [
    (Recipe, "Recipe"),
    (ModelSpec, "Models and teachers"),
    (StudentSpec, "Models and teachers"),
    (TeacherSpec, "Models and teachers"),
    (Data, "Data"),
    (Training, "Training"),
    (Distill, "Distillation"),
    (Arm, "Arms"),
    (Sentences, "Arms"),
    (System, "Systems"),
]
IN_WORDS = ("the file's name", "three arms")  # defaults that are no value


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> dict[str, str]:
    """Field → its default, as a section's tables have them."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section(title), re.M))


@pytest.mark.parametrize(("model", "title"), SECTIONS)
def test_every_field_is_listed_with_its_default(model: type[BaseModel], title: str) -> None:
    listed = rows(title)
    for name, field in model.model_fields.items():
        cell = listed[field.alias or name]
        if (model, name) == (StudentSpec, "model"):  # optional beside `from_teacher` alone
            continue
        if cell in IN_WORDS:
            continue
        if field.is_required():
            assert cell == "required", name
            continue
        kind: Any = TypeAdapter(field.annotation)
        assert kind.validate_python(yaml.safe_load(cell.strip("`"))) == field.default, name


@pytest.mark.parametrize("title", sorted({title for _, title in SECTIONS}))
def test_no_other_field_is_listed(title: str) -> None:
    models = [model for model, where in SECTIONS if where == title]
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert set(rows(title)) <= known


@pytest.mark.parametrize(("model", "title"), [(TrainingChanges, "Models and teachers"), (ArmTraining, "Arms")])
def test_the_fields_that_may_differ_are_listed(model: type[BaseModel], title: str) -> None:
    (row,) = re.findall(r"^\| `training` \|.*", section(title), re.M)
    assert set(model.model_fields) <= set(re.findall(r"`(\w+)`", row))


def test_the_examples_are_recipes(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert len(examples) == 2
    for text in examples:
        path = tmp_path / "my-recipe.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_recipe(str(path)).seeds == [1, 2, 3]
