"""`kdda new` on Vietnamese files: names of columns and labels, words of refusals and drafts; the rows are invented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kdda.draft.draft import Request, draft
from kdda.draft.writing import summary
from kdda.errors import KddaError
from kdda.recipe.load import built_in, find
from tests.draft.test_new import VI, counts, lines, new, refused, table

VIETNAMESE = ("suy ra", "trung lập", "mâu thuẫn")


def pairs(names: Sequence[str], labels: Sequence[str], count: int = 30) -> list[dict[str, str]]:
    """Rows of two texts and a label, under the names of their columns; a premise thrice."""
    rows = []
    for number in range(count):
        premise, true, false = VI[number // 3 % 3]
        texts = (f"{premise} ({number // 3})", false if number % 3 == 2 else true, labels[number % 3])
        rows.append(dict(zip(names, texts, strict=True)))
    return rows


@pytest.mark.parametrize("task", [(), ("--task", "nli")])
def test_labels_that_a_user_explains_decide_the_task(
    tmp_path: Path, command: Any, models: list[str], task: tuple[str, ...]
) -> None:
    table(tmp_path / "train.csv", pairs(("premise", "hypothesis", "label"), ("có", "chưa rõ", "không phải")), ",")
    meanings = "có=entailment,chưa rõ=neutral,không phải=contradiction"
    recipe, out = new(command, models, tmp_path, "--labels", meanings, *task)
    assert recipe.task == "nli" and len(recipe.data["vi"].labels) == 3
    assert 'label     "có" is entailment' in out and counts(recipe, "vi")["train"] > 20


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("tiền_đề", "giả_thuyết", "nhãn"), VIETNAMESE),
        (("tien_de", "gia_thuyet", "nhan"), ("suy_ra", "trung_lap", "mau_thuan")),
        (("Câu1", "Câu 2", "Nhãn"), ("Kéo theo", "Trung tính", "Trái ngược")),
        (("văn bản 1", "van_ban_2", "quan hệ"), VIETNAMESE),
        (("cột đầu", "cột sau", "kết quả"), VIETNAMESE),  # names that say nothing: the only two texts
    ],
)
def test_two_texts_with_labels_of_inference_are_inference_under_usual_vietnamese_names(
    tmp_path: Path, names: Sequence[str], labels: Sequence[str]
) -> None:
    table(tmp_path / "train.csv", pairs(names, labels), ",")
    drafted = draft(Request([str(tmp_path)]))
    assert drafted.task == "nli" and drafted.languages["vi"].unread == []
    assert drafted.languages["vi"].columns == dict(zip(("premise", "hypothesis", "label"), names, strict=True))
    assert drafted.labels == dict(zip(labels, ("entailment", "neutral", "contradiction"), strict=True))


def test_labels_under_names_that_nothing_tells_are_asked_for(tmp_path: Path, command: Any) -> None:
    table(tmp_path / "train.csv", pairs(("tiền đề", "giả thuyết", "nhãn"), ("S", "T", "M")), ",")
    out = tmp_path / "recipe.yaml"
    message = refused(command, tmp_path, "--out", out)
    assert "nothing tells what M, S, T mean" in message and "--task classify takes them as classes" in message
    assert f'S: {tmp_path}/train.csv:2: "{VI[0][0]} (0)", "{VI[0][1]}"' in message
    assert "S=___: fill in what the label is" in refused(command, tmp_path, "--out", out, "--labels", "S=___")
    message = refused(command, tmp_path, "--out", out, "--labels", "S=đúng,T=neutral,M=contradiction")
    assert '--labels: S: got "đúng", expected one of: entailment, neutral, contradiction' in message


def test_the_users_words_for_labels_are_known_as_those_of_a_file_are(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    table(tmp_path / "train.csv", pairs(("tiền đề", "giả thuyết", "nhãn"), ("0", "1", "2")), ",")
    out = tmp_path / "recipe.yaml"
    message = refused(command, tmp_path, "--out", out, "--labels", "0=kéo theo")
    assert "nothing tells what 1, 2 mean" in message and '--labels "0=entailment,1=___,2=___"' in message
    message = refused(command, tmp_path, "--out", out, "--labels", "entailment=0")
    assert 'the file\'s value stands first: --labels "0=entailment"' in message
    recipe, _ = new(command, models, tmp_path, "--labels", "0=kéo theo,1=Trung lập,2=c")
    assert recipe.data["vi"].labels == {"0": "entailment", "1": "neutral", "2": "contradiction"}
    drafted = draft(Request([str(tmp_path)], labels={"0": "suy ra", "1": "neutral", "2": "khác"}))
    assert drafted.labels == {"0": "entailment", "1": "neutral", "2": None}


def test_two_texts_that_are_no_inference_say_why(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", pairs(("premise", "hypothesis", "label"), ("entailment", "khác", "khác")), ",")
    drafted = draft(Request([str(tmp_path)]))
    assert drafted.task == "classify" and "label has entailment: if it is, --task nli" in summary(drafted)[0]


def test_questions_under_vietnamese_names_are_reading(tmp_path: Path) -> None:
    rows = []
    for number in range(20):
        passage = f"Hà Nội là thủ đô của Việt Nam, có {number} hồ nước và nhiều phố cổ."
        rows.append({"đoạn văn": passage, "Câu hỏi": "Thủ đô của Việt Nam là gì?", "trả_lời": "Hà Nội"})
    table(tmp_path / "train.csv", rows, ",")
    drafted = draft(Request([str(tmp_path)]))
    columns = {"question": "Câu hỏi", "context": "đoạn văn", "answer": "trả_lời"}
    assert drafted.task == "qa" and drafted.languages["vi"].columns == columns


def feelings(labels: Sequence[str], text: str = "Món ăn ở quán này rất ngon") -> list[dict[str, str]]:
    rows = []
    for number in range(40):
        note = f"Người viết là khách quen thứ {number}."
        rows.append({"nội dung": f"{text} {number}.", "ghi chú": note, "sắc thái": labels[number % len(labels)]})
    return rows


def test_columns_of_texts_that_a_draft_leaves_out_are_named(tmp_path: Path, command: Any, models: list[str]) -> None:
    table(tmp_path / "train.csv", feelings(("tích cực", "tiêu cực")), ",")
    recipe, out = new(command, models, tmp_path)
    assert recipe.data["vi"].columns == {"text": "nội dung", "label": "sắc thái"}
    remark = "columns with texts that the recipe does not read: ghi chú"
    assert remark in out and f"# {remark}" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_vietnamese_labels_beside_their_english_names_are_the_same_classes(tmp_path: Path) -> None:
    table(tmp_path / "vi.train.csv", feelings(("Tích cực", "tiêu_cực", "khen")), ",")
    english = feelings(("positive", "negative"), "The food at this place is good and we like it")
    table(tmp_path / "en.train.csv", english, ",")
    drafted = draft(Request([str(tmp_path)]))
    assert drafted.labels == {"Tích cực": "positive", "tiêu_cực": "negative"}


def test_a_label_that_no_row_has_is_named(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", feelings(("tích cực", "tiêu cực")), ",")
    drafted = draft(Request([str(tmp_path)], labels={"tich cục": "positive"}))
    assert "left out  --labels tich cục: no row has this label" in summary(drafted)


def test_ids_are_taken_where_no_two_rows_have_the_same(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split, step in (("train", 1), ("dev", 2)):
        rows = []
        for number, row in enumerate(pairs(("sentence1", "sentence2", "gold_label"), VIETNAMESE)):
            rows.append({"pairID": f"{split}-{number}", "uid": number // step, **row})
        lines(tmp_path / f"{split}.jsonl", rows)
    recipe, _ = new(command, models, tmp_path)
    assert recipe.data["vi"].columns["id"] == "pairID"
    (tmp_path / "recipe.yaml").unlink()
    lines(tmp_path / "dev.jsonl", [{**row, "pairID": "x"} for row in rows])
    recipe, _ = new(command, models, tmp_path)
    assert "id" not in recipe.data["vi"].columns


def test_a_folder_of_texts_is_for_an_index(tmp_path: Path, command: Any) -> None:
    for number in range(7):
        (tmp_path / f"bai{number}.txt").write_text(f"Bài viết thứ {number} về Huế.\n\nĐoạn hai.\n", encoding="utf-8")
    (tmp_path / "ghi-chu.md").write_text("# Ghi chú\n", encoding="utf-8")
    message = refused(command, tmp_path, "--out", tmp_path / "recipe.yaml")
    assert f"8 texts without columns: kdda index {tmp_path} INDEX splits texts into passages" in message
    assert "bai4.txt and 2 more files: a text without columns" in message and len(message.splitlines()) == 4
    message = refused(command, tmp_path / "ghi-chu.md", "--out", tmp_path / "recipe.yaml")
    assert "1 text without columns: kdda index" in message


def test_drafts_of_sentences_speak_of_words_and_sentences(tmp_path: Path, command: Any, models: list[str]) -> None:
    sentences = []
    for number in range(30):
        sentences.append(f"Ông O\nNam{number} B-PER\nsống O\nở O\nHà B-LOC\nNội I-LOC\n. O\n")
    (tmp_path / "train.conll").write_text("\n".join(sentences), encoding="utf-8")
    (tmp_path / "dev.conll").write_text(sentences[0], encoding="utf-8")
    _, out = new(command, models, tmp_path, "--languages", "vi")
    assert "tag: a word a line, its tag last" in out and "columns words in the first, tags in the last" in out
    assert "30 sentences of" in out and "  1 sentence of" in out and "list" not in out


def test_drafts_show_how_fewer_rows_are_drawn(tmp_path: Path, command: Any, models: list[str]) -> None:
    table(tmp_path / "train.csv", feelings(("tích cực", "tiêu cực")), ",")
    new(command, models, tmp_path)
    assert "    # limit: {train: 100}" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    code, _, error = command("plan", tmp_path / "recipe.yaml", "--set", "data.vi.limit=20")
    assert code == 2 and "--set data.vi.limit: data.vi.limit: got 20, expected: a mapping such as {train: 20}" in error


def test_rows_with_one_fault_are_one_line(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = pairs(("premise", "hypothesis", "label"), VIETNAMESE)
    for number in range(0, 18, 2):
        rows[number]["hypothesis"] = ""
    table(tmp_path / "train.csv", rows, ",")
    table(tmp_path / "dev.csv", rows[18:], ",")
    table(tmp_path / "test.csv", rows[18:], ",")
    message = refused(command, tmp_path, "--out", tmp_path / "recipe.yaml", *models)
    assert "9 of 30 rows are bad" in message
    assert 'train.csv: lines 2, 4, 6, 8, 10 and 4 more: "hypothesis" is empty' in message


def test_one_of_anything_is_in_the_singular(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("weight\n1\n", encoding="utf-8")
    with pytest.raises(KddaError, match=r"notes\.csv: 1 row, and no columns .* it has weight \(1 different value\)"):
        draft(Request([str(tmp_path / "notes.csv")]))


def test_built_in_recipes_are_listed_with_what_each_is_for(command: Any) -> None:
    code, out, _ = command("recipes")
    listed = {}
    for line in out.splitlines():
        name, _, purpose = line.partition(" ")
        listed[name] = purpose.strip()
    assert code == 0 and list(listed) == built_in()
    assert len(set(listed.values())) == len(listed) and min(map(len, listed.values())) > 30
    for name, purpose in listed.items():  # the one owner of it is the comment that the recipe begins with
        comment = find(name).read_text(encoding="utf-8").replace("\n#", "")
        assert purpose[-1] in ".?" and comment.startswith(f"# {purpose}"), name
