"""A tiny checkpoint of every type of model that kdda speaks of: 2 layers of 16 dimensions, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import CONFIG_MAPPING, AutoModel

from tests.conftest import make_tokenizer

# As most configs name their sizes; a type takes those that it knows.
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}

DECODER: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}

T5: dict[str, Any] = {"d_kv": 8, "d_ff": 32, "num_decoder_layers": 2}

BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "decoder_start_token_id": 3,
}

DEBERTA: dict[str, Any] = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}

XLM: dict[str, Any] = {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "pad_index": 0, "bos_index": 2, "eos_index": 3}

# Type → what its config takes beside `SIZES`.
KINDS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 8},
    "bart": BART,
    "bert": {},
    "camembert": {},
    "data2vec-text": {},
    "deberta": {},
    "deberta-v2": DEBERTA,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "eurobert": DECODER,
    "gte": {},
    "ibert": {},
    "jina_embeddings_v3": {},
    "llama": DECODER,
    "longformer": {"attention_window": [4, 8]},
    "luke": {"entity_vocab_size": 5, "entity_emb_size": 8},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mpnet": {},
    "mt5": T5,
    "nomic_bert": {},
    "qwen3": DECODER,
    "rembert": {"input_embedding_size": 8, "output_embedding_size": 8},
    "roberta": {},
    "roberta-prelayernorm": {},
    "t5": T5,
    "umt5": T5,
    "xlm": XLM,
    "xlm-roberta": {},
    "xlm-roberta-xl": {},
}


def config_of(kind: str, **changes: Any) -> Any:
    """A config of a tiny model."""
    return CONFIG_MAPPING[kind](**{**SIZES, **KINDS[kind], **changes})


def make_kind(folder: Path, kind: str, **changes: Any) -> str:
    """A checkpoint of a type, with the tests' tokenizer.

    Args:
        changes: of its config.
    """
    torch.manual_seed(0)
    AutoModel.from_config(config_of(kind, **changes)).save_pretrained(folder)
    tokenizer = make_tokenizer()
    if kind == "xlm":  # adds its embeddings of words to tokens of a type, which its tokenizers never give
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if kind == "longformer":  # finds the question by the three separators of RoBERTa's pairs
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.save_pretrained(folder)
    return str(folder)
