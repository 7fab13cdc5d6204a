"""One sentence, two models: their tokens (64 at most) and the transport plan between their states (ε 0.0005 to 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.depth import Layers
from kdda.models.hidden_states import hidden_at, last_hidden, layer_at
from kdda.models.load import Checkpoint, is_exported, load_checkpoint
from kdda.runtime.device import compute_device
from kdda.text.check import check_text
from kdda.text.encode import Window
from kdda.transport.sinkhorn import entropic_transport

MAX_TOKENS = 64  # a longer sentence is truncated: a picture cannot show more

LAST = 1.0  # the depth of the last layer

EPSILONS = (0.0005, 10.0)  # smallest: the plan is nearly exact; largest: it is nearly uniform


@dataclass(frozen=True, eq=False)
class SentenceStates:
    """A sentence as one model reads it: tokens as they stand in the text, specials by name, and their states.

    Attributes:
        layer: whose states they are, 0 for the embeddings; -1 where only the last ones were asked for.
        layers: of the model; 0 where only the last states were asked for.
    """

    name: str
    tokens: list[str]
    states: Float[Tensor, "tokens width"]
    layer: int = -1
    layers: int = 0


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """How the mass of the first model's tokens is carried to the second's.

    Attributes:
        shares: row i says where token i of the first goes; each row sums to 1.
        cost: OT_ε, in units of the second model's mean pairwise cost on this sentence.
        marginal_error: how far the plan's row and column sums are from the tokens' masses (L1).
    """

    first: SentenceStates
    second: SentenceStates
    shares: Float[ndarray, "n m"]
    cost: float
    marginal_error: float
    epsilon: float


@dataclass(frozen=True)
class StateReader:
    """An encoder that gives the states of a sentence."""

    checkpoint: Checkpoint

    @classmethod
    def open(cls, name: str, layers: Layers | None = None) -> StateReader:
        """Open any checkpoint, without its head.

        Args:
            layers: that stay of it, as for `load_checkpoint`; all by default.

        Raises:
            KddaError: no such model, or an export, whose graph gives no states.
        """
        if is_exported(name):
            raise KddaError(f'"{name}" is an export, which gives logits alone; give the checkpoint it was made of')
        return cls(load_checkpoint(name, layers=layers))

    def read(self, text: str) -> SentenceStates:
        """A sentence's tokens and last hidden states, special tokens included (docs/method.md, 3).

        A sentence of more than `MAX_TOKENS` tokens is truncated.

        Raises:
            KddaError: a text with an unpaired surrogate.
        """
        return self.read_at(text, (LAST,))[0]

    def read_at(self, text: str, depths: Sequence[float]) -> list[SentenceStates]:
        """A sentence's tokens and hidden states at each of some depths; otherwise as `read`.

        Args:
            depths: from 0, the embeddings, to 1, the last layer; between two layers the nearest (`hidden_at`).

        Raises:
            KddaError: a text with an unpaired surrogate.
        """
        check_text(text, "the sentence")
        encoder = self.checkpoint.encoder(MAX_TOKENS)
        window = encoder.encode([text])[0]  # one text, one window
        device = compute_device()
        inputs = {}
        for name, ids in encoder.pad([window]).items():
            inputs[name] = ids.to(device)
        with torch.inference_mode():
            is_last = set(depths) == {LAST}
            outputs: Any = self.checkpoint.model.to(device)(**inputs, output_hidden_states=not is_last)
        tokens = self._token_texts(text, window)
        read = []
        for depth in depths:
            states = last_hidden(outputs) if depth == LAST else hidden_at(outputs, depth)
            place = (-1, 0) if is_last else _layer(outputs, depth)
            read.append(SentenceStates(self.checkpoint.name, tokens, states[0].float().cpu(), *place))
        return read

    def _token_texts(self, text: str, window: Window) -> list[str]:
        """The tokens of a window on one text: special tokens by name, the others as they stand in the text."""
        specials_before, specials_after = window.template.specials
        tokenized = window.parts[0]  # all tokens of the text, of which the window has those from start to stop
        start, stop = window.ranges[0]
        tokens = self._special_names(specials_before)
        for k in range(start, stop):
            tokens.append(_visible(text[tokenized.starts[k] : tokenized.ends[k]]))
        return tokens + self._special_names(specials_after)

    def _special_names(self, ids: Sequence[int]) -> list[str]:
        """The names of special tokens, such as <s>."""
        return list(map(str, self.checkpoint.tokenizer.convert_ids_to_tokens(list(ids))))


def _layer(outputs: Any, depth: float) -> tuple[int, int]:
    """The number of the layer at a depth, and how many layers there are, from outputs with all hidden states."""
    count = len(outputs.hidden_states)
    return layer_at(count, depth), count - 1


def plan_between(first: SentenceStates, second: SentenceStates, epsilon: float) -> TransportPlan:
    """The plan of OT_ε between two readings of a sentence.

    Raises:
        KddaError: models of two widths, or an ε outside `EPSILONS`.
    """
    _, first_width = first.states.shape
    _, second_width = second.states.shape
    if first_width != second_width:
        raise KddaError(
            f"{first.name} is {first_width} wide and {second.name} {second_width}: their states have no distance"
        )
    if not EPSILONS[0] <= epsilon <= EPSILONS[1]:
        raise KddaError(f"epsilon: got {epsilon:g}, expected {EPSILONS[0]:g} to {EPSILONS[1]:g}")
    output = entropic_transport(
        first.states[None], second.states[None], epsilon=epsilon, scale="teacher", max_iterations=2000
    )
    # A batch of one pair. Each of n tokens has the mass 1/n, so that rows of n times the plan sum to 1.
    shares = output.plan()[0] * len(first.tokens)
    cost = float(output.value[0])
    marginal_error = float(output.marginal_error[0])
    return TransportPlan(first, second, shares.float().numpy(), cost, marginal_error, epsilon)


def _visible(token: str) -> str:
    """A token with its white space as single spaces, or a dot where it is nothing else."""
    return " ".join(token.split()) or "·"


def without_exports(models: Sequence[str]) -> list[str]:
    """The models whose states can be asked for, each once."""
    return [name for name in dict.fromkeys(models) if not is_exported(name)]
