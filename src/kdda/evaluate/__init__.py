"""Scores and their spread."""

from kdda.evaluate.answers import answer_f1, best_over_golds, exact_match, human_score, normalized
from kdda.evaluate.metrics import accuracy, macro_f1, per_label_f1
from kdda.evaluate.significance import Interval, holm, mean_sd, over_examples, over_seeds, standard_error

__all__ = [
    "Interval",
    "accuracy",
    "answer_f1",
    "best_over_golds",
    "exact_match",
    "holm",
    "human_score",
    "macro_f1",
    "mean_sd",
    "normalized",
    "over_examples",
    "over_seeds",
    "per_label_f1",
    "standard_error",
]
