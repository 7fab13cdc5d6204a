"""From documents to answers: by hand, and on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import kdda
from kdda.baselines.vireader import reader_of
from kdda.errors import KddaError
from kdda.retrieval.base import Hit
from kdda.retrieval.bm25 import Bm25
from kdda.retrieval.open_domain import ReadPassage, best_answers
from kdda.retrieval.passages import Passage
from kdda.retrieval.pipeline import Corpus
from kdda.retrieval.writer import IndexWriter
from kdda.tasks.qa import AnswerSpan
from tests.heads import make_judge, make_reader
from tests.retrieval.corpus import PLAIN, documents, make_index

FIELDS = ["answer", "score", "source", "passage", "start", "end"]


def read(name: str, retrieved: float, *slices: tuple[int, int, float], start: int = 0) -> ReadPassage:
    text = "abcdefghij"
    return ReadPassage(Hit(Passage(name, text, start, start + 10), retrieved), [AnswerSpan(*own) for own in slices])


class TestMixing:
    TWO: Sequence[ReadPassage] = (read("found", 9.0, (0, 2, 1.0)), read("read", 3.0, (4, 6, 3.0)))

    @pytest.mark.parametrize(("mu", "best"), [(0.0, "found"), (1.0, "read"), (0.9, "read"), (0.1, "found")])
    def test_mu_says_who_decides(self, mu: float, best: str) -> None:
        assert best_answers(self.TWO, mu)[0].passage.document == best

    def test_both_sides_are_one_for_the_best_there_is(self) -> None:
        found = {own.passage.document: own.score for own in best_answers(self.TWO, 0.5, best=2)}
        assert found["read"] == pytest.approx(0.5 + 0.5 * 3 / 9)
        assert found["found"] == pytest.approx(0.5 * 0.1353352832 + 0.5)

    def test_a_place_is_given_once_though_passages_overlap(self) -> None:
        three = [read("d", 2.0, (5, 8, 1.0), (6, 7, 0.5)), read("d", 1.0, (0, 3, 0.9), start=5), read("e", 1.0)]
        assert [own.place for own in best_answers(three, 1.0, best=5)] == [("d", 5, 8)]

    def test_nothing_read_gives_nothing(self) -> None:
        assert best_answers([], 0.5) == []


@pytest.fixture
def reader(tmp_path: Path) -> str:
    return make_reader(tmp_path / "reader", sharp=20)


def test_answers_are_slices_of_passages(tmp_path: Path, reader: str) -> None:
    make_index(tmp_path / "index")
    found = Corpus.open(tmp_path / "index", kdda.load(reader)).ask("cat sleeps", best=3)
    assert 1 <= len(found) <= 3
    for own in found:
        assert own.answer == own.passage.text[own.start : own.end] and 0 <= own.score <= 1 + 1e-9
        assert list(own.as_dict()) == FIELDS


def test_one_passage_is_read_as_the_model_reads_it_alone(tmp_path: Path, reader: str) -> None:
    own = kdda.load(reader)
    corpus = Corpus(Bm25(make_index(tmp_path / "index")), own, passages=1, mu=1.0)
    (found,) = corpus.ask("hen runs", best=1)
    assert found.answer == own.answer("hen runs", found.passage.text).text


def test_a_model_that_labels_and_an_empty_question_are_refused(tmp_path: Path, reader: str) -> None:
    make_index(tmp_path / "index")
    with pytest.raises(KddaError, match="labels texts"):
        Corpus.open(tmp_path / "index", reader_of(kdda.load(make_judge(tmp_path / "judge"))))
    with pytest.raises(KddaError, match="the question is empty"):
        Corpus.open(tmp_path / "index", kdda.load(reader)).ask("  ")


class TestCommands:
    def test_index_then_ask(self, tmp_path: Path, reader: str, command: Any) -> None:
        for own in documents():
            (tmp_path / "texts").mkdir(exist_ok=True)
            (tmp_path / f"texts/{own.id}.txt").write_text(own.text, encoding="utf-8")
        code, out, err = command("index", tmp_path / "texts", tmp_path / "index", "--no-segment")
        assert code == 0 and "5 documents, 5 passages" in out and f"kdda ask {tmp_path / 'index'} MODEL" in err
        code, _, err = command("ask", tmp_path / "index", "dog runs")  # no model
        assert code == 2 and f'kdda ask {tmp_path / "index"} MODEL "dog runs"' in err
        code, out, _ = command("ask", tmp_path / "index", reader, "dog runs", "--json", "--best", 2, "--passages", 3)
        found = json.loads(out)
        assert code == 0 and 1 <= len(found) <= 2
        for own in found:
            assert list(own) == FIELDS and own["answer"] == own["passage"][own["start"] : own["end"]]
            assert own["source"] in {"cats.txt", "dogs.txt", "hens.txt"}
        code, out, _ = command("ask", tmp_path / "index", reader, "dog runs", "--best", 1)
        assert code == 0 and f"⟦{found[0]['answer']}⟧" in out
        (tmp_path / "more.txt").write_text("a cat in a hat", encoding="utf-8")
        code, out, _ = command("index", tmp_path / "more.txt", tmp_path / "index", "--add")
        assert code == 0 and "1 document, 1 passage" in out

    def test_a_passage_out_of_a_long_sentence_has_an_ellipsis_where_it_is_cut_and_words_are_whole(
        self, tmp_path: Path, reader: str, command: Any
    ) -> None:
        text = "hen runs. " + "very old dog sleeps and " * 12 + "a cat runs. fish runs."
        (tmp_path / "one.txt").write_text(text, encoding="utf-8")
        command("index", tmp_path / "one.txt", tmp_path / "index", "--no-segment", "--size", 100, "--overlap", 0)
        code, out, _ = command("ask", tmp_path / "index", reader, "dog cat", "--best", 9)
        assert code == 0
        shown = [line.translate({ord("⟦"): None, ord("⟧"): None}) for line in out.splitlines() if "⟦" in line]
        assert len(shown) > 2
        for line in shown:
            passage = line.strip("…")
            assert passage in text and set(passage.split()) <= set(text.split())
            assert line.startswith("…") != passage.startswith(("hen runs", "very old dog"))
            assert line.endswith("…") != passage.endswith("runs.")

    @pytest.mark.parametrize(
        ("language", "words"), [("en", "not the probability that the answer is right"), ("vi", "không phải xác suất")]
    )
    def test_the_score_is_explained_above_the_answers(
        self, tmp_path: Path, reader: str, command: Any, language: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KDDA_LANG", language)
        make_index(tmp_path / "index")
        header = command("ask", tmp_path / "index", reader, "dog runs", "--mu", 0.3)[1].splitlines()[0]
        assert words in header and "0.3" in header and "0.7" in header

    def test_a_question_with_no_known_word_is_answered_so(self, tmp_path: Path, reader: str, command: Any) -> None:
        make_index(tmp_path / "index")
        assert command("ask", tmp_path / "index", reader, "xyzzy", "--json")[:2] == (0, "[]\n")
        assert "No passage" in command("ask", tmp_path / "index", reader, "xyzzy")[1]

    def test_mistakes_are_messages(self, tmp_path: Path, reader: str, command: Any) -> None:
        code, _, err = command("ask", tmp_path / "nowhere", reader, "cat")
        assert code == 2 and "kdda index CORPUS OUT" in err
        code, _, err = command("index", tmp_path / "nothing", tmp_path / "index")
        assert code == 2 and "no file or folder" in err
        code, _, err = command("serve", reader, "--index", tmp_path / "nowhere")
        assert code == 2 and "is no index" in err
        IndexWriter(tmp_path / "index", PLAIN).build(documents())
        code, _, err = command("index", tmp_path, tmp_path / "index", "--add", "--no-segment")
        assert code == 2 and "leave out" in err
