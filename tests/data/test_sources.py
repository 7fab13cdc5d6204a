"""Rows from files, and what is said of files that cannot be read."""

from pathlib import Path
from typing import Literal

import pytest

from kdda.data.examples import RECIPE_ADVICE, CheckedRows, GoldAnswer, Question, Schema, labelled_converter
from kdda.data.examples import check_rows as check
from kdda.data.questions import question_converter
from kdda.data.sources import Row, Source, read_rows, sample
from kdda.errors import KddaError

LABELS = ("entailment", "neutral", "contradiction")
SCHEMA = Schema(LABELS, advice=RECIPE_ADVICE)
GOOD = '{"premise": "a", "hypothesis": "b", "label": "neutral"}\n'


def file(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Source:
    (folder / name).write_bytes(text.encode(encoding))
    return Source(str(folder / name))


def check_rows(rows: list[Row], schema: Schema, on_bad_row: Literal["raise", "skip"] = "raise") -> CheckedRows:
    return check(rows, labelled_converter(("premise", "hypothesis"), schema), on_bad_row)


def refused(source: Source, schema: Schema = SCHEMA) -> str:
    with pytest.raises(KddaError) as error:
        check_rows(read_rows(source), schema)
    return str(error.value)


def test_jsonl_csv_tsv_and_json_give_the_same_rows(tmp_path: Path) -> None:
    sources = [
        file(tmp_path, "a.jsonl", GOOD),
        file(tmp_path, "a.csv", "\ufeffpremise,hypothesis,label\na,b,neutral\n"),
        file(tmp_path, "a.tsv", "premise\thypothesis\tlabel\na\tb\tneutral\n"),
        file(tmp_path, "a.json", f"[{GOOD}]"),
    ]
    for source in sources:
        examples, *_ = check_rows(read_rows(source), SCHEMA)
        assert [(e.texts, e.label) for e in examples] == [(("a", "b"), "neutral")]


def test_line_ends_of_windows_change_no_row(tmp_path: Path) -> None:
    texts = {
        "a.jsonl": GOOD,
        "a.csv": "premise,hypothesis,label\na,b,neutral\n",
        "a.tsv": "premise\thypothesis\tlabel\na\tb\tneutral\n",
        "a.json": f"[{GOOD}]",
        "a.conll": "Huế B-LOC\nngủ O\n\nmèo O\n",
    }
    for name, text in texts.items():
        of_unix = [row.values for row in read_rows(file(tmp_path, name, text))]
        of_windows = [row.values for row in read_rows(file(tmp_path, name, text.replace("\n", "\r\n")))]
        assert of_windows == of_unix and of_unix


def test_a_file_without_a_line_of_names_takes_them_from_the_recipe(tmp_path: Path) -> None:
    source = Source(file(tmp_path, "a.tsv", 'x "y\tb\tneutral\n').name, header=["premise", "hypothesis", "label"])
    assert check_rows(read_rows(source), SCHEMA)[0][0].texts == ('x "y', "b")


def test_an_empty_line_inside_a_quoted_cell_is_part_of_the_cell(tmp_path: Path) -> None:
    source = file(tmp_path, "a.csv", 'id,context,answer\na,"mèo ngủ\n\n  \ngà ngủ\n",ngủ\n')
    assert read_rows(source)[0].values == {"id": "a", "context": "mèo ngủ\n\n  \ngà ngủ\n", "answer": "ngủ"}


def test_line_ends_inside_a_quoted_cell_are_those_of_the_file(tmp_path: Path) -> None:
    source = file(tmp_path, "a.csv", 'id,context\r\na,"mèo\r\n\r\ngà\nvịt"\r\nb,chó\r\n')
    assert [row.values["context"] for row in read_rows(source)] == ["mèo\r\n\r\ngà\nvịt", "chó"]


def test_an_answer_after_an_empty_line_of_its_context_is_placed_as_in_jsonl(tmp_path: Path) -> None:
    table = file(tmp_path, "a.csv", 'question,context,answer\nCon gì?,"mèo ngủ\n\ngà ngủ",gà\n')
    record = '{"question": "Con gì?", "context": "mèo ngủ\\n\\ngà ngủ", "answer": "gà"}\n'
    for source in (table, file(tmp_path, "a.jsonl", record)):
        example = check(read_rows(source), question_converter(Schema())).examples[0]
        assert isinstance(example, Question) and example.answers == (GoldAnswer("gà", 9),)


def test_a_record_is_named_by_the_line_of_the_file_where_it_begins(tmp_path: Path) -> None:
    source = file(tmp_path, "a.csv", '\nid,context\n\n \na,"mèo\n\nngủ"\nb,gà\r\n\r\nc,vịt')
    rows = read_rows(source)
    assert [row.where.rpartition(":")[2] for row in rows] == ["5", "8", "10"]
    assert [row.values["id"] for row in rows] == ["a", "b", "c"]


def test_a_bad_record_after_blank_lines_is_refused_with_its_line(tmp_path: Path) -> None:
    source = file(tmp_path, "a.csv", 'premise,hypothesis,label\n\n"a\n\nb",c,neutral\n\nd,e\n')
    assert "a.csv:7: got 2 fields, expected 3 (premise, hypothesis, label)" in refused(source)


def test_columns_and_label_names_are_mapped(tmp_path: Path) -> None:
    schema = Schema(LABELS, {"premise": "p", "label": "gold"}, {"0": "entailment", "-": None})
    text = '{"p": "a", "hypothesis": "b", "gold": 0}\n{"p": "c", "hypothesis": "d", "gold": "-"}\n'
    examples, skipped, _ = check_rows(read_rows(file(tmp_path, "a.jsonl", text)), schema)
    assert [e.label for e in examples] == ["entailment"]
    assert dict(skipped) == {'label "-" dropped': 1}


def test_a_label_that_no_map_knows_is_refused_with_its_place(tmp_path: Path) -> None:
    message = refused(file(tmp_path, "a.jsonl", GOOD + GOOD.replace("neutral", "netural")))
    assert "1 of 2 rows is bad" in message and "a.jsonl:2" in message and 'did you mean "neutral"' in message


def test_an_integer_label_is_never_guessed(tmp_path: Path) -> None:
    assert 'labels: {"1": NAME}' in refused(file(tmp_path, "a.jsonl", GOOD.replace('"neutral"', "1")))


def test_an_empty_premise_is_refused_with_its_place(tmp_path: Path) -> None:
    message = refused(file(tmp_path, "a.jsonl", GOOD + GOOD.replace('"a"', '"  "')))
    assert 'a.jsonl:2: "premise" is empty' in message


def test_a_missing_field_is_answered_with_the_ones_found(tmp_path: Path) -> None:
    message = refused(file(tmp_path, "a.jsonl", GOOD.replace("premise", "premises")))
    assert 'no field "premise" — did you mean "premises"?' in message


def test_bad_rows_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    rows = read_rows(file(tmp_path, "a.jsonl", GOOD + GOOD.replace('"a"', '""')))
    examples, skipped, _ = check_rows(rows, SCHEMA, on_bad_row="skip")
    assert len(examples) == 1 and skipped["bad row"] == 1


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    source = file(tmp_path, "a.jsonl", GOOD + GOOD.replace('"a"', '"á"'), encoding="latin-1")
    assert "a.jsonl:2: not UTF-8 (byte 0xe1)" in refused(source)


def test_a_broken_line_is_refused_with_its_number(tmp_path: Path) -> None:
    assert "a.jsonl:2: not JSON" in refused(file(tmp_path, "a.jsonl", GOOD + '{"premise": "a", \n'))
    assert "a.tsv:2: got 2 fields, expected 3" in refused(file(tmp_path, "a.tsv", "premise\thypothesis\tlabel\na\tb\n"))


def test_a_missing_file_says_how_sources_are_written(tmp_path: Path) -> None:
    assert "hub:owner/dataset:split" in refused(Source(str(tmp_path / "none.jsonl")))
    assert 'did you mean "nli/vi/train"' in refused(Source("embedded:nli/vi/trian"))
    assert "hub:owner/dataset[/config]:split" in refused(Source("hub:nonsense"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "a.jsonl has only blank lines" in refused(file(tmp_path, "a.jsonl", "\n"))


def test_a_sample_is_the_same_every_time_and_differs_between_languages(tmp_path: Path) -> None:
    rows = read_rows(file(tmp_path, "a.jsonl", GOOD * 50))
    assert sample(rows, 10, "vi") == sample(rows, 10, "vi") != sample(rows, 10, "en")
    assert sample(rows, None, "vi") == rows
