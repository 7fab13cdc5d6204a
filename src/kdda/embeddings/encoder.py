"""Vectors of texts: the mean of an encoder's last states, of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from kdda.models.load import Checkpoint, load_checkpoint
from kdda.text.batching import BATCH_TOKENS, buckets
from kdda.text.encode import Window, position_limit


@runtime_checkable
class EmbeddingModel(Protocol):
    """What turns texts into vectors; an index remembers its name."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """A vector of length 1 a text, so that a product of two is their cosine."""
        ...


class MeanPoolingModel:
    """A checkpoint's encoder, whatever its head: a student, a mini model, or any sentence encoder.

    The mean is over all tokens but padding, specials included, as sentence encoders take it; no prefix is put before a
    text, since encoders differ in theirs. Longer texts than the model reads are cut, and counted in `encoder.counts`.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.name = checkpoint.name
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = checkpoint.model.eval().to(self.device)
        self.width = checkpoint.width
        self.encoder = checkpoint.encoder(position_limit(checkpoint.model.config))

    @classmethod
    def load(cls, name: str, layers: int | None = None) -> MeanPoolingModel:
        """A folder, a Hub id or a mini model; a folder is remembered by its whole path.

        Args:
            layers: keep this many, evenly spaced; all by default.

        Raises:
            KddaError: no such model, or one of fewer layers.
        """
        return cls(load_checkpoint(str(Path(name).resolve()) if Path(name).is_dir() else name, layers=layers))

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        out = np.zeros((len(texts), self.width), np.float32)
        windows = self.encoder.encode(texts)
        self.encoder.forget()
        for chosen in buckets([len(window) for window in windows], BATCH_TOKENS):
            out[chosen] = self._means([windows[i] for i in chosen])
        return out

    @torch.inference_mode()
    def _means(self, windows: Sequence[Window]) -> Float32[ndarray, "texts width"]:
        inputs: dict[str, Any] = {name: ids.to(self.device) for name, ids in self.encoder.pad(windows).items()}
        states = self.model(**inputs).last_hidden_state.float()
        real = inputs["attention_mask"].unsqueeze(-1)
        means = (states * real).sum(1) / real.sum(1)
        found: Float32[ndarray, "texts width"] = torch.nn.functional.normalize(means, dim=-1).cpu().numpy()
        return found
