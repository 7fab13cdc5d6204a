"""`kdda doctor MODEL` says what fits, what is lost and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.conftest import Bench, make_model
from tests.models.hub import HUB

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789;,().", *"àáảãạôộởđèéẻọ"]


def letters(folder: Path, lower: bool, rows: int = 200, pad: str | None = "[PAD]") -> str:
    """A BERT that reads letters, with or without case and tones."""
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    for piece in [*PIECES[4:], *"CHNT"]:
        vocabulary.setdefault(f"##{piece}", len(vocabulary))
        vocabulary.setdefault(piece, len(vocabulary))
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=lower)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if pad:
        names["pad_token"] = pad
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=rows, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def states(out: str) -> dict[str, str]:
    """Subject → state, of the lines of one model."""
    state_of = {}
    for line in out.splitlines():
        for state in ("ok", "WARNING", "ERROR"):
            if line.startswith(f"  {state:8}"):
                state_of[line[10:28].strip()] = state
    return state_of


def test_a_sound_checkpoint_is_described_and_its_tokens_are_slices_of_the_text(tmp_path: Path, command: Any) -> None:
    code, out, errors = command("doctor", letters(tmp_path / "model", lower=False))
    assert code == 0, errors
    results = states(out)
    assert "ERROR" not in results.values()
    assert results["tones"] == results["case"] == results["places of tokens"] == "ok"
    assert "2 layers × 16" in out
    assert "t | h | e | t | e | a | c | h | e | r" in out


def test_a_tokenizer_that_drops_case_and_tones_is_told(tmp_path: Path, command: Any) -> None:
    results = states(command("doctor", letters(tmp_path / "model", lower=True))[1])
    assert results["tones"] == results["case"] == "WARNING"


def test_models_that_cannot_be_used_end_with_their_reason(tmp_path: Path, command: Any) -> None:
    small = letters(tmp_path / "small", lower=False, rows=30)
    code, out, _ = command("doctor", small, str(tmp_path / "nothing"))
    assert code == 1
    assert "the tokenizer does not fit the model" in out
    assert "no folder" in out
    assert "Traceback" not in out


def test_phobert_reads_words_that_are_segmented_first(tmp_path: Path, command: Any) -> None:
    _, out, _ = command("doctor", str(HUB["phobert"](tmp_path / "phobert")))
    assert "segmented by underthesea first" in out


def test_a_recipe_tells_which_widths_need_an_alignment(bench: Bench, command: Any) -> None:
    wide = make_model(bench.folder / "wide", width=32)
    code, out, errors = command("doctor", wide, "--recipe", bench.write())
    assert code == 0, errors
    assert "as teacher of this student only with distill.align: 32 wide, the student 16" in out
