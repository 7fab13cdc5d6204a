"""Answers in another normal form of Unicode than their context, placed as slices of the raw text."""

from collections import Counter
from unicodedata import normalize

import pytest

from kdda.data.questions import NO_START, place_answer

CONTEXT = "Thủ đô là Hà Nội. Sông ở Huế là sông Hương. Hà Nội ở phía bắc."
FORMS = ["NFC", "NFD", "NFKC", "NFKD"]


@pytest.mark.parametrize("answer_form", FORMS)
@pytest.mark.parametrize("context_form", FORMS)
@pytest.mark.parametrize("answer", ["Hà Nội", "Huế", "Sông  ở\nHuế"])
def test_an_answer_in_another_form_is_a_slice_of_the_raw_context(
    answer: str, answer_form: str, context_form: str
) -> None:
    context = normalize(context_form, CONTEXT)
    placed = place_answer(normalize(answer_form, answer), NO_START, context, Counter())
    assert placed is not None and context.startswith(placed.text, placed.start)
    assert normalize("NFC", placed.text).split() == answer.split()


def test_a_start_that_counts_another_form_finds_the_same_answer() -> None:
    context = normalize("NFD", CONTEXT)
    placed = place_answer("Hà Nội", CONTEXT.rindex("Hà Nội"), context, Counter())
    assert placed is not None and placed.start == context.rindex(normalize("NFD", "Hà Nội"))
    placed = place_answer(normalize("NFD", "Hà Nội"), context.rindex("Ha"), CONTEXT, Counter())
    assert placed is not None and placed.start == CONTEXT.rindex("Hà Nội")


def test_a_slice_ends_with_its_letter() -> None:
    context = normalize("NFD", "cá ca")
    assert place_answer("ca", NO_START, context, Counter()) == ("ca", 4)
    assert place_answer("o", NO_START, normalize("NFD", "cố"), Counter()) == ("o", 1)  # as before, where all cut one
