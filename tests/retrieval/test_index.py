"""An index on disk: added to without being rebuilt, whole or not there, and never trusted blindly."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import bm25s
import pytest
from filelock import FileLock

from kdda.errors import KddaError
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.dense import Dense
from kdda.retrieval.index import Index, IndexSettings, read_manifest
from kdda.retrieval.passages import Document, split
from kdda.retrieval.pool import term_extractor
from kdda.retrieval.terms import terms_of
from kdda.retrieval.writer import IndexWriter
from kdda.runtime.live import Update, updates_to
from tests.conftest import make_model
from tests.retrieval.corpus import PLAIN, TEXTS, Letters, documents, make_index


def test_an_index_gives_its_passages_back_to_the_character(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    assert [index.passage(i).text for i in range(len(index))] == list(TEXTS.values())
    assert index.passage(0).source == "cats.txt"


def test_scores_over_segments_are_those_of_bm25s_over_all_passages_at_once(tmp_path: Path) -> None:
    for part in (["cats", "dogs"], ["hens"], ["fish", "towns"]):
        IndexWriter(tmp_path / "index", PLAIN).build(documents(*part), add=part[0] != "cats")
    index = Index.open(tmp_path / "index")
    oracle = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    oracle.index([terms_of(text, "none") for text in TEXTS.values()], show_progress=False)
    for question in ("cat sleeps", "the dog runs and a hen", "fish", "Mèo ở thủ đô"):
        wanted = oracle.get_scores([term for term in terms_of(question, "none") if term in oracle.vocab_dict])
        found = {hit.passage.document: hit.score for hit in Bm25(index).search(question, 10)}
        assert found == pytest.approx({n: s for n, s in zip(TEXTS, wanted.tolist(), strict=True) if s}, rel=1e-5)
    assert len(index.segments) == 3


def test_what_is_added_touches_nothing_that_is_there_and_known_documents_are_left_out(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    before = {p: p.read_bytes() for p in (tmp_path / "index/segment-00001").iterdir()}
    built = IndexWriter(tmp_path / "index").build([*documents("cats"), Document("new", "a new cat.")], add=True)
    assert (built.documents, built.passages, built.known) == (1, 1, 1)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert Bm25(Index.open(tmp_path / "index")).search("new", 5)[0].passage.document == "new"


def test_words_are_matched_beside_syllables_and_spelling_does_not_matter(tmp_path: Path) -> None:
    assert terms_of("THỦ ĐÔ", "vi") == ["thủ", "đô", "thủ_đô"]
    assert terms_of("Ha\u0300 No\u0323\u0302i", "none") == ["hà", "nội"]
    index = make_index(tmp_path / "index", IndexSettings())
    assert Bm25(index).search("thủ đô Hà Nội", 1)[0].passage.document == "towns"


def test_processes_read_the_same_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Hà Nội là thủ đô số {i}." for i in range(520)]
    with term_extractor("vi", 2) as reader:
        assert reader(texts) == [terms_of(text, "vi") for text in texts]


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match="corpus is empty"):
        IndexWriter(tmp_path / "index", PLAIN).build([])
    with pytest.raises(KddaError, match="is no index"):
        Index.open(tmp_path / "index")


def test_an_index_is_not_overwritten_and_a_strange_folder_is_left_alone(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    with pytest.raises(KddaError, match="--add adds to it"):
        IndexWriter(tmp_path / "index", PLAIN).build(documents())
    with pytest.raises(KddaError, match="no index to add to"):
        IndexWriter(tmp_path / "other", PLAIN).build(documents(), add=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").touch()
    with pytest.raises(KddaError, match=r"photo\.jpg"):
        IndexWriter(tmp_path / "mine", PLAIN).build(documents())


def test_a_writer_that_was_stopped_leaves_what_there_was(tmp_path: Path) -> None:
    make_index(tmp_path / "index")

    def stopped() -> Iterator[Document]:
        yield Document("half", "half a corpus")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        IndexWriter(tmp_path / "index").build(stopped(), add=True)
    (tmp_path / "index/segment-00002").mkdir()  # as a kill during the writing of a segment leaves it
    assert len(Index.open(tmp_path / "index")) == len(TEXTS)
    IndexWriter(tmp_path / "index").build([Document("new", "a whole one")], add=True)
    assert len(Index.open(tmp_path / "index")) == len(TEXTS) + 1


def test_a_first_index_that_was_stopped_is_refused_and_made_anew(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    (tmp_path / "index/index.json").unlink()
    with pytest.raises(KddaError, match="did not finish"):
        Index.open(tmp_path / "index")
    assert len(make_index(tmp_path / "index")) == len(TEXTS)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "is missing": lambda folder: (folder / "segment-00001/lengths.npy").unlink(),
    "were written": lambda folder: (folder / "segment-00001/passages.jsonl").write_text("{}"),
    "is not what was written": lambda folder: _flip(folder / "segment-00001/indices.csc.index.npy"),
    "cannot be read": lambda folder: (folder / "index.json").write_text('{"format": "kdda-index", "version": 1'),
    "an index of version 1; this kdda reads version 2": lambda folder: _version_1(folder / "index.json"),
    "of version 99": lambda folder: _rewrite(folder / "index.json", version=99),
    "String should match": lambda folder: _rename(folder / "index.json"),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


def _rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _version_1(path: Path) -> None:
    """As it was written before an index had the fingerprint of its dense model."""
    manifest = json.loads(path.read_text())
    del manifest["dense_fingerprint"]
    path.write_text(json.dumps({**manifest, "version": 1}))


def _rename(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["segments"][0]["name"] = "../elsewhere"
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("message", list(DAMAGE))
def test_a_damaged_index_or_another_versions_is_refused_with_what_to_do(tmp_path: Path, message: str) -> None:
    make_index(tmp_path / "index")
    DAMAGE[message](tmp_path / "index")
    with pytest.raises(KddaError, match=message) as refused:
        Index.open(tmp_path / "index")
    assert "index" in str(refused.value) and "again" in str(refused.value)


def test_damage_that_only_a_search_meets_is_no_traceback(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    counts = index.segments[0].counts
    counts["indices"] = counts["indices"][:] + 1000
    with pytest.raises(KddaError, match="damaged"):
        Bm25(index).search("cat", 3)


def test_a_file_that_was_cut_since_it_was_opened_is_no_traceback(tmp_path: Path) -> None:
    index = make_index(tmp_path / "index")
    for name in ("passages.jsonl", "data.csc.index.npy"):
        path = tmp_path / "index/segment-00001" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(KddaError, match="damaged"):
            _read_whole(index)
        path.write_bytes(whole)
    _read_whole(index)


def _read_whole(index: Index) -> None:
    """Read all passages, and the counts of all terms."""
    assert list(index.passages())
    for segment in index.segments:
        for term in segment.vocabulary:
            segment.guarded(partial(segment.occurrences, term))


def test_a_search_by_bm25_imports_no_torch_and_maps_no_posting_list(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    code = (
        "import sys; from pathlib import Path; from kdda.retrieval import Index, open_retriever; "
        f"index = Index.open(Path({str(tmp_path / 'index')!r})); open_retriever('bm25', index).search('cat', 3); "
        "assert 'torch' not in sys.modules; maps = Path('/proc/self/maps'); "
        "assert not maps.exists() or 'indices.csc' not in maps.read_text()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_large_files_are_read_whole_before_more_is_put_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(tmp_path / "index")
    _flip(tmp_path / "index/segment-00001/data.csc.index.npy")
    monkeypatch.setattr("kdda.retrieval.segments.READ_WHOLE", 0)
    Index.open(tmp_path / "index")
    with pytest.raises(KddaError, match="is not what was written"):
        IndexWriter(tmp_path / "index").build(documents(), add=True)


def test_a_second_writer_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    with FileLock(tmp_path / ".index.lock"), pytest.raises(KddaError, match="another process is writing"):
        IndexWriter(tmp_path / "index").build([Document("x", "x")], add=True, wait=0.0)
    assert len(Index.open(tmp_path / "index")) == len(TEXTS)


def test_nothing_is_left_beside_an_index(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    assert list(tmp_path.iterdir()) == [tmp_path / "index"]


def test_two_writers_take_turns_and_nothing_is_lost(tmp_path: Path) -> None:
    make_index(tmp_path / "index")
    both = threading.Barrier(2)

    def write(name: str) -> None:
        both.wait()
        IndexWriter(tmp_path / "index").build([Document(name, f"text of {name}")], add=True, wait=60.0)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = Index.open(tmp_path / "index")
    assert {index.passage(i).document for i in range(len(index))} == {*TEXTS, "one", "two"}


def test_a_document_of_ten_megabytes_is_indexed(tmp_path: Path) -> None:
    line = "Sông Hồng chảy qua Hà Nội " * 30 + "rồi ra biển Đông. "
    text = line * (10_000_000 // len(line.encode()) + 1)
    (tmp_path / "long.txt").write_text(text + "Cái kim này nằm ở cuối.", encoding="utf-8")
    from kdda.retrieval.passages import read_documents

    IndexWriter(tmp_path / "index", PLAIN).build(read_documents(tmp_path / "long.txt"))
    (hit,) = Bm25(Index.open(tmp_path / "index")).search("cái kim", 1)
    assert hit.passage.text == text[hit.passage.start : hit.passage.end] + "Cái kim này nằm ở cuối."


def test_many_segments_are_searched_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdda.retrieval.writer.SEGMENT_PASSAGES", 2)
    many = make_index(tmp_path / "many")
    monkeypatch.undo()
    one = make_index(tmp_path / "one")
    assert len(many.segments) == 3 and len(one.segments) == 1
    for question in ("cat sleeps", "runs", "thủ đô"):
        assert Bm25(many).search(question, 3) == Bm25(one).search(question, 3)


def test_vectors_stand_beside_terms_and_an_index_remembers_the_model_that_made_them(tmp_path: Path) -> None:
    make_index(tmp_path / "index", IndexSettings(segmenter="none", dense="letters"), embed=Letters)
    manifest = read_manifest(tmp_path / "index")
    assert (manifest.settings.dense, manifest.dense_fingerprint) == ("letters", "a")
    IndexWriter(tmp_path / "index", embed=Letters).build([Document("new", "zzz")], add=True)
    shapes = [segment.vectors.shape for segment in Index.open(tmp_path / "index").segments]
    assert shapes == [(len(TEXTS), 26), (1, 26)]


def test_passages_of_other_weights_are_not_added_to_an_index(tmp_path: Path) -> None:
    make_index(tmp_path / "index", IndexSettings(segmenter="none", dense="letters"), embed=Letters)
    trained_again = partial(Letters, fingerprint="b")
    with pytest.raises(KddaError, match=r'"letters" with other weights \(fingerprint a; the model now has b\)'):
        IndexWriter(tmp_path / "index", embed=trained_again).build([Document("new", "zzz")], add=True)
    assert len(Index.open(tmp_path / "index")) == len(TEXTS)


def test_a_dense_model_is_remembered_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    index = make_index(tmp_path / "index", IndexSettings(segmenter="none", dense="model"))
    assert index.settings.dense == str(tmp_path / "model")
    assert len(Dense.open(index).search("cat", 2)) == 2


def test_modules_of_retrieval_change_no_logger_when_they_are_imported() -> None:
    code = (
        "import logging, bm25s; logger = logging.getLogger('bm25s'); logger.setLevel(7); "
        "import kdda.retrieval.counts; assert logger.level == 7, logger.level"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_indexing_leaves_the_level_of_a_logger_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "bm25s")
    make_index(tmp_path / "index")
    assert logging.getLogger("bm25s").level == logging.DEBUG
    assert not [record for record in caplog.records if record.name == "bm25s"]


def test_a_title_is_matched_too(tmp_path: Path) -> None:
    IndexWriter(tmp_path / "index", PLAIN).build([*documents(), Document("x", "nothing of the kind", "Huy hoàng")])
    assert Bm25(Index.open(tmp_path / "index")).search("huy hoàng", 1)[0].passage.document == "x"


def test_passages_overlap_in_the_index_as_they_were_split(tmp_path: Path) -> None:
    long = Document("long", "Một câu ngắn thôi. " * 20)
    IndexWriter(tmp_path / "index", IndexSettings(segmenter="none", size=100, overlap=40)).build([long])
    index = Index.open(tmp_path / "index")
    assert [index.passage(i) for i in range(len(index))] == list(split(long, 100, 40))


def test_a_picture_is_told_of_passages_and_vectors_and_then_no_lines_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdda.retrieval.writer.PROGRESS_SECONDS", 0.0)
    settings = IndexSettings(segmenter="none", dense=make_model(tmp_path / "model"))
    lines: list[str] = []
    updates: list[Update] = []
    with updates_to(updates.append):
        IndexWriter(tmp_path / "drawn", settings, processes=1, say=lines.append).build(documents())
    assert {"stage": "", "done": len(TEXTS), "total": None, "unit": "passages"} in updates
    assert {"stage": "vectors", "done": 0, "total": len(TEXTS), "unit": "texts"} in updates and not lines
    IndexWriter(tmp_path / "piped", PLAIN, processes=1, say=lines.append).build(documents())
    assert len(lines) == 1 and lines[0].startswith(f"  {len(TEXTS)} passages, ")
