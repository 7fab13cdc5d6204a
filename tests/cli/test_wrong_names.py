"""Names that are typed wrongly in the first hour: models, recipes and files of rows; what refusals say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bench, make_model
from tests.heads import make_judge

ROW = ("--premise", "cat sleeps", "--hypothesis", "cat runs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two arms with their models, as `kdda run` writes them, and a teacher's."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    for run in ("nli/student/seed-1", "nli/student-kdda/seed-1"):
        (folder / run).mkdir(parents=True)
        (folder / run / "recipe.yaml").write_text("task: nli\n")
        make_judge(folder / run / "model")
    make_model(folder / "nli/teachers/vi-1/model")
    make_model(folder / "nli/student/seed-1/checkpoints/checkpoint-8")
    return folder


def refusal(command: Any, *arguments: object) -> str:
    code, printed, errors = command(*arguments)
    assert (code, printed) == (2, "") and errors.startswith("kdda: "), errors
    return str(errors)


def test_a_folder_above_models_is_refused_with_the_models_and_a_command_that_works(
    command: Any, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    for above in ("runs", "runs/nli", "runs/nli/", "runs/nli/student"):
        message = refusal(command, "predict", above, *ROW)
        assert "runs/nli/student/seed-1/model" in message and "teachers" not in message and "checkpoint-" not in message
        assert "\nTry: kdda predict runs/nli/student/seed-1/model --premise 'cat sleeps' " in message
    assert "runs/nli/student-kdda/seed-1/model" in refusal(command, "predict", "runs/nli", *ROW)
    assert command("predict", "runs/nli/student/seed-1/model", *ROW)[0] == 0


def test_every_command_that_takes_a_model_names_the_models_below_a_folder(
    command: Any, runs: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("cat sleeps")
    assert command("index", corpus, tmp_path / "index", "--no-segment")[0] == 0
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"premise": "cat", "hypothesis": "dog", "label": "neutral", "vi": "cat", "en": "dog"}\n' * 2)
    for arguments in (
        ("serve", runs, "--port", 0),
        ("ask", tmp_path / "index", runs, "cat?"),
        ("export", runs, tmp_path / "out"),
        ("evaluate", runs, "--data", rows),
        ("convert", runs, tmp_path / "out"),
        ("trim", runs, tmp_path / "out", "--data", rows),
        ("plot", runs, "--teacher", runs, "--text", "cat"),
    ):
        assert f"Try: kdda {arguments[0]}" in refusal(command, *arguments), arguments


def test_the_folder_of_a_run_and_a_file_of_a_model_lead_to_the_model(command: Any, runs: Path) -> None:
    model = runs / "nli/student/seed-1/model"
    assert f"Try: kdda predict {model} --premise" in refusal(command, "predict", model.parent, *ROW)
    message = refusal(command, "predict", model / "config.json", *ROW)
    assert "is a file of a model" in message and f"Try: kdda predict {model} --premise" in message


def test_what_is_no_model_is_told_by_what_it_is(command: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("cat")
    run = tmp_path / "nli" / "student" / "seed-1"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("task: nli\n")
    for name, expected in {
        tmp_path / "empty": "is an empty folder",
        tmp_path / "texts": "is a folder without a model, and none is below it; it holds a.txt",
        tmp_path / "texts" / "a.txt": "is a file and no model",
        run: "has no model yet: it has not finished",
        tmp_path / "texst" / "seed-1" / "model": 'did you mean "texts"?',
        "": "the name of the model is empty",
        "~/no/model": '"~" means your home folder only where the shell reads it, without quotes',
    }.items():
        message = refusal(command, "predict", name, *ROW)
        assert expected in message and "Try: " not in message


def test_a_model_without_a_tokenizer_is_refused_and_does_not_read_unknown_tokens(command: Any, tmp_path: Path) -> None:
    model = Path(make_judge(tmp_path / "model"))
    for path in model.glob("tokenizer*"):
        path.unlink()
    assert "holds no tokenizer, only config.json, model.safetensors" in refusal(command, "predict", model, *ROW)


@pytest.mark.parametrize("option", ["--premise", "--question", "--text"])
def test_an_empty_text_is_said_to_be_empty(command: Any, runs: Path, option: str) -> None:
    model = runs / "nli/student/seed-1/model"
    for text in ("", "  "):
        assert f"{option} is empty" in refusal(command, "predict", model, "--hypothesis", "cat", option, text)


def test_a_folder_of_rows_is_refused_with_its_files(command: Any, runs: Path, tmp_path: Path) -> None:
    model = runs / "nli/student/seed-1/model"
    out = ("--output", "-")
    message = refusal(command, "predict", model, "--input", tmp_path, *out)
    assert f"{tmp_path} is a folder without a file of rows (.jsonl" in message
    for name in ("b.csv", "a.jsonl", "notes.md"):
        (tmp_path / name).write_text("")
    message = refusal(command, "predict", model, "--input", tmp_path, *out)
    assert "is a folder, expected one file: name one of a.jsonl, b.csv\nTry: " in message
    assert f"--input {tmp_path / 'a.jsonl'} --output -" in message
    assert f"--data {tmp_path / 'a.jsonl'}" in refusal(command, "evaluate", model, "--data", tmp_path)
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    message = refusal(command, "predict", model, "--input", tmp_path / "trian.csv", *out)
    assert 'did you mean "train.csv"?' in message
    for path in tmp_path.glob("[ab].*"):
        path.unlink()
    assert f"Try: kdda evaluate {model} --data {tmp_path}:train" in refusal(
        command, "evaluate", model, "--data", tmp_path
    )


def test_a_torn_line_is_named_with_the_column_at_which_it_ends(command: Any, runs: Path, tmp_path: Path) -> None:
    model = runs / "nli/student/seed-1/model"
    good = json.dumps({"premise": "cat", "hypothesis": "dog", "label": "neutral"})
    expected = f"rows.jsonl:2: not JSON: it ends too early: Expecting ',' delimiter at column {len(good)}"
    rows = tmp_path / "rows.jsonl"
    for end in ("\n", "\r\n", ""):
        rows.write_bytes(f"{good}\n{good[:-1]}{end}".encode())
        assert expected in refusal(command, "predict", model, "--input", rows, "--output", "-")
    assert expected in refusal(command, "evaluate", model, "--data", rows)
    assert expected in refusal(command, "new", rows, "--out", tmp_path / "recipe.yaml")
    rows.write_text('{\n  "premise": "cat"\n}\n')
    message = refusal(command, "new", rows, "--out", tmp_path / "recipe.yaml")
    assert 'rows.jsonl:1: not JSON: the line holds "{" alone, expected one object a line' in message
    rows = rows.with_suffix(".json")
    rows.write_text(f"[{good},\n {good}\n\n")
    message = refusal(command, "new", rows, "--out", tmp_path / "recipe.yaml")
    assert f"rows.json:2: not JSON: it ends too early: Expecting ',' delimiter at column {len(good) + 2}" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.jsonl", "", "rows.jsonl is empty"),
        ("rows.json", "", "rows.json is empty"),
        ("rows.txt", "", "rows.txt is empty"),
        ("rows.csv", "\n \n", "rows.csv has only blank lines"),
        ("rows.json", "\n", "rows.json has only blank lines"),
        ("rows.csv", "premise,hypothesis\n", "rows.csv has a line of names (premise,hypothesis) and no row below it"),
        ("rows.json", "[]", "rows.json has no row, only []"),
    ],
)
def test_a_file_without_rows_is_named_with_what_it_holds(
    command: Any, runs: Path, tmp_path: Path, name: str, content: str, expected: str
) -> None:
    rows = tmp_path / name
    rows.write_text(content)
    model = runs / "nli/student/seed-1/model"
    for arguments in (
        ("predict", model, "--input", rows, "--output", "-"),
        ("evaluate", model, "--data", rows),
        ("new", rows, "--out", tmp_path / "recipe.yaml"),
        ("translation-retrieval", model, "--data", rows),
    ):
        assert expected in refusal(command, *arguments), arguments


def test_a_folder_without_rows_is_named_with_what_it_holds(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    out = ("--out", tmp_path / "recipe.yaml")
    assert "rows is a folder without a file of rows (.jsonl, " in refusal(command, "new", folder, *out)
    (folder / "train.csv").write_text("")
    assert f"{folder / 'train.csv'}: is empty, expected rows" in refusal(command, "new", folder, *out)


def test_a_text_of_one_line_is_a_text_and_no_table_without_rows(command: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hà Nội là thủ đô.\n")
    message = refusal(command, "new", tmp_path, "--out", tmp_path / "recipe.yaml")
    assert "1 text without columns: kdda index" in message


def test_a_recipes_name_leads_to_the_file_beside_it(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nli.yaml").write_text("extends: mine\n")
    for arguments in (("run", "nli"), ("plan", "nli"), ("recipes", "--show", "nli")):
        message = refusal(command, *arguments)
        assert "looked for a built-in one (kdda recipes lists all" in message
        assert f"and for the file {tmp_path / 'nli'}\nTry: kdda {arguments[0]} " in message and "nli.yaml" in message
    message = refusal(command, "plan", "nli.yaml")
    assert message.startswith('kdda: nli.yaml:1: extends: no recipe "mine"; looked for')
    Path("mine.yml").write_text("")
    assert 'did you mean "mine.yml"?' in refusal(command, "plan", "nli.yaml")


def test_the_end_of_a_built_in_recipes_name_leads_to_it(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(command, "plan", "qa")
    assert "did you mean one of: effect/qa, mini-qa?" in message and "Try: kdda plan effect/qa" in message
    assert 'did you mean "mini-nli"?' in refusal(command, "plan", "mini-nly.yaml")


def test_a_folder_or_rows_in_the_place_of_a_recipe_are_told_by_what_they_are(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "kdda new . writes a recipe for the rows in it" in refusal(command, "plan", ".")
    Path("train.jsonl").write_text('{"text": "cat"}\n{"text": "dog"}\n')
    Path("train.csv").write_text("text\ncat\n")
    for name in ("train.jsonl", "train.csv"):
        assert f"if it holds rows of data, kdda new {name} writes a recipe" in refusal(command, "plan", name)
    Path("mine.yaml").write_text("")
    assert "expected a recipe: name one of mine.yaml\nTry: kdda plan mine.yaml" in refusal(command, "plan", ".")
    assert "mine.yaml: the recipe is empty, expected fields" in refusal(command, "plan", "mine.yaml")
    Path("mine.yaml").write_text("# nothing yet\n\n")
    assert "the recipe holds only blank lines or comments" in refusal(command, "plan", "mine.yaml")
    assert "the name of the recipe is empty" in refusal(command, "plan", "")


def test_a_path_to_write_to_is_not_made_below_a_folder_called_tilde(command: Any, bench: Bench, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "a b c,x\nd e f,y\n" * 20)
    recipe = bench.write()
    for arguments in (("run", recipe, "--out", "~/kdda"), ("new", rows, "--out", "~/kdda.yaml")):
        message = refusal(command, *arguments)
        assert f'"~" means your home folder only where the shell reads it, without quotes: {Path.home()}' in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--languages", "vietnamese"), 'got "vietnamese", expected codes such as vi or km, with commas between — did'),
        (("--languages", "vn"), 'did you mean "vi"?'),
        (("--languages", "VI"), 'did you mean "vi"?'),
        (("--languages", "vi en"), "expected codes such as vi or km, with commas between\n"),
        (("--task", "NLI"), 'did you mean "nli"?'),
        (
            ("--columns", "premises=premise"),
            '--columns: got "premises", expected one of: id, premise, hypothesis, label',
        ),
        (("--columns", "premise:premise"), 'did you mean "premise=premise"?'),
        (("--teachers", "vi:mini/vietnamese"), 'did you mean "vi=mini/vietnamese"?'),
        (("--student", "FOLDER"), "is an empty folder"),
        (("--teachers", "vi=FOLDER"), "is an empty folder"),
        (("--out", "FOLDER"), "is a folder: name a file in it, such as FOLDER/recipe.yaml"),
        (("--out", "FOLDER/rows.csv"), "a recipe's file ends in .yaml: --out FOLDER/rows.yaml"),
    ],
)
def test_a_wrong_option_of_a_draft_is_told_with_what_was_meant_and_no_recipe_is_left(
    command: Any, tmp_path: Path, options: tuple[str, str], expected: str
) -> None:
    rows, folder = tmp_path / "rows.csv", tmp_path / "folder"
    folder.mkdir()
    lines = ["premise;hypothesis;label"]
    for number in range(30):
        lines.append(f"Cô giáo dạy hát {number}.;Trong lớp có người.;{('entailment', 'neutral')[number % 2]}")
    rows.write_text("\n".join(lines))
    out = ("--out", str(tmp_path / "recipe.yaml"))
    option, value = options
    given = (option, value.replace("FOLDER", str(folder)))
    message = refusal(command, "new", rows, *out, *given)
    assert expected.replace("FOLDER", str(folder)) in message and not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rows.zip", "rows are not read from .zip files: unpack it first"),
        ("rows.xls", "save it as .xlsx or as CSV in UTF-8 in the spreadsheet program"),
        ("rows.docx", "rows stand in a table or in JSON lines"),
        ("recipe.yaml", "is it a recipe? kdda plan and kdda run take recipes"),
        ("rows.xlsx", "no Excel workbook, or a torn one"),
    ],
)
def test_a_file_of_another_format_is_told_with_what_to_do(
    command: Any, runs: Path, tmp_path: Path, name: str, expected: str
) -> None:
    rows = tmp_path / name
    rows.write_text("premise,hypothesis\na,b\n")
    assert expected in refusal(command, "new", rows, "--out", tmp_path / "new.yaml")
    model = runs / "nli/student/seed-1/model"
    assert expected in refusal(command, "predict", model, "--input", rows, "--output", "-")


def test_a_web_address_is_no_file(command: Any, tmp_path: Path) -> None:
    message = refusal(command, "new", "https://example.org/rows.csv", "--out", tmp_path / "recipe.yaml")
    assert "https://example.org/rows.csv is a web address: download the file first" in message


def test_columns_that_stand_in_each_others_place_are_suspected(command: Any, tmp_path: Path) -> None:
    lines = ["premise,hypothesis,label"]
    for number in range(30):
        lines.append(f"{('entailment', 'neutral')[number % 2]},Cô giáo dạy hát.,Trong lớp có {number % 3} người.")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    message = refusal(command, "new", tmp_path / "rows.csv", "--out", tmp_path / "recipe.yaml")
    assert 'column "premise" holds labels of inference: are columns swapped? --columns label=premise' in message


def test_an_empty_corpus_is_named(command: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    message = refusal(command, "index", tmp_path / "a.txt", tmp_path / "index", "--no-segment")
    assert f'"{tmp_path / "a.txt"}": the corpus is empty' in message


@pytest.fixture
def index(command: Any, tmp_path: Path) -> Path:
    (tmp_path / "corpus.txt").write_text("cat sleeps")
    assert command("index", tmp_path / "corpus.txt", tmp_path / "index", "--no-segment")[0] == 0
    return tmp_path / "index"


def test_a_question_that_is_forgotten_is_asked_for_and_a_model_that_is_forgotten_too(
    command: Any, runs: Path, index: Path
) -> None:
    model = runs / "nli/student/seed-1/model"
    message = refusal(command, "ask", index, model)
    assert f'the question is missing: put it last, in quotes: kdda ask {index} {model} "…"' in message
    assert f'the model is missing, which stands between the index and the question: kdda ask {index} MODEL "cat?"' in (
        refusal(command, "ask", index, "cat?")
    )


def test_a_model_of_another_task_is_told_by_its_task(command: Any, runs: Path, index: Path) -> None:
    message = refusal(command, "ask", index, runs / "nli/student/seed-1/model", "cat?")
    assert "is a model of task nli; kdda ask needs one that answers questions, task qa" in message
    assert "entails(" not in message
    message = refusal(command, "serve", runs / "nli/student/seed-1/model", "--index", index, "--port", 0)
    assert "--index needs a model that answers questions (task qa)" in message


def test_folders_of_runs_and_of_texts_that_are_misspelt_lead_to_the_right_ones(
    command: Any, runs: Path, tmp_path: Path
) -> None:
    for name in ("report", "runs", "clean"):
        assert 'did you mean "nli"?' in refusal(command, name, runs / "nil"), name
    (tmp_path / "corpus").mkdir()
    assert 'did you mean "corpus"?' in refusal(command, "index", tmp_path / "corpsu", tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(("name", "continues"), [("ask", False), ("plot", False), ("run", True), ("try", True)])
def test_after_an_interrupt_only_commands_with_checkpoints_promise_to_continue(
    command: Any, monkeypatch: pytest.MonkeyPatch, name: str, continues: bool
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdda.cli.shared.call", interrupt)
    code, _, errors = command(name)
    assert code == 130 and errors.startswith("kdda: interrupted")
    assert ("continues from the last checkpoint" in errors) is continues
