"""Files that a reading library cannot read end in one message with file and line."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kdda.data.adapters import to_rows
from kdda.data.sources import Row, Source, read_rows
from kdda.errors import KddaError

HEADER = b"label,premise,hypothesis\n"
DEEP = b"[" * 50_000
LONG = b"9" * 5_000


def read(folder: Path, name: str, content: bytes) -> list[Row]:
    (folder / name).write_bytes(content)
    return list(read_rows(Source(str(folder / name))))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", HEADER + b'a,b,c\na,b,"c\nd,e,f\n', 'a.csv:3: a cell that begins here with " is never closed'),
        ("a.csv", HEADER + b'a,"b\n\nb","c\nd,e,f\n', 'a.csv:4: a cell that begins here with " is never closed'),
        ("a.csv", HEADER + b'a,"b""\n","c\n""\nd\n', 'a.csv:3: a cell that begins here with " is never closed'),
        ("a.csv", HEADER + b'a,"b" c,d\n', 'a.csv:2: text after the closing "'),
        (
            "a.csv",
            HEADER + b'a,b,"c\nd,e,"f"\n',
            'a.csv:3: text after the closing " of a cell (which begins in line 2)',
        ),
        ("a.csv", HEADER + b"a,b\rc,d\n", "a.csv:2: a carriage return"),
        ("a.csv", HEADER.replace(b"\n", b"\r") + b"a,b,c\r", "a.csv:1: a carriage return"),
        ("a.tsv", b"x\ty\na\tb\rc\n", "a.tsv:2: a carriage return"),
        ("a.csv", b"label,premise,hypothesis,label\na,b,c,d\n", 'a.csv:1: the column "label" is named twice'),
        ("a.csv", b"\n\nx,x\na,b\n", 'a.csv:3: the column "x" is named twice'),
        ("a.tsv", b"x\tx\na\tb\n", 'a.tsv:1: the column "x" is named twice'),
        ("a.jsonl", b'{"x": 1}\n{"x": 1, "x": 2}\n', 'a.jsonl:2: the key "x" is given twice'),
        ("a.jsonl", b'{"answers": {"text": [], "text": []}}\n', 'a.jsonl:1: the key "text" is given twice'),
        ("a.json", b'[{"x": 1},\n{"y": {"x": "\\"{:"},\n"\\u0079": 2}]\n', 'a.json:3: the key "y" is given twice'),
        ("a.jsonl", b'{"x": 1}\n{"x": ' + DEEP + b"\n", "a.jsonl:2: nested more than 100 levels deep"),
        ("a.json", b"[\n\n" + b'{"x":' * 400 + b"1" + b"}" * 400 + b"]", "a.json:3: nested more than 100 levels deep"),
        ("a.json", DEEP, "a.json:1: nested more than 100 levels deep"),
        ("a.jsonl", b'{"x": 1}\n{"x": ' + LONG + b"}\n", "a.jsonl:2: a number of more than 4,300 digits"),
        ("a.json", b"[\n" + LONG + b"]\n", "a.json:2: a number of more than 4,300 digits"),
        ("a.csv", b"\xff\xfea\x00\n\x00\x00\xd8\n\x00", "a.csv:2: not UTF-16LE at byte 1 of the line"),
        ("a.tsv", b"\xfe\xff\x00a\x00\n\x00b\x00", "a.tsv:2: not UTF-16BE at byte 3 of the line"),
        ("a.jsonl", b"\xff\xfe\x00\x00a\x00\x00\x00", "a.jsonl:1: its first bytes say UTF-32"),
        ("a.json", "[1, 2, 3]".encode("utf-16-le"), "a.json, item 1: got int"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "a.parquet is a Git LFS pointer"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "a.csv is a Git LFS pointer"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a.jsonl is a Git LFS pointer"),
        ("a.json", b"<!DOCTYPE html>\n<html>", "a.json is a web page"),
        ("a.jsonl", b"\x1f\x8b\x08\x00", "a.jsonl is compressed (gzip)"),
        ("a.parquet", b"", "a.parquet: cannot be read"),
        ("a.parquet", b"PAR1 and no more", "a.parquet: cannot be read"),
        ("a.parquet", b"nonsense", "a.parquet: cannot be read"),
    ],
)
def test_a_broken_file_is_one_message_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(KddaError) as error:
        read(tmp_path, name, content)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_parquet_cut_anywhere_or_with_a_text_that_is_not_utf8_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pyarrow.array([b"a"] * 1500 + [b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, compression="none")
    whole = path.read_bytes()
    with pytest.raises(KddaError, match="row 1501: cannot be read"):
        read_rows(Source(str(path)))
    for place in range(4, len(whole), 97):
        with pytest.raises(KddaError, match=r"a\.parquet"):
            read(tmp_path, "a.parquet", whole[:place])
        with pytest.raises(KddaError, match=r"a\.parquet"):
            read(tmp_path, "a.parquet", whole[:place] + b"\xff" * 64 + whole[place + 64 :])


def test_a_parquet_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], ["x", "x"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(KddaError, match='the column "x" is there twice'):
        read_rows(Source(str(tmp_path / "a.parquet")))


def test_large_cells_are_read_and_cells_without_a_column_name_may_repeat(tmp_path: Path) -> None:
    text = "từ " * 100_000
    rows = read(tmp_path, "a.csv", f"x,,\n{text},1,2\n".encode())
    assert rows[0].values["x"] == text
    assert read(tmp_path, "a.tsv", f"x\n{text}\n".encode())[0].values["x"] == text


def test_cells_that_have_swallowed_rows_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"neutral,a{i},b{i}" for i in range(20)]
    lines[5] = 'neutral,a5,"b5'
    lines[9] = 'neutral,a9,b9"'
    with caplog.at_level(logging.WARNING):
        rows = read(tmp_path, "a.csv", HEADER + "\n".join(lines).encode())
    assert len(rows) == 16 and "a.csv: 1 quoted cells hold line ends" in caplog.text and "line 7" in caplog.text


def test_paragraphs_are_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [f'neutral,a{i},"b, c\n\nd, {i}"' for i in range(20)]
    with caplog.at_level(logging.WARNING):
        read(tmp_path, "a.csv", HEADER + "\n".join(lines).encode())
    assert not caplog.text


@pytest.mark.parametrize("value", [lambda: 0, [[]] * 3 + [object()]])
def test_a_value_of_python_that_cannot_be_stored_is_named_with_its_row(value: Any) -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    for unstorable in (value, deep) if callable(value) else (deep,):
        with pytest.raises(KddaError, match="train, row 2: a value that cannot be stored"):
            to_rows([{"x": 1}, {"x": unstorable}], "train")


def test_a_row_with_keys_of_json_alone_is_read_as_before(tmp_path: Path) -> None:
    row = {"id": 1, "premise": "a \u2028 b", "nested": {"x": [1.5, None, True, {"y": "\\u0061"}]}}
    assert read(tmp_path, "a.jsonl", json.dumps(row).encode())[0].values == row
