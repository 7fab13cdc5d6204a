"""All facts about model architectures: where their parts are, what those are called, and how long a text may be.

To support another architecture, add what is different about it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

# Position ids begin after the padding id, so the first rows of the position table are never used.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "xmod"}

DEFAULT_POSITIONS = 512  # of models without a position table

# Model types whose layers have BERT's `attention.self` with a query, a key and a value.
BERT_LIKE = ("bert", "camembert", "electra", "roberta", "xlm-roberta")

HEAD_WEIGHTS = ("classifier", "score", "qa_outputs")  # where transformers' architectures keep a head's output

OPTIONAL_WEIGHTS = ("pooler", "position_ids")  # encoders' tensors that a checkpoint may lack

ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")  # the names of the field in configs

PHOBERT_TOKENIZER = "PhobertTokenizer"

PHOBERT_FILE = "bpe.codes"  # the merges of PhoBERT's tokenizer, which no other checkpoint has


def position_limit(config: Any) -> int:
    """The largest number of tokens that a model can read: its position table less the reserved rows.

    PhoBERT has 258 positions, of which 2 are reserved.

    Args:
        config: a model's config.
    """
    table = getattr(config, "max_position_embeddings", None)
    if not table or table < 0:
        return DEFAULT_POSITIONS
    if config.model_type in OFFSET_POSITIONS:
        return int(table) - int(config.pad_token_id) - 1
    return int(table)


def encoder_layers(model: Any) -> nn.ModuleList | None:
    """The encoder's layers in order, or `None` for an architecture that keeps them elsewhere."""
    encoder = getattr(model.base_model, "encoder", None)
    return getattr(encoder, "layer", None)


def replace_encoder_layers(model: Any, layers: nn.ModuleList) -> None:
    """Give a model other layers, in place; its config follows."""
    model.base_model.encoder.layer = layers
    model.config.num_hidden_layers = len(layers)


def self_attention(model: Any, layer: int) -> Any:
    """The self-attention of a layer, in a model of type `BERT_LIKE`."""
    return model.base_model.encoder.layer[layer].attention.self


def head_dense(model: Any) -> nn.Linear | None:
    """The dense layer that a task head applies to the first token's state, if the architecture has one."""
    poolers = (
        getattr(model.base_model, "pooler", None),
        getattr(model, "pooler", None),
        getattr(model, "classifier", None),
    )
    for pooler in poolers:
        dense = getattr(pooler, "dense", None)
        if isinstance(dense, nn.Linear):
            return dense
    return None


def span_head(model: Any) -> nn.Linear | None:
    """The layer that gives every token the logits of an answer's start and end, if the model has one."""
    head = getattr(model, "qa_outputs", None)
    return head if isinstance(head, nn.Linear) else None


def is_head_weight(name: str) -> bool:
    """Whether a tensor of this name belongs to a task head's output."""
    return name.startswith(HEAD_WEIGHTS)


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
