"""Checkpoints: loading them from anywhere, the mini models, and vocabularies that fit the data."""

from kdda.models.head import standardize_head
from kdda.models.load import HEADS, Checkpoint, licence, load, load_config, load_tokenizer, quietly
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused

__all__ = [
    "HEADS",
    "Checkpoint",
    "TrimmedVocabulary",
    "decay_of_unused",
    "licence",
    "load",
    "load_config",
    "load_tokenizer",
    "quietly",
    "standardize_head",
]
