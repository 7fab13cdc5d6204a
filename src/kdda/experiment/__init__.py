"""Experiments: a recipe planned, checked against its models and data, run, and compared."""

from kdda.experiment.doctor import doctor
from kdda.experiment.grid import Grid
from kdda.experiment.plan import Plan
from kdda.experiment.run import Experiment

__all__ = ["Experiment", "Grid", "Plan", "doctor"]
