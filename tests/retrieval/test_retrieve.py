"""One interface: whatever finds passages keeps the same promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdda.embeddings.encoder import MeanPoolingModel
from kdda.errors import KddaError
from kdda.retrieval.base import Hit, Retriever
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.dense import Dense
from kdda.retrieval.fusion import Fusion
from kdda.retrieval.index import Index, IndexSettings
from kdda.retrieval.opensearch import OpenSearch
from kdda.retrieval.passages import Passage
from kdda.retrieval.registry import open_retriever
from tests.conftest import make_model
from tests.retrieval.corpus import TEXTS, Cluster, Letters, make_index

KINDS = ["bm25", "dense", "fusion", "opensearch"]


def passages() -> list[Passage]:
    return [Passage(name, text, 0, len(text)) for name, text in TEXTS.items()]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("retrieve") / "index"
    return make_index(folder, IndexSettings(segmenter="none", dense="letters"), embed=Letters)


@pytest.fixture(params=KINDS)
def retriever(request: pytest.FixtureRequest, index: Index) -> Retriever:
    if request.param == "opensearch":
        cluster = OpenSearch(Cluster(), "texts", "none")
        cluster.make()
        assert cluster.add(passages()) == cluster.add(passages()) == len(TEXTS)
        return cluster
    dense = Dense(index, Letters())
    return {"bm25": Bm25(index), "dense": dense, "fusion": Fusion([Bm25(index), dense])}[request.param]


class TestEveryRetriever:
    def test_gives_the_best_first_each_once_and_no_more_than_was_asked_for(self, retriever: Retriever) -> None:
        assert isinstance(retriever, Retriever)
        for k in (1, 3, 50):
            found = retriever.search("the cat sleeps", k)
            scores = [hit.score for hit in found]
            assert scores == sorted(scores, reverse=True) and len(found) <= k
            assert len({hit.passage.key for hit in found}) == len(found)

    def test_finds_the_passage_that_says_it(self, retriever: Retriever) -> None:
        for name in ("cats", "dogs", "hens"):
            (hit,) = retriever.search(TEXTS[name], 1)
            assert hit.passage.document == name and hit.passage.text == TEXTS[name]

    def test_finds_the_same_again(self, retriever: Retriever) -> None:
        assert retriever.search("dog runs", 4) == retriever.search("dog runs", 4)


@pytest.mark.parametrize("question", ["xyzzy", "?!", "\u0301"])
def test_a_question_with_no_known_word_finds_nothing_by_words(index: Index, question: str) -> None:
    cluster = OpenSearch(Cluster(), "texts", "none")
    cluster.add(passages())
    assert Bm25(index).search(question, 5) == [] == cluster.search(question, 5)


def test_fusion_prefers_what_both_find() -> None:
    def ranked(*names: str) -> Retriever:
        class Fixed:
            def search(self, question: str, k: int) -> list:
                return [hit for hit in hits if hit.passage.document in names][:k]

        hits = [Hit(Passage(name, name, 0, 1), 1.0) for name in names]
        return Fixed()

    found = Fusion([ranked("a", "b", "c"), ranked("d", "b", "e")]).search("", 3)
    assert [hit.passage.document for hit in found] == ["b", "a", "d"]
    assert found[0].score == pytest.approx(2 / 62)


def test_vectors_of_another_model_are_refused(tmp_path: Path, index: Index) -> None:
    with pytest.raises(KddaError, match='vectors of "letters", not of "words"'):
        Dense(index, Letters("words"))
    with pytest.raises(KddaError, match=r'"letters" with other weights \(fingerprint a; the model now has b\)'):
        Dense(index, Letters(fingerprint="b"))
    with pytest.raises(KddaError, match="--dense MODEL"):
        open_retriever("dense", make_index(tmp_path / "plain"))
    with pytest.raises(KddaError, match='did you mean "fusion"'):
        open_retriever("fusoin", index)


def test_questions_are_not_encoded_by_a_model_that_was_trained_again(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    index = make_index(tmp_path / "index", IndexSettings(segmenter="none", dense=model))
    assert open_retriever("fusion", index).search("cat", 1)
    make_model(tmp_path / "model", seed=1)
    with pytest.raises(KddaError, match=r"with other weights .* index the corpus again"):
        open_retriever("fusion", index)


def test_an_encoders_vectors_are_means_of_its_last_states(tmp_path: Path) -> None:
    own = MeanPoolingModel.load(make_model(tmp_path / "model"))
    texts = ["cat sleeps", "dog runs very", "cat sleeps"]
    found = own.encode(texts)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert found[0] == pytest.approx(found[2], abs=1e-6)
    inputs = own.encoder.pad(own.encoder.encode(["dog runs very"]))
    mean = own.model(**inputs).last_hidden_state[0].mean(0).detach().numpy()
    assert found[1] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_cluster_that_fails_is_a_message() -> None:
    own = OpenSearch(Cluster(), "texts", "none")
    own.make()
    with pytest.raises(KddaError, match='index "texts": RuntimeError: resource_already_exists'):
        own.make()
    own.client.bulk = lambda **_: {"errors": True, "items": [{"index": {"error": "no room"}}]}
    with pytest.raises(KddaError, match="refused 1 passage: no room"):
        own.add(passages()[:1])
