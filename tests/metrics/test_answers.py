"""Answers are scored by their datasets' own rules."""

import re
import string
from collections import Counter

import pytest

from kdda.metrics.answers import answer_f1, best_over_golds, exact_match, human_score, normalize_answer


def test_vietnamese_keeps_what_english_drops() -> None:
    assert normalize_answer("An ninh, the!", "vi") == "an ninh the"
    assert normalize_answer("An ninh, the!", "en") == "ninh"


@pytest.mark.parametrize(
    ("predicted", "gold", "f1"), [("Hà Nội", "hà  nội.", 1.0), ("Hà Nội", "Huế", 0.0), ("", "", 1.0)]
)
def test_case_punctuation_and_spaces_do_not_count(predicted: str, gold: str, f1: float) -> None:
    assert exact_match(predicted, gold) == float(f1 == 1.0)
    assert answer_f1(predicted, gold) == f1


def test_syllables_that_occur_twice_count_twice() -> None:
    assert answer_f1("xanh xanh", "xanh") == pytest.approx(2 / 3)


def test_the_best_gold_counts() -> None:
    assert best_over_golds(exact_match, "năm 1858", ["1858", "năm 1858"], "vi") == 1
    assert best_over_golds(answer_f1, "1858", [], "vi") == 0  # there was no answer


def test_chinese_is_compared_letter_by_letter() -> None:
    assert answer_f1("北京市", "北京", "zh") == pytest.approx(0.8)


def official_tokens(text: str) -> list[str]:
    """SQuAD's script, without its line on articles, written anew from its description."""
    kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return re.sub(r"\s+", " ", kept).strip().split(" ")


def official_f1(a: str, b: str) -> float:
    x, y = official_tokens(a), official_tokens(b)
    same = sum((Counter(x) & Counter(y)).values())
    if not same:
        return 0.0
    precision, recall = same / len(x), same / len(y)
    return 2 * precision * recall / (precision + recall)


def test_the_human_score_of_four_golds_equals_an_independent_computation() -> None:
    golds = [
        ["sông Hồng", "Sông Hồng.", "con sông Hồng", "Hồng"],
        ["năm 1858", "1858", "1858", "vào năm 1858"],
        ["vì trời mưa to", "trời mưa to", "mưa", "do mưa to"],
    ]
    f1, em = [], []
    for own in golds:
        for i, one in enumerate(own):
            others = own[:i] + own[i + 1 :]
            f1.append(max(official_f1(one, other) for other in others))
            em.append(max(float(official_tokens(one) == official_tokens(other)) for other in others))
    found = human_score(golds)
    assert found["f1"] == pytest.approx(100 * sum(f1) / len(f1))
    assert found["exact_match"] == pytest.approx(100 * sum(em) / len(em))


def test_a_question_with_one_gold_has_no_human_score() -> None:
    assert human_score([["a"], ["b", "b"]])["f1"] == 100
    assert human_score([["a"]])["f1"] != human_score([["a"]])["f1"]  # NaN: nothing to compare
