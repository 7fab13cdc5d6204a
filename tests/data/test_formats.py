"""Rows from the files that people have: exports of spreadsheets, workbooks, compressed files, Parquet, folders."""

import builtins
import gzip
import json
import logging
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import openpyxl
import pytest
import zstandard

from kdda.data.examples import Schema, check_rows, labelled_converter
from kdda.data.sources import Row, Source, read_rows
from kdda.errors import KddaError

PAIRS = [("Mèo ngủ.", "Có con vật ngủ.", "entailment"), ('Gà "gáy".', "Gà; vịt", "neutral")]
VALUES = [{"premise": a, "hypothesis": b, "label": c} for a, b, c in PAIRS]
TABLE = "premise;hypothesis;label\n" + 'Mèo ngủ.;Có con vật ngủ.;entailment\n"Gà ""gáy"".";"Gà; vịt";neutral\n'
TABS = "premise\thypothesis\tlabel\n" + "".join("\t".join(pair) + "\n" for pair in PAIRS)
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in VALUES)


def rows_of(path: Path | str, content: bytes | None = None, **settings: Any) -> list[Row]:
    if content is not None:
        Path(path).write_bytes(content)
    return list(read_rows(Source(str(path), **settings)))


def values_of(path: Path | str, content: bytes | None = None, **settings: Any) -> list[dict[str, Any]]:
    return [row.values for row in rows_of(path, content, **settings)]


def refusal(path: Path | str, content: bytes | None = None, **settings: Any) -> str:
    with pytest.raises(KddaError) as error:
        rows_of(path, content, **settings)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("name", "text"), [("a.csv", TABLE), ("a.tsv", TABS), ("a.txt", TABS), ("a.jsonl", LINES)])
def test_exports_in_any_unicode_encoding_give_the_same_rows(
    tmp_path: Path, encoding: str, name: str, text: str
) -> None:
    rows = rows_of(tmp_path / name, text.encode(encoding))
    assert [row.values for row in rows] == VALUES
    assert [row.where for row in rows] == [f"{tmp_path / name}:{i + (name != 'a.jsonl')}" for i in (1, 2)]


def test_the_header_tells_the_delimiter_once_for_the_whole_file(tmp_path: Path) -> None:
    assert values_of(tmp_path / "a.csv", b'"x,y";z\n1;2,3\n') == [{"x,y": "1", "z": "2,3"}]
    assert values_of(tmp_path / "a.csv", b"x\ty\n1,2;3\t4\n") == [{"x": "1,2;3", "y": "4"}]
    assert values_of(tmp_path / "a.csv", b"x\n1;2\n") == [{"x": "1;2"}]
    assert "a.csv:3: got 1 field, expected 2" in refusal(tmp_path / "a.csv", b"x;y\n1;2\n3,4\n")
    assert values_of(tmp_path / "a.csv", b"1,5;2\n", header=["x", "y"]) == [{"x": "1", "y": "5;2"}]
    assert values_of(tmp_path / "a.csv", b"1;2,3,4\n", header=["x", "y"]) == [{"x": "1", "y": "2,3,4"}]


def test_quotes_in_a_tsv_are_characters(tmp_path: Path) -> None:
    assert values_of(tmp_path / "a.tsv", b'x\ty\n"a\tb" "\n') == [{"x": '"a', "y": 'b" "'}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABS.encode() + "Mèo\tb\n".encode("utf-16-le"), "a.tsv:4: this line is UTF-16LE, and the file is UTF-8"),
        ((TABS + "x").encode("utf-16") + b" plain text behind", "a.tsv:4: this line is UTF-8, and the file is UTF-16"),
        (("\ufeff" + TABS).encode("utf-16-be") + TABS.encode(), "a.tsv:4: this line is UTF-8, and the file is UTF-16"),
        (TABS.encode() + "Mèo\tb\tneutral\n".encode("latin-1"), "a.tsv:4: not UTF-8 (byte 0xe8) at byte 2"),
    ],
)  # fmt: skip
def test_a_file_with_two_encodings_is_refused_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in refusal(tmp_path / "a.tsv", content)


def test_letters_of_other_alphabets_in_utf16_are_not_taken_for_a_second_encoding(tmp_path: Path) -> None:
    texts = ["Достопримечательности", "हिन्दुस्तानियोंको", "普通话和方言的区别在哪里呢", "Ελληνικάγράμματα", "ਗੁਰਮੁਖੀਅੱਖਰਾਂਵਿੱਚ"]
    content = "x\n" + "\n".join(texts)
    assert [row["x"] for row in values_of(tmp_path / "a.csv", content.encode("utf-16"))] == texts
    assert [row["x"] for row in values_of(tmp_path / "a.csv", ("\ufeff" + content).encode("utf-16-be"))] == texts


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_give_the_rows_of_their_content_and_torn_ones_are_a_message(
    tmp_path: Path, suffix: str
) -> None:
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[suffix]
    for name, text in (("a.csv", TABLE), ("a.tsv", TABS), ("a.jsonl", LINES), ("a.json", json.dumps(VALUES))):
        assert values_of(tmp_path / f"{name}{suffix}", pack(text.encode())) == VALUES
    path = tmp_path / f"a.jsonl{suffix}"
    parts = LINES.encode().splitlines(keepends=True)
    assert values_of(path, b"".join(pack(part) for part in parts)) == VALUES  # several streams, joined
    whole = pack((LINES * 50).encode("utf-16"))
    assert len(rows_of(path, whole)) == 100
    for place in range(0, len(whole) - 1, 7):
        assert f"a.jsonl{suffix}" in refusal(path, whole[:place])
    assert "ends in the middle" in refusal(path, whole[:-20])
    assert "broken as a compressed file" in refusal(path, LINES.encode())
    assert "compressed inside" in refusal(tmp_path / f"a.parquet{suffix}", pack(b"PAR1"))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_extras(name: str, *arguments: Any) -> Any:
        if name in ("openpyxl", "zstandard", "compression"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_extras)
    assert 'pip install "kdda[xlsx]"' in refusal(tmp_path / "a.xlsx", b"")
    assert 'pip install "kdda[zstd]"' in refusal(tmp_path / "a.jsonl.zst", b"")


def workbook(path: Path, rows: list[list[Any]], *more_sheets: str) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name in more_sheets:
        book.create_sheet(name)
    book.save(path)
    return path


def test_a_workbook_gives_its_first_sheet_as_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [[], ["text", "label", "day", None], ["Mèo", 1, datetime(2024, 2, 29), "note"], [None, None], ["Gà", 2.5]]
    path = workbook(tmp_path / "a.xlsx", rows, "old rows")
    with caplog.at_level(logging.WARNING):
        read = rows_of(path)
    assert read[0].where == f"{path}, row 3" and read[1].where == f"{path}, row 5"
    assert read[0].values == {"text": "Mèo", "label": "1", "day": "2024-02-29"}
    assert read[1].values == {"text": "Gà", "label": "2.5", "day": ""}
    assert 'the first sheet, "Sheet", is read; not "old rows"' in caplog.text


def test_a_broken_workbook_is_a_message(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["x", "x"], [1, 2]])
    assert 'row 1: the column "x" is named twice' in refusal(path)
    assert "a.xlsx: no Excel workbook, or a torn one" in refusal(path, path.read_bytes()[:900])
    assert "a.xlsx: no Excel workbook, or a torn one" in refusal(path, b"x,y\n")


def test_json_may_be_rows_by_id_or_a_list_under_data(tmp_path: Path) -> None:
    content = json.dumps({"7": {"claim": "Mèo ngủ."}, "8": {"id": "b", "claim": "Gà gáy."}})
    rows = rows_of(tmp_path / "a.json", content.encode())
    assert [row.values for row in rows] == [{"id": "7", "claim": "Mèo ngủ."}, {"id": "b", "claim": "Gà gáy."}]
    assert rows[0].where.endswith('a.json, row "7"')
    assert values_of(tmp_path / "a.json", json.dumps({"data": VALUES}).encode()) == VALUES
    assert 'got an object with a str under "x", expected a list of rows' in refusal(tmp_path / "a.json", b'{"x": "y"}')


def labelled_dataset() -> Any:
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "hypothesis": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["entailment", "neutral"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"])),
        }
    )
    columns = {"premise": ["a", "c", "e"], "hypothesis": ["b", "d", "f"], "label": [0, 1, -1]}
    return datasets.Dataset.from_dict({**columns, "tags": [[0, 1], [], [1]]}, features=features)


def labels_of(rows: list[Row], label_map: dict[str, str | None]) -> tuple[list[str], Counter[str]]:
    schema = Schema(("entailment", "neutral", "contradiction"), label_map=label_map)
    examples, skipped, _ = check_rows(rows, labelled_converter(("premise", "hypothesis"), schema))
    return [getattr(example, "label", "") for example in examples], skipped


def test_integer_labels_of_parquet_get_their_names_and_a_recipe_may_map_either(tmp_path: Path) -> None:
    labelled_dataset().to_parquet(tmp_path / "a.parquet")
    rows = rows_of(tmp_path / "a.parquet")
    assert [row.values["label"] for row in rows] == ["entailment", "neutral", -1]
    assert [row.values["tags"] for row in rows] == [["O", "B-PER"], [], ["B-PER"]]
    assert labels_of(rows, {"-1": None}) == (["entailment", "neutral"], {'label "-1" dropped': 1})
    by_number = labels_of(rows, {"0": "contradiction", "1": None, "-1": None})
    assert by_number == (["contradiction"], {'label "1" dropped': 1, 'label "-1" dropped': 1})


def test_folders_saved_by_datasets_are_sources(tmp_path: Path) -> None:
    dataset = labelled_dataset()
    datasets.DatasetDict({"train": dataset, "validation": dataset.select([1])}).save_to_disk(tmp_path / "saved")
    assert len(rows_of(f"{tmp_path}/saved:train")) == 3
    assert [values["label"] for values in values_of(f"{tmp_path}/saved:dev")] == ["neutral"]
    assert [values["label"] for values in values_of(tmp_path / "saved" / "validation")] == ["neutral"]
    assert 'split: got "test", expected one of: train, validation' in refusal(f"{tmp_path}/saved:test")
    (tmp_path / "saved" / "train" / "data-00000-of-00001.arrow").write_bytes(b"torn")
    assert "saved/train: cannot be read" in refusal(f"{tmp_path}/saved:train")


def test_a_folder_with_files_named_by_split_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TABLE)
    (tmp_path / "train_more.csv").write_text(TABLE)
    (tmp_path / "UIT_Validation.tsv.gz").write_bytes(gzip.compress(TABS.encode()))
    (tmp_path / "readme.md").write_text("train")
    assert (
        values_of(f"{tmp_path}:train") == values_of(f"{tmp_path}:dev") == values_of(f"{tmp_path}:validation") == VALUES
    )
    assert f"name a split of it: {tmp_path}:dev (it has dev, train)" in refusal(tmp_path)
    assert 'split: got "tset", expected one of: dev, train' in refusal(f"{tmp_path}:tset")
    (tmp_path / "dev.jsonl.orig").write_text(LINES)
    (tmp_path / "valid_2.jsonl").write_text(LINES)
    assert 'several files could be the split "dev": UIT_Validation.tsv.gz, valid_2.jsonl' in refusal(f"{tmp_path}:dev")
    (tmp_path / "empty").mkdir()
    assert "a folder without files whose names tell train" in refusal(tmp_path / "empty")


def test_shards_are_one_split_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        labelled_dataset().select([number]).to_parquet(tmp_path / "data" / f"train-{number:05}-of-00003.parquet")
    assert [values["premise"] for values in values_of(f"{tmp_path}:train")] == ["a", "c", "e"]
    (tmp_path / "data" / "train-00001-of-00003.parquet").unlink()
    assert "of 3 shards 1 are missing, the first is number 1" in refusal(f"{tmp_path}:train")
    labelled_dataset().to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    assert "shards of several splits or downloads" in refusal(f"{tmp_path}:train")


def test_rows_of_one_language_are_selected_from_a_file_of_several(tmp_path: Path) -> None:
    content = "language\ttext\nvi\tMèo ngủ.\nen\tA cat sleeps.\n".encode()
    assert [row.where[-2:] for row in rows_of(tmp_path / "a.tsv", content, select={"language": "vi"})] == [":2"]
    assert 'no row has "language" fr' in refusal(tmp_path / "a.tsv", content, select={"language": "fr"})
    assert 'a.tsv:2: select: column: got "langage"' in refusal(tmp_path / "a.tsv", content, select={"langage": "vi"})
