"""Models that lose less accuracy in 8 bits (SmoothQuant: Xiao et al. 2023, arXiv:2211.10438)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRENGTH = 0.75  # how much of the inputs' range moves into the weights; 0.5 shares it evenly

LEAST = 1e-5


class Smoothed(nn.Module):
    """A linear layer whose inputs are divided by what its weights are multiplied with.

    Args:
        linear: the layer, whose weights are changed in place.
        largest: the largest absolute value of each input on some rows.
        strength: the exponent α of equation 4, from 0 (weights keep their range) to 1 (inputs get equal ranges).
    """

    def __init__(self, linear: nn.Linear, largest: Float[Tensor, " inputs"], strength: float = STRENGTH):
        super().__init__()
        largest_weight = linear.weight.detach().abs().amax(0).clamp_min(LEAST)
        scale = (largest.clamp_min(LEAST) ** strength / largest_weight ** (1 - strength)).clamp_min(LEAST)
        linear.weight.data *= scale
        self.linear = linear
        self.shrunk: Tensor
        self.register_buffer("shrunk", 1 / scale)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """What the layer gave before: smaller inputs times larger weights."""
        outputs: Tensor = self.linear(inputs * self.shrunk)
        return outputs


def smooth_linears(model: nn.Module, read: Callable[[], object]) -> None:
    """Give each linear layer of an encoder inputs of similar range, in place (eq. 3 and 4).

    A few inputs of a transformer's layers are far larger than the others. One scale for all of them, which is what 8
    bits have, leaves a handful of values for the others. The model's outputs stay the same, to rounding.

    Args:
        model: an encoder, without its head.
        read: runs the model on some rows that are similar to those to come.
    """
    for name, largest in _largest_inputs(model, read).items():
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(name, Smoothed(linear, largest))


def _largest_inputs(model: nn.Module, read: Callable[[], object]) -> dict[str, Tensor]:
    """For each linear layer that was run, the largest absolute value of each of its inputs."""
    largest: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(partial(_record_largest, largest, name)))
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def _record_largest(largest: dict[str, Tensor], name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """A hook before a layer: remember the largest absolute value of each of its inputs."""
    values = inputs[0].detach().abs().flatten(0, -2).amax(0)
    if name in largest:
        values = torch.maximum(largest[name], values)
    largest[name] = values
