"""Typed fields of rows mean the same in every format, and so do fields that say nothing."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kdda.data.adapters import to_rows
from kdda.data.examples import CheckedRows, GoldAnswer, Question, Schema, check_rows, labelled_converter
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.errors import KddaError

CONTEXT = "mèo ngủ  chó chạy  gà ngủ"
ROW = {"id": "a", "question": "gà", "context": CONTEXT, "answer": "ngủ"}
FORMATS = ["jsonl", "json", "csv", "tsv", "parquet"]
LABELS = ("entailment", "neutral", "contradiction")


def written(folder: Path, form: str, row: dict[str, Any]) -> str:
    """A file with one row."""
    path = folder / f"rows.{form}"
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    elif form in ("csv", "tsv"):
        delimiter = {"csv": ",", "tsv": "\t"}[form]
        cells = ["" if value is None else str(value) for value in row.values()]
        path.write_text(f"{delimiter.join(row)}\n{delimiter.join(cells)}\n", encoding="utf-8")
    else:
        text = json.dumps(row) + "\n"
        path.write_text(f"[{text}]" if form == "json" else text, encoding="utf-8")
    return str(path)


def checked(folder: Path, form: str, row: dict[str, Any], schema: Schema | None = None) -> CheckedRows:
    """The row by way of a file, or of a list in Python."""
    rows = to_rows([row]) if form == "python" else read_rows(Source(written(folder, form, row)))
    return check_rows(rows, question_converter(schema or Schema()))


def answers(folder: Path, form: str, row: dict[str, Any], schema: Schema | None = None) -> tuple[GoldAnswer, ...]:
    example = checked(folder, form, row, schema).examples[0]
    assert isinstance(example, Question)
    return example.answers


@pytest.mark.parametrize("form", [*FORMATS, "python"])
@pytest.mark.parametrize(
    ("start", "meant"), [(22, 22), ("22", 22), (22.0, 22), ("22.0", 22), (" 4", 4), (None, 4), ("", 4), (-1, 4)]
)
def test_the_start_of_an_answer_may_be_text_or_a_number(tmp_path: Path, form: str, start: Any, meant: int) -> None:
    assert answers(tmp_path, form, {**ROW, "answer_start": start}) == (GoldAnswer("ngủ", meant),)


@pytest.mark.parametrize("form", [*FORMATS, "python"])
@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *[(True, 0), ("True", 0), (1, 0), ("1", 0), (1.0, 0), ("yes", 0)],
        *[(False, 1), ("false", 1), (0, 1), (0.0, 1), (None, 1), ("", 1)],
    ],
)
def test_a_question_that_is_impossible_may_say_so_in_any_type(
    tmp_path: Path, form: str, value: Any, meant: int
) -> None:
    assert len(answers(tmp_path, form, {**ROW, "is_impossible": value})) == meant


@pytest.mark.parametrize("form", [*FORMATS, "python"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_start": "four"}, "answer_start 'four' is not a number"),
        ({"answer_start": 4.5}, "is not a number, expected a whole one"),
        ({"answer_start": "1e400"}, "is not a number"),
        ({"is_impossible": "perhaps"}, "'perhaps' is neither true nor false"),
        ({"is_impossible": 2}, "is neither true nor false"),
    ],
)
def test_what_a_typed_field_cannot_mean_is_refused(
    tmp_path: Path, form: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(KddaError) as error:
        checked(tmp_path, form, {**ROW, **changes})
    assert message in str(error.value)


@pytest.mark.parametrize("form", [*FORMATS, "python"])
def test_an_id_of_null_is_no_id_and_a_whole_number_has_no_point(tmp_path: Path, form: str) -> None:
    place = checked(tmp_path, form, {**ROW, "id": None}).examples[0].id
    assert "None" not in place and ("rows." in place or "row 1" in place)
    assert checked(tmp_path, form, {**ROW, "id": 7}).examples[0].id == "7"
    if form not in ("csv", "tsv"):  # where an id is the text that it is
        assert checked(tmp_path, form, {**ROW, "id": 7.0}).examples[0].id == "7"


@pytest.mark.parametrize("form", [*FORMATS, "python"])
@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0"])
@pytest.mark.parametrize("key", ["0", "0.0"])
def test_a_label_is_the_number_that_a_map_names_however_it_is_written(
    tmp_path: Path, form: str, value: Any, key: str
) -> None:
    row = {"premise": "a", "hypothesis": "b", "label": value}
    rows = to_rows([row]) if form == "python" else read_rows(Source(written(tmp_path, form, row)))
    schema = Schema(LABELS, {}, {key: "neutral"})
    assert check_rows(rows, labelled_converter(("premise", "hypothesis"), schema)).examples[0].label == "neutral"  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", [*FORMATS, "python"])
def test_rows_without_a_label_are_left_out_by_the_empty_text(tmp_path: Path, form: str) -> None:
    row = {"premise": "a", "hypothesis": "b", "label": None}
    rows = to_rows([row]) if form == "python" else read_rows(Source(written(tmp_path, form, row)))
    with pytest.raises(KddaError, match='"label" is empty'):
        check_rows(rows, labelled_converter(("premise", "hypothesis"), Schema(LABELS)))
    with pytest.raises(KddaError, match='all rows were skipped: 1 × label "" dropped'):
        check_rows(rows, labelled_converter(("premise", "hypothesis"), Schema(LABELS, {}, {"": None})))


UNANSWERABLE = [
    [],
    [{"text": "", "answer_start": -1}],
    {"text": [""], "answer_start": [0]},
    {"text": [], "answer_start": []},
    {"text": "", "answer_start": None},
    [""],
    [None],
    [{"text": None}],
    None,
]


@pytest.mark.parametrize("value", UNANSWERABLE, ids=str)
def test_no_answer_is_said_in_many_ways(tmp_path: Path, value: Any) -> None:
    row = {**ROW, "answers": value}
    del row["answer"]
    for form in ("jsonl", "json", "python"):
        assert answers(tmp_path, form, row) == ()
    assert answers(tmp_path, "csv", {**row, "answers": quoted(json.dumps(value))}) == ()
    assert answers(tmp_path, "tsv", {**row, "answers": repr(value)}) == ()


def quoted(cell: str) -> str:
    """A cell of CSV in quotes."""
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


@pytest.mark.parametrize("value", ["", None, "  "])
@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_answer_is_none(tmp_path: Path, form: str, value: Any) -> None:
    assert answers(tmp_path, form, {**ROW, "answer": value}) == ()


def test_an_answer_beside_an_empty_one_is_an_answer(tmp_path: Path) -> None:
    golds = [{"text": "", "answer_start": 0}, {"text": "ngủ", "answer_start": 22}]
    assert answers(tmp_path, "jsonl", {**ROW, "answers": golds}) == (GoldAnswer("ngủ", 22),)


@pytest.mark.parametrize(
    "cell",
    [
        '{"text": ["ngủ"], "answer_start": [22]}',
        "{'text': ['ngủ'], 'answer_start': [22]}",
        "{'text': array(['ngủ'], dtype=object), 'answer_start': array([22], dtype=int32)}",
        '[{"text": "ngủ", "answer_start": "22"}]',
    ],
)
def test_a_cell_may_hold_answers_as_json_or_as_python_writes_them(tmp_path: Path, cell: str) -> None:
    row = {"id": "a", "question": "gà", "context": CONTEXT, "answers": cell}
    assert answers(tmp_path, "tsv", row) == (GoldAnswer("ngủ", 22),)
    assert answers(tmp_path, "csv", {**row, "answers": quoted(cell)}) == (GoldAnswer("ngủ", 22),)


def test_every_field_may_have_another_column(tmp_path: Path) -> None:
    columns = {"id": "qid", "answer_start": "begin", "is_impossible": "hopeless"}
    row = {"qid": "x", "question": "gà", "context": CONTEXT, "answer": "ngủ", "begin": "22", "hopeless": "no"}
    found = checked(tmp_path, "csv", row, Schema((), columns)).examples[0]
    assert isinstance(found, Question) and found.id == "x" and found.answers == (GoldAnswer("ngủ", 22),)
    assert answers(tmp_path, "csv", {**row, "hopeless": "yes"}, Schema((), columns)) == ()


@pytest.mark.parametrize("field", ["id", "question", "context", "answer"])
@pytest.mark.parametrize("form", ["jsonl", "json", "python"])
def test_an_unpaired_surrogate_is_refused_in_every_field(tmp_path: Path, field: str, form: str) -> None:
    with pytest.raises(KddaError, match="an unpaired surrogate"):
        checked(tmp_path, form, {**ROW, field: "ngủ \ud83d"})
