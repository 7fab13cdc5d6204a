"""Changes to a model's config before its weights are loaded: labels, dropout, and ids of special tokens that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdda.errors import KddaError
from kdda.models.families import ATTENTION_DROPOUT

SPECIAL_TOKENS = ("pad", "bos", "eos", "sep", "cls")  # as configs name their ids: pad_token_id, …

LABEL_FIELDS = ("id2label", "label2id")  # which every config takes, also one that lacks them


def config_changes(labels: Sequence[str] | None, attention_dropout: float | None) -> dict[str, Any]:
    """The config's fields that a caller overrides.

    Args:
        labels: label names in the order of a classification head's outputs; `None` leaves them.
        attention_dropout: a probability; `None` leaves it.
    """
    changes: dict[str, Any] = {}
    if labels is not None:
        changes["id2label"] = dict(enumerate(labels))
        changes["label2id"] = {label: i for i, label in enumerate(labels)}
    if attention_dropout is not None:
        for field in ATTENTION_DROPOUT:
            changes[field] = attention_dropout
    return changes


def apply_changes(config: Any, changes: Mapping[str, Any]) -> None:
    """Update a config in place with the changes whose field its architecture has."""
    for field, value in changes.items():
        if field in LABEL_FIELDS or hasattr(config, field):
            config.update({field: value})


def fit_special_ids(name: str, config: Any, tokenizer: Any) -> None:
    """Give a config, in place, the tokenizer's padding id where it has none, and ids of the vocabulary alone.

    Decoders (Qwen3) have no padding id in their config, though they need one to read several texts at once; a class'
    default ids, such as ModernBERT's 50283, are beyond a smaller vocabulary.

    Args:
        name: the model's name in the message.

    Raises:
        KddaError: the tokenizer has no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise KddaError(
            f'"{name}": its tokenizer has no padding token, which a batch of texts needs; name one in '
            'its tokenizer_config.json, such as "pad_token": the token that ends a text'
        )
    for special in SPECIAL_TOKENS:
        field = f"{special}_token_id"
        current = getattr(config, field, None)
        is_beyond = isinstance(current, int) and not 0 <= current < config.vocab_size
        if is_beyond or (special == "pad" and current is None):
            setattr(config, field, getattr(tokenizer, field, None))
