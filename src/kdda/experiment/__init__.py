"""Experiments: a recipe checked against its models and data, run, and compared."""

from kdda.experiment.grid import Grid
from kdda.experiment.run import Experiment

__all__ = ["Experiment", "Grid"]
