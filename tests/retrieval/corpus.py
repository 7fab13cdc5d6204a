"""A small corpus, an index of it, and a cluster that is not one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdda.retrieval.index import Index, IndexSettings
from kdda.retrieval.passages import Document
from kdda.retrieval.writer import IndexWriter

TEXTS = {
    "cats": "cat sleeps. the cat is very old and the cat sleeps again.",
    "dogs": "dog runs. a dog that sleeps is not a dog that runs.",
    "hens": "hen runs, and hen sleeps; fish do not.",
    "fish": "fish fish fish.",
    "towns": "Hà Nội là thủ đô. Mèo ngủ ở Huế.",
}
PLAIN = IndexSettings(segmenter="none")


def documents(*names: str) -> list[Document]:
    return [Document(name, TEXTS[name], source=f"{name}.txt") for name in names or TEXTS]


def make_index(folder: Path, settings: IndexSettings = PLAIN, **options: Any) -> Index:
    IndexWriter(folder, settings, **options).build(documents())
    return Index.open(folder)


class Letters:
    """Vectors of letters: an encoder without weights."""

    def __init__(self, name: str = "letters", fingerprint: str = "a"):
        self.name, self.fingerprint = name, fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts + 1e-9, axis=1, keepdims=True)


class Cluster:
    """What a client of opensearch-py does, as far as a retriever asks: a match on terms between spaces."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.made: dict[str, Any] = {}
        self.indices = self

    def create(self, index: str, body: dict[str, Any]) -> None:
        if index in self.made:
            raise RuntimeError("resource_already_exists_exception")
        self.made[index] = body

    def bulk(self, body: list[dict[str, Any]], refresh: bool) -> dict[str, Any]:
        for action, row in zip(body[::2], body[1::2], strict=True):
            self.held[action["index"]["_id"]] = row
        return {"errors": False, "items": []}

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        wanted = set(body["query"]["match"]["terms"]["query"].split(" "))
        scored = [(len(wanted & set(row["terms"].split(" "))), row) for row in self.held.values()]
        best = sorted((own for own in scored if own[0]), key=lambda own: -own[0])[: body["size"]]
        return {"hits": {"hits": [{"_score": score, "_source": row} for score, row in best]}}
