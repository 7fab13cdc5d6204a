"""Checks of a checkpoint: are its weights complete and safe to open, and does the tokenizer belong to the model?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open

from kdda.errors import KddaError
from kdda.models.families import PHOBERT_TOKENIZER, is_optional_weight, needs_phobert_tokenizer


def safetensors_files(name: str, folder: Path) -> list[Path]:
    """A folder's weight files.

    Raises:
        KddaError: the folder has none; pickled weights are never opened, since they may run code.
    """
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickled = [path.name for path in sorted(folder.glob("*.bin"))]
    state = "the folder has none"
    if pickled:
        state = f"the folder has {', '.join(pickled)}, which may run code when opened"
    raise KddaError(f'"{name}": no safetensors weights ({state}); kdda convert {name} OUT writes them as safetensors')


def open_header(path: Path) -> None:
    """Open a safetensors file as far as its header; safetensors raises if the file is truncated."""
    with safe_open(path, "pt"):
        pass


def check_complete(name: str, head: str, model: Any, missing: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks weights of the encoder; a head may be missing, and is drawn at random.

    Args:
        missing: the model's tensors that are not in the checkpoint, or have another size there.

    Raises:
        KddaError: weights of the encoder are missing.
    """
    prefix = f"{model.base_model_prefix}."  # of an encoder's tensors in a model with a head
    lacking = []
    for key in missing:
        of_encoder = head == "none" or key.startswith(prefix)
        if of_encoder and not is_optional_weight(key):
            lacking.append(key)
    if lacking:
        raise KddaError(
            f'"{name}": its weights lack {len(lacking)} tensors that its config names, or have them in another size, '
            f"such as {min(lacking)}"
        )


def check_phobert_tokenizer(name: str, folder: str, config: Any, tokenizer: Any) -> None:
    """Refuse a fast tokenizer for a PhoBERT: only its slow one gives the right ids.

    Args:
        name: the model's name in the message.
        folder: where the tokenizer's files are, or "" for one without files.

    Raises:
        KddaError: the tokenizer is a fast one.
    """
    if tokenizer.is_fast and needs_phobert_tokenizer(config, folder):
        raise KddaError(
            f'"{name}" is a PhoBERT, but its tokenizer is the fast {type(tokenizer).__name__}, which gives wrong ids; '
            f'its tokenizer_config.json must contain "tokenizer_class": "{PHOBERT_TOKENIZER}"'
        )


def check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that gives ids for which the model has no embedding.

    Raises:
        KddaError: the highest id is beyond the embedding's rows.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise KddaError(
            f'"{name}": the tokenizer does not fit the model: it gives ids up to {highest}, the model has {rows} rows'
        )
