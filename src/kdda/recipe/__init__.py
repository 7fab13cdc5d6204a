"""Recipes: strict YAML that says everything about an experiment, refused with path and line before anything runs."""
