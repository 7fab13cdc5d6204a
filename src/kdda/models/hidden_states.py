"""What of a model is compared: its states at a depth, and how much attention each token gets there."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdda.errors import KddaError

LIKE_BERT = ("bert", "camembert", "electra", "roberta", "xlm-roberta")  # whose layers name their query and key so


def hidden_at(outputs: object, depth: float) -> Float[Tensor, "batch tokens width"]:
    """The states at a depth: 1 is the last layer, 0 the embeddings; of two that are as near the upper one."""
    states = outputs.hidden_states  # type: ignore[attr-defined]
    found = states[_at(len(states), depth)]
    assert isinstance(found, torch.Tensor)
    return found


def last_hidden(outputs: object) -> Float[Tensor, "batch tokens width"]:
    """The last layer's states, from an encoder's outputs or a task model's with all hidden states."""
    states = getattr(outputs, "last_hidden_state", None)
    found = states if states is not None else outputs.hidden_states[-1]  # type: ignore[attr-defined]
    assert isinstance(found, torch.Tensor)
    return found


@torch.no_grad()
def attention_masses(
    model: Any, outputs: object, mask: Bool[Tensor, "batch tokens"], depth: float
) -> Float[Tensor, "batch tokens"]:
    """How much the first token attends to each, where the states at a depth are made: 1 together, 0 at padding.

    It is the mean over the layer's heads, without dropout and without a gradient.

    Args:
        outputs: the model's, with all hidden states.
    """
    states = outputs.hidden_states  # type: ignore[attr-defined]
    below = max(0, _at(len(states), depth) - 1)  # embeddings have no attention of their own: the first layer's
    attention, read = model.base_model.encoder.layer[below].attention.self, states[below]
    with torch.autocast(read.device.type, enabled=False):
        read = read.to(attention.query.weight.dtype)
        heads = (*read.shape[:2], attention.num_attention_heads, attention.attention_head_size)
        query = attention.query(read[:, 0]).view(heads[0], 1, *heads[2:])
        scores: Tensor = (query * attention.key(read).view(heads)).sum(dim=3).float() / heads[3] ** 0.5
        return scores.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1).mean(dim=2)


def check_attention_is_readable(model: str, model_type: str) -> None:
    """Refuse a model whose attention cannot be read."""
    if model_type not in LIKE_BERT:
        known = ", ".join(LIKE_BERT)
        raise KddaError(
            f"distill.tokens: attended reads the attention of models that are built as BERT is ({known}), "
            f"and {model} is of type {model_type}; take tokens: all, or text"
        )


def _at(count: int, depth: float) -> int:
    return int(depth * (count - 1) + 0.5)
