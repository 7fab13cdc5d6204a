"""Opening a checkpoint: a mini model, a local folder, a Hub id, or a model and a tokenizer in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from transformers.utils import logging as transformers_logging

from kdda.models.checks import (
    check_complete,
    check_phobert_tokenizer,
    check_vocabulary,
    open_header,
    safetensors_files,
)
from kdda.models.classes import NO_HEAD, model_class, whole_class
from kdda.models.config import apply_changes, config_changes, fit_special_ids
from kdda.models.depth import Layers, keep_layers
from kdda.models.families import is_optional_weight, position_limit
from kdda.models.mini.weights import MiniWeights
from kdda.models.resolve import BUILT_IN_MEMORY, open_or_explain, resolve
from kdda.models.tokenizer import drop_token_types, open_tokenizer, segmenter_of
from kdda.text.encode import Encoder

# A task's head → the class of mini models that are built in memory: they are BERTs.
MINI_CLASSES: dict[str, Any] = {
    "none": BertModel,
    "classification": BertForSequenceClassification,
    "question-answering": BertForQuestionAnswering,
    "token-classification": BertForTokenClassification,
}

GRAPH = "model.onnx"  # the file of an exported model


@dataclass(frozen=True)
class Checkpoint:
    """A model with the tokenizer it was trained with.

    Attributes:
        name: the mini model, folder or Hub id it was opened from.
        model: a model of transformers, in evaluation mode.
        tokenizer: a tokenizer of transformers that gives the offsets of its tokens, or PhoBERT's.
        segmenter: the word segmentation that the tokenizer expects (``vi`` or ``none``).
        new_head: whether the head was drawn at random, because the checkpoint has none.
    """

    name: str
    model: Any
    tokenizer: Any
    segmenter: str
    new_head: bool = False

    @classmethod
    def from_objects(
        cls, model: Any, tokenizer: Any, name: str | None = None, segmenter: str | None = None
    ) -> Checkpoint:
        """A model and a tokenizer that are in memory already, after the checks of `load_checkpoint`.

        The model is not copied; it is put into evaluation mode, and its config remembers the segmenter.

        Args:
            model: a model of transformers, with or without a head.
            tokenizer: the tokenizer it was trained with.
            name: how messages and saved files call it; by default the name it was loaded from, or its class.
            segmenter: ``vi`` for models that read segmented Vietnamese, else ``none``; by default that of the model's
                config or of the tokenizer's kind.

        Raises:
            KddaError: the tokenizer does not fit the model, or it is not PhoBERT's although the model is a PhoBERT.
        """
        name = name or getattr(model, "name_or_path", None) or type(model).__name__
        check_phobert_tokenizer(name, getattr(tokenizer, "name_or_path", ""), model.config, tokenizer)
        fit_special_ids(name, model.config, tokenizer)
        return _checkpoint(name, model, tokenizer, segmenter, new_head=False)

    @property
    def width(self) -> int:
        """The size of its hidden states."""
        return int(self.model.config.hidden_size)

    def encoder(self, max_length: int, overlap: int = 128) -> Encoder:
        """Its encoder.

        Args:
            max_length: tokens of the longest window; fewer where the model can only read fewer.
            overlap: tokens that neighbouring windows of a long text share.
        """
        longest = min(max_length, position_limit(self.model.config, self.model))
        return Encoder(self.tokenizer, self.segmenter, longest, overlap)


def load_checkpoint(
    name: str,
    *,
    head: str = "none",
    layers: Layers | None = None,
    labels: Sequence[str] | None = None,
    segmenter: str | None = None,
    attention_dropout: float | None = None,
    random: int | None = None,
    whole: bool = False,
    tokenizer: Any = None,
) -> Checkpoint:
    """Load an encoder, or a model with a task's head (a head that the checkpoint lacks is drawn at random).

    Args:
        name: a mini model (``mini/multilingual``, … of `kdda.models.resolve.MINI`), a local folder, or a Hub id.
        head: a key of `kdda.models.classes.MODEL_CLASSES`.
        layers: keep so many, evenly spaced; ``first 6``; or a list of layers from 0; all by default.
        labels: label names of a classification head, in the order of its outputs; the checkpoint's by default.
        segmenter: ``vi`` for models that read segmented Vietnamese, else ``none``; the checkpoint's by default.
        attention_dropout: probability while the model trains; the checkpoint's by default.
        random: seed to draw all weights by, whatever the checkpoint holds: an untrained model of the same shape.
        whole: for predictions alone: open an encoder-decoder that was fine-tuned whole (BART) with its decoder.
        tokenizer: the one of this checkpoint, where it is open already; it is opened by default.

    Raises:
        KddaError: no such model, damaged weights, no safetensors, a tokenizer that does not fit the model, or an
            encoder-decoder whose encoder transformers cannot open alone.
    """
    folder = resolve(name)
    changes = config_changes(labels, attention_dropout)
    if folder is None:
        model, tokenizer, new_head = _build(BUILT_IN_MEMORY[name](), head, changes)
    else:
        model, tokenizer, new_head = _open(folder, name, head, changes, whole, tokenizer)
    if random is not None:
        model = _random_model(type(model), model.config, random)
    if layers is not None:
        model = keep_layers(model, layers)
    return _checkpoint(name, model, tokenizer, segmenter, new_head)


def load_config(name: str) -> Any:
    """A model's config alone, so that its width can be checked before anything is spent.

    Raises:
        KddaError: no such model.
    """
    folder = resolve(name)
    if folder is None:
        return BUILT_IN_MEMORY[name]().config
    return _open_config(folder, name)


def load_tokenizer(name: str) -> tuple[Any, str]:
    """The tokenizer of a folder or a Hub id, and the word segmentation it expects, without the model.

    Args:
        name: no mini model that is built in memory, since that has no tokenizer's files.

    Raises:
        KddaError: no such checkpoint, or a tokenizer that is not the model's.
    """
    config = load_config(name)
    folder = resolve(name) or name  # mini/english is a folder of its package
    tokenizer = open_or_explain(lambda: open_tokenizer(folder), name)
    check_phobert_tokenizer(name, folder, config, tokenizer)  # the name for messages, and where its files are
    return tokenizer, segmenter_of(config, tokenizer)


def load_encoder(name: str, max_length: int, overlap: int = 128, segmenter: str | None = None) -> Encoder:
    """The encoder of a model, without the model's weights.

    Args:
        name: as of `load_checkpoint`.
        max_length: tokens of the longest window; fewer where the model can only read fewer.
        overlap: tokens that neighbouring windows of a long text share.
        segmenter: instead of what the checkpoint says.

    Raises:
        KddaError: no such checkpoint, or a tokenizer that is not the model's.
    """
    config = load_config(name)
    if resolve(name) is None:
        tokenizer: Any = BUILT_IN_MEMORY[name]().tokenizer
        expected = segmenter_of(config, tokenizer)
    else:
        tokenizer, expected = load_tokenizer(name)
    return Encoder(tokenizer, segmenter or expected, min(max_length, position_limit(config)), overlap)


def check_weights(name: str) -> None:
    """Open a local folder's weights as far as their header, which is quick and detects a truncated file.

    Raises:
        KddaError: damaged weights, or none that are safetensors.
    """
    folder = resolve(name)
    if folder is None or not Path(folder).is_dir():
        return
    for path in safetensors_files(name, Path(folder)):
        open_or_explain(lambda path=path: open_header(path), name)  # type: ignore[misc]


def is_exported(name: str) -> bool:
    """Whether a folder holds a graph that `kdda export` wrote, and no weights for torch."""
    return (Path(name) / GRAPH).is_file() and not (Path(name) / "model.safetensors").is_file()


@contextmanager
def quietly() -> Iterator[None]:
    """Turn off the progress bars and reports of transformers: kdda reports itself what it loads and saves."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()


def _checkpoint(name: str, model: Any, tokenizer: Any, segmenter: str | None, new_head: bool) -> Checkpoint:
    """A model and a tokenizer as a `Checkpoint`, if the tokenizer's ids have rows in the model."""
    check_vocabulary(name, model, tokenizer)
    drop_token_types(model, tokenizer)
    segmenter = segmenter or segmenter_of(model.config, tokenizer)
    model.config.kdda_segmenter = segmenter
    return Checkpoint(name, model.eval(), tokenizer, segmenter, new_head)


def _build(weights: MiniWeights, head: str, changes: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    """A mini model: its model, its tokenizer, and whether its head is new."""
    config = BertConfig.from_dict(weights.config.to_dict())
    apply_changes(config, changes)
    prefix = "" if head == "none" else f"{BertModel.base_model_prefix}."
    state = {}
    for name, weight in weights.state.items():
        state[f"{prefix}{name}"] = weight.clone()  # the model would otherwise train the shared tensors
    with quietly():  # only what the package lacks is drawn at random
        model = MINI_CLASSES[head].from_pretrained(None, config=config, state_dict=state)
    return model, weights.tokenizer, head != NO_HEAD


def _open_config(folder: str, name: str) -> Any:
    """A checkpoint's config; code of its repository is never run."""
    return open_or_explain(lambda: AutoConfig.from_pretrained(folder, trust_remote_code=False), name)


def _open(
    folder: str, name: str, head: str, changes: Mapping[str, Any], whole: bool, tokenizer: Any
) -> tuple[Any, Any, bool]:
    """A checkpoint on disk or on the Hub: its model, its tokenizer, and whether its head is new."""
    config = _open_config(folder, name)
    apply_changes(config, changes)
    kind = whole_class(config, head) if whole else model_class(config, head)
    if tokenizer is None:
        tokenizer = open_or_explain(lambda: open_tokenizer(folder), name)
    check_phobert_tokenizer(name, folder, config, tokenizer)
    fit_special_ids(name, config, tokenizer)
    options = {
        "use_safetensors": True,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
        "config": config,
        "dtype": torch.float32,  # in half precision, as some are stored, fine-tuning would lose its small steps
    }
    with quietly():
        model, info = open_or_explain(lambda: kind.from_pretrained(folder, **options), name)
    drawn = set(info["missing_keys"])
    for key, *_ in info.get("mismatched_keys", ()):
        drawn.add(key)
    check_complete(name, head, model, drawn)
    new_head = head != NO_HEAD and any(_is_of_head(key, model) for key in drawn)
    return model, tokenizer, new_head


def _is_of_head(key: str, model: Any) -> bool:
    """Whether a tensor belongs to a head, not to the encoder."""
    return not key.startswith(f"{model.base_model_prefix}.") and not is_optional_weight(key)


def _random_model(kind: Any, config: Any, seed: int) -> Any:
    """A model of this class and shape with random weights; torch's global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind._from_config(config)
