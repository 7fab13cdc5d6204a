"""Sentence embeddings of length 1: the mean of last hidden states, the first (``cls``) or last one, as a model says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from transformers.utils import cached_file

from kdda.models.depth import Layers
from kdda.models.encoder_heads import first_state, last_state, mean_state
from kdda.models.families import is_causal, position_limit
from kdda.models.fingerprint import weights_fingerprint
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.models.resolve import resolve
from kdda.runtime.device import compute_device
from kdda.runtime.live import tell_count
from kdda.tasks.base import OPTIONS
from kdda.text.batching import BATCH_TOKENS, buckets
from kdda.text.encode import Window

# How the states of a text's tokens become its vector.
STATE_POOLINGS = {"mean": mean_state, "cls": first_state, "last": last_state}

POOLING_FILE = "1_Pooling/config.json"  # in which sentence-transformers stores that

# Its entries that are true of one of `STATE_POOLINGS`; newer files have one entry, `pooling_mode`, with a name.
POOLING_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
POOLING_NAMES = {"mean": "mean", "cls": "cls", "lasttoken": "last"}

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
    last token alone has read the whole text, that token's state is taken. What a student of the task `similarity` or a
    model of sentence-transformers stores goes before both (`pooling`, a key of `STATE_POOLINGS`). No prefix is put
    before a text, since each encoder has its conventions. Texts longer than the model's limit are truncated, and
    counted in `encoder.counts`.
    """

    def __init__(self, checkpoint: Checkpoint, pooling: str = ""):
        """The encoder of a checkpoint; `pooling` is a key of `STATE_POOLINGS`, the usual one of its kind by default."""
        self.name = checkpoint.name
        self.device = compute_device()
        self.model = checkpoint.model.eval().to(self.device)
        self.width = checkpoint.width
        self._default_pooling = "last" if is_causal(checkpoint.model.config) else "mean"
        self.pooling = pooling or self._default_pooling
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
        checkpoint = load_checkpoint(name, layers=layers)
        return cls(checkpoint, stored_pooling(name, checkpoint.model.config))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights that vectors depend on; computed once, in about a second for 100 million weights.

        It changes with a stored pooling, too.
        """
        stored = "" if self.pooling == self._default_pooling else self.pooling
        return weights_fingerprint(self.model, stored, ignore=UNUSED_WEIGHTS)

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """One vector of length 1 for each text, in batches of similar length."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        windows = self.encoder.encode(texts)
        self.encoder.clear_cache()
        lengths = list(map(len, windows))
        done = 0
        for rows in buckets(lengths, BATCH_TOKENS):
            tell_count(done, len(texts), "texts", "vectors")
            vectors[rows] = self._pooled_states([windows[row] for row in rows])
            done += len(rows)
        return vectors

    @torch.inference_mode()
    def _pooled_states(self, windows: Sequence[Window]) -> Float32[ndarray, "texts width"]:
        """The vector of each window's last hidden states, scaled to length 1."""
        padded = self.encoder.pad(windows)
        inputs: dict[str, Any] = {name: ids.to(self.device) for name, ids in padded.items()}
        states = self.model(**inputs).last_hidden_state.float()
        pooled = STATE_POOLINGS[self.pooling](states, inputs["attention_mask"])
        vectors: Float32[ndarray, "texts width"] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return vectors


def stored_pooling(name: str, config: Any) -> str:
    """A key of `STATE_POOLINGS` that a model stores: of the task `similarity`, or of sentence-transformers.

    Args:
        name: a folder, a Hub id or a mini model.
        config: the model's, in which kdda writes a task's options.

    Returns:
        Empty where it stores none, or one that is not of `STATE_POOLINGS`.
    """
    options = getattr(config, OPTIONS, None) or {}
    if options.get("pooling") in STATE_POOLINGS:
        return str(options["pooling"])
    folder = resolve(name)
    if folder is None:  # a mini model that is built in memory
        return ""
    try:
        path = cached_file(folder, POOLING_FILE)
        settings = json.loads(Path(str(path)).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the model has no such file, it is not in the cache without a network, or no JSON
        return ""
    if not isinstance(settings, dict):
        return ""
    poolings = []
    for flag, pooling in POOLING_FLAGS.items():
        if settings.get(flag) is True:
            poolings.append(pooling)
    if len(poolings) == 1:  # several are concatenated there
        return poolings[0]
    return POOLING_NAMES.get(str(settings.get("pooling_mode")), "")
