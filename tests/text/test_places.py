"""Tokens of any two models lie on one line, so that what reads the same characters lies in the same place."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import processors

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.text.encode import Encoder
from kdda.text.places import padded_places, padded_words, token_places, word_places
from tests.conftest import make_tokenizer
from tests.text.phobert import make_phobert_tokenizer


def places(encoder: Encoder, *texts: str) -> list[tuple[float, float]]:
    """Of the tokens of the only window over some texts."""
    (window,) = encoder.encode(*([text] for text in texts))
    return [tuple(interval) for interval in token_places(window, (0, len(texts[-1]))).tolist()]


def with_two_separators() -> Encoder:
    """A tokenizer that puts two special tokens between two texts, as RoBERTa's does."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Encoder(tokenizer)


def test_each_text_takes_its_characters_and_each_group_of_special_tokens_one_unit() -> None:
    expected = [(0, 1), (1, 4), (5, 9), (9, 10), (10, 13), (13, 14)]
    assert places(Encoder(make_tokenizer()), "cat runs", "dog") == expected


def test_special_tokens_that_stand_together_share_their_unit() -> None:
    expected = [(0, 1), (1, 4), (5, 9), (9, 9.5), (9.5, 10), (10, 13), (13, 14)]
    assert places(with_two_separators(), "cat runs", "dog") == expected


def test_a_truncated_text_leaves_the_places_of_the_others_as_they_are() -> None:
    whole = places(Encoder(make_tokenizer()), "cat dog hen fish runs", "not very")
    cut = places(Encoder(make_tokenizer(), max_length=6), "cat dog hen fish runs", "not very")
    assert cut == [whole[0], whole[1], whole[2], whole[6], whole[7], whole[9]]


def test_a_context_that_is_read_in_windows_lies_where_its_span_begins() -> None:
    question, context = "not", "cat dog hen fish runs very"
    encoder = Encoder(make_tokenizer(), max_length=6, overlap=0)
    for window in encoder.windows((question, context)):
        start, end = window.context_span
        part = context[start:end]
        alone = places(Encoder(make_tokenizer()), question, part)
        assert token_places(window, window.context_span).tolist() == [list(interval) for interval in alone]


def test_a_token_that_reaches_out_of_the_span_is_cut_to_it() -> None:
    (window,) = Encoder(make_tokenizer()).windows(("not", "cat dog hen"), span=(5, 10))
    assert token_places(window, (5, 10)).tolist() == [[0, 1], [1, 4], [4, 5], [5, 7], [8, 10], [10, 11]]


def test_a_word_of_phobert_lies_where_both_its_syllables_do(tmp_path: Path) -> None:
    text = "Hà Nội là thủ đô"
    words = Encoder(make_phobert_tokenizer(tmp_path, ["Hà_Nội là thủ_đô"] * 2), "vi")
    of_syllables, of_words = places(Encoder(make_tokenizer()), text), places(words, text)
    assert of_syllables == [(0, 1), (1, 3), (4, 7), (8, 10), (11, 14), (15, 17), (17, 18)]
    assert of_words == [(0, 1), (1, 7), (8, 10), (11, 17), (17, 18)]
    # both syllables of a word are compared with its only token
    teacher = Representations(torch.eye(5)[None], places=torch.tensor([of_words]))
    student = Representations(torch.eye(5)[None, [0, 1, 1, 2, 3, 3, 4]], places=torch.tensor([of_syllables]))
    assert OBJECTIVES["aligned"](student, teacher, ObjectiveSettings()).value.item() == 0


def test_a_batch_of_places_is_padded_with_nothing() -> None:
    windows = Encoder(make_tokenizer()).encode(["cat", "cat runs"])
    padded = padded_places(windows, [(0, 3), (0, 8)])
    assert padded.dtype == torch.float32 and padded.shape == (2, 4, 2)
    assert padded[0].tolist() == [[0, 1], [1, 4], [4, 5], [0, 0]]
    assert np.array_equal(padded[1].numpy(), token_places(windows[1], (0, 8)))


def words(*texts: str) -> list[str]:
    """The words of some texts, read off the line; the units of special tokens as a dash."""
    (window,) = Encoder(make_tokenizer()).encode(*([text] for text in texts))
    line = "-" + "".join(f"{text}-" for text in texts)
    return [line[int(start) : int(end)] for start, end in word_places(window, (0, len(texts[-1])))]


def test_a_word_is_a_run_of_letters_and_digits_and_any_other_visible_character_is_one_by_itself() -> None:
    assert words("Hà Nội, 2024!", "a_b") == ["-", "Hà", "Nội", ",", "2024", "!", "-", "a", "_", "b", "-"]
    assert words("漢字カナ abc ไทย") == ["-", *"漢字カナ", "abc", *"ไทย", "-"]


def test_marks_belong_to_the_character_that_they_stand_on() -> None:
    assert words("Ha\u0300 No\u0323\u0302i \u2764\ufe0f") == ["-", "Ha\u0300", "No\u0323\u0302i", "\u2764\ufe0f", "-"]
    assert words("ที่นี่") == ["-", "ที่", "นี่", "-"]


def test_words_of_a_window_are_those_of_its_characters_whatever_it_reads_of_them() -> None:
    (whole,) = Encoder(make_tokenizer()).encode(["cat dog"], ["hen fish runs"])
    (cut,) = Encoder(make_tokenizer(), max_length=6).encode(["cat dog"], ["hen fish runs"])
    assert np.array_equal(word_places(whole, (0, 13)), word_places(cut, (0, 13)))
    assert word_places(whole, (4, 8)).tolist() == [[0, 1], [1, 4], [5, 8], [8, 9], [9, 13], [13, 14]]
    padded = padded_words([whole, cut], [(4, 8), (0, 13)])
    assert padded.shape == (2, 8, 2) and padded[0, 6:].eq(0).all()
