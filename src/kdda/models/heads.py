"""A new head that is sensitive to differences between texts from its first step."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdda.models.families import head_dense, span_head

TARGET_DEVIATION = 0.5  # of tanh's inputs, where it is nearly linear, and of logits

LEAST_DEVIATION = 1e-6


@torch.no_grad()
def standardize_head(model: Any, states: Float[Tensor, "states width"]) -> bool:
    """Initialize a new head so that it standardizes the states it reads.

    Models trained as sentence encoders by their mean state (multilingual-e5) hardly change the first token's state
    between texts (a standard deviation near 0.05), and a randomly drawn head sees no difference for hundreds of steps.
    After this every coordinate reaches the tanh with mean 0 and standard deviation `TARGET_DEVIATION`. A head that
    reads tokens has no such layer: its randomly drawn weights are divided by the states' standard deviations instead,
    and its logits get mean 0 and the standard deviation `TARGET_DEVIATION`. A data-dependent initialization in the
    sense of Krähenbühl et al. 2016 (arXiv:1511.06856, §3).

    Args:
        states: what the head reads of some training rows: the first token's state of each, or every token's.

    Returns:
        Whether the architecture has such a layer; nothing is changed otherwise.
    """
    dense = head_dense(model)
    if dense is not None and dense.in_features == dense.out_features:
        _standardize_dense(dense, states)
        return True
    spans = span_head(model)
    if spans is not None:
        _standardize_spans(spans, states)
        return True
    return False


def _standardize_dense(dense: nn.Linear, states: Float[Tensor, "states width"]) -> None:
    mean, deviation = _moments(states)
    dense.weight.copy_(torch.diag(TARGET_DEVIATION / deviation))
    dense.bias.copy_(-TARGET_DEVIATION * mean / deviation)


def _standardize_spans(spans: nn.Linear, states: Float[Tensor, "states width"]) -> None:
    mean, deviation = _moments(states)
    weight = spans.weight / deviation
    logits = (states - mean) @ weight.T
    weight *= TARGET_DEVIATION / logits.std(dim=0)[:, None].clamp(min=LEAST_DEVIATION)
    spans.weight.copy_(weight)
    spans.bias.copy_(-weight @ mean)


def _moments(states: Float[Tensor, "states width"]) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """Mean and standard deviation of every coordinate."""
    return states.mean(dim=0), states.std(dim=0).clamp(min=LEAST_DEVIATION)
