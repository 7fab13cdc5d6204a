"""Hidden states of a model at a depth, and the attention that each token gets at that depth."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.families import BERT_LIKE, self_attention


def hidden_at(outputs: object, depth: float) -> Float[Tensor, "batch tokens width"]:
    """The hidden states at a depth.

    Args:
        outputs: a model's outputs with all hidden states.
        depth: from 0, the embeddings, to 1, the last layer; between two layers the nearest, at a tie the upper one.
    """
    hidden_states = outputs.hidden_states  # type: ignore[attr-defined]
    states = hidden_states[_index_at(len(hidden_states), depth)]
    assert isinstance(states, torch.Tensor)
    return states


def last_hidden(outputs: object) -> Float[Tensor, "batch tokens width"]:
    """The last layer's states, from an encoder's outputs or from a task model's with all hidden states."""
    states = getattr(outputs, "last_hidden_state", None)
    if states is None:
        states = outputs.hidden_states[-1]  # type: ignore[attr-defined]
    assert isinstance(states, torch.Tensor)
    return states


@torch.no_grad()
def attention_masses(
    model: Any, outputs: object, mask: Bool[Tensor, "batch tokens"], depth: float
) -> Float[Tensor, "batch tokens"]:
    """The first token's attention to each token, in the layer whose states are at a depth.

    It is the mean over the layer's heads, without dropout and without a gradient.

    Args:
        model: of a type in `families.BERT_LIKE`.
        outputs: the model's, with all hidden states.
        mask: true at real tokens.
        depth: from 0 to 1, as in `hidden_at`; for the embeddings, which have no attention, the first layer's is taken.

    Returns:
        Masses that sum to 1 in each row, and are 0 at padding.
    """
    hidden_states = outputs.hidden_states  # type: ignore[attr-defined]
    layer = max(0, _index_at(len(hidden_states), depth) - 1)
    attention = self_attention(model, layer)
    inputs = hidden_states[layer]  # of the layer, whose outputs are the states at the depth
    heads, head_width = attention.num_attention_heads, attention.attention_head_size
    with torch.autocast(inputs.device.type, enabled=False):
        inputs = inputs.to(attention.query.weight.dtype)
        batch, tokens = inputs.shape[:2]
        query = attention.query(inputs[:, 0]).view(batch, 1, heads, head_width)
        key = attention.key(inputs).view(batch, tokens, heads, head_width)
        scores: Tensor = (query * key).sum(dim=3).float() / head_width**0.5
        return scores.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1).mean(dim=2)


def check_attention_is_readable(model: str, model_type: str) -> None:
    """Refuse a model whose attention cannot be read.

    Args:
        model: its name, for the message.
        model_type: the one in its config.

    Raises:
        KddaError: its architecture is not like BERT's.
    """
    if model_type not in BERT_LIKE:
        raise KddaError(
            "distill.tokens: attended reads the attention of models that are built as BERT is "
            f"({', '.join(BERT_LIKE)}), and {model} is of type {model_type}; take tokens: all, or text"
        )


def _index_at(count: int, depth: float) -> int:
    """Of so many hidden states, the index of the one at a depth."""
    return int(depth * (count - 1) + 0.5)
