"""Passages on an OpenSearch cluster, for what one machine does not hold: the interface is that of the index here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

from kdda.errors import KddaError
from kdda.retrieval.passages import Passage
from kdda.retrieval.retrievers import K1, B, Hit
from kdda.retrieval.terms import terms_of, terms_of_all

BULK = 500  # passages that are sent at once

TERMS = "terms"


class OpenSearch:
    """A retriever over passages that a cluster holds.

    Terms are made here, as those of an index on disk are, and the cluster takes them as they are: it needs no plug-in
    for Vietnamese, and questions meet the same words.

    Args:
        client: of opensearch-py, or anything with its `search`, `bulk` and `indices`.
        name: of the cluster's index.
        segmenter: as `IndexSettings.segmenter`; the same for passages and questions.
    """

    def __init__(self, client: Any, name: str, segmenter: str = "vi"):
        self.client, self.name, self.segmenter = client, name, segmenter

    @classmethod
    def connect(cls, url: str, name: str, segmenter: str = "vi", **options: Any) -> OpenSearch:
        """Open a client.

        Args:
            options: of `opensearchpy.OpenSearch`, such as `http_auth` and `ca_certs`.

        Raises:
            KddaError: opensearch-py is not installed.
        """
        try:
            from opensearchpy import OpenSearch as Client
        except ImportError:
            raise KddaError('OpenSearch needs its client: pip install "kdda[opensearch]"') from None
        return cls(Client(hosts=[url], **options), name, segmenter)

    def make(self) -> None:
        """Make the cluster's index: BM25 with the parameters of the one on disk, over terms between spaces."""
        body = {
            "settings": {"index": {"similarity": {"default": {"type": "BM25", "k1": K1, "b": B}}}},
            "mappings": {
                "dynamic": False,
                "properties": {TERMS: {"type": "text", "analyzer": "whitespace"}},
                "_source": {"excludes": [TERMS]},
            },
        }
        self._ask(partial(self.client.indices.create, index=self.name, body=body))

    def add(self, passages: Iterable[Passage]) -> int:
        """Send passages; one that is sent again takes its own place. Returns how many were sent.

        Raises:
            KddaError: no answer, or passages that were refused.
        """
        count, rest = 0, iter(passages)
        while chunk := list(islice(rest, BULK)):
            found = self._ask(partial(self.client.bulk, body=list(self._lines(chunk)), refresh=True))
            if found.get("errors"):
                failed = [own["index"]["error"] for own in found["items"] if "error" in own["index"]]
                raise KddaError(f"OpenSearch refused {len(failed)} passages: {failed[0]}")
            count += len(chunk)
        return count

    def search(self, question: str, k: int) -> list[Hit]:
        """Passages that hold a term of the question; none where no passage does."""
        terms = terms_of(question, self.segmenter)
        if not terms:
            return []
        body = {"size": k, "query": {"match": {TERMS: {"query": " ".join(terms)}}}}
        found = self._ask(partial(self.client.search, index=self.name, body=body))
        return [Hit(_passage(own["_source"]), float(own["_score"])) for own in found["hits"]["hits"]]

    def _lines(self, passages: Sequence[Passage]) -> Iterator[dict[str, Any]]:
        texts = [f"{own.title}\n{own.text}" for own in passages]
        for own, terms in zip(passages, terms_of_all(texts, self.segmenter), strict=True):
            key = hashlib.sha256(json.dumps(own.key).encode()).hexdigest()
            yield {"index": {"_index": self.name, "_id": key}}
            yield {**asdict(own), TERMS: " ".join(terms)}

    def _ask(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # the client raises its own kinds for a lost network, a refusal, a missing index
            reason = " ".join(str(error).split())[:300]
            raise KddaError(f'OpenSearch, index "{self.name}": {type(error).__name__}: {reason}') from error


def _passage(source: dict[str, Any]) -> Passage:
    return Passage(**{name: source[name] for name in Passage.__dataclass_fields__})
