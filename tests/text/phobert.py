"""A tiny PhoBERT tokenizer in the Hub's layout, learned here, so that its path is tested without a download."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from transformers import PhobertTokenizer, RobertaConfig, RobertaModel

MERGES = 400


def learn_bpe(words: Counter[str], merges: int = MERGES) -> list[tuple[str, str, int]]:
    """Byte-pair merges over letters, the last of a word marked ``</w>``, most frequent pair first (Sennrich 2016)."""
    spelt = {word: (*word[:-1], f"{word[-1]}</w>") for word in words}
    learned = []
    for _ in range(merges):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(spelt[word], spelt[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        pair, count = max(pairs.items(), key=lambda item: (item[1], item[0]))
        learned.append((*pair, count))
        spelt = {word: merged(parts, pair) for word, parts in spelt.items()}
    return learned


def merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return tuple(out)


def make_phobert_tokenizer(folder: Path, sentences: Iterable[str]) -> PhobertTokenizer:
    """`vocab.txt` and `bpe.codes` as vinai/phobert-base has them, of these segmented sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    words = Counter(word for sentence in sentences for word in sentence.split())
    codes = learn_bpe(words)
    (folder / "bpe.codes").write_text("".join(f"{a} {b} {n}\n" for a, b, n in codes), encoding="utf-8")
    letters = {letter for word in words for letter in word}
    pieces = dict.fromkeys([a + b for a, b, _ in codes] + [f"{x}</w>" for x in letters] + sorted(letters))
    names = [p.removesuffix("</w>") if p.endswith("</w>") else f"{p}@@" for p in pieces]
    (folder / "vocab.txt").write_text("".join(f"{name} 1\n" for name in dict.fromkeys(names)), encoding="utf-8")
    config = {"tokenizer_class": "PhobertTokenizer", "model_max_length": 256}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return PhobertTokenizer.from_pretrained(folder)


def make_phobert(folder: Path) -> Path:
    """A tiny PhoBERT in the Hub's layout: `vocab.txt`, `bpe.codes`, 258 positions."""
    sentences = ["Hà_Nội là thủ_đô của Việt_Nam .", "Sông Hồng chảy qua Hà_Nội ."]
    tokenizer = make_phobert_tokenizer(folder, sentences)
    config = RobertaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    config.update({"intermediate_size": 32, "max_position_embeddings": 258, "tokenizer_class": "PhobertTokenizer"})
    RobertaModel(config).save_pretrained(folder)
    return folder
