"""Shallower models (`layers:`): which layers stay (evenly spaced, the first, or a list), and settings cut along."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from kdda.errors import KddaError
from kdda.models.families import encoder_class, layer_lists, on_meta

FIRST = "first "  # as in `layers: first 6`

Layers = int | str | Sequence[int]
"""A number of evenly spaced layers; ``first 6``; or the indices of layers, from 0, in rising order."""


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


def chosen_layers(layers: Layers, total: int) -> list[int]:
    """The indices of the layers that stay.

    Args:
        total: layers of the whole model.

    Raises:
        KddaError: more layers than there are, a layer that is not there, or an order that does not rise.

    >>> chosen_layers("first 3", 12)
    [0, 1, 2]
    """
    if isinstance(layers, int):
        return evenly_spaced(layers, total)
    if isinstance(layers, str):
        count = layers.removeprefix(FIRST)
        if not layers.startswith(FIRST) or not count.isdecimal() or not 1 <= int(count) <= total:
            raise KddaError(f'layers: got "{layers}", expected a number, "first 1" to "first {total}", or a list')
        return list(range(int(count)))
    chosen = list(layers)
    for layer in chosen:
        if not 0 <= layer < total:
            raise KddaError(f"layers: there is no layer {layer}: the model has layers 0 to {total - 1}")
    if not chosen or sorted(set(chosen)) != chosen:
        raise KddaError(f"layers: got {chosen}, expected layers in rising order, each once")
    return chosen


def layer_count(layers: Layers | None, total: int) -> int:
    """How many layers a model has once some were chosen; all of them by default.

    Raises:
        KddaError: as `chosen_layers`.
    """
    return total if layers is None else len(chosen_layers(layers, total))


def check_layers(config: Any, layers: Layers | None) -> None:
    """Refuse, from a config alone, layers that a model cannot be cut to.

    Raises:
        KddaError: as `keep_layers`.
    """
    if layers is None:
        return
    whole = on_meta(encoder_class(config), config)
    chosen = chosen_layers(layers, int(config.num_hidden_layers))
    if len(chosen) < config.num_hidden_layers:
        shallow = on_meta(type(whole), shallow_config(config, chosen))
        _check_same_tensors(config.model_type, chosen, _renumbered(whole, chosen), shallow.state_dict())


def keep_layers(model: Any, layers: Layers) -> Any:
    """A model with some of its layers, with the same weights.

    It is built anew from the config that will be saved with it, so that what is opened later is what was trained.

    Raises:
        KddaError: a layer that is not there; layers that are no list, or share their weights (ALBERT); layers that
            differ from each other in their tensors, where the others cannot take the first one's place.
    """
    chosen = chosen_layers(layers, int(model.config.num_hidden_layers))
    if len(chosen) == model.config.num_hidden_layers:
        return model
    weights = _renumbered(model, chosen)
    with torch.random.fork_rng(devices=[]), no_init_weights():  # all weights are given: none is drawn
        shallow = type(model)(shallow_config(model.config, chosen))
    _check_same_tensors(model.config.model_type, chosen, weights, shallow.state_dict())
    shallow.load_state_dict(weights, assign=True)
    shallow.tie_weights()
    return shallow.train(model.training)


def shallow_config(config: Any, chosen: Sequence[int]) -> Any:
    """A copy of a config for some of its layers: their number, and every setting that is a list with an entry a layer.

    Such settings are ModernBERT's and Qwen3's `layer_types`, or Longformer's `attention_window`.
    """
    shallow = copy.deepcopy(config)
    for name in _per_layer_settings(config):
        values = getattr(config, name)
        setattr(shallow, name, [values[layer] for layer in chosen])
    shallow.num_hidden_layers = len(chosen)
    if hasattr(shallow, "max_window_layers"):  # of Qwen: from this layer on attention is windowed; layer_types says it
        shallow.max_window_layers = min(shallow.max_window_layers, len(chosen))
    return shallow


def _per_layer_settings(config: Any) -> list[str]:
    """Names of a config's lists with an entry a layer.

    A list of the right length may be something else (DeBERTa's ``pos_att_type`` has two entries). A list is a layer's
    setting if in a model of this type with one layer more it has one entry more.
    """
    depth = int(config.num_hidden_layers)
    candidates = []
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == depth:
            candidates.append(name)
    if not candidates:
        return []
    deeper = type(config)()
    deeper.num_hidden_layers = depth + 1
    deeper = type(config)(**_without(deeper.to_dict(), candidates))
    # Longformer makes a list of its one window when the model is built, so that the model's config is read
    deeper = on_meta(encoder_class(config), deeper).config
    per_layer = []
    for name in candidates:
        value = getattr(deeper, name, None)
        if isinstance(value, list) and len(value) == depth + 1:
            per_layer.append(name)
    return per_layer


def _without(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Settings less some of them, which a config then fills with its defaults."""
    return {name: value for name, value in settings.items() if name not in names}


def _renumbered(model: Any, chosen: Sequence[int]) -> dict[str, Tensor]:
    """A model's tensors without those of the other layers; the chosen layers' are numbered from 0.

    Raises:
        KddaError: the model has no list of its layers.
    """
    lists = layer_lists(model)
    if not lists:
        raise KddaError(
            f"layers: a model of type {model.config.model_type} has no list of its {model.config.num_hidden_layers} "
            "layers to choose from, as where all of them share their weights; leave layers out"
        )
    weights = {}
    for key, weight in model.state_dict().items():
        new_key = key
        for name in lists:
            if key.startswith(f"{name}."):
                number, _, rest = key.removeprefix(f"{name}.").partition(".")
                new_key = f"{name}.{chosen.index(int(number))}.{rest}" if int(number) in chosen else ""
        if new_key:
            weights[new_key] = weight
    return weights


def _check_same_tensors(
    kind: str, chosen: Sequence[int], weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse chosen layers that have other tensors than the shallower model needs.

    Args:
        kind: the model's type.
    """
    for key in sorted(weights.keys() ^ expected.keys()):
        raise KddaError(
            f"layers: {list(chosen)} alone do not make a model of type {kind}, whose layers are not alike ({key}); "
            "keep layer 0 among them"
        )
    for key, weight in weights.items():
        if weight.shape != expected[key].shape:
            raise KddaError(f"layers: the layers of a model of type {kind} differ in size ({key})")
