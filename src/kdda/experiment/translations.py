"""Retrieval of translations among development rows: of every two languages whose rows share ids, two rows at least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from kdda.data.examples import Example
from kdda.embeddings.encoder import TextEncoder
from kdda.embeddings.translation_retrieval import TranslationRetrieval, evaluate_translation_retrieval


def translation_scores(
    encoder: TextEncoder, rows: Mapping[str, Sequence[Example]]
) -> Iterator[tuple[tuple[str, str], TranslationRetrieval]]:
    """Each two languages with their scores, where their rows share ids: rows of one id are taken for translations.

    Args:
        rows: language → its development rows, of which the first text is compared.
    """
    by_id: dict[str, dict[str, str]] = {}  # language → id → text
    for language, examples in rows.items():
        by_id[language] = {example.id: example.texts[0] for example in examples}
    for first, second in combinations(rows, 2):
        source, target = _translations(by_id[first], by_id[second])
        if len(source) > 1:  # a text is compared with others
            yield (first, second), evaluate_translation_retrieval(encoder, source, target)


def _translations(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The texts of the ids that both languages have, each text once, in one order."""
    source: dict[str, None] = {}
    target: dict[str, None] = {}
    for row_id, text in first.items():
        translation = second.get(row_id)
        if translation is not None and text not in source and translation not in target:
            source[text] = None
            target[translation] = None
    return list(source), list(target)
