"""The interface of retrievers, from a question to passages with scores; parameters of BM25 (k₁ and b)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jaxtyping import Float32, Integer
from numpy import ndarray

from kdda.retrieval.passages import Passage

if TYPE_CHECKING:
    from kdda.retrieval.index import Index

K1, B = 1.5, 0.75  # parameters of BM25

ScoredPassage = tuple[float, int]  # a score, and a passage's number in the index


@dataclass(frozen=True)
class Hit:
    """A passage with its score; scores of one retriever are comparable, those of two are not."""

    passage: Passage
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Retrieves passages for a question."""

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages, best first, each once; fewer where fewer match, none where none does."""
        ...


def best_hits(index: Index, scored: Sequence[ScoredPassage], k: int) -> list[Hit]:
    """The `k` passages of an index with the largest scores; of equals, those that come first in the index."""
    hits = []
    for score, number in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]:
        hits.append(Hit(index.passage(number), score))
    return hits


def scored_passages(
    scores: Float32[ndarray, " passages"], rows: Integer[ndarray, " best"], first: int
) -> list[ScoredPassage]:
    """Some rows of a segment as pairs of score and passage number.

    Args:
        scores: of all passages of the segment.
        rows: the passages to return, by their place in the segment.
        first: the number in the index of the segment's first passage.
    """
    numbers = rows + first
    return list(zip(scores[rows].tolist(), numbers.tolist(), strict=True))
