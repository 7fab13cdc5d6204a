"""Facts about architectures, read from a model's modules: its layers, its longest text, decoders, heads, PhoBERT.

Nothing here lists model types but `BERT_LIKE`, whose attention `distill.tokens` can read. To support another
architecture, add what its modules do not show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)

from kdda.errors import KddaError

DEFAULT_POSITIONS = 512  # tokens, for models whose config sets no limit

# Model types whose layers have BERT's `attention.self` with a query, a key and a value.
BERT_LIKE = ("bert", "camembert", "electra", "roberta", "xlm-roberta")

OPTIONAL_WEIGHTS = ("pooler", "position_ids")  # encoders' tensors that a checkpoint may lack

ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")  # the names of the field in configs

PHOBERT_TOKENIZER = "PhobertTokenizer"

PHOBERT_FILE = "bpe.codes"  # the merges of PhoBERT's tokenizer, which no other checkpoint has


def encoder_class(config: Any) -> Any:
    """The class of transformers that has the encoder alone, which a student or a teacher is.

    Raises:
        KddaError: transformers has none, as for BART, whose decoder cannot be left out.
    """
    has_decoder = has_a_decoder(config)
    classes = MODEL_MAPPING
    if has_decoder:
        classes = MODEL_FOR_TEXT_ENCODING_MAPPING  # T5EncoderModel, where `AutoModel` gives T5Model
    if type(config) not in classes:
        if has_decoder:
            raise KddaError(
                f"a model of type {config.model_type} is an encoder with a decoder, and transformers has no class for "
                "its encoder alone; choose an encoder, such as XLM-R, or one of T5's kind"
            )
        raise KddaError(f"transformers has no encoder of type {config.model_type}")
    return first_class(classes[type(config)])


def has_a_decoder(config: Any) -> bool:
    """Whether models of this type are encoder-decoders; a T5 encoder that was saved alone says otherwise of itself."""
    return bool(config.is_encoder_decoder or getattr(type(config), "is_encoder_decoder", False))


def first_class(classes: Any) -> Any:
    """The class of an entry of transformers' mappings, or its first where an entry has several (Funnel's)."""
    return classes[0] if isinstance(classes, tuple) else classes


def on_meta(model_class: Any, config: Any) -> Any:
    """A model without memory for its weights: its modules and shapes can be read, and it costs milliseconds."""
    with torch.device("meta"):
        return model_class._from_config(config)  # which copies the config; `AutoModel.from_config` calls it, too


def position_limit(config: Any, model: Any = None) -> int:
    """The largest number of tokens that a model can read: the rows of its position embedding that texts can use.

    Where position ids begin after the padding id, as RoBERTa's do, the embedding has a padding row, and it and the rows
    before it are never used: PhoBERT has 258 positions, of which 2 are reserved. Models without a position embedding
    (ModernBERT) read what their config says, or `DEFAULT_POSITIONS`.

    Args:
        config: a model's config.
        model: the model, where it is in memory; by default one is built from the config, without weights.
    """
    if model is None and type(config) in MODEL_MAPPING:
        model = on_meta(first_class(MODEL_MAPPING[type(config)]), config)
    limits = []
    stated = getattr(config, "max_position_embeddings", None)
    if stated and stated > 0:
        limits.append(int(stated))
    for name, module in model.named_modules() if model is not None else ():
        weight = getattr(module, "weight", None)
        is_position = "position" in name.rsplit(".", 1)[-1]  # the module itself, not what contains it
        if is_position and isinstance(weight, Tensor) and weight.dim() == 2:
            padding_row = getattr(module, "padding_idx", None)
            reserved = 0 if padding_row is None else int(padding_row) + 1
            limits.append(len(weight) - reserved)
    return min(limits, default=DEFAULT_POSITIONS)


def is_causal(config: Any) -> bool:
    """Whether each token attends to those before it alone, as in decoders such as Qwen3.

    transformers has language models of both kinds for BERT, and of the masked kind for no decoder.
    """
    if getattr(config, "use_bidirectional_attention", False):  # EmbeddingGemma: a decoder's modules, read both ways
        return False
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def layer_lists(model: Any) -> list[str]:
    """Where a model keeps its layers: the names of its lists of as many modules as its config says layers.

    Most have one, such as ``roberta.encoder.layer``; XLM has one for each part of a layer. Lists inside a layer do not
    count. None for ALBERT, which uses one layer many times.
    """
    names: list[str] = []
    for name, module in model.named_modules():
        is_inside = any(name.startswith(f"{outer}.") for outer in names)
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers and not is_inside:
            names.append(name)
    return names


def self_attention(model: Any, layer: int) -> Any:
    """The self-attention of a layer, in a model of type `BERT_LIKE`."""
    return model.base_model.encoder.layer[layer].attention.self


def is_optional_weight(name: str) -> bool:
    """Whether a checkpoint may lack the tensor of this name."""
    return any(part in name for part in OPTIONAL_WEIGHTS)


def is_phobert_tokenizer(tokenizer: Any) -> bool:
    """Whether this is PhoBERT's slow tokenizer, which reads segmented Vietnamese."""
    return "Phobert" in type(tokenizer).__name__


def needs_phobert_tokenizer(config: Any, folder: str) -> bool:
    """Whether a checkpoint was trained with PhoBERT's tokenizer, by its config or by its files.

    Args:
        folder: where the checkpoint's files are, a Hub id, or "" for a model without files.
    """
    tokenizer_class = getattr(config, "tokenizer_class", None) or ""
    has_its_file = folder != "" and (Path(folder) / PHOBERT_FILE).is_file()
    return has_its_file or "phobert" in tokenizer_class.lower()
