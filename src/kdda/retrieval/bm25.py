"""BM25 over the passages of an index."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float32, Integer
from numpy import ndarray

from kdda.retrieval.base import K1, B, Hit, ScoredPassage, best_hits, scored_passages
from kdda.retrieval.index import Index
from kdda.retrieval.segments import Segment
from kdda.retrieval.terms import terms_of


class Bm25:
    """BM25 (Lucene's form) over all passages of an index, as if its segments were one.

    Document frequencies and the mean length are those of the whole index when it was opened, computed from the counts
    that segments store: scores are comparable over segments, and equal those of a single segment with all passages.
    """

    def __init__(self, index: Index):
        self.index = index

    def search(self, question: str, k: int) -> list[Hit]:
        """The best passages that contain a term of the question; none where no passage does."""
        weights = self._weights(question)
        scored: list[ScoredPassage] = []
        for segment, norms in zip(self.index.segments, self._norms, strict=True):
            # guarded: an error while a file of the segment is read is told as a damaged index
            scored += segment.guarded(partial(_score_segment, segment, norms, weights, k))
        return best_hits(self.index, scored, k)

    def _weights(self, question: str) -> dict[str, float]:
        """The question's terms that occur in the index: count in the question times inverse document frequency."""
        weights = {}
        for term, count in Counter(terms_of(question, self.index.settings.segmenter)).items():
            idf = self.idf(term)
            if idf:
                weights[term] = count * idf
        return weights

    def idf(self, term: str) -> float:
        """Inverse document frequency, ln(1 + (N − df + ½) / (df + ½)); 0 for a term that no passage contains."""
        df = sum(segment.frequency(term) for segment in self.index.segments)
        if not df:
            return 0.0
        return math.log1p((len(self.index) - df + 0.5) / (df + 0.5))

    @cached_property
    def _norms(self) -> list[Float32[ndarray, " passages"]]:
        """k₁·(1 − b + b·length / mean length) of every passage, by segment."""
        terms = sum(int(segment.lengths.sum()) for segment in self.index.segments)
        mean = max(1.0, terms / max(1, len(self.index)))
        norms = []
        for segment in self.index.segments:
            norms.append((K1 * (1 - B + B * segment.lengths / mean)).astype(np.float32))
        return norms


def _score_segment(
    segment: Segment, norms: Float32[ndarray, " passages"], weights: dict[str, float], k: int
) -> list[ScoredPassage]:
    """The best passages of one segment, by Σ weight · tf / (tf + norm) over the terms; tf counts a term in a passage.

    Args:
        norms: of each passage, for its length.
        weights: of each term of the question.
    """
    scores = np.zeros(len(segment), np.float32)
    for term, weight in weights.items():
        rows, counts = segment.occurrences(term)
        tf = counts.astype(np.float32)
        scores[rows] += np.float32(weight) * tf / (tf + norms[rows])
    return scored_passages(scores, _best_rows(scores, k), segment.first)


def _best_rows(scores: Float32[ndarray, " passages"], k: int) -> Integer[ndarray, " best"]:
    """The rows of the `k` largest scores above 0, best first; of equals the first.

    `np.partition` finds the k-th largest score without sorting all, so that only rows above it are sorted.
    """
    smallest = 0.0
    if 0 < k < len(scores):
        smallest = np.partition(scores, -k)[-k]
    above = scores >= smallest if smallest > 0 else scores > 0
    rows = np.flatnonzero(above)
    order = np.argsort(-scores[rows], kind="stable")
    return rows[order][:k]
