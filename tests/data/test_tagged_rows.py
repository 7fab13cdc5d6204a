"""Rows of tagging in all their forms, and what is wrong with bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kdda.data.examples import ARGUMENT_ADVICE, CheckedRows, Schema, TaggedExample, check_rows
from kdda.data.sources import Row, Source, read_rows
from kdda.data.tagged_rows import TagFormat, tagged_converter
from kdda.errors import KddaError

LABELS = ("PER", "LOC", "SPAN")

WORDS = ["Bà", "Lê", "Hoa", "ở", "Huế"]

TEXT = "Bà Lê Hoa ở Huế"


AS_IT_LOOKS = TagFormat()


def checked(*values: dict[str, Any], form: TagFormat = AS_IT_LOOKS, **schema: Any) -> CheckedRows:
    rows = [Row(f"rows:{number}", row) for number, row in enumerate(values, 1)]
    fields = Schema(**{"labels": LABELS, "advice": ARGUMENT_ADVICE, **schema})
    return check_rows(rows, tagged_converter(fields, form))


def spans_of(values: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    (example,) = checked(values, **options).examples
    assert isinstance(example, TaggedExample)
    text = example.texts[0]
    return [(text[span.start : span.end], span.label) for span in example.spans]


BOTH = [("Lê Hoa", "PER"), ("Huế", "LOC")]


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": WORDS, "tags": ["O", "B-PER", "I-PER", "O", "B-LOC"]},
        {"tokens": WORDS, "tags": ["O", "B-PER", "E-PER", "O", "S-LOC"]},
        {"tokens": WORDS, "tags": ["O", "PER", "PER", "O", "LOC"]},
        {"tokens": WORDS, "tags": ["O", "I-PER", "I-PER", "O", "I-LOC"]},
        {"tokens": json.dumps(WORDS), "tags": "['O', 'B-PER', 'I-PER', 'O', 'B-LOC']"},
        {"tokens": TEXT, "tags": "O B-PER I-PER O B-LOC"},
        {"text": TEXT, "spans": [{"start": 12, "end": 15, "label": "LOC"}, {"start": 3, "end": 9, "label": "PER"}]},
        {"text": TEXT, "spans": [[3, 9, "PER"], [12, 15, "LOC"]]},
        {"text": TEXT, "spans": '[[3, 9, "PER"], ["12", 15.0, "LOC"]]'},
        {"text": TEXT, "spans": [[2, 10, "PER"], [12, 15, "LOC"], [12, 15, "LOC"]]},
    ],
)
def test_every_form_gives_the_same_spans(values: dict[str, Any]) -> None:
    assert spans_of(values) == BOTH


def test_positions_of_single_characters_are_runs_with_one_label() -> None:
    hate = TagFormat(label="HATE")
    assert spans_of({"text": TEXT, "spans": "[3, 4, 6, 7, 8]"}, form=hate, labels=("HATE",)) == [
        ("Lê", "HATE"),
        ("Hoa", "HATE"),
    ]
    assert spans_of({"text": TEXT, "spans": [[12, 15]]}) == [("Huế", "SPAN")]
    for nothing in ("[]", [], None, ""):
        assert spans_of({"text": TEXT, "spans": nothing}) == []


def test_comments_that_span_lines_of_a_csv_keep_their_positions(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(',content,index_spans\n0,"dòng một,\nquá",[]\n1,"a\n\nNgu 😒 quá","[3, 4, 5]"\n', encoding="utf-8")
    rows = read_rows(Source(str(path)))
    schema = Schema(("HATE",), {"text": "content", "spans": "index_spans"})
    first, second = check_rows(rows, tagged_converter(schema, TagFormat(label="HATE"))).examples
    assert isinstance(first, TaggedExample) and isinstance(second, TaggedExample)
    assert first.spans == () and second.texts == ("a\n\nNgu 😒 quá",) and second.spans == ((3, 6, "HATE"),)


def test_segmented_words_keep_their_underscores_or_give_the_text_its_spaces() -> None:
    values = {"words": ["Bà", "Lê_Hoa", "_"], "tags": ["O", "B-PER", "O"]}
    columns = {"tokens": "words"}
    assert spans_of(values, columns=columns) == [("Lê_Hoa", "PER")]
    assert spans_of(values, columns=columns, form=TagFormat(underscores="spaces")) == [("Lê Hoa", "PER")]


def test_tags_are_mapped_by_number_and_labels_by_name() -> None:
    values = {"tokens": WORDS, "tags": [0, 1, 2, 0, 3]}
    names = {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC"}
    assert spans_of(values, label_map=names) == BOTH
    tags = {"tokens": WORDS, "tags": ["O", "B-NGƯỜI", "I-NGƯỜI", "O", "B-LOC"]}
    assert spans_of(tags, label_map={"NGƯỜI": "PER", "LOC": None}) == BOTH[:1]


def test_what_is_repaired_is_counted() -> None:
    repaired = checked(
        {"tokens": ["Lê", "", "Hoa"], "tags": ["B-PER", "I-PER", "I-PER"]},
        {"tokens": WORDS, "tags": ["O", "I-PER", "I-PER", "O", "B-LOC"]},
        {"text": TEXT, "spans": [[2, 10, "PER"], [2, 10, "PER"]]},
    ).repaired
    assert repaired["tags I- or E- without a begin, read as one"] == 1
    assert repaired["spans with outer white space, trimmed"] == 2
    assert repaired["spans given twice, read once"] == 1


def test_empty_words_are_no_part_of_the_text() -> None:
    values = {"tokens": ["Lê", " ", "Hoa", ""], "tags": ["B-PER", "I-PER", "I-PER", "B-LOC"]}
    assert spans_of(values) == [("Lê Hoa", "PER")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens": WORDS, "tags": ["O"]}, r'rows:1: "tags": got 1 tag for 5 words \("tokens"\)'),
        ({"tokens": WORDS, "tags": ["O", "Q-PER", "I-PER", "O", "O"]}, '"Q-PER" is no tag of a scheme'),
        ({"tokens": WORDS, "tags": ["O", "B-ORG", "I-ORG", "O", "O"]}, 'label: got "ORG", expected one of: PER, LOC'),
        ({"tokens": WORDS, "tags": ["O", "B-ORG", "I-ORG", "O", "O"]}, r'labels=\{"ORG": None\} leaves'),
        ({"tokens": WORDS, "tags": [0, 1, 2, 0, 3]}, '"tags": got the number 0; say what numbers mean: labels: {0: O'),
        ({"tokens": WORDS}, 'no field "spans"|no field "text"'),
        ({"tokens": [""], "tags": ["O"]}, '"tokens" is empty'),
        ({"tokens": [["a"]], "tags": ["O"]}, r"got \['a'\] in the list"),
        ({"tags": ["O"]}, 'no field "tokens"'),
        (
            {"text": TEXT, "spans": [[3, 9, "PER"], [7, 15, "LOC"]]},
            r"spans overlap: 3 to 9 PER \('Lê Hoa'\) and 7 to 15",
        ),
        ({"text": TEXT, "spans": [[12, 16, "LOC"]]}, "12 to 16 is no span of the text, which has 15 characters"),
        ({"text": TEXT, "spans": [[-1, 2, "LOC"]]}, "-1 to 2 is no span"),
        ({"text": TEXT, "spans": [[5, 5, "LOC"]]}, "5 to 5 is no span"),
        ({"text": TEXT, "spans": [[2, 3, "LOC"]]}, "span of white space"),
        ({"text": TEXT, "spans": [15]}, "15 to 16 is no span"),
        ({"text": TEXT, "spans": ["a"]}, "'a' is not a number"),
        ({"text": TEXT, "spans": [{"begin": 1, "end": 3}]}, r'expected \{"start", "end", "label"\}'),
        ({"text": TEXT, "spans": 7}, "got 7, expected a list of spans"),
        ({"text": TEXT, "spans": "3-9"}, "not JSON"),
        ({"text": "", "spans": []}, '"text" is empty'),
        ({"text": TEXT}, 'no field "spans"'),
    ],
)
def test_a_bad_row_is_refused_by_its_place(values: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError, match=message):
        checked(values)


def test_conll_files_are_rows_of_words_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(
        "-DOCSTART- -X- O\n\n# id = s1 of a file\nBà N O\n# N O\nHoa N B-PER\n \t\nHuế N S-LOC\n", encoding="utf-8"
    )
    first, second = read_rows(Source(str(path)))
    assert first.where.endswith("train.conll:4") and second.where.endswith("train.conll:8")
    assert first.values == {"tokens": ["Bà", "#", "Hoa"], "tags": ["O", "O", "B-PER"]}
    named = read_rows(Source(str(path), ["word", "pos", "ner"]))[1].values
    assert named == {"word": ["Huế"], "pos": ["N"], "ner": ["S-LOC"], "tokens": ["Huế"], "tags": ["S-LOC"]}
    tabs = tmp_path / "tabs.bio"
    tabs.write_text("Thừa Thiên\tB-LOC\n,\tO\n", encoding="utf-8")
    assert read_rows(Source(str(tabs)))[0].values["tokens"] == ["Thừa Thiên", ","]


def test_a_conll_file_with_inconsistent_columns_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "train.iob"
    path.write_text("Bà O\nHoa N B-PER\n", encoding="utf-8")
    with pytest.raises(KddaError, match=r"train.iob:2: got 3 columns, expected 2 as in line 1"):
        read_rows(Source(str(path)))
    path.write_text("Bà\nHoa\n", encoding="utf-8")
    with pytest.raises(KddaError, match=r"train.iob:1: got one column, expected a word and its tag"):
        read_rows(Source(str(path)))


def test_a_json_file_of_one_object_a_line_is_read_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "train_word.json"
    rows = [{"words": ["Bà", "Hoa"], "tags": ["O", "B-PER"]}, {"words": ["Huế"], "tags": ["B-LOC"]}]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert [row.values for row in read_rows(Source(str(path)))] == rows
    assert read_rows(Source(str(path)))[1].where.endswith("train_word.json:2")
