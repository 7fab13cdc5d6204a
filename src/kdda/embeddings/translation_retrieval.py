"""How near a text's vector is to its translation's: what a representation that two languages share is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.data.sources import Row
from kdda.embeddings.encoder import EmbeddingModel
from kdda.errors import KddaError

AT_ONCE = 1024  # texts that are compared with all others together


@dataclass(frozen=True)
class TranslationRetrieval:
    """How well translations find each other among all texts of the other side, in per cent.

    Attributes:
        src_to_tgt: share of the first side's texts whose nearest text of the second is their translation.
        tgt_to_src: the reverse.
        similarity: the mean cosine of translations.
        others: the mean cosine of texts that are none; what is above it tells meanings apart.
    """

    pairs: int
    src_to_tgt: float
    tgt_to_src: float
    similarity: float
    others: float

    @property
    def margin(self) -> float:
        """By how much translations are more alike than other texts."""
        return self.similarity - self.others


def translation_retrieval(
    embedding_model: EmbeddingModel, first: Sequence[str], second: Sequence[str]
) -> TranslationRetrieval:
    """Hold each text's vector against those of all texts of the other side; row i of both sides says the same.

    Source: the task of Artetxe, Schwenk, "Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual
    Transfer and Beyond", TACL 2019, §4.3, with the cosine alone.
    """
    x, y = embedding_model.encode(first), embedding_model.encode(second)
    together = float((x * y).sum(axis=1).mean(dtype=np.float64))
    count = len(x)
    everything = float(np.dot(x.sum(axis=0, dtype=np.float64), y.sum(axis=0, dtype=np.float64)))
    others = (everything - count * together) / (count * (count - 1))
    return TranslationRetrieval(count, _found(x, y), _found(y, x), 100 * together, 100 * others)


def translated_texts(rows: Sequence[Row], columns: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Both sides of a file of translations.

    Raises:
        KddaError: a column that is missing or empty, a text that stands twice on its side, or fewer than two rows.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    for column, side in zip(columns, sides, strict=True):
        seen: dict[str, Row] = {}
        for row in rows:
            text = row.values.get(column)
            if not isinstance(text, str) or not text.strip():
                has = ", ".join(row.values)
                raise KddaError(f'{row.where}: no text in the column "{column}"; the row has {has}')
            if text in seen:
                raise KddaError(f"{row.where}: the same {column} as {seen[text].where}; its translation would be two")
            seen[text] = row
            side.append(text)
    if len(rows) < 2:
        raise KddaError(f"translations: found {len(rows)} rows, but a text must be told from another")
    return sides


def _found(x: Float32[ndarray, "texts width"], y: Float32[ndarray, "texts width"]) -> float:
    """Which share of x's texts has its own row of y as the nearest one, in per cent."""
    hits = 0
    for start in range(0, len(x), AT_ONCE):
        nearest = (x[start : start + AT_ONCE] @ y.T).argmax(axis=1)
        hits += int((nearest == np.arange(start, start + len(nearest))).sum())
    return 100 * hits / len(x)
