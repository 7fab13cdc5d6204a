"""Passages on an OpenSearch cluster, for what one machine does not hold, behind the interface of any retriever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from kdda.errors import KddaError
from kdda.retrieval.base import K1, B, Hit
from kdda.retrieval.passages import Passage
from kdda.retrieval.terms import terms_of, terms_of_all
from kdda.runtime.numbers import count_of

BULK = 500  # passages of one request

TERMS = "terms"  # the field of the cluster's index that questions are matched with


class OpenSearch:
    """A retriever over passages that a cluster holds.

    Terms are extracted here, as those of an index on disk are, and sent between spaces: the cluster needs no plug-in
    for Vietnamese, and questions match the same terms.

    Args:
        client: of opensearch-py, or any object with its `search`, `bulk` and `indices`.
        name: of the cluster's index.
        segmenter: as `IndexSettings.segmenter`; the same for passages and questions.
    """

    def __init__(self, client: Any, name: str, segmenter: str = "vi"):
        self.client = client
        self.name = name
        self.segmenter = segmenter

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
        """Create the cluster's index: BM25 with the parameters of the index on disk, over terms between spaces."""
        body = {
            "settings": {"index": {"similarity": {"default": {"type": "BM25", "k1": K1, "b": B}}}},
            "mappings": {
                "dynamic": False,
                "properties": {TERMS: {"type": "text", "analyzer": "whitespace"}},
                "_source": {"excludes": [TERMS]},
            },
        }
        self._request(partial(self.client.indices.create, index=self.name, body=body))

    def add(self, passages: Iterable[Passage]) -> int:
        """Send passages; one that is sent again replaces itself.

        Returns:
            How many were sent.

        Raises:
            KddaError: no answer from the cluster, or passages that it refused.
        """
        count = 0
        remaining = iter(passages)
        while chunk := list(islice(remaining, BULK)):
            lines = list(self._lines(chunk))
            response = self._request(partial(self.client.bulk, body=lines, refresh=True))
            if response.get("errors"):
                raise _refusal(response)
            count += len(chunk)
        return count

    def search(self, question: str, k: int) -> list[Hit]:
        """The best passages that contain a term of the question; none where no passage does."""
        terms = terms_of(question, self.segmenter)
        if not terms:
            return []
        body = {"size": k, "query": {"match": {TERMS: {"query": " ".join(terms)}}}}
        response = self._request(partial(self.client.search, index=self.name, body=body))
        hits = []
        for hit in response["hits"]["hits"]:
            hits.append(Hit(_passage(hit["_source"]), float(hit["_score"])))
        return hits

    def _lines(self, passages: Sequence[Passage]) -> Iterator[dict[str, Any]]:
        """Two lines of a bulk request for each passage: where it goes, and its fields."""
        texts = [passage.indexed_text for passage in passages]
        for passage, terms in zip(passages, terms_of_all(texts, self.segmenter), strict=True):
            key = hashlib.sha256(json.dumps(passage.key).encode()).hexdigest()
            yield {"index": {"_index": self.name, "_id": key}}
            yield {**passage.as_row(), TERMS: " ".join(terms)}

    def _request(self, send: Callable[[], Any]) -> Any:
        """The answer of the cluster to one call of the client; any failure as a KddaError of one line."""
        try:
            return send()
        except Exception as error:  # the client raises its kinds of errors for a lost network, a refusal, no index
            reason = " ".join(str(error).split())[:300]
            raise KddaError(f'OpenSearch, index "{self.name}": {type(error).__name__}: {reason}') from error


def open_opensearch(index: str, url: str, name: str = "", segmenter: str = "vi", **client: Any) -> OpenSearch:
    """What ``--retriever opensearch`` opens.

    Args:
        index: the name of the cluster's index, unless `name` says another.
        url: of the cluster, such as ``https://localhost:9200``.
        name: of the cluster's index, where `index` cannot be it, as in a recipe.
        segmenter: as `IndexSettings.segmenter`; the one with which passages were added.
        client: further arguments of `opensearchpy.OpenSearch`, such as ``ca_certs``.
    """
    return OpenSearch.connect(url, name or index, segmenter, **client)


def _refusal(response: dict[str, Any]) -> KddaError:
    """The error for a bulk request of which the cluster refused some passages."""
    errors = [item["index"]["error"] for item in response["items"] if "error" in item["index"]]
    return KddaError(f"OpenSearch refused {count_of(len(errors), 'passage')}: {errors[0]}")


def _passage(source: dict[str, Any]) -> Passage:
    """The passage that a document of the cluster was made from."""
    fields = dict(source)
    fields.pop(TERMS, None)  # which the cluster leaves out where `make` has created the index
    return Passage(**fields)
