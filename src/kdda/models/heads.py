"""`training.head: standardized`: a new head that is sensitive to differences between texts from its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdda.errors import KddaError
from kdda.models.encoder_heads import last_state
from kdda.models.families import is_causal

TARGET_DEVIATION = 0.5  # of tanh's inputs, where it is nearly linear, and of logits

LEAST_DEVIATION = 1e-6


class LinearCall(NamedTuple):
    """A linear layer that a forward pass used, by its name in the model, and what it was given."""

    name: str
    linear: nn.Linear
    inputs: Tensor


class HeadInputs(NamedTuple):
    """What a head reads of some rows.

    Attributes:
        name: of its first linear layer, in the model.
        has_more_layers: whether other linear layers follow that one.
        states: that this layer reads.
    """

    name: str
    has_more_layers: bool
    states: Float[Tensor, "states width"]


@torch.no_grad()
def standardize_head(model: Any, batches: Sequence[Mapping[str, Tensor]], every_token: bool) -> None:
    """Initialize a new head so that it standardizes the states it reads.

    Models trained as sentence encoders by their mean state (multilingual-e5) hardly change the first token's state
    between texts (a standard deviation near 0.05), and a randomly drawn head sees no difference for hundreds of steps.
    After this every output of the head's first layer has mean 0 and standard deviation `TARGET_DEVIATION`: a dense
    layer before a tanh or another activation becomes diagonal; a layer that gives logits keeps its randomly drawn
    directions. A data-dependent initialization in the sense of Krähenbühl et al. 2016 (arXiv:1511.06856, §3).

    Args:
        batches: some training rows as the model's inputs, with `attention_mask`.
        every_token: whether the head reads all tokens alike, as one for answers does.

    Raises:
        KddaError: no linear layer follows the encoder.
    """
    standardize_by(model, [head_inputs(model, inputs, every_token) for inputs in batches])


@torch.no_grad()
def head_inputs(model: Any, inputs: Mapping[str, Tensor], every_token: bool) -> HeadInputs:
    """What a head reads of some rows; arguments and errors as for `standardize_head`.

    The head's weights have no part in it.
    """
    head = _head_calls(model, inputs, every_token)
    if not head:
        raise KddaError(
            f"training.head: standardized: no linear layer follows the encoder in a {type(model).__name__}; take "
            "head: plain"
        )
    states = _states_read(model, head[0].inputs, inputs["attention_mask"].bool(), every_token)
    return HeadInputs(head[0].name, len(head) > 1, states)


@torch.no_grad()
def standardize_by(model: Any, inputs: Sequence[HeadInputs]) -> None:
    """Initialize a new head by what it reads, as `standardize_head` does.

    Args:
        inputs: of some batches.
    """
    linear = model.get_submodule(inputs[-1].name)
    states = torch.cat([batch.states for batch in inputs])
    if inputs[-1].has_more_layers and linear.in_features == linear.out_features:
        standardize_dense(linear, states)
    else:
        standardize_outputs(linear, states)


def standardize_dense(dense: nn.Linear, states: Float[Tensor, "states width"]) -> None:
    """Make a square layer the diagonal one whose outputs on these states have mean 0 and `TARGET_DEVIATION`."""
    mean, deviation = _moments(states)
    weight = torch.diag(TARGET_DEVIATION / deviation)
    if dense.bias is None:
        weight = _scaled(_blind_to(weight, mean), states)
    else:
        dense.bias.copy_(-TARGET_DEVIATION * mean / deviation)
    dense.weight.copy_(weight)


def standardize_outputs(outputs: nn.Linear, states: Float[Tensor, "states width"]) -> None:
    """Divide a drawn layer's weights by the states' deviations; its outputs get mean 0 and `TARGET_DEVIATION`."""
    mean, deviation = _moments(states)
    weight = outputs.weight / deviation
    if outputs.bias is None:
        weight = _scaled(_blind_to(weight, mean), states)
    else:
        logits = (states - mean) @ weight.T
        weight *= TARGET_DEVIATION / logits.std(dim=0)[:, None].clamp(min=LEAST_DEVIATION)
        outputs.bias.copy_(-weight @ mean)
    outputs.weight.copy_(weight)


def _blind_to(weight: Float[Tensor, "outputs width"], mean: Float[Tensor, " width"]) -> Float[Tensor, "outputs width"]:
    """Weights without their part along the mean state, W − (W·m) mᵀ / ‖m‖²: a layer without bias then has mean 0."""
    return weight - torch.outer(weight @ mean, mean) / mean.square().sum().clamp(min=LEAST_DEVIATION)


def _scaled(
    weight: Float[Tensor, "outputs width"], states: Float[Tensor, "states width"]
) -> Float[Tensor, "outputs width"]:
    """Weights times one factor an output, by which the outputs get the standard deviation `TARGET_DEVIATION`."""
    return weight * (TARGET_DEVIATION / (states @ weight.T).std(dim=0)[:, None].clamp(min=LEAST_DEVIATION))


def _head_calls(model: Any, inputs: Mapping[str, Tensor], every_token: bool) -> list[LinearCall]:
    """The linear layers that a forward pass uses after the encoder's last layer, in their order.

    Args:
        every_token: leave out those that read one state a text, such as a pooler beside the head.
    """
    calls: list[LinearCall] = []
    hooks = []
    lists: list[str] = []  # of modules; all parts of an encoder's layers stand in one
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            lists.append(f"{name}.")
        elif isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(partial(_record_call, calls, name)))
    try:
        model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    head: list[LinearCall] = []
    for call in calls:
        if call.name.startswith(tuple(lists)):
            head.clear()
        elif call.inputs.dim() == 3 or not every_token:
            head.append(call)
    return head


def _record_call(calls: list[LinearCall], name: str, linear: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
    """A hook before a linear layer's forward pass."""
    calls.append(LinearCall(name, linear, inputs[0]))


def _states_read(model: Any, inputs: Tensor, mask: Tensor, every_token: bool) -> Float[Tensor, "states width"]:
    """The states among a head's inputs that reach its outputs.

    Args:
        inputs: `[batch, width]`, or `[batch, tokens, width]` where the head computes an output for every token.
        mask: true at real tokens.
    """
    if inputs.dim() == 2:
        return inputs
    if every_token or not is_causal(model.config):
        return inputs[mask]
    return last_state(inputs, mask)  # a decoder's head computes logits of all tokens, and gives those of the last one


def _moments(states: Float[Tensor, "states width"]) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """Mean and standard deviation of every coordinate."""
    return states.mean(dim=0), states.std(dim=0).clamp(min=LEAST_DEVIATION)
