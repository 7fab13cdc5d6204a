"""Systems around a reader: passages, an index of them, retrievers, ViReader, XLMRQA-style answers, and their table."""

from kdda.systems.ask import Corpus, make_retriever
from kdda.systems.compare import Comparison
from kdda.systems.index import Built, Index, Settings, Writer
from kdda.systems.open_domain import Answer, answers, read_passages
from kdda.systems.opensearch import OpenSearch
from kdda.systems.passages import Document, Passage, read_documents, split
from kdda.systems.readers import Reader, ViReader, reader_of
from kdda.systems.retrieve import Bm25, Dense, Fused, Hit, Retriever

__all__ = [
    "Answer",
    "Bm25",
    "Built",
    "Comparison",
    "Corpus",
    "Dense",
    "Document",
    "Fused",
    "Hit",
    "Index",
    "OpenSearch",
    "Passage",
    "Reader",
    "Retriever",
    "Settings",
    "ViReader",
    "Writer",
    "answers",
    "make_retriever",
    "read_documents",
    "read_passages",
    "reader_of",
    "split",
]
