"""Tiny checkpoints with the files that the Hub's have, so that each kind of model is opened as it will be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2Tokenizer,
    ElectraConfig,
    ElectraModel,
    EuroBertConfig,
    EuroBertModel,
    GteConfig,
    GteModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
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
    """uitnlp/CafeBERT, uitnlp/visobert, and XLM-R less its tokenizer.json: SentencePiece alone."""
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


def _byte_level(folder: Path, pad: str, first: str, last: str, mask: str) -> PreTrainedTokenizerFast:
    """tokenizer.json of a byte-level BPE, of no class but transformers' general one."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    specials = [pad, first, last, mask]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet)
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(first, 1), (last, 2)],
    )
    names = {"pad_token": pad, "cls_token": first, "sep_token": last, "mask_token": mask}
    inputs = ["input_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=inputs, model_max_length=8192, **names)
    tokenizer.save_pretrained(folder)
    return tokenizer


def modernbert(folder: Path) -> Path:
    """answerdotai/ModernBERT-base: byte-level BPE, more embedding rows than tokens."""
    rows = len(_byte_level(folder, "[PAD]", "[CLS]", "[SEP]", "[MASK]")) + 8
    config = ModernBertConfig(
        vocab_size=rows,
        pad_token_id=0,
        cls_token_id=1,
        bos_token_id=1,
        sep_token_id=2,
        eos_token_id=2,
        max_position_embeddings=64,
        local_attention=8,
        **SIZES,
    )
    return _save(folder, ModernBertModel, config)


def mmbert(folder: Path) -> Path:
    """jhu-clsp/mmBERT-base: a ModernBERT with Gemma's kind of tokenizer, BPE on ▁ with bytes for unknown letters."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=specials))
    description = json.loads(core.to_str())
    vocabulary = description["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    core = Tokenizer.from_str(json.dumps(description))
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_input_names=["input_ids", "attention_mask"],
        cls_token="<bos>",
        sep_token="<eos>",
        mask_token="<mask>",
        **names,
    )
    tokenizer.save_pretrained(folder)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=0,
        eos_token_id=1,
        sep_token_id=1,
        bos_token_id=2,
        cls_token_id=2,
        max_position_embeddings=64,
        local_attention=8,
        **SIZES,
    )
    return _save(folder, ModernBertModel, config)


def eurobert(folder: Path) -> Path:
    """EuroBERT/EuroBERT-210m: Llama 3's kind of byte-level BPE; weights in bfloat16."""
    rows = len(_byte_level(folder, "<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"))
    config = EuroBertConfig(
        vocab_size=rows,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        mask_token_id=3,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        **SIZES,
    )
    return _save(folder, EuroBertModel, config, torch.bfloat16)


def _xlm_roberta_files(folder: Path) -> int:
    """tokenizer.json, tokenizer_config.json and sentencepiece.bpe.model side by side; rows of the vocabulary."""
    _pieces(folder)
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _sentence_transformers(folder: Path) -> None:
    """What a folder of sentence-transformers holds beside the encoder."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    sizes = {"max_seq_length": 64, "do_lower_case": False}
    _write(folder, modules=modules, sentence_bert_config=sizes)
    _write(folder, config_sentence_transformers={"__version__": {"sentence_transformers": "2.2.2"}})
    _write(folder / "1_Pooling", config={"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})


def xlm_roberta_fast(folder: Path) -> Path:
    """FacebookAI/xlm-roberta-base: tokenizer.json beside sentencepiece.bpe.model."""
    rows = _xlm_roberta_files(folder)
    config = XLMRobertaConfig(vocab_size=rows, max_position_embeddings=66, type_vocab_size=1, **SIZES)
    return _save(folder, XLMRobertaModel, config)


def e5(folder: Path) -> Path:
    """intfloat/multilingual-e5-base: XLM-R's files, and those of sentence-transformers."""
    made = xlm_roberta_fast(folder)
    _sentence_transformers(folder)
    return made


def bge_m3(folder: Path) -> Path:
    """BAAI/bge-m3: as e5's, and its two linear maps as pickles, which nothing opens."""
    made = e5(folder)
    torch.save({"weight": torch.zeros(16, 16)}, folder / "colbert_linear.pt")
    torch.save({"weight": torch.zeros(1, 16)}, folder / "sparse_linear.pt")
    return made


def gte(folder: Path) -> Path:
    """Alibaba-NLP/gte-multilingual-base, as transformers has the type: XLM-R's tokenizer.json alone."""
    rows = _xlm_roberta_files(folder)
    (folder / "sentencepiece.bpe.model").unlink()
    _sentence_transformers(folder)
    config = GteConfig(vocab_size=rows, pad_token_id=1, max_position_embeddings=64, **SIZES)
    return _save(folder, GteModel, config, torch.float16)


def mdeberta(folder: Path) -> Path:
    """microsoft/mdeberta-v3-base: spm.model; its config has more rows than the tokenizer has tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(folder / "spm"),
        vocab_size=150,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        **options,
    )
    (folder / "spm.vocab").unlink()
    _write(folder, tokenizer_config={"do_lower_case": False, "vocab_type": "spm"})
    config = DebertaV2Config(
        vocab_size=180,
        max_position_embeddings=64,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        **SIZES,
    )
    return _save(folder, DebertaV2Model, config)


def mdeberta_with_json(folder: Path) -> Path:
    """An mDeBERTa that was saved again: tokenizer.json beside spm.model."""
    made = mdeberta(folder)
    piece_model = (folder / "spm.model").read_bytes()
    DebertaV2Tokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "spm.model").write_bytes(piece_model)
    return made


def phobert_with_json(folder: Path) -> Path:
    """vinai/phobert-base: a tokenizer.json beside vocab.txt and bpe.codes, whose ids are another tokenizer's."""
    made = make_phobert(folder)
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=100, special_tokens=["<unk>"]))
    core.save(str(folder / "tokenizer.json"))
    return made


HUB: dict[str, Callable[[Path], Path]] = {
    "roberta": roberta,
    "phobert": make_phobert,
    "xlm-roberta": xlm_roberta,
    "bert": bert,
    "electra": electra,
    "deberta-v2": deberta,
}
"""Each is trained in a run, as student and as teacher."""

OTHERS: dict[str, Callable[[Path], Path]] = {
    "modernbert": modernbert,
    "mmbert": mmbert,
    "eurobert": eurobert,
    "gte": gte,
    "bge-m3": bge_m3,
    "e5": e5,
    "mdeberta": mdeberta,
    "mdeberta-json": mdeberta_with_json,
    "xlm-roberta-fast": xlm_roberta_fast,
    "phobert-json": phobert_with_json,
}
"""Each is trained for a step, as student and as teacher, where its files are not those of another."""
