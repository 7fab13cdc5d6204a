"""Opening a checkpoint's tokenizer, the word segmentation that it expects, and whether it gives token types."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import AutoTokenizer

from kdda.models.families import is_phobert_tokenizer

MOST_RESPELT = 0.01  # share of the vocabulary that a tokenizer may respell


def open_tokenizer(folder: str) -> Any:
    """A checkpoint's tokenizer; one that respells its vocabulary is opened again without its normalization.

    A vocab.txt without settings opens with lower case and without accents, and Vietnamese tones are accents.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    normalizes = hasattr(tokenizer, "do_lower_case") and tokenizer.is_fast
    if normalizes and _respells_its_vocabulary(tokenizer):
        return AutoTokenizer.from_pretrained(folder, do_lower_case=False, strip_accents=False, trust_remote_code=False)
    return tokenizer


def _respells_its_vocabulary(tokenizer: Any) -> bool:
    """Whether normalization would change more than `MOST_RESPELT` of the tokenizer's entries."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None:
        return False
    entries = respelt = 0
    for entry in tokenizer.get_vocab():
        if entry.startswith("["):  # special tokens, which are never normalized
            continue
        entries += 1
        if normalizer.normalize_str(entry) != entry:
            respelt += 1
    return respelt > MOST_RESPELT * entries


def drop_token_types(model: Any, tokenizer: Any) -> None:
    """Let a tokenizer, in place, give no token types to a model that has no embedding of two of them.

    A tokenizer that was saved without its class gives them by default, and the model's forward would fail.
    """
    takes_them = "token_type_ids" in inspect.signature(model.base_model.forward).parameters
    if not takes_them or getattr(model.config, "type_vocab_size", 2) < 2:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def segmenter_of(config: Any, tokenizer: Any) -> str:
    """The word segmentation that a checkpoint expects: the one it was saved with, or that of its tokenizer's class."""
    saved = getattr(config, "kdda_segmenter", None)
    if saved:
        return str(saved)
    return "vi" if is_phobert_tokenizer(tokenizer) else "none"
