"""Rows of reading comprehension: every usual form, and answers that are not where they say."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdda.data.examples import CheckedRows, GoldAnswer, Question, Schema, check_rows
from kdda.data.questions import question_converter
from kdda.data.sources import Source, read_rows
from kdda.errors import KddaError

CONTEXT = "Sông Hồng chảy qua Hà Nội. Hà Nội là thủ đô."


def read(folder: Path, rows: list[dict[str, Any]], schema: Schema | None = None) -> CheckedRows:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return check_rows(read_rows(Source(str(path))), question_converter(schema or Schema()))


def row(text: str = "Hà Nội", start: int | None = 19, **changes: Any) -> dict[str, Any]:
    answer = {"text": text} if start is None else {"text": text, "answer_start": start}
    return {"id": "q", "question": "Ở đâu?", "context": CONTEXT, "answers": [answer], **changes}


def golds(found: CheckedRows) -> tuple[GoldAnswer, ...]:
    example = found.examples[0]
    assert isinstance(example, Question)
    return example.answers


def squad(*qas: dict[str, Any]) -> dict[str, Any]:
    return {"version": "2.0", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": list(qas)}]}]}


@pytest.mark.parametrize(
    "form",
    [
        {"answers": [{"text": "Hà Nội", "answer_start": 19}]},
        {"answers": {"text": ["Hà Nội"], "answer_start": [19]}},
        {"answers": ["Hà Nội"]},
        {"answer": "Hà Nội", "answer_start": 19},
        {"answer": "Hà Nội"},
    ],
)
def test_every_usual_form_is_read(tmp_path: Path, form: dict[str, Any]) -> None:
    found = read(tmp_path, [{"id": "q", "question": "Ở đâu?", "context": CONTEXT, **form}])
    assert golds(found) == (GoldAnswer("Hà Nội", 19),)


def test_squads_files_are_read_one_row_a_question(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    qas = [{"id": "1", "question": "a?", "answers": [{"text": "Hà Nội", "answer_start": 19}]}]
    qas += [{"id": "2", "question": "b?", "is_impossible": True, "answers": []}]
    path.write_text(json.dumps(squad(*qas)), encoding="utf-8")
    found = check_rows(read_rows(Source(str(path))), question_converter(Schema())).examples
    assert [e.id for e in found] == ["1", "2"] and found[0].group == CONTEXT
    assert isinstance(found[1], Question) and found[1].answers == ()


@pytest.mark.parametrize(("start", "meant"), [(18, 19), (26, 27), (10_000, 27), (-5, 19)])
def test_a_misplaced_answer_is_moved_to_the_nearest_match_and_counted(tmp_path: Path, start: int, meant: int) -> None:
    found = read(tmp_path, [row(start=start)])
    assert golds(found) == (GoldAnswer("Hà Nội", meant),)
    assert found.repaired["answers misplaced, moved to the nearest match"] == 1


def test_golds_that_differ_only_in_spaces_become_what_the_context_has(tmp_path: Path) -> None:
    answers = [{"text": text, "answer_start": 19} for text in ("Hà  Nội", " Hà Nội ", "Hà\nNội")]
    assert golds(read(tmp_path, [row(answers=answers)])) == (GoldAnswer("Hà Nội", 19),) * 3


def test_an_answer_that_is_nowhere_is_left_out_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path, [row(), row(text="Huế")])
    assert len(found.examples) == 1 and found.skipped["answer not in its context"] == 1


def test_one_good_gold_is_enough(tmp_path: Path) -> None:
    answers = [{"text": "Huế", "answer_start": 0}, {"text": "Hà Nội", "answer_start": 27}]
    found = read(tmp_path, [row(answers=answers)])
    assert golds(found) == (GoldAnswer("Hà Nội", 27),) and found.repaired["gold answers not in their context"] == 1


def test_ids_that_repeat_are_numbered(tmp_path: Path) -> None:
    found = read(tmp_path, [row(), row(), row()])
    assert [e.id for e in found.examples] == ["q", "q#2", "q#3"]
    assert found.repaired["ids repeated, numbered"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": "  "}, '"question" is empty'),
        ({"context": ""}, '"context" is empty'),
        ({"answers": "Hà Nội"}, "expected a list of answers"),
        ({"answers": [{"text": 3}]}, 'expected {"text": …, "answer_start": …}'),
        ({"answers": [{"text": "Hà Nội", "answer_start": "x"}]}, "answer_start 'x' is not a number"),
        ({"answers": {"text": ["a", "b"], "answer_start": [1]}}, "2 texts but 1 answer_start"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(KddaError) as error:
        read(tmp_path, [row(), row(**changes)])
    assert said in str(error.value) and "rows.jsonl:2" in str(error.value)


def test_a_missing_field_is_answered_with_the_ones_found(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match='no field "answers" — did you mean "answer_s"'):
        read(tmp_path, [{"question": "a", "context": "b", "answer_s": []}])


def test_columns_of_another_name_are_mapped(tmp_path: Path) -> None:
    schema = Schema((), {"context": "passage", "answer": "a"})
    found = read(tmp_path, [{"question": "Ở đâu?", "passage": CONTEXT, "a": "Hà Nội"}], schema)
    assert golds(found) == (GoldAnswer("Hà Nội", 19),)


def test_a_squad_file_cut_in_the_middle_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    whole = json.dumps(squad({"id": "1", "question": "a?", "answers": []}), indent=1)
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(KddaError, match=r"cut\.json:\d+: not JSON"):
        read_rows(Source(str(path)))


def test_a_squad_file_without_paragraphs_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text('{"data": [{"title": "t"}]}', encoding="utf-8")
    with pytest.raises(KddaError, match='article 1: no list "paragraphs"'):
        read_rows(Source(str(path)))
