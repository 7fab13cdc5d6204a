"""What `kdda evaluate` does with files as people have them: rows to leave out, odd file names, broken rows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_rows
from tests.heads import make_judge

PAIR = {"premise": "cat", "hypothesis": "dog"}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_judge(tmp_path_factory.mktemp("nli"))


def written(path: Path, *labels: Any) -> Path:
    lines = [json.dumps({**PAIR, "label": label}) for label in labels]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("label", "value"), [("-", "-"), (None, ""), ("", ""), (-1, "-1"), (-1.0, "-1"), (True, "true"), ("other", "other")]
)
def test_rows_are_left_out_by_their_label_as_the_message_advises(
    judge: str, tmp_path: Path, command: Any, label: Any, value: str
) -> None:
    data, out = written(tmp_path / "a.jsonl", "neutral", label), tmp_path / "p.jsonl"
    code, _, error = command("evaluate", judge, "--data", data, "--out", out)
    assert code == 2 and "a.jsonl:2" in error and '=null" leaves such rows out' in error
    assert "on_bad_row" not in error and "entailment=" not in error and not out.exists()
    code, text, error = command("evaluate", judge, "--data", data, "--out", out, "--labels", f"{value}=null", "--json")
    assert code == 0 and json.loads(text)["rows"] == 1 and "1 × label" in error


def test_a_label_that_is_mapped_to_none_of_the_models_is_refused(judge: str, tmp_path: Path, command: Any) -> None:
    data = written(tmp_path / "a.jsonl", "0")
    code, _, error = command("evaluate", judge, "--data", data, "--labels", "0=netural")
    assert code == 2 and 'what "0" is mapped to: got "netural"' in error
    code, _, error = command("evaluate", judge, "--data", data, "--labels", "0=neutral,0=null")
    assert code == 2 and '--labels: "0" is given twice' in error


def test_a_label_may_be_mapped_to_a_usual_word_of_the_models(judge: str, tmp_path: Path, command: Any) -> None:
    data, out = written(tmp_path / "a.jsonl", "0", 1), tmp_path / "p.jsonl"
    code, _, error = command("evaluate", judge, "--data", data, "--out", out, "--labels", "0=kéo theo,1=Trung_lập")
    assert code == 0, error
    golds = [json.loads(line)["gold"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert golds == ["entailment", "neutral"]


def test_a_file_whose_name_is_not_utf8_is_scored(judge: str, tmp_path: Path, command: Any) -> None:
    data, out = tmp_path / os.fsdecode(b"r\xe9gion.jsonl"), tmp_path / os.fsdecode(b"\xff.jsonl")
    written(data, "neutral")
    code, _, _ = command("evaluate", judge, "--data", data, "--out", out)
    assert code == 0 and json.loads(out.read_text(encoding="utf-8"))["id"].endswith("r\\xe9gion.jsonl:1")
    code, _, error = command("evaluate", judge, "--data", written(data, "?"), "--out", out)
    assert code == 2 and "r\\xe9gion.jsonl:1" in error


def test_a_surrogate_in_any_field_is_refused_with_its_line(judge: str, tmp_path: Path, command: Any) -> None:
    for field in ("id", "premise", "label"):
        row = {**PAIR, "label": "neutral", field: "a\ud83d"}
        (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(row)}\n", encoding="utf-8")
        code, _, error = command("evaluate", judge, "--data", tmp_path / "a.jsonl", "--out", tmp_path / "p.jsonl")
        assert code == 2 and "a.jsonl:2" in error and "an unpaired surrogate" in error
        code, _, error = command("trim", judge, tmp_path / "trimmed", "--data", tmp_path / "a.jsonl")
        assert code == 2 and "a.jsonl:2: an unpaired surrogate" in error


def test_a_model_is_not_written_under_a_name_that_is_not_utf8(judge: str, tmp_path: Path, command: Any) -> None:
    out = tmp_path / os.fsdecode(b"\xe9")
    for arguments in (("export", judge, out), ("trim", judge, out, "--languages", "vi"), ("convert", judge, out)):
        code, _, error = command(*arguments)
        assert code == 2 and "the name is not UTF-8" in error and not out.exists()
    code, _, error = command("run", "mini-nli", "--out", out)
    assert code == 2 and "the name is not UTF-8" in error and not out.exists()


def make_chooser(folder: Path) -> str:
    """A BERT that gives an option one number."""
    return make_judge(folder, id2label={0: "score"}, label2id={"score": 0}, kdda_task="choose")


CHOICES = [
    {"mở": "cat runs", "x": "cat", "y": "dog", "đúng": 1, "lang": "vi"},
    {"mở": "dog runs", "x": "hen", "y": "fish", "đúng": "x", "lang": "en"},
]


@pytest.mark.parametrize(
    "columns", ["context=mở, options=x, y, label=đúng", "{context: mở, options: [x, y], label: đúng}"]
)
def test_several_columns_of_a_field_are_named_in_an_option(tmp_path: Path, command: Any, columns: str) -> None:
    data, out = write_rows(tmp_path / "a.jsonl", CHOICES), tmp_path / "p.jsonl"
    arguments = ("evaluate", make_chooser(tmp_path / "m"), "--data", data, "--out", out, "--json", "--columns", columns)
    code, text, error = command(*arguments)
    assert code == 0 and json.loads(text)["rows"] == 2, error
    assert [json.loads(line)["gold"] for line in out.read_text().splitlines()] == [1, 0]
    code, text, error = command(*arguments, "--select", "lang=vi")
    assert code == 0 and json.loads(text)["rows"] == 1, error
    code, _, error = command(*arguments, "--select", "lang=fr")
    assert code == 2 and 'no row has "lang" fr' in error


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("x,label=y", '--columns: got "x", expected name=value'),
        ("label=x,label=y", '--columns: "label" is given twice'),
        ("{label: 1}", "--columns: label: got 1, expected the name of a column"),
        ("{label: []}", "--columns: label: got [], expected the name of a column"),
        ("premis=a", 'columns: got "premis", expected one of: id, premise, hypothesis, label — did you mean "premise"'),
        ("premise=a,b", "columns.premise: got 2 columns, and this field is read from one"),
        ("label=a,b", "columns.label: got 2 columns, and this field is read from one"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(
    judge: str, tmp_path: Path, command: Any, columns: str, message: str
) -> None:
    data = written(tmp_path / "a.jsonl", "neutral")
    code, _, error = command("evaluate", judge, "--data", data, "--columns", columns)
    assert code == 2 and message in error and "Traceback" not in error
