"""Changes to a model's config before its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdda.models.families import ATTENTION_DROPOUT

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
