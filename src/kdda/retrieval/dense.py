"""Dense retrieval: cosine between the embeddings of a question and of the passages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.retrieval.base import Hit, ScoredPassage, best_hits, scored_passages
from kdda.retrieval.index import Index, check_dense_model
from kdda.retrieval.segments import Segment

if TYPE_CHECKING:
    from kdda.embeddings.encoder import EmbeddingModel

BLOCK_ROWS = 65_536  # vectors that are read from disk and compared at once


class Dense:
    """Cosine between the question's embedding and that of every passage.

    Args:
        index: with vectors.
        embedding_model: the one that made the vectors.

    Raises:
        KddaError: the index holds the vectors of another model, of other weights, or none.
    """

    def __init__(self, index: Index, embedding_model: EmbeddingModel):
        model = embedding_model
        check_dense_model(index.folder, index.settings.dense, index.dense_fingerprint, model.name, model.fingerprint)
        self.index = index
        self.embedding_model = embedding_model

    @classmethod
    def open(cls, index: Index) -> Dense:
        """Load the model that the index names.

        Raises:
            KddaError: a model that no longer exists, or whose weights have changed since.
        """
        from kdda.embeddings.encoder import MeanPoolingModel  # imports torch, which a search by BM25 does not need

        return cls(index, MeanPoolingModel.load(index.settings.dense))

    def search(self, question: str, k: int) -> list[Hit]:
        """The passages whose embeddings are nearest to the question's."""
        query = self.embedding_model.encode([question])[0]
        scored: list[ScoredPassage] = []
        for segment in self.index.segments:
            scored += segment.guarded(partial(_nearest, segment, query, k))
        return best_hits(self.index, scored, k)


def _nearest(segment: Segment, query: Float32[ndarray, " width"], k: int) -> list[ScoredPassage]:
    """The `k` passages of a segment whose vectors have the largest cosine with `query`; all vectors have length 1."""
    blocks = []
    for start in range(0, len(segment), BLOCK_ROWS):
        vectors = segment.vectors[start : start + BLOCK_ROWS].astype(np.float32)
        blocks.append(vectors @ query)
    scores = np.concatenate(blocks)
    rows = np.argsort(-scores, kind="stable")[:k]
    return scored_passages(scores, rows, segment.first)
