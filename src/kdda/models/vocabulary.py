"""Train on the embedding rows that the data contains, and graft them back into the full matrix.

A task uses a few thousand of XLM-R's 250,000 rows. A row that never occurs gets no gradient, so AdamW only decays it:
after t steps it is Π(1 − lr_t·decay) times itself, which needs no optimizer state. Training only the rows that occur
is therefore exact, and saves the gradients, moments and time of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kdda.models.config import SPECIAL_TOKENS
from kdda.runtime.memory import release_pages


class TrimmedEmbedding(nn.Module):
    """An embedding that holds only the rows in use; it takes the full vocabulary's ids.

    Args:
        full: the embedding it replaces.
        used: ids that may occur.

    Raises:
        IndexError: in the forward pass, for an id that is not among those used.
    """

    lookup: Tensor

    def __init__(self, full: nn.Embedding, used: Iterable[int]):
        super().__init__()
        ids = set(used)
        if full.padding_idx is not None:  # MPNet's is 1, whatever its tokenizer pads with
            ids.add(int(full.padding_idx))
        rows = torch.tensor(sorted(ids))
        lookup = torch.full((full.num_embeddings,), len(rows))  # one past the end: an id not in use is an error
        lookup[rows] = torch.arange(len(rows))
        self.register_buffer("lookup", lookup, persistent=False)
        self.weight = nn.Parameter(full.weight.detach()[rows].clone())
        self.padding_idx: int | None = None
        if full.padding_idx is not None:
            self.padding_idx = int(lookup[full.padding_idx])
        self.num_embeddings, self.embedding_dim = self.weight.shape

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        return functional.embedding(self.lookup[ids], self.weight, self.padding_idx)


class TrimmedVocabulary:
    """A model whose embedding is trimmed while it trains.

    Args:
        model: changed in place.
        used: the ids that its data contains; the special tokens of its config are added.

    Raises:
        ValueError: the model has output embeddings, which need every row.
    """

    def __init__(self, model: Any, used: Iterable[int]):
        if model.get_output_embeddings() is not None:
            raise ValueError("the model has output embeddings, tied or not; only encoders with a task head are trimmed")
        self.model = model
        self.full: nn.Embedding = model.get_input_embeddings()
        self.trimmed: Any = self.full
        if not self.is_trimmed:
            return
        self.trimmed = TrimmedEmbedding(self.full, [*used, *_special_ids(model.config, self.rows)])
        model.set_input_embeddings(self.trimmed)
        weight = self.full.weight
        if weight.device.type == "cpu":
            release_pages(weight.data_ptr(), weight.nbytes)

    @property
    def is_trimmed(self) -> bool:
        """Whether rows can be left out: not of a layer that does more than look rows up (I-BERT's, Gemma's)."""
        return type(self.full) is nn.Embedding

    @property
    def rows(self) -> int:
        """Rows of the full matrix."""
        return int(self.full.weight.shape[0])

    @property
    def rows_in_use(self) -> int:
        """Rows that are trained."""
        return int(self.trimmed.weight.shape[0])

    @property
    def bytes_saved(self) -> int:
        """Bytes that the unused rows would take for their gradient and for AdamW's two moments."""
        unused = int(self.full.weight.numel() - self.trimmed.weight.numel())
        return 3 * unused * int(self.full.weight.element_size())

    def graft(self, decay: float = 1.0) -> None:
        """Put the full matrix back into the model.

        Args:
            decay: factor of the rows that were not trained (see `decay_of_unused`).
        """
        if not self.is_trimmed:
            return
        self.full.to(self.trimmed.weight.device)  # where the model was trained
        with torch.no_grad():
            used = self.trimmed.lookup < self.trimmed.num_embeddings
            self.full.weight.mul_(decay)
            self.full.weight[used] = self.trimmed.weight[self.trimmed.lookup[used]].to(self.full.weight)
        self.model.set_input_embeddings(self.full)


def decay_of_unused(learning_rates: Iterable[float], weight_decay: float) -> float:
    """The factor that AdamW's decoupled decay applies to a row without gradient, over some steps.

    Loshchilov & Hutter 2019, algorithm 2, line 12.

    Args:
        learning_rates: the learning rate of each optimizer step.
        weight_decay: AdamW's.

    >>> round(decay_of_unused([0.1, 0.1], weight_decay=0.5), 4)
    0.9025
    """
    factor = 1.0
    for rate in learning_rates:
        factor *= 1 - rate * weight_decay
    return factor


def _special_ids(config: Any, rows: int) -> list[int]:
    """Ids of the special tokens that a config names, as far as the embedding has a row for them."""
    ids = []
    for name in SPECIAL_TOKENS:
        special = getattr(config, f"{name}_token_id", None)
        if isinstance(special, int) and 0 <= special < rows:
            ids.append(special)
    return ids
