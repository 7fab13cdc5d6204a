"""One sentence, two models: each one's tokens, and the plan that carries the first's states to the second's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from kdda.errors import KddaError
from kdda.models.load import Checkpoint, is_exported, load_checkpoint
from kdda.text.check import check_text
from kdda.transport.sinkhorn import entropic_transport

TOKENS = 64  # that a picture can show

EPSILONS = (0.0005, 10.0)  # from nearly exact to nearly blind


@dataclass(frozen=True, eq=False)
class SentenceStates:
    """A sentence as one model reads it: tokens as they stand in the text, specials by name, and their last states."""

    name: str
    tokens: list[str]
    states: Float[Tensor, "tokens width"]


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """How the mass of the first model's tokens is carried to the second's.

    Attributes:
        shares: row i says where token i of the first goes; each row sums to 1.
        cost: OT_ε, in units of the second model's mean pairwise cost on this sentence.
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
    def open(cls, name: str) -> StateReader:
        """Open any checkpoint, without its head.

        Raises:
            KddaError: no such model, or an export, whose graph gives no states.
        """
        if is_exported(name):
            raise KddaError(f'"{name}" is an export, which gives logits alone; give the checkpoint it was made of')
        return cls(load_checkpoint(name))

    def read(self, text: str) -> SentenceStates:
        """The states of all tokens, specials included, as the distillation compares them (docs/method.md, 3)."""
        check_text(text, "the sentence")
        encoder = self.checkpoint.encoder(TOKENS)
        (window,) = encoder.encode([text])
        with torch.inference_mode():
            outputs: Any = self.checkpoint.model(**encoder.pad([window]))
        tokens = list(map(self._special, window.template.specials[0]))
        (part,), ((start, stop),) = window.parts, window.ranges
        tokens += [_visible(text[part.starts[k] : part.ends[k]]) for k in range(start, stop)]
        tokens += map(self._special, window.template.specials[-1])
        return SentenceStates(self.checkpoint.name, tokens, outputs.last_hidden_state[0].float().cpu())

    def _special(self, number: int) -> str:
        return str(self.checkpoint.tokenizer.convert_ids_to_tokens([number])[0])


def plan_between(first: SentenceStates, second: SentenceStates, epsilon: float) -> TransportPlan:
    """The plan of OT_ε between two readings of a sentence.

    Raises:
        KddaError: models of two widths, or an ε outside `EPSILONS`.
    """
    widths = first.states.shape[1], second.states.shape[1]
    if widths[0] != widths[1]:
        raise KddaError(
            f"{first.name} is {widths[0]} wide and {second.name} {widths[1]}: their states have no distance"
        )
    if not EPSILONS[0] <= epsilon <= EPSILONS[1]:
        raise KddaError(f"epsilon: got {epsilon:g}, expected {EPSILONS[0]:g} to {EPSILONS[1]:g}")
    output = entropic_transport(
        first.states[None], second.states[None], epsilon=epsilon, scale="teacher", max_iterations=2000
    )
    shares = output.plan()[0] * len(first.tokens)
    return TransportPlan(
        first, second, shares.float().numpy(), float(output.value[0]), float(output.marginal_error[0]), epsilon
    )


def _visible(token: str) -> str:
    return " ".join(token.split()) or "·"


def names_of(models: Sequence[str]) -> list[str]:
    """The models whose states can be asked for, each once."""
    return [name for name in dict.fromkeys(models) if not is_exported(name)]
