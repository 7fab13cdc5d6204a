"""A corpus that answers questions: an index, a retriever and a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdda.errors import KddaError, did_you_mean
from kdda.inference.reader import Reader
from kdda.retrieval.index import Index
from kdda.retrieval.open_domain import CorpusAnswer, answers, read_passages
from kdda.retrieval.retrievers import Bm25, Dense, Fused, Retriever
from kdda.text.check import check_text

PASSAGES, MU, BEST = 10, 0.5, 5  # read for a question; what the reader says of an answer's score; answers given

RETRIEVERS: dict[str, Callable[[Index], Retriever]] = {
    "bm25": lambda index: Bm25(index),
    "dense": lambda index: Dense.open(index),
    "fusion": lambda index: Fused([Bm25(index), Dense.open(index)]),
}


@dataclass(frozen=True)
class Corpus:
    """Passages that are found by a retriever and read by a reader.

    Attributes:
        passages: read for a question.
        mu: μ of μ·reader + (1 − μ)·retrieval.
    """

    retriever: Retriever
    reader: Reader
    passages: int = PASSAGES
    mu: float = MU

    @classmethod
    def open(
        cls, folder: Path, reader: Reader, retriever: str = "bm25", passages: int = PASSAGES, mu: float = MU
    ) -> Corpus:
        """Open an index for a reader.

        Raises:
            KddaError: no such index or retriever.
        """
        return cls(make_retriever(retriever, Index.open(folder)), reader, passages, mu)

    def ask(self, question: str, best: int = BEST) -> list[CorpusAnswer]:
        """The best answers, each at another place; none where no passage fits the question.

        Raises:
            KddaError: an empty question.
        """
        check_text(question, "the question")
        (read,) = read_passages(self.retriever, self.reader, [question], self.passages)
        return answers(read, self.mu, best)


def make_retriever(name: str, index: Index) -> Retriever:
    """A retriever over an index, by its name.

    Raises:
        KddaError: no such retriever, or an index without what it needs.
    """
    if name not in RETRIEVERS:
        raise KddaError(f'retriever: found "{name}"{did_you_mean(name, RETRIEVERS)}; there are {", ".join(RETRIEVERS)}')
    return RETRIEVERS[name](index)
