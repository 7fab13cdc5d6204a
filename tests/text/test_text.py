"""Segmentation keeps the raw text, and encoding never cuts in silence."""

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, RobertaConfig

from kdda.text import Encoder, joined_words, position_limit, segment
from tests.conftest import make_tokenizer


def test_vietnamese_words_are_spans_of_the_raw_text() -> None:
    text = "Hà Nội là thủ đô của Việt Nam."
    assert [text[a:b] for a, b in segment(text, "vi")] == ["Hà Nội", "là", "thủ đô", "của", "Việt Nam", "."]
    assert joined_words(text, "vi") == "Hà_Nội là thủ_đô của Việt_Nam ."


def test_old_spelling_is_kept() -> None:
    assert "hoá" in joined_words("Việc hoá trang", "vi")


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.sampled_from("aăbcđ àệ.,!?😀\t\n\u200b\u0301１%_-"), max_size=40))
def test_segments_are_ordered_and_leave_out_nothing_but_white_space(text: str) -> None:
    end = 0
    for a, b in segment(text, "vi"):
        assert a < b and not text[end:a].strip()
        end = b
    assert not text[end:].strip()


def test_what_is_too_long_is_cut_and_counted(tmp_path: Path) -> None:
    encoder = Encoder(make_tokenizer(), max_length=6)
    rows = encoder.encode(["cat", "cat dog hen fish runs"], ["dog", "hen"])
    assert [len(row["input_ids"]) for row in rows] == [5, 6]
    assert encoder.cut == 1
    assert rows[1]["token_type_ids"][-2:] == [1, 1]  # the longer text was cut, not the hypothesis


def test_padding_reaches_the_longest_row_and_no_further() -> None:
    encoder = Encoder(make_tokenizer())
    batch = encoder.pad(encoder.encode(["cat", "cat dog hen"]))
    assert batch["input_ids"].shape == (2, 5)
    assert torch.equal(batch["attention_mask"].sum(1), torch.tensor([3, 5]))


def test_encoding_nothing_gives_nothing() -> None:
    assert Encoder(make_tokenizer()).encode([], []) == []


def test_models_that_reserve_positions_read_fewer_tokens() -> None:
    assert position_limit(BertConfig(max_position_embeddings=512)) == 512
    assert position_limit(RobertaConfig(max_position_embeddings=258, pad_token_id=1)) == 256
