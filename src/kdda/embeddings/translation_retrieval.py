"""Translation retrieval: whether a text's nearest neighbour in another language is its translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.data.examples import BadRowError, raw_text
from kdda.data.sources import Row
from kdda.embeddings.encoder import TextEncoder
from kdda.errors import KddaError
from kdda.runtime.numbers import count_of

BATCH_SIZE = 1024  # source texts that are compared with all target texts together


@dataclass(frozen=True)
class TranslationRetrieval:
    """Scores of an embedding model on translation pairs, in per cent.

    Attributes:
        pairs: number of translation pairs.
        src_to_tgt: accuracy from source to target: the share of source texts whose nearest target text is their
            translation.
        tgt_to_src: accuracy from target to source.
        translation_cosine: mean cosine of the pairs.
        other_cosine: mean cosine of source and target texts that are not translations of each other.
    """

    pairs: int
    src_to_tgt: float
    tgt_to_src: float
    translation_cosine: float
    other_cosine: float

    @property
    def margin(self) -> float:
        """Mean cosine of translations minus that of other texts."""
        return self.translation_cosine - self.other_cosine


def evaluate_translation_retrieval(
    embedding_model: TextEncoder, source: Sequence[str], target: Sequence[str]
) -> TranslationRetrieval:
    """Score an embedding model on translation pairs, by cosine and nearest neighbour in both directions.

    Source: the task of Artetxe, Schwenk, "Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual
    Transfer and Beyond", TACL 2019, §4.3, with the cosine alone.

    Args:
        source: texts of one language, each once.
        target: their translations, in the same order.
    """
    x = embedding_model.encode(source)
    y = embedding_model.encode(target)
    translations = float((x * y).sum(axis=1).mean(dtype=np.float64))
    count = len(x)
    everything = float(np.dot(x.sum(axis=0, dtype=np.float64), y.sum(axis=0, dtype=np.float64)))
    others = (everything - count * translations) / (count * (count - 1))
    return TranslationRetrieval(
        pairs=count,
        src_to_tgt=_accuracy(x, y),
        tgt_to_src=_accuracy(y, x),
        translation_cosine=100 * translations,
        other_cosine=100 * others,
    )


def translated_texts(rows: Sequence[Row], columns: tuple[str, str]) -> tuple[list[str], list[str]]:
    """The source and the target texts of a file of translation pairs.

    Args:
        rows: one pair a row.
        columns: the column of the source texts and that of the target texts.

    Raises:
        KddaError: a missing or empty column, a text that occurs twice in its column, or fewer than two rows.
    """
    texts = (_column(rows, columns[0]), _column(rows, columns[1]))
    if len(rows) < 2:
        raise KddaError(
            f"translations: got {count_of(len(rows), 'row')}, expected two or more to compare a text with others"
        )
    return texts


def _column(rows: Sequence[Row], column: str) -> list[str]:
    """The texts of a column, each of which must be different from all others."""
    first_rows: dict[str, Row] = {}
    for row in rows:
        try:
            text = raw_text(row, column)
        except BadRowError as error:
            raise KddaError(f"{row.where}: {error}") from None
        if text in first_rows:
            where = first_rows[text].where
            raise KddaError(f"{row.where}: the same {column} as {where}; a text must have one translation")
        first_rows[text] = row
    return list(first_rows)


def _accuracy(x: Float32[ndarray, "texts width"], y: Float32[ndarray, "texts width"]) -> float:
    """The share of rows of x whose nearest row of y has the same index, in per cent."""
    correct = 0
    for start in range(0, len(x), BATCH_SIZE):
        nearest = (x[start : start + BATCH_SIZE] @ y.T).argmax(axis=1)
        expected = np.arange(start, start + len(nearest))
        correct += int((nearest == expected).sum())
    return 100 * correct / len(x)
