"""Sentence embeddings: the mean of an encoder's last hidden states, or a decoder's last one (Qwen3), of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from kdda.models.depth import Layers
from kdda.models.encoder_heads import last_state, mean_state
from kdda.models.families import is_causal, position_limit
from kdda.models.fingerprint import weights_fingerprint
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.runtime.device import compute_device
from kdda.text.batching import BATCH_TOKENS, buckets
from kdda.text.encode import Window

UNUSED_WEIGHTS = ("pooler",)  # not read here, and drawn at random where a checkpoint lacks them


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """One vector of length 1 for each text, so that the product of two is their cosine."""
        ...


@runtime_checkable
class EmbeddingModel(TextEncoder, Protocol):
    """A model that turns texts into vectors; an index stores its name and fingerprint."""

    @property
    def name(self) -> str:
        """What the model is opened by: a folder, a Hub id or a mini model."""
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of the weights: vectors of two models compare if it is the same."""
        ...


class MeanPoolingModel:
    """The encoder of a checkpoint, whatever its head: a student, a mini model, or any sentence encoder.

    The mean is taken over all tokens but padding, special tokens included, as sentence encoders do; of a decoder, whose
    last token alone has read the whole text, that token's state is taken. No prefix is put
    before a text, since each encoder has its conventions. Texts longer than the model's limit are truncated, and
    counted in `encoder.counts`.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.name = checkpoint.name
        self.device = compute_device()
        self.model = checkpoint.model.eval().to(self.device)
        self.width = checkpoint.width
        self.encoder = checkpoint.encoder(position_limit(checkpoint.model.config, checkpoint.model))

    @classmethod
    def load(cls, name: str, layers: Layers | None = None) -> MeanPoolingModel:
        """Load a model's encoder.

        Args:
            name: a folder, whose absolute path becomes the model's name; a Hub id; or a mini model.
            layers: how many layers to keep, evenly spaced; ``first 6``; or a list of them; all by default.

        Raises:
            KddaError: no such model, or one with fewer layers.
        """
        if Path(name).is_dir():
            name = str(Path(name).resolve())
        return cls(load_checkpoint(name, layers=layers))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights that vectors depend on; computed once, in about a second for 100 million weights."""
        return weights_fingerprint(self.model, ignore=UNUSED_WEIGHTS)

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """One vector of length 1 for each text, in batches of similar length."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        windows = self.encoder.encode(texts)
        self.encoder.clear_cache()
        lengths = list(map(len, windows))
        for rows in buckets(lengths, BATCH_TOKENS):
            vectors[rows] = self._mean_states([windows[row] for row in rows])
        return vectors

    @torch.inference_mode()
    def _mean_states(self, windows: Sequence[Window]) -> Float32[ndarray, "texts width"]:
        """The mean of each window's last hidden states, scaled to length 1."""
        padded = self.encoder.pad(windows)
        inputs: dict[str, Any] = {name: ids.to(self.device) for name, ids in padded.items()}
        states = self.model(**inputs).last_hidden_state.float()
        pool = last_state if is_causal(self.model.config) else mean_state
        pooled = pool(states, inputs["attention_mask"])
        vectors: Float32[ndarray, "texts width"] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return vectors
