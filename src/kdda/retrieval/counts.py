"""How often terms occur in passages, in the sparse matrix and the files of bm25s.

bm25s stores finished scores, which hold for the passages they were computed on and for no others. An index to which
passages are added keeps the counts that scores are made of instead, in the same layout.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from jaxtyping import Int32
from numpy import ndarray

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of every step

MOST = np.iinfo(np.uint16).max

Ids = Int32[ndarray, "_"]


class Counts(bm25s.BM25):  # type: ignore[misc]
    """A bm25s index of counts: `scores["data"]` is how often a term (a column) occurs in a passage (a row)."""

    def build_index_from_ids(
        self, unique_token_ids: list[int], corpus_token_ids: list[Ids], **options: Any
    ) -> dict[str, Any]:
        """What bm25s calls to fill its matrix."""
        self.nonoccurrence_array = None
        sizes = np.array([len(own) for own in corpus_token_ids], np.int64)
        terms = np.concatenate(corpus_token_ids).astype(np.int64)
        rows = np.repeat(np.arange(len(sizes)), sizes)
        cells, counts = np.unique(terms * len(sizes) + rows, return_counts=True)
        columns, found = np.divmod(cells, len(sizes))
        return {
            "data": np.minimum(counts, MOST).astype(np.uint16),
            "indices": found.astype(np.int32),
            "indptr": np.searchsorted(columns, np.arange(len(unique_token_ids) + 1)).astype(np.int64),
            "num_docs": len(sizes),
        }


def write_counts(folder: Path, ids: list[Ids], vocabulary: dict[str, int]) -> None:
    """Count the terms of some passages, and write what bm25s writes.

    Args:
        ids: of each passage's terms, by `vocabulary`.
    """
    own = Counts()
    own.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    own.save(folder, show_progress=False)


def open_counts(folder: Path) -> Counts:
    """Open them without reading them: arrays stay on disk until a question asks for a column. Never a pickle."""
    found: Counts = Counts.load(folder, mmap=True, allow_pickle=False, show_progress=False)
    return found
