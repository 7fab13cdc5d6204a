"""A retriever is one file and one line of registration, and is reached by its name from a command and a recipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdda.errors import KddaError
from kdda.retrieval import RETRIEVERS, Hit, Index, Retriever, open_retriever, register_retriever
from kdda.retrieval.opensearch import OpenSearch
from tests.conftest import Bench
from tests.heads import make_reader
from tests.retrieval.corpus import TEXTS, Cluster, make_index

PLUGIN = '''
from kdda.retrieval import Hit, Index, register_retriever


class InOrder:
    """The passages in the order of the index, or in the reverse order."""

    def __init__(self, index: Index, reverse: bool = False):
        self.passages = list(index.passages())
        if reverse:
            self.passages.reverse()

    def search(self, question: str, k: int) -> list[Hit]:
        return [Hit(passage, 1 / rank) for rank, passage in enumerate(self.passages[:k], 1)]


register_retriever("in-order", InOrder)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user, in the working directory."""
    (tmp_path / "in_order_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "in_order_plugin"
    sys.modules.pop("in_order_plugin", None)
    RETRIEVERS.pop("in-order", None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """What opensearch-py connects to."""
    cluster = Cluster()

    def connect(hosts: list[str], **options: Any) -> Cluster:
        assert hosts == ["http://localhost:9200"] and options == {"timeout": 3}
        return cluster

    monkeypatch.setitem(sys.modules, "opensearchpy", SimpleNamespace(OpenSearch=connect))
    return cluster


def test_a_command_uses_the_retriever_of_a_plugin_with_its_options(tmp_path: Path, plugin: str, command: Any) -> None:
    make_index(tmp_path / "index")
    reader = make_reader(tmp_path / "reader", sharp=20)
    arguments = ["ask", tmp_path / "index", reader, "xyzzy", "--json", "--passages", 1, "--retriever", "in-order"]
    code, out, err = command(*arguments, "--plugin", plugin)
    assert code == 0, err
    assert {answer["source"] for answer in json.loads(out)} == {"cats.txt"}
    code, out, err = command(*arguments, "--plugin", plugin, "--retriever-option", "reverse=true")
    assert code == 0, err
    assert {answer["source"] for answer in json.loads(out)} == {"towns.txt"}


def test_a_command_asks_a_cluster(tmp_path: Path, cluster: Cluster, command: Any) -> None:
    OpenSearch(cluster, "texts", "none").add(make_index(tmp_path / "index").passages())
    reader = make_reader(tmp_path / "reader", sharp=20)
    options = ["url=http://localhost:9200", "segmenter=none", "timeout=3"]
    words = [word for option in options for word in ("--retriever-option", option)]
    code, out, err = command("ask", "texts", reader, "hen runs", "--json", "--retriever", "opensearch", *words)
    assert code == 0, err
    assert "hens.txt" in {answer["source"] for answer in json.loads(out)}


@pytest.mark.slow
def test_systems_of_a_recipe_use_a_plugin_and_a_cluster(
    bench: Bench, plugin: str, cluster: Cluster, command: Any
) -> None:
    bench.read()
    del bench.values["teachers"]
    systems: dict[str, Any] = {"words": {"arm": "student", "passages": [1]}}
    bench.values |= {"arms": {"student": {"train": "target"}}, "systems": systems, "plugins": [plugin]}
    code, _, err = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, err
    (folder,) = (bench.folder / "runs/systems").glob("index-aa-*")
    OpenSearch(cluster, "texts", "none").add(Index.open(folder).passages())
    in_cluster = {"url": "http://localhost:9200", "name": "texts", "segmenter": "none", "timeout": 3}
    systems["ordered"] = {"arm": "student", "retriever": "in-order", "retriever_options": {"reverse": True}}
    systems["cluster"] = {"arm": "student", "retriever": "opensearch", "retriever_options": in_cluster}
    code, out, err = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, err
    assert "ordered" in out and "cluster" in out
    predictions = (bench.folder / "runs/systems/cluster/seed-1/predictions.jsonl").read_text(encoding="utf-8")
    ranks = [json.loads(line).get("gold_rank") for line in predictions.splitlines()]
    assert any(ranks)


def test_a_recipe_with_an_unknown_retriever_or_option_is_refused_before_training(bench: Bench, command: Any) -> None:
    bench.read()
    for system, message in (
        ({"retriever": "bm52"}, 'systems.a.retriever: got "bm52", expected one of: bm25'),
        ({"retriever_options": {"k": 1}}, 'systems.a.retriever "bm25" takes no options, got "k"'),
        ({"retriever": "opensearch"}, 'systems.a.retriever "opensearch": the option "url" is missing'),
    ):
        bench.values["systems"] = {"a": {"arm": "student", **system}}
        code, _, err = command("run", bench.write(), "--out", bench.folder / "runs")
        assert code == 2 and message in err
    assert not (bench.folder / "runs").exists()


class Nothing:
    """A retriever that retrieves nothing, with one option."""

    def __init__(self, index: str, size: int = 1):
        self.index = index

    def search(self, question: str, k: int) -> list[Hit]:
        return []


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdda.retrieval.registry.RETRIEVERS", {**RETRIEVERS})
    register_retriever("nothing", Nothing, reads_index=False)


def test_a_retriever_that_reads_no_folder_is_given_the_name_of_its_index(tmp_path: Path, nothing: None) -> None:
    retriever = open_retriever("nothing", "anything", {"size": 2})
    assert isinstance(retriever, Nothing) and isinstance(retriever, Retriever) and retriever.index == "anything"
    opened = open_retriever("nothing", make_index(tmp_path / "texts"))
    assert isinstance(opened, Nothing) and opened.index == "texts"


def test_unknown_options_and_names_in_use_are_refused(nothing: None) -> None:
    with pytest.raises(KddaError, match='option: got "sise", expected one of: size — did you mean "size"'):
        open_retriever("nothing", "anything", {"sise": 2})
    with pytest.raises(KddaError, match='retriever "nothing" is registered already'):
        register_retriever("nothing", Nothing)


def test_an_option_without_a_value_is_refused(tmp_path: Path, command: Any) -> None:
    code, _, err = command("ask", tmp_path, "model", "cat", "--retriever-option", "url")
    assert code == 2 and 'got "url", expected name=value' in err


def test_an_index_gives_all_its_passages(tmp_path: Path) -> None:
    assert [passage.text for passage in make_index(tmp_path / "index").passages()] == list(TEXTS.values())
