"""The command line in Vietnamese: the catalogue has every text of it, and help and refusals come out translated."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdda.cli.catalogue import Translator, read_catalogue
from kdda.cli.language import is_vietnamese
from kdda.cli.shared import print_plan
from kdda.recipe.load import built_in, description
from kdda.report.few_steps import few_steps_note
from kdda.report.render import Report, Table
from kdda.runtime.wording import translated_by

ROOT = Path(__file__).parents[2]
MESSAGES = runpy.run_path(str(ROOT / "tools" / "messages.py"))
ENTRIES = read_catalogue()


def kdda(*arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code of a command and what it prints, in an environment that names no language but these."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": "200", **variables}
    environment = {name: value for name, value in environment.items() if value}
    command = [sys.executable, "-m", "kdda", *arguments]
    out = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    return out.returncode, out.stdout + out.stderr


def test_the_catalogue_has_every_help_text_and_every_message_of_its_rooms() -> None:
    lacking = [MESSAGES["entry"](text, place) for text, place in MESSAGES["missing"](ENTRIES).items()]
    assert not lacking, "src/kdda/cli/vi.po lacks these; add them with a translation:\n\n" + "\n".join(lacking)


def test_translations_have_the_places_of_their_texts() -> None:
    for text, translation in ENTRIES.items():
        assert MESSAGES["places_of"](text) == MESSAGES["places_of"](translation), text


def test_every_message_is_recognised_by_its_template() -> None:
    translator = Translator(ENTRIES)
    for room in MESSAGES["ROOMS"]:
        for template in MESSAGES["templates"](room):
            places = {}
            for number, name in enumerate(sorted(MESSAGES["places_of"](template))):
                places[name] = str(1000 + number)
            message = template.format(**places)
            translated = translator.message(message)
            for value in places.values():
                assert value in translated, f"{message} -> {translated}"
            assert translated != message or ENTRIES.get(template) == template, message
            if len(places) > 1 and template in ENTRIES and "}{" not in template:  # of values that touch, none is known
                order = re.findall(r"1\d{3}", ENTRIES[template].format(**places))
                assert re.findall(r"1\d{3}", translated) == order, f"{message} -> {translated}"


def test_counts_in_a_list_are_translated_one_by_one() -> None:
    translator = Translator(ENTRIES)
    for text, translation in ENTRIES.items():
        if not re.fullmatch(r"\{count\} [^{}]+", text):
            continue
        one, translated = text.format(count=1), translation.format(count=1)
        assert translator.message(f"2 unfinished runs and {one}") == f"2 lượt chạy chưa xong và {translated}"
        assert translator.message(f"{one} and 2 unfinished runs") == f"{translated} và 2 lượt chạy chưa xong"
    line = translator.message(
        "Time: about 5 min for 2 unfinished runs and 1 teacher and systems. The measurement took 3 s"
    )
    assert "khoảng 5 phút cho 2 lượt chạy chưa xong và 1 mô hình thầy và các hệ thống. Việc" in line


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        (few_steps_note(6, "raise training.epochs to 20"), "tổng cộng 6 bước; ít bước như vậy thì mô hình học được"),
        ("a.conll:3: got 1 column, expected 2 as in line 1: a word, …, its tag", "có 1 cột, cần 2 như ở dòng 1"),
        ("5 texts, and no columns of nli; it has a, b", "5 văn bản, và không có các cột của nli; tệp có a, b"),
        (
            "to learn, a student needs some 250 steps; reading 64 rows once takes 16 steps, each of up to 4",
            "đọc 64 dòng một lượt mất 16 bước",
        ),
    ],
)
def test_a_counted_noun_is_translated_in_the_place_of_another_message(message: str, translation: str) -> None:
    assert translation in Translator(ENTRIES).message(message)


def test_a_message_in_a_place_of_another_is_translated_too() -> None:
    message = 'kdda: a.yaml:3: unknown key "epochz" — did you mean "epochs"? (known here: epochs, stride)'
    assert Translator(ENTRIES).message(message + "\nSee docs/recipes.md") == (
        'kdda: a.yaml:3: không có trường "epochz" — có phải ý bạn là "epochs"? '
        "(các trường dùng được ở đây: epochs, stride)\nXem docs/recipes.md (tiếng Anh) và docs/vi/errors.md"
    )


def test_the_place_of_a_message_stays_before_it() -> None:
    translator = Translator(ENTRIES)
    assert translator.message("kdda: mine.yaml is there already: name another file with --out, or delete it") == (
        "kdda: đã có mine.yaml: hãy chọn tệp khác bằng --out, hoặc xóa tệp này"
    )
    assert translator.message('kdda: distill.options: objective "emd" has none, got "epsilon"') == (
        'kdda: distill.options: hàm mục tiêu "emd" không có tùy chọn nào, mà nhận được "epsilon"'
    )


def test_a_sentence_that_is_not_known_is_not_translated_in_part() -> None:
    for english in ("the moon is made of green cheese", "say which is which", "no columns of a task of any kind"):
        assert Translator(ENTRIES).message(english) == english


def test_names_and_messages_that_are_not_known_stay_as_they_are() -> None:
    translator = Translator(ENTRIES)
    assert translator.message("runs/nli/student-kdda: ???") == "runs/nli/student-kdda: ???"


def test_names_of_fields_and_columns_stay_as_they_are() -> None:
    line = "  columns question = question, context = context, answers = answers"
    assert Translator(ENTRIES).message(line) == "  cột     question = question, context = context, answers = answers"


def test_help_and_refusals_are_vietnamese() -> None:
    code, text = kdda("run", "--help", KDDA_LANG="vi")
    assert code == 0 and "Tinh chỉnh các mô hình thầy" in text and "[bắt buộc]" in text
    for english in ("Usage", "Options", "Arguments", "default", "Show this", "required"):
        assert english not in text
    code, text = kdda("run", "mini-nlj", KDDA_LANG="", LC_ALL="vi_VN.UTF-8")
    assert code == 2 and 'không có công thức "mini-nlj" — có phải ý bạn là "mini-nli"?' in text
    code, text = kdda("run", "mini-nli", "--sedes", "1", KDDA_LANG="vi")
    assert code == 2 and "Lỗi: Không có tùy chọn --sedes" in text and "Error" not in text


def test_a_plan_is_told_in_vietnamese(capsys: pytest.CaptureFixture[str]) -> None:
    models = Table("Models", ["model", "layers"], [["student, mini/english", "6"]])
    lines = ["3 runs in runs, 0 of them finished.", 'MISSING: no folder "a/b/c"']
    with translated_by(Translator(ENTRIES).message, "vi"):
        print_plan(Report("toy", lines, [models]))
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:4] == ["3 lượt chạy trong runs, 0 lượt đã xong.", 'THIẾU: không có thư mục "a/b/c"']
    assert printed[5] == "## Mô hình"
    assert printed[7] == "| mô hình                   | số tầng |"
    assert printed[9] == "| mô hình trò, mini/english |       6 |"


def test_a_call_in_vietnamese_has_the_options_of_every_command_and_leaves_the_next_one_english(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDDA_LANG", "vi")
    code, vietnamese, errors = command("recipes", "--quiet")
    assert code == 0, errors
    assert "Không" in command("recipes", "--no-option")[2]
    monkeypatch.setenv("KDDA_LANG", "en")
    english = command("recipes", "--quiet")[1]
    assert english.split()[0] == vietnamese.split()[0] == "demo" and english != vietnamese
    assert "No such option" in command("recipes", "--no-option")[2]
    assert "without progress" in command("recipes", "--help")[1]


def test_every_built_in_recipe_is_described_in_vietnamese() -> None:
    for name in built_in():
        assert ENTRIES[description(name)] != description(name), name


def printed_as_it_is(call: ast.Call) -> bool:
    """Whether a call of `print` prints what was translated, an empty line, or what programs read."""
    if not call.args:
        return True
    names = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(call)}
    return bool(names & {"tr", "tr_message", "to_markdown", "dumps", "read_text", *TRANSLATED, *NO_WORDS})


# Functions of the command line whose texts `tr` has translated.
TRANSLATED = ("_introduction", "_plan_lines", "_next_steps")
# What is printed as it stands: a prediction; a picture's path; a row of a file; lines of a text; a report.
NO_WORDS = ("result", "path", "row", "left", "text", "version", "get_usage", "hint")


def test_commands_print_words_in_their_language_alone() -> None:
    for file in sorted((ROOT / "src" / "kdda" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                assert printed_as_it_is(node), f"{file}:{node.lineno}: use show, note, warn or say of kdda.cli.shared"


def test_lists_of_runs_are_told_in_vietnamese(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "nli" / "student" / "seed-1"
    for folder in (run / "checkpoints", tmp_path / "runs" / "teachers" / "states" / "vi"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x" * 2000, encoding="utf-8")
    (run / "recipe.yaml").write_text("name: toy\ntask: nli\ntarget: vi\n", encoding="utf-8")
    (run / "metrics.jsonl").write_text("", encoding="utf-8")
    monkeypatch.setenv("KDDA_LANG", "vi")
    monkeypatch.chdir(tmp_path)
    listed = command("runs")[1]
    assert "| lượt chạy " in listed and " đã dừng " in listed and "1 thư mục; runs chiếm" in listed
    removable = command("clean")[1]
    assert "checkpoint: lượt chạy sẽ phải chạy lại từ đầu" in removable
    assert "trạng thái của mô hình thầy: lượt chạy sau sẽ tính lại" in removable
    assert "tổng cộng" in removable and "chưa xóa gì; thêm --yes để xóa" in removable
    for english in ("checkpoints", "in all", "stopped", "state ", "score"):
        assert english not in removable.replace("/checkpoints", "") and english not in listed


def test_other_languages_than_two_are_refused() -> None:
    code, text = kdda("recipes", KDDA_LANG="fr")
    assert code == 2 and 'KDDA_LANG: got "fr", expected one of: en, vi' in text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"KDDA_LANG": "vi"}, True),
        ({"LANG": "vi_VN.UTF-8"}, True),
        ({"LANG": "vi_VN.UTF-8", "LC_ALL": "en_US.UTF-8"}, False),
        ({"LANG": "vi_VN.UTF-8", "KDDA_LANG": "en"}, False),
        ({"LANG": "C"}, False),
    ],
)
def test_the_language_is_that_of_the_variable_or_of_the_locale(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KDDA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_vietnamese() is expected
