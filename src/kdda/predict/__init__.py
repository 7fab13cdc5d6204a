"""Checkpoints at work: scores on files, answers and labels of texts, a file of them, from torch or onnxruntime."""

from kdda.predict.evaluation import Evaluation, evaluate, write_predictions
from kdda.predict.files import FIELDS, FileJob, predict_file
from kdda.predict.predictor import FoundAnswer, FoundLabel, Predictor, load

__all__ = [
    "FIELDS",
    "Evaluation",
    "FileJob",
    "FoundAnswer",
    "FoundLabel",
    "Predictor",
    "evaluate",
    "load",
    "predict_file",
    "write_predictions",
]
