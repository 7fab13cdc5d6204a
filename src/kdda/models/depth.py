"""Shallower models: which layers of a model are kept."""

from __future__ import annotations

from typing import Any

from kdda.errors import KddaError


def evenly_spaced(kept: int, total: int) -> list[int]:
    """Which layers a shallower model keeps: evenly spaced, the first and the last among them.

    Neighbouring layers do like work, so a model loses least by dropping every other one.

    >>> evenly_spaced(6, 12)
    [0, 2, 4, 7, 9, 11]
    """
    if not 1 <= kept <= total:
        raise KddaError(f"layers: found {kept}, expected 1 to {total}")
    if kept == 1:
        return [total - 1]
    return [int(i * (total - 1) / (kept - 1) + 0.5) for i in range(kept)]


def keep_layers(model: Any, kept: int) -> None:
    """Make a model shallower in place."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if layers is None:
        raise KddaError(f"layers: a model of type {model.config.model_type} has no encoder.layer to choose from")
    chosen = evenly_spaced(kept, len(layers))
    model.base_model.encoder.layer = type(layers)(layers[i] for i in chosen)
    model.config.num_hidden_layers = kept
