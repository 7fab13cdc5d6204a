"""Digests of a model's weights, which tell models of one name apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FINGERPRINT_LENGTH = 24  # hexadecimal digits


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's values as they lie in memory, row by row."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def weights_fingerprint(model: Any, prefix: str = "", ignore: Iterable[str] = ()) -> str:
    """A digest that changes with any weight of a model, whatever the model is called.

    Args:
        model: a module of torch.
        prefix: what else the digest depends on, such as the tokens that the model reads; nothing by default.
        ignore: first parts of the names of weights that are not counted, such as ``pooler``.

    Returns:
        24 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256(prefix.encode())
    ignored = tuple(ignore)
    for name, weight in sorted(model.state_dict().items()):
        if name.startswith(ignored):
            continue
        digest.update(name.encode())
        digest.update(bytes_of(weight))
    return digest.hexdigest()[:FINGERPRINT_LENGTH]
