"""Answering questions from a corpus: retriever and reader, and defaults: 10 passages read, μ = 0.5, 5 answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.inference.reader import Reader
from kdda.retrieval.base import Retriever
from kdda.retrieval.open_domain import SCORE_IN_WORDS, CorpusAnswer, best_answers, read_passages
from kdda.retrieval.registry import open_retriever
from kdda.text.check import check_text

PASSAGES, MU, BEST = 10, 0.5, 5  # passages read for a question, the reader's weight in a score, answers returned


@dataclass(frozen=True)
class Corpus:
    """Passages that a retriever searches and a reader reads.

    Attributes:
        passages: how many are read for a question.
        mu: μ of μ·reader + (1 − μ)·retrieval.
    """

    retriever: Retriever
    reader: Reader
    passages: int = PASSAGES
    mu: float = MU

    @classmethod
    def open(
        cls,
        index: Path | str,
        reader: Reader,
        retriever: str = "bm25",
        passages: int = PASSAGES,
        mu: float = MU,
        options: Mapping[str, Any] | None = None,
    ) -> Corpus:
        """Open an index for a reader.

        Args:
            index: a folder that ``kdda index`` wrote, or what a retriever without such a folder calls its index.
            retriever: a registered name.
            options: of the retriever.

        Raises:
            KddaError: no such index or retriever, or options that it does not take.
        """
        return cls(open_retriever(retriever, index, options), reader, passages, mu)

    def score_in_words(self, language: str) -> str:
        """What the scores of answers are, in a sentence in English (en) or Vietnamese (vi)."""
        return SCORE_IN_WORDS[language].format(reader=self.mu, retriever=1 - self.mu)

    def ask(self, question: str, best: int = BEST) -> list[CorpusAnswer]:
        """The best answers, each at another place; none where no passage matches the question.

        Raises:
            KddaError: an empty question.
        """
        check_text(question, "the question")
        (passages,) = read_passages(self.retriever, self.reader, [question], self.passages)
        return best_answers(passages, self.mu, best)
