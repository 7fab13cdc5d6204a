"""Smoothed layers give what they gave, from inputs that 8 bits can hold."""

import torch
from torch import nn

from kdda.models.smoothing import smooth_linears


def in_8_bits(values: torch.Tensor) -> torch.Tensor:
    step = values.abs().max() / 127
    return (values / step).round() * step


def test_outputs_stay_and_what_8_bits_lose_becomes_less() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(6, 5, 16)
    inputs[..., 3] *= 100  # the outlier that takes all of the range
    linear = nn.Linear(16, 8)
    linear.weight.data[:, 3] *= 0.01
    model = nn.Sequential(linear)
    before = model(inputs)
    coarse = linear(in_8_bits(inputs))
    smooth_linears(model, lambda: model(inputs))
    assert model[0] is not linear and torch.allclose(model(inputs), before, rtol=1e-4, atol=1e-3)
    fine = linear(in_8_bits(inputs * model[0].shrunk))
    assert (fine - before).abs().max() < 0.2 * (coarse - before).abs().max()


def test_layers_that_were_not_read_are_left_alone() -> None:
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    unread = model[1]
    smooth_linears(model, lambda: model[0](torch.ones(1, 1, 4)))
    assert model[1] is unread and model[0] is not unread


class Attention(nn.Module):
    """Two layers that read the same inputs, and one that reads theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.output = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.output(self.query(inputs) * self.key(inputs))


def test_layers_of_the_same_inputs_share_their_scales_which_are_computed_once() -> None:
    torch.manual_seed(1)
    model, inputs = Attention(), torch.randn(3, 4, 6)
    before = model(inputs)
    smooth_linears(model, lambda: [model(inputs), model(2 * inputs)])
    assert torch.allclose(model(inputs), before, atol=1e-5)
    assert model.query.shrunk is model.key.shrunk
    assert not torch.equal(model.output.shrunk, model.query.shrunk)
