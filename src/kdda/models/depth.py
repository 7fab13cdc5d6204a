"""Shallower models: which layers of a model stay."""

from __future__ import annotations

from typing import Any

from kdda.errors import KddaError
from kdda.models.families import encoder_layers, replace_encoder_layers


def evenly_spaced(count: int, total: int) -> list[int]:
    """Which layers a shallower model keeps: evenly spaced, the first and the last among them.

    Neighbouring layers compute similar things, so a model loses least by dropping every other one.

    Args:
        count: layers to keep, from 1 to `total`.
        total: layers of the whole model.

    >>> evenly_spaced(6, 12)
    [0, 2, 4, 7, 9, 11]
    """
    if not 1 <= count <= total:
        raise KddaError(f"layers: got {count}, expected 1 to {total}")
    if count == 1:
        return [total - 1]
    return [int(i * (total - 1) / (count - 1) + 0.5) for i in range(count)]


def keep_layers(model: Any, count: int) -> None:
    """Make a model shallower in place.

    Raises:
        KddaError: the architecture keeps its layers elsewhere, or has fewer.
    """
    layers = encoder_layers(model)
    if layers is None:
        raise KddaError(f"layers: a model of type {model.config.model_type} has no encoder.layer to choose from")
    chosen = evenly_spaced(count, len(layers))
    replace_encoder_layers(model, type(layers)(layers[i] for i in chosen))
