"""Tiny checkpoints with the files that the Hub's have, so that each kind of model is opened as it will be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.text.phobert import make_phobert

TEXTS = [
    "Hà Nội là thủ đô của Việt Nam. Thành phố Hồ Chí Minh đông dân nhất cả nước.",
    "mèo ngủ không chạy, chó chạy, gà ngủ, cá chạy",
    "The cat sleeps and the dog runs; hens and fish do not.",
    "Đường sắt Bắc – Nam nối Hà Nội với Thành phố Hồ Chí Minh.",
] * 20
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _save(folder: Path, kind: Any, config: Any, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(0)
    kind(config).to(dtype).save_pretrained(folder)
    return folder


def _write(folder: Path, **files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _vocabulary(folder: Path, rows: int = 400) -> int:
    """vocab.txt, as BERT's word pieces are listed, with case and tones."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.NFC(), pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=rows, special_tokens=specials))
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted(core.get_vocab(), key=core.get_vocab().__getitem__)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return len(words)


def _pieces(folder: Path) -> int:
    """sentencepiece.bpe.model, as XLM-R has it; the tokenizer adds its own specials."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / "sentencepiece.bpe"
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(prefix), vocab_size=150, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    return 160


def roberta(folder: Path) -> Path:
    """FacebookAI/roberta-base: vocab.json, merges.txt; bytes are its letters."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet)
    core.train_from_iterator(TEXTS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    core.model.save(str(folder))
    _write(folder, tokenizer_config={"model_max_length": 512})
    config = RobertaConfig(vocab_size=core.get_vocab_size(), max_position_embeddings=66, type_vocab_size=1, **SIZES)
    return _save(folder, RobertaModel, config)


def xlm_roberta(folder: Path) -> Path:
    """uitnlp/CafeBERT, and FacebookAI/xlm-roberta-base less its tokenizer.json: SentencePiece alone."""
    config = XLMRobertaConfig(vocab_size=_pieces(folder), max_position_embeddings=66, type_vocab_size=1, **SIZES)
    return _save(folder, XLMRobertaModel, config)


def bert(folder: Path) -> Path:
    """google-bert/bert-base-multilingual-cased: vocab.txt, and settings that keep case."""
    rows = _vocabulary(folder)
    _write(folder, tokenizer_config={"do_lower_case": False, "model_max_length": 512})
    return _save(folder, BertModel, BertConfig(vocab_size=rows, max_position_embeddings=64, **SIZES))


def electra(folder: Path) -> Path:
    """FPTAI/velectra-base-discriminator-cased: vocab.txt and nothing that says that case and tones matter."""
    config = ElectraConfig(vocab_size=_vocabulary(folder), embedding_size=8, max_position_embeddings=64, **SIZES)
    return _save(folder, ElectraModel, config)


def deberta(folder: Path) -> Path:
    """Fsoft-AIC/videberta-base: tokenizer.json, no spm.model, and weights in half precision."""
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    core.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="[UNK]"))
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    _write(folder, tokenizer_config={"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False})
    config = DebertaV2Config(
        vocab_size=core.get_vocab_size() + 8,
        max_position_embeddings=64,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        **SIZES,
    )
    return _save(folder, DebertaV2Model, config, torch.float16)


HUB: dict[str, Callable[[Path], Path]] = {
    "roberta": roberta,
    "phobert": make_phobert,
    "xlm-roberta": xlm_roberta,
    "bert": bert,
    "electra": electra,
    "deberta-v2": deberta,
}
