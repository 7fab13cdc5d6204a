"""Sentence selection: the 5 sentences of a passage nearest to a question, by the cosine of embeddings (cached)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.baselines.shortened_context import ShortenedContext
from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from kdda.text.segment import Span
from kdda.text.sentences import sentences

CACHE_SIZE = 100_000  # embeddings that a selector keeps; with more, it starts afresh

Embedding = Float32[ndarray, " width"]


class SentenceSelector:
    """Selects the sentences of a passage that are nearest to a question, by the cosine of embeddings.

    The selected sentences stay in the passage's order, and a passage with no more sentences stays whole.

    Args:
        embedding_model: for questions and sentences.
        keep: the number of sentences; the paper's best is 5.
        language: by whose rules sentences end (`kdda.text.sentences`).
    """

    def __init__(self, embedding_model: EmbeddingModel, keep: int = 5, language: str = "vi"):
        """Start with an empty cache of embeddings."""
        self.embedding_model = embedding_model
        self.keep = keep
        self.language = language
        self._cache: dict[str, Embedding] = {}

    @classmethod
    def load(cls, model: str, keep: int, language: str) -> SentenceSelector:
        """A selector with the encoder of a checkpoint.

        Raises:
            KddaError: no such model.
        """
        return cls(MeanPoolingModel.load(model), keep, language)

    def select(self, pairs: Sequence[tuple[str, str]]) -> list[ShortenedContext]:
        """The shortened passage of each (question, passage) pair.

        Sentences that several questions share are embedded once.
        """
        spans: dict[str, list[Span]] = {}
        texts: list[str] = []
        for question, passage in pairs:
            if passage not in spans:
                spans[passage] = sentences(passage, self.language)
            if len(spans[passage]) > self.keep:
                texts += [question, *_span_texts(passage, spans[passage])]
        embeddings = self._embeddings(texts)
        contexts = []
        for question, passage in pairs:
            contexts.append(self._shorten(question, passage, spans[passage], embeddings))
        return contexts

    def _embeddings(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """Each text's embedding, cached because the same rows come again; the cache of a server must not grow."""
        if len(self._cache) > CACHE_SIZE:
            self._cache.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if new:
            self._cache.update(zip(new, self.embedding_model.encode(new), strict=True))
        return {text: self._cache[text] for text in texts}

    def _shorten(
        self, question: str, passage: str, spans: Sequence[Span], embeddings: Mapping[str, Embedding]
    ) -> ShortenedContext:
        """The passage with its `keep` nearest sentences, or whole where it has no more; `embeddings` has all texts."""
        if len(spans) <= self.keep:
            return ShortenedContext.whole(passage)
        rows = []
        for text in _span_texts(passage, spans):
            rows.append(embeddings[text])
        cosines = np.stack(rows) @ embeddings[question]  # embeddings have length 1
        nearest = np.argsort(-cosines, kind="stable")[: self.keep]
        selected = []
        for number in np.sort(nearest):
            selected.append(spans[number])
        return ShortenedContext.of(passage, selected)


def _span_texts(passage: str, spans: Sequence[Span]) -> list[str]:
    """The texts of spans of a passage."""
    texts = []
    for start, end in spans:
        texts.append(passage[start:end])
    return texts
