"""Scores of extractive answers, as the datasets' scripts compute them: normalization, exact match and F1, best over
golds; languages with articles and without spaces.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

# SQuAD's script drops English articles. UIT-ViQuAD's does not: "an" and "a" are Vietnamese syllables.
ARTICLES = {"en": re.compile(r"\b(a|an|the)\b")}

# Languages without spaces between words are compared letter by letter, as MLQA's script does for Chinese.
UNSPACED_LANGUAGES = {"zh", "ja", "yue"}

UNSPACED_LETTERS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str, language: str = "vi") -> str:
    """Lower case, without ASCII punctuation, articles where the language's script drops them, or runs of spaces.

    >>> normalize_answer("The  Red River!", "en"), normalize_answer("An Giang.", "vi")
    ('red river', 'an giang')
    """
    text = text.lower().translate(PUNCTUATION)
    if language in ARTICLES:
        text = ARTICLES[language].sub(" ", text)
    if language in UNSPACED_LANGUAGES:
        text = UNSPACED_LETTERS.sub(r" \1 ", text)
    return " ".join(text.split())


def exact_match(predicted: str, gold: str, language: str = "vi") -> float:
    """1 where both are the same text once normalized, else 0."""
    return float(normalize_answer(predicted, language) == normalize_answer(gold, language))


def answer_f1(predicted: str, gold: str, language: str = "vi") -> float:
    """F1 of the words (Vietnamese: syllables) that both share, 0 to 1; 1 for two empty answers.

    >>> round(answer_f1("thành phố Huế", "Huế"), 2)
    0.5
    """
    predicted_words = normalize_answer(predicted, language).split()
    gold_words = normalize_answer(gold, language).split()
    if not predicted_words or not gold_words:
        return float(predicted_words == gold_words)
    common = sum((Counter(predicted_words) & Counter(gold_words)).values())
    return 2 * common / (len(predicted_words) + len(gold_words))


AnswerScore = Callable[[str, str, str], float]

"""`(predicted, gold, language) -> score`."""


def best_over_golds(score: AnswerScore, predicted: str, golds: Sequence[str], language: str) -> float:
    """The best score over the golds; an unanswerable question's only gold is the empty answer."""
    return max(score(predicted, gold, language) for gold in golds or [""])


def human_score(golds: Sequence[Sequence[str]], language: str = "vi") -> dict[str, float]:
    """The scores that people reach: each gold scored against the others of its question, leave-one-out.

    Args:
        golds: the gold answers of each question; questions with fewer than two are skipped.
        language: sets the rules of normalization.

    Returns:
        `exact_match` and `f1` in per cent, each question with the same weight; NaN where no question has two golds.
    """
    return {
        "exact_match": _leave_one_out(exact_match, golds, language),
        "f1": _leave_one_out(answer_f1, golds, language),
    }


def _leave_one_out(score: AnswerScore, golds: Sequence[Sequence[str]], language: str) -> float:
    """The mean over questions, in per cent, of each gold's score against the other golds of its question."""
    weights = []
    weighted_scores = []
    for answers in golds:
        if len(answers) < 2:
            continue
        weight = 1 / len(answers)  # each question counts once, however many golds it has
        for i, answer in enumerate(answers):
            others = [*answers[:i], *answers[i + 1 :]]
            weights.append(weight)
            weighted_scores.append(weight * best_over_golds(score, answer, others, language))
    if not weights:
        return float("nan")
    return 100 * sum(weighted_scores) / sum(weights)
