"""Checkpoints at work: scores on files, answers and labels of texts, a file of them, from torch or onnxruntime."""

from kdda.predict.embed import Embedder, Embeds
from kdda.predict.evaluation import Evaluation, evaluate, write_predictions
from kdda.predict.files import FIELDS, FileJob, predict_file
from kdda.predict.predictor import FoundAnswer, FoundLabel, Predictor, load
from kdda.predict.translations import Translations, translated_texts, translations
from kdda.predict.vireader import Chooser, Shortened, restored_slices

__all__ = [
    "FIELDS",
    "Chooser",
    "Embedder",
    "Embeds",
    "Evaluation",
    "FileJob",
    "FoundAnswer",
    "FoundLabel",
    "Predictor",
    "Shortened",
    "Translations",
    "evaluate",
    "load",
    "predict_file",
    "restored_slices",
    "translated_texts",
    "translations",
    "write_predictions",
]
