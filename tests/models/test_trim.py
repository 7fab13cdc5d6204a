"""A trimmed checkpoint reads the texts that it was made for as the whole one does, and every other text somehow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    FlaubertConfig,
    FlaubertForQuestionAnsweringSimple,
)

from kdda.errors import KddaError
from kdda.models.load import load_checkpoint
from kdda.models.trim import trim
from kdda.text.tokenize import TokenizerAdapter
from tests.conftest import make_model, make_tokenizer
from tests.models.hub import HUB, TEXTS

SEEN = ["Hà Nội là thủ đô.", "mèo ngủ không chạy"]
UNSEEN = ["gà chạy, cá ngủ", "The dog runs."]
SEGMENTERS = {"phobert": "none"}  # the sentences here are segmented already where they need to be


def pieces(checkpoint: Any, text: str) -> list[str]:
    (tokenized,) = TokenizerAdapter(checkpoint.tokenizer, checkpoint.segmenter).tokenize([text])
    names: list[str] = checkpoint.tokenizer.convert_ids_to_tokens(tokenized.ids.tolist())
    return names


def states(checkpoint: Any, text: str) -> torch.Tensor:
    window = checkpoint.encoder(64).encode([text])[0]
    for weight in checkpoint.model.parameters():
        weight.data = weight.data.clone()
    with torch.no_grad():
        output: torch.Tensor = checkpoint.model(input_ids=torch.tensor([window.ids]))[0]
    return output


@pytest.mark.parametrize("kind", HUB)
def test_texts_it_was_made_for_keep_their_tokens_and_states_and_other_texts_can_be_read(
    kind: str, tmp_path: Path
) -> None:
    name = str(HUB[kind](tmp_path / "whole"))
    trimmed = trim(name, tmp_path / "small", SEEN)
    whole, small = load_checkpoint(name), load_checkpoint(str(tmp_path / "small"))
    assert trimmed.kept < trimmed.tokens
    assert small.model.get_input_embeddings().weight.shape[0] == trimmed.kept == len(small.tokenizer.get_vocab())
    for text in SEEN:
        assert pieces(small, text) == pieces(whole, text)
        assert torch.equal(states(small, text), states(whole, text))
    for text in UNSEEN:  # in more, shorter tokens, none of them unknown that the whole tokenizer knows
        read = pieces(small, text)
        assert len(read) >= len(pieces(whole, text))
        assert read.count(whole.tokenizer.unk_token) <= pieces(whole, text).count(whole.tokenizer.unk_token)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "bert"])
def test_every_text_in_the_writing_system_of_a_language_keeps_its_tokens(kind: str, tmp_path: Path) -> None:
    name = str(HUB[kind](tmp_path / "whole"))
    trim(name, tmp_path / "small", languages=["vi"])
    whole, small = load_checkpoint(name), load_checkpoint(str(tmp_path / "small"))
    for text in [*UNSEEN, *set(TEXTS)]:
        assert pieces(small, text) == pieces(whole, text)
        assert torch.equal(states(small, text), states(whole, text))


def test_a_trimmed_classifier_gives_the_same_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "whole")
    make_tokenizer().save_pretrained(tmp_path / "whole")
    trim(str(tmp_path / "whole"), tmp_path / "small", ["mèo ngủ"])
    whole = load_checkpoint(str(tmp_path / "whole"), head="classification")
    small = load_checkpoint(str(tmp_path / "small"), head="classification")
    assert not small.new_head
    assert torch.equal(states(small, "mèo ngủ"), states(whole, "mèo ngủ"))


def test_a_reader_of_another_class_keeps_its_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = FlaubertConfig(vocab_size=40, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=64, pad_index=0)
    FlaubertForQuestionAnsweringSimple(config).save_pretrained(tmp_path / "whole")
    make_tokenizer().save_pretrained(tmp_path / "whole")
    trim(str(tmp_path / "whole"), tmp_path / "small", ["mèo ngủ"])
    small = load_checkpoint(str(tmp_path / "small"), head="question-answering")
    assert not small.new_head


def test_special_ids_of_the_config_are_those_of_the_trimmed_tokenizer(tmp_path: Path) -> None:
    trim(str(HUB["roberta"](tmp_path / "whole")), tmp_path / "small", SEEN)
    small = load_checkpoint(str(tmp_path / "small"))
    assert small.model.config.pad_token_id == small.tokenizer.pad_token_id
    assert small.model.config.eos_token_id == small.tokenizer.eos_token_id
    saved = json.loads((tmp_path / "small" / "config.json").read_text(encoding="utf-8"))
    assert saved["vocab_size"] == len(small.tokenizer.get_vocab())


def test_a_command_trims_to_the_texts_of_files(tmp_path: Path, command: Any) -> None:
    model = make_model(tmp_path / "whole")
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "premise": "mèo ngủ", "answers": [{"text": "chó"}]}\n', "utf-8")
    code, out, _ = command("trim", model, tmp_path / "small", "--data", tmp_path / "rows.jsonl")
    assert code == 0, out
    assert "MB saved" in out
    vocabulary = load_checkpoint(str(tmp_path / "small")).tokenizer.get_vocab()
    assert {"mèo", "ngủ", "chó"} <= set(vocabulary)
    assert "gà" not in vocabulary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing says what to keep"),
        (["--languages", "vn"], '"vn"'),
        (["--data", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_what_cannot_be_trimmed_is_refused_and_nothing_is_written(
    options: list[str], message: str, tmp_path: Path, command: Any
) -> None:
    model = make_model(tmp_path / "whole")
    code, _, errors = command("trim", model, tmp_path / "small", *options)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "small").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    model = make_model(tmp_path / "whole")
    with pytest.raises(KddaError, match="is not empty"):
        trim(model, tmp_path / "whole", ["mèo"])
    assert load_checkpoint(model).model.config.vocab_size == 40
