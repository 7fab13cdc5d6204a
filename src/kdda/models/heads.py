"""A new head that starts by seeing differences between texts."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

GAIN = 0.5  # standard deviations at tanh's input: its linear part


def head_dense(model: Any) -> nn.Linear | None:
    """The dense layer that a task head applies to the first token's state, where the architecture has one."""
    places = (
        getattr(model.base_model, "pooler", None),
        getattr(model, "pooler", None),
        getattr(model, "classifier", None),
    )
    found = (getattr(place, "dense", None) for place in places)
    return next((dense for dense in found if isinstance(dense, nn.Linear)), None)


@torch.no_grad()
def standardize_head(model: Any, states: Float[Tensor, "states width"]) -> bool:
    """Make a new head standardise what it reads: the first token's states of training rows, or in reading all tokens'.

    Models trained as sentence encoders by their mean state (multilingual-e5) hardly move the first token's state
    between texts (a standard deviation near 0.05), and a randomly drawn head sees no difference for hundreds of steps.
    After this every coordinate reaches the tanh with mean 0 and standard deviation `GAIN`. A head that reads tokens
    has no such layer: its own weights are measured in standard deviations instead, so that its logits have the
    standard deviation `GAIN`. A data-dependent initialization in the sense of Krähenbühl et al. 2016
    (arXiv:1511.06856, §3).

    Returns:
        Whether the architecture has such a layer; nothing is changed otherwise.
    """
    dense, mean, deviation = head_dense(model), states.mean(dim=0), states.std(dim=0).clamp(min=1e-6)
    if dense is not None and dense.weight.shape[0] == dense.weight.shape[1]:
        dense.weight.copy_(torch.diag(GAIN / deviation))
        dense.bias.copy_(-GAIN * mean / deviation)
        return True
    spans = getattr(model, "qa_outputs", None)
    if not isinstance(spans, nn.Linear):
        return False
    weight = spans.weight / deviation
    weight *= GAIN / ((states - mean) @ weight.T).std(dim=0)[:, None].clamp(min=1e-6)
    spans.weight.copy_(weight)
    spans.bias.copy_(-weight @ mean)
    return True
