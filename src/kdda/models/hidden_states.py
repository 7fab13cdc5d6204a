"""Hidden states of a model at a depth, and tokens' masses by the attention there (attended, received, entropy)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    states = hidden_states[layer_at(len(hidden_states), depth)]
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
    model: Any, outputs: object, mask: Bool[Tensor, "batch tokens"], depth: float, tokens: str
) -> Float[Tensor, "batch tokens"]:
    """The mass of each token by the attention of the layer whose states are at a depth.

    It is the mean over the layer's heads, without dropout and without a gradient.

    Args:
        model: of a type in `families.BERT_LIKE`.
        outputs: the model's, with all hidden states.
        mask: true at real tokens.
        depth: from 0 to 1, as in `hidden_at`; for the embeddings, which have no attention, the first layer's is taken.
        tokens: a name in `MASSES`, as `distill.tokens` gives it.

    Returns:
        Masses, 0 at padding: 1 together in a row (``attended``), 1 a token on average (``received``), or nats
        (``entropy``).
    """
    hidden_states = outputs.hidden_states  # type: ignore[attr-defined]
    layer = max(0, layer_at(len(hidden_states), depth) - 1)
    attention = self_attention(model, layer)
    inputs = hidden_states[layer]  # of the layer, whose outputs are the states at the depth
    with torch.autocast(inputs.device.type, enabled=False):
        return MASSES[tokens](attention, inputs.to(attention.query.weight.dtype), mask)


def _attended(attention: Any, inputs: Tensor, mask: Tensor) -> Tensor:
    """The first token's attention to each token: 1 together.

    Args:
        attention: a layer's self-attention as BERT has it.
        inputs: of the layer, ``[batch, tokens, width]``.
        mask: true at real tokens, ``[batch, tokens]``.
    """
    heads, head_width = attention.num_attention_heads, attention.attention_head_size
    batch, tokens = inputs.shape[:2]
    query = attention.query(inputs[:, 0]).view(batch, 1, heads, head_width)
    key = attention.key(inputs).view(batch, tokens, heads, head_width)
    scores: Tensor = (query * key).sum(dim=3).float() / head_width**0.5
    return scores.masked_fill(~mask[..., None], -torch.inf).softmax(dim=1).mean(dim=2)


def _received(attention: Any, inputs: Tensor, mask: Tensor) -> Tensor:
    """The attention of all real tokens to each token: 1 a token on average; arguments as in `_attended`."""
    received = torch.zeros(mask.shape, device=inputs.device)
    for weights in _attention_by_head(attention, inputs, mask):
        received += (weights * mask[:, :, None]).sum(dim=1)  # over the tokens that attend, of which padding is none
    return received / int(attention.num_attention_heads)


def _information(attention: Any, inputs: Tensor, mask: Tensor) -> Tensor:
    """How far each token's attention is from uniform: log n − H in nats, over n real tokens.

    Arguments as in `_attended`. Where attention is uniform, as in a text of one token, all tokens have the mass
    `LEAST_INFORMATION`.
    """
    entropy = torch.zeros(mask.shape, device=inputs.device)
    for weights in _attention_by_head(attention, inputs, mask):
        entropy += torch.special.entr(weights).sum(dim=2)
    largest = mask.sum(dim=1, keepdim=True).log()  # entropy of uniform attention
    information = (largest - entropy / int(attention.num_attention_heads)).clamp(min=0)
    return mask * (information + LEAST_INFORMATION)


def _attention_by_head(attention: Any, inputs: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """Each head's attention ``[batch, tokens, tokens]`` from every token (rows) to the real ones.

    Arguments as in `_attended`. One head at a time, so that a layer's whole attention is never in memory.
    """
    head_width = attention.attention_head_size
    query, key = attention.query(inputs), attention.key(inputs)
    for start in range(0, query.shape[2], head_width):
        columns = slice(start, start + head_width)
        scores = (query[..., columns] @ key[..., columns].mT).float() / head_width**0.5
        yield scores.masked_fill(~mask[:, None, :], -torch.inf).softmax(dim=2)


LEAST_INFORMATION = 1e-6  # nats: above the rounding of log n − H in float32

# The masses that `distill.tokens` can name (`kdda.recipe.schema.Masses`).
MASSES: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "attended": _attended,
    "received": _received,
    "entropy": _information,
}


def check_attention_is_readable(model: str, model_type: str, tokens: str) -> None:
    """Refuse a model whose attention cannot be read.

    Args:
        model: its name, for the message.
        model_type: the one in its config.
        tokens: the choice of `distill.tokens` that reads it, for the message.

    Raises:
        KddaError: its architecture is not like BERT's.
    """
    if model_type not in BERT_LIKE:
        raise KddaError(
            f"distill.tokens: {tokens} reads the attention of models that are built as BERT is "
            f"({', '.join(BERT_LIKE)}), and {model} is of type {model_type}; take tokens: all, or text"
        )


def layer_at(count: int, depth: float) -> int:
    """Of so many hidden states, the index of the one at a depth: the number of its layer, 0 for the embeddings."""
    return int(depth * (count - 1) + 0.5)
