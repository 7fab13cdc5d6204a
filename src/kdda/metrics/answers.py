"""Scores of extractive answers, as the datasets' own scripts count them: exact match and F1, best over golds."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

# SQuAD's script drops English articles. UIT-ViQuAD's does not: "an" and "a" are Vietnamese syllables.
ARTICLES = {"en": re.compile(r"\b(a|an|the)\b")}

# Scripts without spaces between words are compared letter by letter, as MLQA's script does for Chinese.
LETTERS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")

BY_LETTER = {"zh", "ja", "yue"}

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str, language: str = "vi") -> str:
    """Lower case, without ASCII punctuation, articles where the language's script drops them, or runs of spaces.

    >>> normalize_answer("The  Red River!", "en"), normalize_answer("An Giang.", "vi")
    ('red river', 'an giang')
    """
    text = text.lower().translate(PUNCTUATION)
    if language in ARTICLES:
        text = ARTICLES[language].sub(" ", text)
    if language in BY_LETTER:
        text = LETTERS.sub(r" \1 ", text)
    return " ".join(text.split())


def exact_match(predicted: str, gold: str, language: str = "vi") -> float:
    """1 where both read the same once normalized."""
    return float(normalize_answer(predicted, language) == normalize_answer(gold, language))


def answer_f1(predicted: str, gold: str, language: str = "vi") -> float:
    """Overlap of syllables (words), 0 to 1. Two empty answers agree.

    >>> round(answer_f1("thành phố Huế", "Huế"), 2)
    0.5
    """
    found, wanted = normalize_answer(predicted, language).split(), normalize_answer(gold, language).split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def best_over_golds(
    score: Callable[[str, str, str], float], predicted: str, golds: Sequence[str], language: str
) -> float:
    """The best score over the golds; an unanswerable question's only gold is the empty answer."""
    return max(score(predicted, gold, language) for gold in golds or [""])


def human_score(golds: Sequence[Sequence[str]], language: str = "vi") -> dict[str, float]:
    """What a person reaches, in per cent: each gold against the others of its question, leave-one-out.

    Args:
        golds: of each question, two or more; questions with fewer are left out.
    """
    rounds = [(own[i], [*own[:i], *own[i + 1 :]]) for own in golds if len(own) > 1 for i in range(len(own))]
    weights = [1 / len(own) for own in golds if len(own) > 1 for _ in own]
    if not rounds:
        return {"exact_match": float("nan"), "f1": float("nan")}
    return {
        name: 100
        * sum(w * best_over_golds(score, text, rest, language) for w, (text, rest) in zip(weights, rounds, strict=True))
        / sum(weights)
        for name, score in (("exact_match", exact_match), ("f1", answer_f1))
    }
