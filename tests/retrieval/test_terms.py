"""Terms keep the marks of their script, and fold case as Unicode does."""

import unicodedata

import pytest

from kdda.retrieval.terms import terms_of


@pytest.mark.parametrize("word", ["दिल", "दाल", "हिन्दी", "كِتَابٌ", "น้ำใจ", "မြန်မာ", "x̌y", "Huế"])
def test_combining_marks_belong_to_their_word(word: str) -> None:
    for form in ("NFC", "NFD"):
        assert len(terms_of(unicodedata.normalize(form, f"{word}, {word}."), "none")) == 2
    assert terms_of(unicodedata.normalize("NFD", word), "none") == terms_of(word, "none")
    assert terms_of("दिल", "none") != terms_of("दाल", "none")


@pytest.mark.parametrize(
    "words", ["İstanbul istanbul ISTANBUL", "ılık ILIK", "Straße STRASSE", "ὈΔΥΣΣΕΎΣ ὀδυσσεύς", "HUẾ huế"]
)
def test_words_match_whatever_their_case(words: str) -> None:
    assert len(set(terms_of(words, "none"))) == 1


def test_a_joiner_behind_a_virama_changes_no_term() -> None:
    assert len(set(terms_of("क्ष क्\u200dष क्\u200cष", "none"))) == 1


def test_symbols_and_lone_marks_are_no_terms() -> None:
    assert terms_of("☺️ \u0301 1️⃣ a_b", "none") == ["1", "a_b"]
