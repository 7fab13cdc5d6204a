"""Segmentation keeps the raw text, and encoding never cuts in silence."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BertConfig, PhobertTokenizer, RobertaConfig

from kdda.data.sources import Source, read_rows
from kdda.errors import KddaError
from kdda.models.families import position_limit
from kdda.models.load import load_checkpoint
from kdda.text.encode import QUESTION_COUNTS, Encoder, used_ids
from kdda.text.segment import segment, segmented_text
from tests.conftest import make_tokenizer
from tests.text.phobert import make_phobert_tokenizer

ODD = st.text(alphabet=st.sampled_from("aăbcđ àệ.,!?😀\t\n\u200b\u0301１%_-@<>/漢שؤ"), max_size=40)


@pytest.fixture(scope="module")
def phobert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhobertTokenizer]:
    rows = read_rows(Source("embedded:nli/vi/dev"))
    sentences = [segmented_text(row.values["premise"], "vi").text for row in rows]
    yield make_phobert_tokenizer(tmp_path_factory.mktemp("phobert"), sentences)


def spans(encoder: Encoder, text: str) -> list[str]:
    (window,) = encoder.encode([text])
    part = window.parts[0]
    return [text[a:b] for a, b in zip(part.starts, part.ends, strict=True)]


def test_vietnamese_words_are_spans_of_the_raw_text() -> None:
    text = "Hà Nội là thủ đô của Việt Nam."
    assert [text[a:b] for a, b in segment(text, "vi")] == ["Hà Nội", "là", "thủ đô", "của", "Việt Nam", "."]
    assert segmented_text(text, "vi").text == "Hà_Nội là thủ_đô của Việt_Nam ."


def test_old_spelling_is_kept() -> None:
    assert "hoá" in segmented_text("Việc hoá trang", "vi").text


@settings(max_examples=40, deadline=None)
@given(ODD)
def test_segments_are_ordered_and_leave_out_nothing_but_white_space(text: str) -> None:
    end = 0
    for a, b in segment(text, "vi"):
        assert a < b and not text[end:a].strip()
        end = b
    assert not text[end:].strip()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD)
def test_phoberts_pieces_reproduce_the_raw_text_but_for_white_space(phobert: PhobertTokenizer, text: str) -> None:
    pieces = spans(Encoder(phobert, "vi"), text)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_phoberts_ids_are_the_reference_tokenizers_word_by_word(phobert: PhobertTokenizer) -> None:
    encoder = Encoder(phobert, "vi")
    for row in read_rows(Source("embedded:nli/vi/test"))[:60]:
        pair = row.values["premise"], row.values["hypothesis"]
        (window,) = encoder.encode([pair[0]], [pair[1]])
        assert (
            window.ids == phobert(segmented_text(pair[0], "vi").text, segmented_text(pair[1], "vi").text)["input_ids"]
        )


def test_phoberts_pieces_stand_for_slices_of_the_raw_text(phobert: PhobertTokenizer) -> None:
    assert "".join(spans(Encoder(phobert, "vi"), "Ông  ghé bảo tàng.")) == "Ôngghébảotàng."
    assert " ".join(spans(Encoder(phobert, "vi"), "bảo   tàng")).split()[0][0] == "b"


@pytest.mark.parametrize("name", ["mini/multilingual", "mini/english", "mini/vietnamese"])
def test_fast_tokenizers_give_the_ids_of_their_own_call(name: str) -> None:
    checkpoint = load_checkpoint(name, layers=1)
    encoder = checkpoint.encoder(64)
    pairs = [("Ông Kiên ghé bảo tàng hôm qua.", "Bảo tàng mở cửa."), ("The well-known café", "isn't 1,000 km off")]
    for first, second in pairs:
        (window,) = encoder.encode([first], [second])
        own = checkpoint.tokenizer(*(segmented_text(text, checkpoint.segmenter).text for text in (first, second)))
        assert window.ids == own["input_ids"]
        if "token_type_ids" in own:
            assert window.types == own["token_type_ids"]


def test_tokens_of_a_fast_tokenizer_stand_for_slices_without_outer_space() -> None:
    pieces = spans(load_checkpoint("mini/multilingual", layers=1).encoder(64), "Sông Hồng  chảy qua Hà Nội.")
    assert pieces[:4] == ["S", "ông", "Hồng", "chảy"] and all(piece == piece.strip() for piece in pieces)
    words = spans(load_checkpoint("mini/vietnamese", layers=1).encoder(64), "Ông ấy ghé bảo tàng.")
    assert "bảo tàng" in words


@pytest.mark.parametrize("text", ["שלום עולם, זה טקסט.", "東京は日本の首都です。", "مرحبا بالعالم", "  \u200b x"])
def test_other_scripts_keep_their_places(text: str) -> None:
    for name in ("mini/multilingual", "mini/vietnamese"):
        (window,) = load_checkpoint(name, layers=1).encoder(64).encode([text])
        part = window.parts[0]
        assert (part.starts[1:] >= part.starts[:-1]).all() and (part.starts <= part.ends).all()
        read = {i for a, b in zip(part.starts, part.ends, strict=True) for i in range(a, b)}
        assert read >= {i for i, letter in enumerate(text) if letter.isalnum()}


def test_a_slow_tokenizer_that_gives_no_places_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(KddaError, match="gives no offsets of its tokens"):
        Encoder(Slow()).encode(["a"])


def test_what_is_too_long_is_cut_and_counted() -> None:
    encoder = Encoder(make_tokenizer(), max_length=6)
    rows = encoder.encode(["cat", "cat dog hen fish runs"], ["dog", "hen"])
    assert [len(row) for row in rows] == [5, 6]
    assert encoder.counts["texts of more than 6 tokens (max_length), whose ends are not read"] == 1
    assert rows[1].types[-2:] == [1, 1]  # the longer text was cut, not the hypothesis


def test_a_single_text_that_is_too_long_keeps_its_first_tokens() -> None:
    encoder = Encoder(make_tokenizer(), max_length=6)
    (window,) = encoder.encode(["cat dog hen fish runs very not"])
    assert window.ranges == ((0, 4),) and len(window) == 6
    assert encoder.counts["texts of more than 6 tokens (max_length), whose ends are not read"] == 1


def test_windows_cover_a_long_context_and_share_their_overlap() -> None:
    encoder = Encoder(make_tokenizer(), max_length=10, overlap=2)
    windows = encoder.windows(("cat", "cat dog hen fish runs very not cat dog hen fish runs"))
    assert [window.ranges[1] for window in windows] == [(0, 6), (4, 10), (8, 12)]
    assert all(len(window) <= 10 and window.ids[1] == windows[0].ids[1] for window in windows)
    assert encoder.counts[QUESTION_COUNTS[1].format(tokens=encoder.max_length)] == 1


def test_windows_of_a_span_read_that_span_alone() -> None:
    text = "cat dog hen fish runs very"
    (window,) = Encoder(make_tokenizer()).windows(("not", text), span=(4, 11))
    assert text[slice(*window.context_span)] == "dog hen"
    assert window.ids[window.context_start : window.context_start + window.context_length] == window.ids[3:5]


def test_a_question_longer_than_half_a_window_is_cut_and_counted() -> None:
    encoder = Encoder(make_tokenizer(), max_length=11, overlap=0)
    windows = encoder.windows(("cat " * 20, "dog hen fish runs very"))
    assert sum(encoder.counts[name] for name in encoder.counts if name.startswith("questions of more than")) == 1
    assert [window.ranges[0] for window in windows] == [(0, 4)] * 2


def test_an_overlap_wider_than_the_window_still_advances() -> None:
    windows = Encoder(make_tokenizer(), max_length=7, overlap=500).windows(("cat", "dog " * 30))
    assert windows[-1].ranges[1][1] == 30


def test_padding_reaches_the_longest_row_and_no_further() -> None:
    encoder = Encoder(make_tokenizer())
    batch = encoder.pad(encoder.encode(["cat", "cat dog hen"]))
    assert batch["input_ids"].shape == (2, 5)
    assert torch.equal(batch["attention_mask"].sum(1), torch.tensor([3, 5]))


def test_every_id_in_use_is_known() -> None:
    encoder = Encoder(make_tokenizer())
    windows = encoder.encode(["cat runs", "dog"], ["hen", "cat"])
    assert used_ids(windows) == {i for window in windows for i in window.ids}


def test_encoding_nothing_gives_nothing() -> None:
    assert Encoder(make_tokenizer()).encode([], []) == []


def test_models_that_reserve_positions_read_fewer_tokens() -> None:
    assert position_limit(BertConfig(max_position_embeddings=512)) == 512
    assert position_limit(RobertaConfig(max_position_embeddings=258, pad_token_id=1)) == 256


def test_three_texts_stand_in_a_template_that_follows_the_tokenizers_pair(phobert: PhobertTokenizer) -> None:
    (window,) = Encoder(make_tokenizer()).encode(["cat"], ["dog runs"], ["hen"])
    assert make_tokenizer().decode(window.ids) == "[CLS] cat [SEP] dog runs [SEP] hen [SEP]"
    assert window.types == [0, 0, 0, 1, 1, 1, 1, 1]
    assert window.is_text == [False, True, False, True, True, False, True, False]
    encoder = Encoder(phobert, "vi")
    first, second, third = (encoder.encode([text])[0].ids[1:-1] for text in ("trời", "mưa", "gió"))
    (window,) = encoder.encode(["trời"], ["mưa"], ["gió"])
    bos, eos = phobert.bos_token_id, phobert.eos_token_id
    assert window.ids == [bos, *first, eos, eos, *second, eos, eos, *third, eos]


def test_of_three_texts_the_longest_is_truncated() -> None:
    encoder = Encoder(make_tokenizer(), max_length=13)
    (window,) = encoder.encode(["cat dog"], ["hen " * 9], ["fish " * 4])
    assert [stop for _, stop in window.ranges] == [2, 4, 3] and len(window) == 13
    (last, *_, first) = encoder.windows(("cat " * 9, "dog", "fish " * 9))
    assert [stop for _, stop in first.ranges[:2]] == [3, 1] and len(last) <= 13
