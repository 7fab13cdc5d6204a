"""`kdda new` on files as their authors give them out: columns and keys are theirs, the rows are invented."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kdda.draft.epochs import Epochs
from kdda.experiment.context import task_of, with_labels
from kdda.experiment.splits import SplitReader
from kdda.recipe.load import load_recipe
from kdda.recipe.schema import Recipe
from tests.conftest import make_model

LABELS = ("entailment", "neutral", "contradiction")
VI = [
    ("Cô giáo đang dạy học sinh hát trong lớp.", "Có người đang ở trong lớp học.", "Lớp học không có ai."),
    ("Hai người đàn ông đang sửa mái nhà dưới mưa.", "Trời đang mưa.", "Những người đàn ông đang ngủ."),
    ("Bà cụ bán rau ở chợ từ sáng sớm.", "Bà cụ có mặt ở chợ.", "Không ai bán rau ở chợ."),
]
EN = [
    ("The teacher is singing with the children.", "Someone is singing.", "Nobody is singing in the room."),
    ("Two men repair the roof of a house in the rain.", "It is raining.", "The men are asleep at home."),
    ("An old woman sells vegetables at the market.", "There is a market.", "The woman sells nothing but cars."),
]


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def table(path: Path, rows: Sequence[dict[str, Any]], delimiter: str = "\t", encoding: str = "utf-8") -> None:
    text = io.StringIO()
    if delimiter == "\t":  # as authors write them: without quoting
        for row in [list(rows[0]), *(row.values() for row in rows)]:
            text.write("\t".join(map(str, row)) + "\n")
    else:
        writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


def pairs(texts: Sequence[tuple[str, str, str]], count: int = 6) -> list[tuple[str, str, str]]:
    """Premise, hypothesis and label of invented rows, a premise thrice."""
    rows = []
    for number in range(count):
        premise, true, false = texts[number // 3 % 3]
        label = LABELS[number % 3]
        rows.append((f"{premise} ({number // 3})", false if label == "contradiction" else true, label))
    return rows


def new(command: Any, models: list[str], folder: Path, *arguments: str) -> tuple[Recipe, str]:
    """The recipe that `kdda new` writes for a folder, and what the command says; all rows of it can be read."""
    code, out, errors = command("new", folder, "--out", folder / "recipe.yaml", *models, *arguments)
    assert (code, errors) == (0, ""), errors + out
    assert f"written: {folder / 'recipe.yaml'}" in out and " in runs, 0 of them finished." in out
    recipe = with_labels(load_recipe(str(folder / "recipe.yaml")))
    SplitReader(recipe, task_of(recipe)).read_all()
    return recipe, out


def counts(recipe: Recipe, language: str) -> dict[str, int]:
    splits, _ = SplitReader(recipe, task_of(recipe)).read_language(language, limited=False)
    return {split: len(examples) for split, examples in splits.items()}


def test_vinli(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        rows = []
        for number, (premise, hypothesis, label) in enumerate(pairs(VI)):
            pair = {"pairID": f"{split}{number}", "gold_label": label, "link": "", "context": "Một đoạn báo dài."}
            rows.append({**pair, "sentence1": premise, "sentenceID": "1", "topic": "xã hội", "sentence2": hypothesis})
        rows += [{**rows[0], "gold_label": "-", "pairID": "a"}, {**rows[1], "gold_label": "other", "pairID": "b"}]
        lines(tmp_path / f"UIT_ViNLI_1.0_{split}.jsonl", rows)
    recipe, out = new(command, models, tmp_path)
    assert (recipe.task, recipe.target) == ("nli", "vi") and list(recipe.arms) == ["student", "student-kdda"]
    fields = {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
    assert recipe.data["vi"].columns == {"id": "pairID", **fields}
    assert recipe.data["vi"].labels == {"-": None, "other": None}
    assert counts(recipe, "vi") == {"train": 6, "dev": 6, "test": 6}
    assert 'label     "-" is left out' in out and "Time: about" in out
    assert '3 rows with "-", 3 rows with "other"' in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def squad(path: Path, texts: Sequence[tuple[str, str, str]], version: str, answer: str) -> None:
    paragraphs = []
    for number in range(12):
        context = f"{texts[number % 3][0]} ({number}) {answer} x."
        answers = [{"answer_start": context.index(answer), "text": answer}]
        question = {"question": f"{texts[0][1]}?", "id": f"{path.stem}-{number}", "answers": answers}
        paragraphs.append({"qas": [question], "context": context})
    content = {"version": version, "data": [{"title": "T", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def test_viquad(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        squad(tmp_path / f"{split}_ViQuAD.json", VI, "1.0", "Hà Nội")
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.target, recipe.data["vi"].columns) == ("qa", "vi", {})
    assert (recipe.distill.objective, recipe.distill.weight, recipe.distill.align) == ("kd-logits", 1.0, "none")
    assert counts(recipe, "vi") == {"train": 12, "dev": 12, "test": 12}
    assert recipe.training.stride < recipe.training.max_length


def test_squad(tmp_path: Path, command: Any, models: list[str]) -> None:
    squad(tmp_path / "train-v1.1.json", EN, "1.1", "Hanoi")
    squad(tmp_path / "dev-v1.1.json", EN, "1.1", "Hanoi")
    recipe, out = new(command, models, tmp_path)
    assert (recipe.task, recipe.target, recipe.data["en"].holdout) == ("qa", "en", {"test": 0.1})
    assert counts(recipe, "en") == {"train": 10, "dev": 12, "test": 2}
    assert "10% of the training rows" in out


def multinli(premise: str, hypothesis: str, label: str) -> dict[str, Any]:
    parses = dict.fromkeys(
        ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse"), "( x )"
    )
    ids = {"promptID": "1", "pairID": "1n", "genre": "fiction"}
    return {
        "gold_label": label,
        **parses,
        "sentence1": premise,
        "sentence2": hypothesis,
        **ids,
        "label1": label,
        "label2": "",
    }


def test_multinli_in_two_formats_with_its_readme(tmp_path: Path, command: Any, models: list[str]) -> None:
    for name in ("train", "dev_matched", "dev_mismatched"):
        rows = [multinli(*pair) for pair in pairs(EN)] + [multinli('A "stray quote', "B", "-")]
        table(tmp_path / f"multinli_1.0_{name}.txt", rows)
        lines(tmp_path / f"multinli_1.0_{name}.jsonl", rows)
    (tmp_path / "README.txt").write_text("This is the 1.0 distribution.\n\nPlease cite it.\n")
    recipe, out = new(command, models, tmp_path)
    data = recipe.data["en"]
    assert recipe.task == "nli" and data.labels == {"-": None}
    assert data.train == str(tmp_path / "multinli_1.0_train.jsonl")
    assert data.test == str(tmp_path / "multinli_1.0_dev_mismatched.jsonl") and counts(recipe, "en")["test"] == 6
    assert "left out" in out and "README.txt" in out and "in another format, by its name" in out


def test_snli_as_text_with_tabs(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        rows = []
        for row in map(multinli, *zip(*pairs(EN), strict=True)):
            rows.append({name: value for name, value in row.items() if name not in ("promptID", "genre")})
        table(tmp_path / f"snli_1.0_{split}.txt", [*rows, {**rows[0], "gold_label": "-"}])
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.data["en"].labels) == ("nli", {"-": None})
    assert counts(recipe, "en") == {"train": 6, "dev": 6, "test": 6}


def test_xnli_has_several_languages_in_a_file_and_no_training_rows(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    thai = [("ครูกำลังร้องเพลง", "มีคนร้องเพลง", "ไม่มีใครร้องเพลง")] * 3
    for split in ("dev", "test"):
        rows = []
        for language, texts in (("en", EN), ("th", thai), ("vi", VI)):
            for premise, hypothesis, label in pairs(texts, 30):
                row = {"language": language, **multinli(premise, hypothesis, label)}
                rows.append({**row, "sentence1_tokenized": premise, "sentence2_tokenized": hypothesis, "match": "True"})
        table(tmp_path / f"xnli.{split}.tsv", rows)
    recipe, out = new(command, models, tmp_path)
    assert (recipe.task, recipe.target, list(recipe.data)) == ("nli", "vi", ["vi", "en"])
    assert recipe.data["vi"].select == {"language": "vi"}
    assert counts(recipe, "vi") == {"train": 27, "dev": 3, "test": 30}
    assert "rows in th; --languages names those that are taken" in out and "the dev rows are trained on" in out


def test_anli_has_letters_for_labels_and_three_rounds(tmp_path: Path, command: Any, models: list[str]) -> None:
    for round_ in ("R1", "R2", "R3"):
        for split in ("train", "dev", "test"):
            rows = []
            for number, (premise, hypothesis, label) in enumerate(pairs(EN)):
                row = {
                    "uid": f"{round_}{split}{number}",
                    "model_label": "n",
                    "context": premise,
                    "hypothesis": hypothesis,
                }
                rows.append({**row, "label": label[0], "emturk": False, "genre": "wikipedia", "reason": "", "tag": ""})
            lines(tmp_path / "anli_v1.0" / round_ / f"{split}.jsonl", rows)
    recipe, _ = new(command, models, tmp_path)
    assert recipe.data["en"].columns == {"id": "uid", "premise": "context"}
    assert recipe.data["en"].labels == {"c": "contradiction", "e": "entailment", "n": "neutral"}
    assert counts(recipe, "en") == {"train": 18, "dev": 18, "test": 18}


def test_conll(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        sentences = ["Ông O\nNam B-PER\nsống O\nở O\nHà B-LOC\nNội I-LOC\n. O\n", "Trời O\nđang O\nmưa O\n. O\n"] * 4
        (tmp_path / f"{split}_word.conll").write_text("\n".join(sentences), encoding="utf-8")
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.target, recipe.data["vi"].columns) == ("tag", "vi", {})
    assert counts(recipe, "vi") == {"train": 8, "dev": 8, "test": 8}


def refused(command: Any, *arguments: object) -> str:
    code, _, errors = command("new", *arguments)
    assert code == 2 and "Traceback" not in errors
    return str(errors)


def test_a_recipe_is_never_overwritten(tmp_path: Path, command: Any, models: list[str]) -> None:
    lines(tmp_path / "train.jsonl", [{"premise": "a", "hypothesis": "b", "label": "neutral"}])
    (tmp_path / "mine.yaml").write_text("mine")
    message = refused(command, tmp_path, "--out", tmp_path / "mine.yaml", *models)
    assert "mine.yaml is there already" in message and (tmp_path / "mine.yaml").read_text() == "mine"
    assert "--out" in refused(command, tmp_path, "--out", tmp_path / "none" / "mine.yaml")


def test_files_without_sense_are_refused_with_what_they_have(tmp_path: Path, command: Any) -> None:
    out = tmp_path / "recipe.yaml"
    (tmp_path / "a.csv").write_text("id,weight\n1,2\n2,3\n")
    message = refused(command, tmp_path / "a.csv", "--out", out)
    assert "nothing that a recipe could train on" in message and "a.csv: 2 rows" in message
    assert "id (2 different values), weight (2 different values)" in message and not out.exists()
    assert 'no file "' in refused(command, tmp_path / "none.csv", "--out", out)
    assert "which files?" in refused(command, "--out", out)
    (tmp_path / "empty").mkdir()
    assert "nothing that a recipe could train on" in refused(command, tmp_path / "empty", "--out", out)
    assert 'got "nlu"' in refused(command, tmp_path, "--task", "nlu", "--out", out)


def test_a_label_that_no_file_can_hold_is_a_message(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(12):
        rows.append({"text": "the food was cold and we left", "label": ["a", "\ud83d"][number % 2]})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "unpaired surrogate" in refused(command, tmp_path, "--out", tmp_path / "recipe.yaml", *models)
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "train.tsv").write_bytes(b"text\tlabel\rx\ta\n")
    assert "carriage return" in refused(command, tmp_path / "train.tsv", "--out", tmp_path / "recipe.yaml", *models)


def test_numbers_as_labels_are_never_guessed(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for premise, hypothesis, label in pairs(VI, 30):
        rows.append({"ID": "x", "Premise": premise, "Hypothesis": hypothesis, "Label": LABELS.index(label)})
    table(tmp_path / "train.csv", rows, ";", "utf-16")
    message = refused(command, tmp_path, "--out", tmp_path / "recipe.yaml", *models)
    assert "nothing tells what 0, 1, 2 mean" in message and '--labels "0=___,1=___,2=___"' in message
    for number in range(3):  # a row of each, for a person to look at
        assert f'{number}: {tmp_path}/train.csv:{number + 2}: "{VI[0][0]} (0)", "' in message
    recipe, _ = new(command, models, tmp_path, "--labels", "0=entailment,1=contradiction,2=neutral")
    assert recipe.data["vi"].labels == {"0": "entailment", "1": "contradiction", "2": "neutral"}
    assert recipe.data["vi"].holdout == {"dev": 0.1, "test": 0.1}


def test_a_few_bad_rows_are_skipped_and_many_are_refused(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for premise, hypothesis, label in pairs(EN, 60):
        rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
    lines(tmp_path / "train.jsonl", [*rows, {"premise": " ", "hypothesis": "b", "label": "neutral"}])
    recipe, _ = new(command, models, tmp_path)
    assert recipe.data["en"].on_bad_row == "skip"
    assert "skipped: 1 × bad row" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").unlink()
    lines(tmp_path / "train.jsonl", rows[:9] + [{"premise": " ", "hypothesis": "b", "label": "neutral"}] * 3)
    assert "rows are bad" in refused(command, tmp_path, "--out", tmp_path / "recipe.yaml", *models)
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_table_without_a_line_of_names_gets_those_of_the_task(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    for split in ("train", "dev"):
        rows = ["\t".join(pair) + "\n" for pair in pairs(VI, 30)]
        (tmp_path / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    recipe, _ = new(command, models, tmp_path)
    assert recipe.data["vi"].header == ["premise", "hypothesis", "label"] and recipe.data["vi"].columns == {}


def sentiment(count: int, words: Sequence[str]) -> list[dict[str, str]]:
    """Rows of an invented task: the last word tells the label."""
    rows = []
    for number in range(count):
        label = ("good", "bad", "mixed")[number % 3]
        text = f"{words[number % len(words)]} {words[(number * 7 + 3) % len(words)]} {label} {number}"
        rows.append({"nr": str(number), "review": text, "rating": label})
    return rows


def test_tables_of_texts_with_labels(tmp_path: Path, command: Any, models: list[str]) -> None:
    words = ["the food was cold", "we waited for a table", "it is a good place", "the staff are kind"]
    for split, count in (("train", 40), ("validation", 12), ("test", 12)):
        rows = sentiment(count, words)
        rows[0]["rating"] = "-"
        table(tmp_path / f"reviews_{split}.csv", rows, ";", "utf-8-sig")
    recipe, out = new(command, models, tmp_path)
    assert (recipe.task, recipe.target, recipe.task_options) == ("classify", "en", {})
    assert recipe.data["en"].columns == {"text": "review", "label": "rating"}
    assert counts(recipe, "en") == {"train": 39, "dev": 11, "test": 11}
    assert "text in review" in out and with_labels(recipe).labels == ["bad", "good", "mixed"]


def test_claims_with_evidence_by_their_ids(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        rows = {}
        for number, (premise, hypothesis, label) in enumerate(pairs(VI, 12)):
            verdict = {"entailment": "SUPPORTED", "neutral": "NEI", "contradiction": "REFUTED"}[label]
            row = {"context": premise, "claim": hypothesis, "verdict": verdict, "evidence": None, "domain": "xã hội"}
            rows[f"uit_{number}"] = row
        path = tmp_path / f"ise-dsc01-{split}.json"
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.task_options) == ("classify", {"fields": ["claim", "context"]})
    assert recipe.data["vi"].columns == {"label": "verdict"}


def test_options_in_columns(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("val", "test"):
        rows = []
        for number, (premise, true, false) in enumerate(VI * 8):
            options = {"premise": f"{premise} {number}", "choice1": true, "choice2": false, "question": "effect"}
            rows.append({**options, "label": 0, "idx": number, "changed": False})
        lines(tmp_path / f"{split}.vi.jsonl", rows)
    recipe, _ = new(command, models, tmp_path)
    assert recipe.task == "choose"
    assert recipe.data["vi"].columns == {"context": "premise", "options": ["choice1", "choice2"]}


def test_a_stranger_gets_a_report_from_three_files_in_a_language_that_nothing_here_knows(
    tmp_path: Path, command: Any
) -> None:
    words = ["zubor kal", "mor tavien", "sharlu ne", "vextil ubo", "kaltor mi"]
    for split, count in (("train", 60), ("dev", 15), ("test", 18)):
        table(tmp_path / f"{split}.csv", sentiment(count, words), ";", "utf-16")
    student = make_model(tmp_path / "student")
    recipe, out = new(command, ["--student", student], tmp_path, "--languages", "qzu")
    assert recipe.target == "qzu" and recipe.teachers == {} and list(recipe.arms) == ["student"]
    assert "teacher   qzu: none is known here" in out
    runs = tmp_path / "runs"
    code, text, _ = command("run", tmp_path / "recipe.yaml", "--out", runs, "--set", "training.epochs=1")
    assert code == 0 and "| student" in text
    code, _, _ = command("report", runs, "--out", tmp_path / "report.html")
    assert code == 0 and "accuracy" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_language_that_nobody_names_is_called_undetermined(tmp_path: Path, command: Any) -> None:
    table(tmp_path / "rows.csv", sentiment(60, ["zubor kal", "mor tavien", "sharlu ne", "vextil ubo"]), ",")
    recipe, out = new(command, ["--student", make_model(tmp_path / "student")], tmp_path)
    assert recipe.target == "und" and "told by nothing; --languages CODE names it" in out


def test_two_texts_with_a_number_are_for_similarity(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "dev", "test"):
        rows = []
        for number, (first, second, _) in enumerate(pairs(EN, 12)):
            rows.append({"sentence1": first, "sentence2": second, "score": number / 3})
        table(tmp_path / f"sts-{split}.tsv", rows)
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.task_options) == ("similarity", {"range": [0, 5]})


def test_texts_with_lists_of_labels(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(40):
        rows.append({"text": f"the food was {number} and it is good for you", "label": ["food", "price"][: number % 3]})
    lines(tmp_path / "train.jsonl", rows)
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.task_options) == ("classify", {"multi_label": True})


def test_texts_with_a_column_for_each_label(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split, count in (("train", 40), ("dev", 4)):
        rows = []
        for number in range(count):
            flags = {"toxic": number % 2, "insult": number % 3 % 2, "threat": 0}
            rows.append({"id": number, "comment_text": f"the food was {number} and it is good for you", **flags})
        table(tmp_path / f"{split}.csv", rows, ",")
    recipe, text = new(command, models, tmp_path)
    assert (recipe.task, recipe.task_options) == ("classify", {"multi_label": True})
    assert recipe.data["en"].columns == {"text": "comment_text", "label": ["toxic", "insult", "threat"]}
    assert counts(recipe, "en")["dev"] == 4 and "label = toxic + insult + threat" in text


@pytest.mark.parametrize("labels", [("joy", "love", "fear"), tuple("abcdefghij")])
def test_cells_of_several_labels_with_a_separator(
    tmp_path: Path, command: Any, models: list[str], labels: tuple[str, ...]
) -> None:
    rows = []
    for number in range(200):
        chosen = [label for place, label in enumerate(labels) if number >> place & 1]
        rows.append({"text": f"the food was {number} and it is good for you", "emotions": ";".join(chosen)})
    table(tmp_path / "train.csv", rows, ",")
    recipe, out = new(command, models, tmp_path)
    assert recipe.task_options == {"multi_label": True, "separator": ";"} and 'labels with ";" between them' in out
    assert sum(counts(recipe, "en").values()) == 200


def test_words_and_tags_as_lists_in_cells(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(30):
        words = ["The", "city of", "Hue", "is", str(number)]
        rows.append({"tokens": str(words), "ner_tags": json.dumps(["O", "O", "B-LOC", "O", "O"])})
    table(tmp_path / "train.csv", rows, ",")
    recipe, _ = new(command, models, tmp_path)
    assert recipe.task == "tag" and recipe.data["en"].columns == {"tags": "ner_tags"}
    assert (recipe.distill.objective, recipe.distill.align) == ("kd-logits", "none")


def test_options_in_columns_that_are_letters(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(30):
        row = {"question": f"What is it that you like for the {number}?", "A": "a hen", "B": "a dog", "C": "a cat"}
        rows.append({**row, "answer": "AB"[number % 2]})
    table(tmp_path / "train.csv", rows, ",")
    recipe, _ = new(command, models, tmp_path)
    expected = {"context": "question", "options": ["A", "B", "C"], "label": "answer"}
    assert recipe.task == "choose" and recipe.data["en"].columns == expected


def test_numbers_of_classes_in_the_column_of_vihsd_and_a_column_of_splits(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    rows = []
    for number, row in enumerate(sentiment(60, ["the food was cold", "we waited for a table", "it is a good place"])):
        split = ("train", "train", "validation", "test")[number % 4]
        rows.append({"free_text": row["review"], "label_id": number % 3, "Split": split})
    table(tmp_path / "vihsd.csv", rows, ",")
    recipe, out = new(command, models, tmp_path)
    data = recipe.data["en"]
    assert data.columns == {"text": "free_text", "label": "label_id"} and not data.holdout
    assert data.select == {"Split": {"train": "train", "dev": "validation", "test": "test"}}
    assert counts(recipe, "en") == {"train": 30, "dev": 15, "test": 15} and "dev     15 rows of" in out


def test_lists_of_one_label_are_labels(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(30):
        rows.append({"text": f"the food was {number} and it is good for you", "label": [("good", "bad")[number % 2]]})
    lines(tmp_path / "train.jsonl", rows)
    recipe, out = new(command, models, tmp_path)
    assert recipe.task_options == {} and recipe.labels == ["bad", "good"] and "lists of one label" in out


def test_numbers_as_tags_are_never_guessed(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(30):
        rows.append({"tokens": ["The", "city", "of", "Hue", str(number)], "ner_tags": [0, 0, 0, 1, 0]})
    lines(tmp_path / "train.jsonl", rows)
    code, _, error = command("new", tmp_path, "--out", tmp_path / "recipe.yaml", *models)
    assert code == 2 and '--labels "0=___,1=___"' in error
    assert f'0: {tmp_path}/train.jsonl:1: "The", "city", "of", "0"' in error
    assert f'1: {tmp_path}/train.jsonl:1: "Hue"' in error
    recipe, _ = new(command, models, tmp_path, "--labels", "0=O,1=B-LOC", "--languages", "en")
    assert recipe.data["en"].labels == {"0": "O", "1": "B-LOC"}


def test_texts_without_labels_are_left_out_with_what_they_are_good_for(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    table(
        tmp_path / "train.csv", sentiment(60, ["the food was cold", "we waited for a table", "it is a good place"]), ","
    )
    table(tmp_path / "more.csv", [{"id": "1", "text": f"{VI[0][0]} ({number})"} for number in range(30)], ",")
    _, out = new(command, models, tmp_path)
    assert "more.csv: 30 rows, and no columns of" in out and "labels: none (docs/languages.md)" in out


def test_columns_that_a_user_names_are_taken(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(60):
        row = {"label": "x", "note": "this is a note of the staff and it is long enough to be the text of a row"}
        rows.append({**row, "said": f"the food was {number} and good", "Mark": ("good", "bad")[number % 2]})
    table(tmp_path / "train.csv", rows, ",")
    recipe, out = new(command, models, tmp_path, "--columns", "text=said,label=Mark")
    assert recipe.data["en"].columns == {"text": "said", "label": "Mark"} and recipe.labels == ["bad", "good"]
    assert "columns text = said, label = Mark" in out
    code, _, error = command("new", tmp_path, "--out", tmp_path / "other.yaml", "--columns", "text=sad,label=Mark")
    assert code == 2 and '--columns: text: column: got "sad", expected one of:' in error


def test_of_many_files_without_sense_the_first_are_named(tmp_path: Path, command: Any) -> None:
    for number in range(9):
        (tmp_path / f"{number}.csv").write_text(f"id,weight{number}\n1,2\n")
    code, _, error = command("new", tmp_path, "--out", tmp_path / "recipe.yaml")
    assert code == 2 and len(error.splitlines()) == 8 and "… and 4 more" in error


def test_one_column_of_labels_is_no_column_for_each(tmp_path: Path, command: Any, models: list[str]) -> None:
    rows = []
    for number in range(40):
        row = {"comment": f"the food was {number} and it is good for you", "is_new": number % 2, "seen": number % 3 % 2}
        rows.append({**row, "nhan": ("good", "bad", "neither")[number % 3]})
    table(tmp_path / "train.csv", rows, ",")
    recipe, _ = new(command, models, tmp_path)
    assert recipe.task_options == {} and recipe.data["en"].columns["label"] == "nhan"


def test_a_teacher_of_another_width_is_aligned_and_named_from_the_recipes_folder(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    table(tmp_path / "train.csv", sentiment(60, ["the food was cold", "we waited for a table", "it is good"]), ",")
    teacher = make_model(tmp_path / "teacher", width=32)
    recipe, _ = new(command, [*models[:2], "--teachers", f"en={teacher}"], tmp_path)
    assert recipe.distill.align == "procrustes"
    assert "  en: teacher  #" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_the_language_is_told_by_a_column_of_one_value_or_by_the_folder(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    words = ["zubor kal", "mor tavien", "sharlu ne", "vextil ubo", "kaltor mi"]
    for folder, row in (("a", {"language": "qzu"}), ("hau_Latn", {}), ("vi", {})):
        rows = [{**values, **row} for values in sentiment(60, words)]
        (tmp_path / folder).mkdir()
        table(tmp_path / folder / "train.csv", rows, ",")
    for folder, language in (("a", "qzu"), ("hau_Latn", "hau"), ("vi", "vi")):
        code, out, error = command("new", tmp_path / folder, "--out", tmp_path / f"{language}.yaml", *models[:2])
        assert code == 0 and f"target    {language}: told by" in out, error


def test_copies_of_a_table_in_other_formats_are_read_once(tmp_path: Path, command: Any, models: list[str]) -> None:
    tags = ["O", "O", "O", "B-LOC", "O", "O"]
    rows = []
    for number in range(30):
        rows.append({"tokens": ["The", "city", "of", "Hue", "is", str(number)], "tags": tags})
    lines(tmp_path / "train.jsonl", rows)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress((tmp_path / "train.jsonl").read_bytes()))
    sentences = []
    for row in rows:
        sentences.append("".join(f"{word}\t{tag}\n" for word, tag in zip(*row.values(), strict=True)))
    (tmp_path / "train.conll").write_text("\n".join(sentences))
    recipe, out = new(command, models, tmp_path, "--languages", "en")
    assert sum(counts(recipe, "en").values()) == 30 and out.count("in another format, by its name") == 1
    assert "train.conll and " in out or ".gz and " in out


def test_a_user_at_a_terminal_is_asked_and_may_correct(
    tmp_path: Path, command: Any, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "dev", "test"):
        rows = []
        for premise, hypothesis, label in pairs(EN, 12):
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": LABELS.index(label)})
        lines(tmp_path / f"{split}.jsonl", rows)
    questions: list[str] = []
    answers = {"Files": str(tmp_path), '"0"': "entailment", '"1"': "neutral", '"2"': "-", "Languages": "xx"}

    def prompt(question: str, default: str = "") -> str:
        questions.append(question)
        return next((answer for word, answer in answers.items() if word in question), default)

    confirmations = iter([False, True])
    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("typer.confirm", lambda question, default: next(confirmations))
    monkeypatch.setattr("kdda.cli.new.is_a_dialogue", lambda: True)
    code, _, _ = command("new", "--out", tmp_path / "recipe.yaml", *models)
    assert code == 0 and "What does the label" in questions[1]
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.target == "xx" and recipe.data["xx"].labels == {"0": "entailment", "1": "neutral", "2": None}


def test_conll_files_that_are_called_txt(tmp_path: Path, command: Any, models: list[str]) -> None:
    for split in ("train", "valid", "test"):
        sentences = [
            "-DOCSTART- -X- -X- O\n",
            "The DT B-NP O\ncity NN I-NP O\nof IN B-PP O\nHue NNP B-NP B-LOC\nis VB O O\n",
        ] * 4
        (tmp_path / f"{split}.txt").write_text("\n".join(sentences))
    recipe, _ = new(command, models, tmp_path)
    assert (recipe.task, recipe.target) == ("tag", "en")
    assert counts(recipe, "en") == {"train": 4, "dev": 4, "test": 4}


def test_only_the_languages_that_a_user_names_are_taken(tmp_path: Path, command: Any, models: list[str]) -> None:
    for name, texts in (("a", EN), ("b", VI), ("zz", [("zubor kal mor", "tavien sharlu", "vextil ubo ne")] * 3)):
        rows = []
        for premise, hypothesis, label in pairs(texts, 30):
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
        lines(tmp_path / f"{name}.jsonl", rows)
    recipe, out = new(command, models, tmp_path, "--languages", "vi")
    assert list(recipe.data) == ["vi"] and "a.jsonl: rows in en, which --languages leaves out" in out
    assert "--teachers en: no rows are in this language" in out
    (tmp_path / "recipe.yaml").unlink()
    recipe, _ = new(command, models, tmp_path, "--languages", "qzu,en")
    assert recipe.target == "qzu" and Path(str(recipe.data["qzu"].train)).name == "zz.jsonl"


def questions(count: int, language: str = "vi") -> list[dict[str, Any]]:
    """Rows of question answering, each with a passage of its own."""
    texts = {"vi": ("Bà cụ số {} bán rau ở chợ.", "Bà cụ số {} bán gì?", "rau")}
    texts["en"] = ("The old woman {} sells fish at the market.", "What does the old woman {} sell?", "fish")
    context, question, answer = texts[language]
    rows = []
    for number in range(count):
        text = context.format(number)
        golds = {"text": [answer], "answer_start": [text.index(answer)]}
        rows.append(
            {"id": f"{language}-{number}", "question": question.format(number), "context": text, "answers": golds}
        )
    return rows


def test_few_rows_are_read_so_often_that_a_student_learns_from_them(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    lines(tmp_path / "questions.jsonl", questions(80))
    recipe, out = new(command, models, tmp_path)
    assert (recipe.training.epochs, recipe.training.batch_size) == (16, 4)  # 64 rows are not held out: 256 steps
    reason = "to learn, a student needs some 250 steps; reading 64 rows once takes 16 steps, each of up to 4"
    assert f"epochs    16: {reason}\n" in out and "steps in all" not in out
    assert f"# epochs: {reason}; docs/results/effect.md\n" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_few_rows_of_the_target_beside_many_others_are_read_more_often_where_they_are_alone(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    lines(tmp_path / "train.vi.jsonl", questions(50))
    lines(tmp_path / "train.en.jsonl", questions(300, "en"))
    recipe, _ = new(command, models, tmp_path)
    epochs = {arm: recipe.training_of(arm).epochs for arm in recipe.arms}
    assert epochs == {"student": 20, "student-da": 13, "student-kdda": 13}  # of 40 and 270 rows
    teachers = recipe.teachers_by_language()
    assert recipe.teacher_training(teachers["vi"][0]).epochs == 20
    assert recipe.teacher_training(teachers["en"][0]).epochs == 13


def test_of_very_few_rows_batches_are_smaller_and_the_plan_notes_that_more_rows_would_help(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    table(tmp_path / "rows.csv", sentiment(16, ["zubor kal", "mor tavien", "sharlu ne", "vextil ubo"]), ",")
    recipe, out = new(command, models, tmp_path)
    assert (recipe.training.epochs, recipe.training.batch_size) == (20, 4)
    note = "60 steps in all; a model learns little in so few: more rows, or a smaller batch_size, would do"
    assert f"WARNING: student: {note}\n" in out


def test_epochs_are_the_usual_ones_where_rows_are_many() -> None:
    many = Epochs.choose({"vi": 800, "en": 800}, epochs=2, batch_size=8)
    assert (many.shared, many.batch_size, many.of_target()) == (2, 8, 2)
    assert (many.of_teacher("vi", is_mini=True), many.of_teacher("vi", is_mini=False)) == (3, 2)


def test_a_folder_of_two_tasks_names_the_task_that_was_chosen_and_how_to_draft_the_other(
    tmp_path: Path, command: Any, models: list[str]
) -> None:
    lines(tmp_path / "questions.jsonl", questions(80))
    table(tmp_path / "rows.csv", sentiment(16, ["zubor kal", "mor tavien", "sharlu ne", "vextil ubo"]), ",")
    _, out = new(command, models, tmp_path)
    assert "not of qa, which most rows are for; --task classify drafts a recipe for them" in out


def test_a_long_plan_ends_with_shorter_ways(
    tmp_path: Path, command: Any, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.draft.conftest.NoEstimate.seconds", lambda self: 7200.0)
    lines(tmp_path / "questions.jsonl", questions(80))
    _, out = new(command, models, tmp_path)
    path = tmp_path / "recipe.yaml"
    assert f"kdda run {path} --arms student\n" in out and "data.vi.limit={train: 50}" in out
    assert load_recipe(str(path), ["data.vi.limit={train: 50}"]).data["vi"].limit == {"train": 50}
    assert "# objective kd-logits: " in path.read_text(encoding="utf-8")
