"""Retrieval from a corpus: passages, an index of them, retrievers, and answers from many passages.

Names are imported when they are first used, so that a process that needs terms alone does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdda.retrieval.base import Hit as Hit
    from kdda.retrieval.base import Retriever as Retriever
    from kdda.retrieval.index import Index as Index
    from kdda.retrieval.index import IndexSettings as IndexSettings
    from kdda.retrieval.open_domain import CorpusAnswer as CorpusAnswer
    from kdda.retrieval.passages import Document as Document
    from kdda.retrieval.passages import Passage as Passage
    from kdda.retrieval.passages import read_documents as read_documents
    from kdda.retrieval.pipeline import Corpus as Corpus
    from kdda.retrieval.registry import RETRIEVERS as RETRIEVERS
    from kdda.retrieval.registry import open_retriever as open_retriever
    from kdda.retrieval.registry import register_retriever as register_retriever
    from kdda.retrieval.writer import IndexWriter as IndexWriter

_MODULES = {
    "Corpus": "pipeline",
    "CorpusAnswer": "open_domain",
    "Document": "passages",
    "Hit": "base",
    "Index": "index",
    "IndexSettings": "index",
    "IndexWriter": "writer",
    "Passage": "passages",
    "RETRIEVERS": "registry",
    "Retriever": "base",
    "open_retriever": "registry",
    "read_documents": "passages",
    "register_retriever": "registry",
}

__all__ = [
    "RETRIEVERS",
    "Corpus",
    "CorpusAnswer",
    "Document",
    "Hit",
    "Index",
    "IndexSettings",
    "IndexWriter",
    "Passage",
    "Retriever",
    "open_retriever",
    "read_documents",
    "register_retriever",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"kdda.retrieval.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'kdda.retrieval' has no attribute {name!r}")
