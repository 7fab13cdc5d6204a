"""Term counts of passages, in the sparse matrix and the files of the library bm25s.

bm25s stores finished scores, which are valid for the passages that they were computed on. An index that grows stores
the counts that scores are computed from instead, in the same layout.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from jaxtyping import Int32
from numpy import ndarray

MAX_COUNT = np.iinfo(np.uint16).max  # counts are stored as 16-bit integers; larger ones are lowered to this

TermIds = Int32[ndarray, "_"]


class TermCounts(bm25s.BM25):  # type: ignore[misc]
    """A bm25s index of counts: `scores["data"]` is how often a term (a column) occurs in a passage (a row)."""

    def build_index_from_ids(
        self, unique_token_ids: list[int], corpus_token_ids: list[TermIds], **options: Any
    ) -> dict[str, Any]:
        """Called by `BM25.index` to fill its matrix: counts in compressed columns, a column a term, a row a passage.

        Args:
            unique_token_ids: all term ids.
            corpus_token_ids: of each passage, the ids of its terms, with repetitions.
        """
        self.nonoccurrence_array = None
        lengths = np.array(list(map(len, corpus_token_ids)), np.int64)
        passages = len(lengths)
        terms = np.concatenate(corpus_token_ids).astype(np.int64)
        rows = np.repeat(np.arange(passages), lengths)
        # a cell of the matrix as one integer, term · passages + passage: sorted by column, then by row
        cells, counts = np.unique(terms * passages + rows, return_counts=True)
        columns, cell_rows = np.divmod(cells, passages)
        return {
            "data": np.minimum(counts, MAX_COUNT).astype(np.uint16),
            "indices": cell_rows.astype(np.int32),
            "indptr": np.searchsorted(columns, np.arange(len(unique_token_ids) + 1)).astype(np.int64),
            "num_docs": passages,
        }


def write_counts(folder: Path, ids: list[TermIds], vocabulary: dict[str, int]) -> None:
    """Count the terms of passages and write the files of bm25s.

    Args:
        folder: gets the files.
        ids: of each passage, the ids of its terms in their order.
        vocabulary: term → id.
    """
    counts = TermCounts()
    with _quiet():
        # index() accepts ids with their vocabulary in place of texts; the empty token is for texts without any term
        counts.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    counts.save(folder, show_progress=False)


def open_counts(folder: Path) -> TermCounts:
    """Map the files of `write_counts`: arrays stay on disk until a column is read. Nothing is unpickled."""
    counts: TermCounts = TermCounts.load(folder, mmap=True, allow_pickle=False, show_progress=False)
    return counts


@contextmanager
def _quiet() -> Iterator[None]:
    """No debug lines of bm25s, which sets its logger to DEBUG; the level is restored afterwards."""
    logger = logging.getLogger("bm25s")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
