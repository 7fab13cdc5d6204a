"""Recipes: strict YAML that says everything about an experiment, refused with path and line before anything runs."""

from kdda.recipe.load import built_in, load_recipe
from kdda.recipe.schema import Arm, Data, Distill, ModelSpec, Recipe, Sentences, System, TeacherSpec, Training

__all__ = [
    "Arm",
    "Data",
    "Distill",
    "ModelSpec",
    "Recipe",
    "Sentences",
    "System",
    "TeacherSpec",
    "Training",
    "built_in",
    "load_recipe",
]
