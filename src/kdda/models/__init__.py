"""Checkpoints: loading them from anywhere, the mini models, and vocabularies that fit the data."""

from kdda.models.head import standardize_head
from kdda.models.licences import licence, warning_of
from kdda.models.load import (
    GRAPH,
    HEADS,
    Checkpoint,
    check_weights,
    is_exported,
    load,
    load_config,
    load_tokenizer,
    quietly,
)
from kdda.models.precision import PRECISIONS, in_bfloat16
from kdda.models.smoothing import smooth_linears
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused

__all__ = [
    "GRAPH",
    "HEADS",
    "PRECISIONS",
    "Checkpoint",
    "TrimmedVocabulary",
    "check_weights",
    "decay_of_unused",
    "in_bfloat16",
    "is_exported",
    "licence",
    "load",
    "load_config",
    "load_tokenizer",
    "quietly",
    "smooth_linears",
    "standardize_head",
    "warning_of",
]
