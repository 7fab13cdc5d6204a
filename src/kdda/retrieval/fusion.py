"""Reciprocal-rank fusion of several retrievers: the constant 60, and how many passages of each are ranked (100)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kdda.retrieval.base import Hit, Retriever
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.dense import Dense
from kdda.retrieval.index import Index
from kdda.retrieval.passages import Passage

DEPTH = 100  # passages of each retriever that are ranked

RANK_CONSTANT = 60  # Cormack, Clarke and Büttcher, SIGIR 2009


class Fusion:
    """A passage scores Σ 1 / (60 + rank) over the retrievers that retrieve it.

    Args:
        retrievers: whose ranks are fused.
        depth: passages of each retriever that are ranked; more if more are to be returned.
    """

    def __init__(self, retrievers: Sequence[Retriever], depth: int = DEPTH):
        self.retrievers = retrievers
        self.depth = depth

    @classmethod
    def open(cls, index: Index) -> Fusion:
        """BM25 and dense retrieval over one index."""
        return cls([Bm25(index), Dense.open(index)])

    def search(self, question: str, k: int) -> list[Hit]:
        """The passages with the largest fused scores."""
        scores: dict[tuple[str, int, int], float] = defaultdict(float)
        passages: dict[tuple[str, int, int], Passage] = {}
        for retriever in self.retrievers:
            hits = retriever.search(question, max(k, self.depth))
            for rank, hit in enumerate(hits, 1):
                passages.setdefault(hit.passage.key, hit.passage)
                scores[hit.passage.key] += 1 / (RANK_CONSTANT + rank)
        hits = []
        for key in sorted(scores, key=lambda key: (-scores[key], key))[:k]:
            hits.append(Hit(passages[key], scores[key]))
        return hits
