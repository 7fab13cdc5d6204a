"""Checkpoints: loading them from anywhere, the mini models, and vocabularies that fit the data."""

from kdda.models.head import standardize_head
from kdda.models.load import HEADS, Checkpoint, check_weights, licence, load, load_config, quietly, warning_of
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused

__all__ = [
    "HEADS",
    "Checkpoint",
    "TrimmedVocabulary",
    "check_weights",
    "decay_of_unused",
    "licence",
    "load",
    "load_config",
    "quietly",
    "standardize_head",
    "warning_of",
]
