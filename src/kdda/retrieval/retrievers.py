"""Retrievers: from a question to passages. One interface, whatever finds them and wherever they are."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer
from numpy import ndarray

from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from kdda.errors import KddaError
from kdda.retrieval.index import Index
from kdda.retrieval.passages import Passage
from kdda.retrieval.segments import Segment
from kdda.retrieval.terms import terms_of

K1, B = 1.5, 0.75  # of BM25

DEPTH = 100  # passages of each retriever that a fusion looks at

CONSTANT = 60  # of reciprocal ranks: Cormack, Clarke and Büttcher, SIGIR 2009

ROWS = 65_536  # vectors that are compared at once


@dataclass(frozen=True)
class Hit:
    """A passage and how well it fits a question; scores of one retriever compare, those of two do not."""

    passage: Passage
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Finds passages for a question."""

    def search(self, question: str, k: int) -> list[Hit]:
        """The `k` best passages, best first, each once; fewer where fewer fit, none where none does."""
        ...


Ranked = tuple[float, int]  # a score, and a passage's number in the index


class Bm25:
    """BM25 over all passages of an index, as if its segments were one.

    A term's rarity and the mean length are those of the whole index at the moment it was opened, computed from the
    counts that segments keep: scores compare over segments, and are what one segment of all passages would give.
    """

    def __init__(self, index: Index):
        self.index = index

    def search(self, question: str, k: int) -> list[Hit]:
        """Passages that hold a term of the question; none where no passage does."""
        terms = Counter(terms_of(question, self.index.settings.segmenter))
        weights = {term: count * idf for term, count in terms.items() if (idf := self.rarity(term))}
        found: list[Ranked] = []
        for segment, norms in zip(self.index.segments, self._norms, strict=True):
            found += segment.guarded(partial(_scored, segment, norms, weights, k))
        return _hits(self.index, found, k)

    def rarity(self, term: str) -> float:
        """ln(1 + (N − df + ½) / (df + ½)); 0 of terms that no passage holds."""
        df = sum(own.frequency(term) for own in self.index.segments)
        return math.log1p((len(self.index) - df + 0.5) / (df + 0.5)) if df else 0.0

    @cached_property
    def _norms(self) -> list[Float32[ndarray, " passages"]]:
        """k₁·(1 − b + b·length / mean length) of every passage."""
        mean = max(1.0, sum(int(own.lengths.sum()) for own in self.index.segments) / max(1, len(self.index)))
        return [(K1 * (1 - B + B * own.lengths / mean)).astype(np.float32) for own in self.index.segments]


def _scored(own: Segment, norms: Float32[ndarray, " passages"], weights: dict[str, float], k: int) -> list[Ranked]:
    """The best passages of one segment: Σ weight · tf / (tf + norm)."""
    scores = np.zeros(len(own), np.float32)
    for term, weight in weights.items():
        rows, counts = own.occurrences(term)
        tf = counts.astype(np.float32)
        scores[rows] += np.float32(weight) * tf / (tf + norms[rows])
    return [(float(scores[row]), own.first + int(row)) for row in _best(scores, k)]


def _best(scores: Float32[ndarray, " passages"], k: int) -> Integer[ndarray, " best"]:
    """Where the best scores above 0 are, best first; of equals the first."""
    least = np.partition(scores, -k)[-k] if 0 < k < len(scores) else 0.0
    rows = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return rows[np.argsort(-scores[rows], kind="stable")][:k]


def _hits(index: Index, found: Sequence[Ranked], k: int) -> list[Hit]:
    ranked = sorted(found, key=lambda own: (-own[0], own[1]))[:k]
    return [Hit(index.passage(number), score) for score, number in ranked]


class Dense:
    """Cosine between the question's vector and the passages', compared with every one of them.

    Raises:
        KddaError: an index with the vectors of another model, or none.
    """

    def __init__(self, index: Index, embedding_model: EmbeddingModel):
        made_by = index.settings.dense
        if made_by != embedding_model.name:
            raise KddaError(f'{index.folder} holds vectors of "{made_by}", not of "{embedding_model.name}"')
        self.index, self.embedding_model = index, embedding_model

    @classmethod
    def open(cls, index: Index) -> Dense:
        """With the model that the index names.

        Raises:
            KddaError: an index without vectors, or a model that is not there any more.
        """
        if not index.settings.dense:
            raise KddaError(f"{index.folder} holds no vectors: index the corpus again with --dense MODEL")
        return cls(index, MeanPoolingModel.load(index.settings.dense))

    def search(self, question: str, k: int) -> list[Hit]:
        wanted = self.embedding_model.encode([question])[0]
        found: list[Ranked] = []
        for own in self.index.segments:
            found += own.guarded(partial(_nearest, own, wanted, k))
        return _hits(self.index, found, k)


def _nearest(own: Segment, wanted: Float32[ndarray, " width"], k: int) -> list[Ranked]:
    parts = [own.vectors[at : at + ROWS].astype(np.float32) @ wanted for at in range(0, len(own), ROWS)]
    scores = np.concatenate(parts)
    rows = np.argsort(-scores, kind="stable")[:k]
    return [(float(scores[row]), own.first + int(row)) for row in rows]


class Fused:
    """Reciprocal-rank fusion: a passage scores Σ 1 / (60 + rank) over the retrievers that found it."""

    def __init__(self, retrievers: Sequence[Retriever], depth: int = DEPTH):
        self.retrievers, self.depth = retrievers, depth

    def search(self, question: str, k: int) -> list[Hit]:
        scores: dict[tuple[str, int, int], float] = defaultdict(float)
        passages: dict[tuple[str, int, int], Passage] = {}
        for own in self.retrievers:
            for rank, hit in enumerate(own.search(question, max(k, self.depth)), 1):
                passages.setdefault(hit.passage.key, hit.passage)
                scores[hit.passage.key] += 1 / (CONSTANT + rank)
        best = sorted(scores, key=lambda key: (-scores[key], key))[:k]
        return [Hit(passages[key], scores[key]) for key in best]
