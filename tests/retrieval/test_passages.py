"""Documents become passages that keep their place, whatever they are made of."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdda.errors import KddaError
from kdda.retrieval.passages import Document, read_documents, split
from kdda.text.sentences import sentences

TEXT = "Đoạn một nói về Hà Nội. Câu hai dài hơn một chút! Còn câu ba?\n\nĐoạn hai mở đầu ở đây. Rồi nó kết thúc."


@given(st.text(alphabet="aà ́.\n?", max_size=300), st.integers(20, 60), st.integers(0, 19))
def test_passages_are_slices_that_leave_out_nothing_but_white_space(text: str, size: int, overlap: int) -> None:
    covered = set[int]()
    for passage in split(Document("d", text), size, overlap):
        assert passage.text == text[passage.start : passage.end] and 0 < len(passage.text) <= size
        covered |= set(range(passage.start, passage.end))
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)


def test_a_passage_shares_whole_sentences_with_the_next_and_ends_with_its_paragraph() -> None:
    first, second, third = split(Document("d", TEXT), 60, 30)
    assert first.text == "Đoạn một nói về Hà Nội. Câu hai dài hơn một chút!"
    assert second.text == "Câu hai dài hơn một chút! Còn câu ba?"
    assert third.text == "Đoạn hai mở đầu ở đây. Rồi nó kết thúc."


def test_a_sentence_longer_than_a_passage_is_cut_between_letters_and_says_so() -> None:
    family = "👩‍👩‍👧"  # five characters, one letter
    passages = list(split(Document("d", f"Một câu. a{12 * family}. Hai câu."), 20, 0))
    for passage in passages:
        assert set(passage.text.replace(family, "")) <= set("Một câu. Hai a")
    ends = [(passage.begins_inside, passage.ends_inside) for passage in passages]
    assert ends == [(False, False), (False, True), (True, True), (True, True), (True, False)]


@pytest.mark.parametrize("language", ["", "vi"])
def test_sentences_are_spans_of_the_raw_text(language: str) -> None:
    text = "  Ông sinh ở TP. Hồ Chí Minh… Năm 1945?\n Đúng vậy. "
    spans = sentences(text, language)
    assert "".join(text[a:b] for a, b in spans).replace(" ", "") == "".join(text.split())
    assert all(text[a:b] == text[a:b].strip() for a, b in spans)


def test_a_folder_is_read_in_the_order_of_names_and_a_heading_is_a_title(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/hue.md").write_text("# Huế\n\nHuế từng là kinh đô.", encoding="utf-8")
    (tmp_path / "a.txt").write_text("\ufeffHà Nội là thủ đô.", encoding="utf-8")
    rows = [{"id": "x", "text": "Đà Nẵng.", "title": "Biển", "source": "https://example.org"}, {"text": "Cần Thơ."}]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (tmp_path / "notes.bin").write_bytes(b"\x00")
    documents = list(read_documents(tmp_path))
    assert [document.id for document in documents] == ["a.txt", "b/hue.md", "x", "c.jsonl:2"]
    assert [document.title for document in documents] == ["", "Huế", "Biển", ""]
    assert documents[0].text == "Hà Nội là thủ đô." and documents[2].source == "https://example.org"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', 'a.jsonl:2: no "text"'),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}', "a.jsonl:2: got text 3"),
        ("a.jsonl", b"[1]", "a.jsonl:1: got list"),
        ("a.jsonl", b"{", "a.jsonl:1: not JSON"),
        ("a.jsonl", b'{"text": "\xff"}', "a.jsonl:1: not UTF-8"),
        ("a.txt", b"\xe0 la", "iconv"),
        ("a.pdf", b"", 'no reader for ".pdf"'),
        ("folder/a.pdf", b"", "holds no .txt, .md, .jsonl file"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(KddaError, match=message.replace("(", r"\(")):
        list(read_documents(path if "/" not in name else path.parent))


def test_a_corpus_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match="no file or folder"):
        list(read_documents(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "text": "y"}', 'the key "text" is given twice'),
        ('{"text": "\\ud83d"}', "an unpaired surrogate"),
        ('{"text": "x", "id": "\\ud83d"}', "an unpaired surrogate"),
        ('{"text": "x", "title": "\\ud83d"}', "an unpaired surrogate"),
        ('{"text": "x", "source": "\\ud83d"}', "an unpaired surrogate"),
        ('{"text": ' + "[" * 5000, "nested more than 100 levels deep"),
        ('{"text": "x", "id": ' + "9" * 5000 + "}", "a number of more than"),
    ],
)
def test_a_row_that_is_no_document_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "z"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(KddaError) as error:
        list(read_documents(path))
    assert f"a.jsonl:2: {message}" in str(error.value)


def test_files_in_another_encoding_and_pointers_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    for name, content, message in [
        ("a.txt", "Hà Nội".encode("utf-32"), "its first bytes say UTF-32"),
        ("a.txt.gz", gzip.compress("Hà Nội".encode())[:-9], "ends in the middle of its compressed content"),
        ("a.txt", gzip.compress(b"x"), "is compressed"),
        ("b.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(KddaError, match=message):
            list(read_documents(tmp_path / name))


def test_documents_are_read_in_the_forms_of_files_of_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Hà Nội là thủ đô.".encode()))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress('{"id": "x", "text": "Biển"}\n'.encode()))
    (tmp_path / "c.md").write_bytes("# Huế\n\nHuế có sông Hương.".encode("utf-16"))
    documents = list(read_documents(tmp_path))
    assert [document.id for document in documents] == ["a.txt.gz", "x", "c.md"]
    assert [document.title for document in documents] == ["", "", "Huế"] and "thủ đô" in documents[0].text
    assert [document.text for document in read_documents(tmp_path / "b.jsonl.gz")] == ["Biển"]


def test_documents_whose_id_says_nothing_are_all_kept(tmp_path: Path) -> None:
    rows = [{"id": None, "text": "a"}, {"id": None, "text": "b"}, {"id": "", "text": "c"}, {"id": 3.0, "text": "d"}]
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(json.dumps({**row, "title": None, "source": None}) for row in rows), encoding="utf-8")
    documents = list(read_documents(path))
    assert [document.id for document in documents] == ["c.jsonl:1", "c.jsonl:2", "c.jsonl:3", "3"]
    assert {document.title for document in documents} == {""} and documents[3].source == "c.jsonl:4"


def test_hidden_files_and_the_index_itself_are_no_documents(tmp_path: Path) -> None:
    corpus, lines = tmp_path / "corpus", []
    for name in ("a.txt", "._a.txt", ".git/b.txt", "index/segment-00001/passages.jsonl"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text('{"text": "x"}', encoding="utf-8")
    (corpus / ".DS_Store").write_bytes(b"\x00\xff")
    (corpus / ".index.lock").write_bytes(b"")
    assert [document.id for document in read_documents(corpus, corpus / "index", lines.append)] == ["a.txt"]
    assert "left out 3 hidden files" in lines[0] and "the index is no part of its corpus" in lines[1]
    assert len(list(read_documents(corpus / ".git"))) == 1  # a folder that the user names is not hidden


def test_a_file_name_that_is_not_utf8_is_written_with_its_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"h\xe0.txt")).write_text("Sông Hồng.", encoding="utf-8")
    (document,) = read_documents(tmp_path)
    assert document.id == document.source == "h\\xe0.txt"
