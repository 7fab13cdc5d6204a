"""Models that lose less in 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRENGTH = 0.75  # how much of the inputs' range moves into the weights; 0.5 shares it evenly

LEAST = 1e-5


class Smoothed(nn.Module):
    """A linear layer whose inputs are divided by what its weights are multiplied with.

    Args:
        top: the largest absolute value of each input that was seen.
    """

    def __init__(self, linear: nn.Linear, top: Float[Tensor, " inputs"], strength: float = STRENGTH):
        super().__init__()
        widest = linear.weight.detach().abs().amax(0).clamp_min(LEAST)
        scale = (top.clamp_min(LEAST) ** strength / widest ** (1 - strength)).clamp_min(LEAST)
        linear.weight.data *= scale
        self.linear = linear
        self.shrunk: Tensor
        self.register_buffer("shrunk", 1 / scale)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        outputs: Tensor = self.linear(inputs * self.shrunk)
        return outputs


def smooth_linears(model: nn.Module, read: Callable[[], object]) -> None:
    """Give each linear layer of an encoder inputs of like range, in place (SmoothQuant: Xiao et al. 2023, eq. 3 and 4).

    A few inputs of a transformer's layers are far larger than the others. One scale for all of them, which is what 8
    bits have, leaves the others a handful of values. The model's outputs stay the same, to rounding.

    Args:
        model: an encoder, without its head.
        read: lets the model read some rows that are like those to come.
    """
    tops: dict[str, Tensor] = {}

    def listener(name: str) -> Callable[..., None]:
        def listen(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            top = inputs[0].detach().abs().flatten(0, -2).amax(0)
            tops[name] = torch.maximum(tops[name], top) if name in tops else top

        return listen

    linears = {name: own for name, own in model.named_modules() if isinstance(own, nn.Linear)}
    hooks = [own.register_forward_pre_hook(listener(name)) for name, own in linears.items()]
    try:
        read()
    finally:
        for hook in hooks:
            hook.remove()
    for name, top in tops.items():
        model.set_submodule(name, Smoothed(linears[name], top))
