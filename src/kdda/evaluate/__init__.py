"""Scores and their spread."""

from kdda.evaluate.metrics import accuracy, macro_f1, per_label_f1
from kdda.evaluate.significance import mean_sd

__all__ = ["accuracy", "macro_f1", "mean_sd", "per_label_f1"]
