"""Texts are shortened by the columns that they take on a terminal, at words and letters."""

from __future__ import annotations

import unicodedata

import pytest
from rich.cells import cell_len

from kdda.runtime.shorten import shorten

FAMILY = "👩\u200d👩\u200d👧"  # five characters, one letter
VIETNAMESE = unicodedata.normalize("NFD", "Không đủ bộ nhớ để huấn luyện mô hình")


@pytest.mark.parametrize("text", [VIETNAMESE, "東京都は日本の首都です", FAMILY * 12, "a" * 40, f"{FAMILY} " * 12])
@pytest.mark.parametrize("columns", [1, 2, 9, 10, 17])
def test_a_text_fits_and_ends_with_whole_letters(text: str, columns: int) -> None:
    short = shorten(text, columns)
    assert cell_len(short) <= columns and short.endswith("…")
    kept = short.removesuffix("…")
    assert text.startswith(kept)
    following = text[len(kept) :][:1]
    assert not unicodedata.combining(following) and following != "\u200d" and not kept.endswith("\u200d")


def test_prose_is_cut_at_a_word_and_what_fits_is_as_it_was() -> None:
    assert shorten(VIETNAMESE, 12) == unicodedata.normalize("NFD", "Không đủ bộ…")
    assert shorten(VIETNAMESE, 37) == VIETNAMESE
    assert shorten("runs/nli/student-kdda", 10) == "runs/nli/…"
