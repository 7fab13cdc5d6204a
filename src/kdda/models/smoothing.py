"""Models that lose less accuracy in 8 bits (SmoothQuant: Xiao et al. 2023, arXiv:2211.10438)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRENGTH = 0.75  # how much of the inputs' range moves into the weights; 0.5 shares it evenly

LEAST = 1e-5


class Smoothed(nn.Module):
    """A linear layer whose inputs are divided by what its weights are multiplied with.

    Args:
        linear: the layer, whose weights are changed in place.
        scale: what the weights of each input are multiplied with.
        shrunk: 1 / scale; the same tensor in all layers of the same inputs, which are then divided once for all.
    """

    def __init__(self, linear: nn.Linear, scale: Float[Tensor, " inputs"], shrunk: Float[Tensor, " inputs"]):
        super().__init__()
        linear.weight.data *= scale
        self.linear = linear
        self.shrunk: Tensor
        self.register_buffer("shrunk", shrunk)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """What the layer gave before: smaller inputs times larger weights."""
        outputs: Tensor = self.linear(inputs * self.shrunk)
        return outputs


def smooth_linears(model: nn.Module, read: Callable[[], object]) -> None:
    """Give each linear layer of an encoder inputs of similar range, in place (eq. 3 and 4).

    A few inputs of a transformer's layers are far larger than the others. One scale for all of them, which is what 8
    bits have, leaves a handful of values for the others. The model's outputs stay the same, to rounding. Layers that
    read the same inputs, as those of queries, keys and values do, get the same scales.

    Args:
        model: an encoder, without its head.
        read: runs the model on some rows that are similar to those to come.
    """
    inputs = _Inputs()
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(inputs.recorder(name)))
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    for names, largest in inputs.by_layers():
        linears = {name: model.get_submodule(name) for name in names}
        scale = smoothing_scale(largest, [linear.weight for linear in linears.values()])  # type: ignore[misc]
        shrunk = 1 / scale
        for name, linear in linears.items():
            assert isinstance(linear, nn.Linear)
            model.set_submodule(name, Smoothed(linear, scale, shrunk))


def smoothing_scale(
    largest: Float[Tensor, " inputs"], weights: Sequence[Float[Tensor, "_ inputs"]], strength: float = STRENGTH
) -> Float[Tensor, " inputs"]:
    """What weights of these inputs are to be multiplied with (eq. 4).

    Args:
        largest: the largest absolute value of each input on some rows.
        weights: of the layers that read them.
        strength: the exponent α, from 0 (weights keep their range) to 1 (inputs get equal ranges).

    >>> smoothing_scale(torch.tensor([4.0, 16.0]), [torch.eye(2), -torch.eye(2)], strength=0.5)
    tensor([2., 4.])
    """
    largest_weight = torch.cat([weight.detach().abs() for weight in weights]).amax(0).clamp_min(LEAST)
    scale = largest.clamp_min(LEAST) ** strength / largest_weight ** (1 - strength)
    return scale.clamp_min(LEAST)


class _Inputs:
    """What linear layers read: the largest absolute value of each input, of layers that read the same tensor as one.

    Batches may be read by several threads at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read = threading.local()  # the tensor that the thread's last layer has read, and the first layer of it
        self._first: dict[str, str] = {}  # layer → the first one that reads the same tensor
        self._largest: dict[str, Tensor] = {}  # by the first layers

    def recorder(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        """A hook before the layer of this name, which is called with its inputs."""

        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._record(name, inputs[0])

        return record

    def _record(self, name: str, inputs: Tensor) -> None:
        same: Any = getattr(self._read, "tensor", None)
        if inputs is not same:
            self._read.tensor, self._read.first = inputs, name
        values = inputs.detach().abs().flatten(0, -2).amax(0)
        with self._lock:
            first = self._first.setdefault(name, self._read.first)
            known = self._largest.get(first)
            self._largest[first] = values if known is None else torch.maximum(known, values)

    def by_layers(self) -> list[tuple[list[str], Tensor]]:
        """Names of layers that read the same inputs, and the largest of these; layers that were not run are absent."""
        layers: dict[str, list[str]] = {}
        for name, first in self._first.items():
            layers.setdefault(first, []).append(name)
        return [(names, self._largest[first]) for first, names in layers.items()]
