"""Scores and their spread."""

from kdda.evaluate.answers import answer_f1, best_over_golds, exact_match, human_score, normalized
from kdda.evaluate.metrics import accuracy, macro_f1, per_label_f1
from kdda.evaluate.significance import mean_sd, standard_error

__all__ = [
    "accuracy",
    "answer_f1",
    "best_over_golds",
    "exact_match",
    "human_score",
    "macro_f1",
    "mean_sd",
    "normalized",
    "per_label_f1",
    "standard_error",
]
