"""Files whose columns are not called as the task's fields: read as the training data were, or told what would do."""

import json
from pathlib import Path
from typing import Any

import pytest

import kdda
from kdda.errors import KddaError
from kdda.inference.columns import COLUMNS
from tests.conftest import make_rows, write_rows
from tests.heads import make_judge, make_tagger

NAMING = {"premise": "first", "hypothesis": "second", "label": "gold"}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that was trained on columns of other names, in two languages."""
    named = {COLUMNS: [NAMING, {"premise": "s1", "hypothesis": "s2", "label": "y"}]}
    return make_judge(tmp_path_factory.mktemp("nli"), kdda_task="nli", **named)


def renamed(path: Path, names: dict[str, str], count: int = 3) -> str:
    return renamed_rows(path, make_rows("bb", count, 0), names)


def renamed_rows(path: Path, rows: list[dict[str, Any]], names: dict[str, str]) -> str:
    return write_rows(path, [{names.get(field, field): value for field, value in row.items()} for row in rows])


def test_a_file_with_the_columns_of_the_training_data_is_read_as_they_were(
    command: Any, judge: str, tmp_path: Path
) -> None:
    plain, named = renamed(tmp_path / "plain.jsonl", {}), renamed(tmp_path / "named.jsonl", NAMING)
    expected = command("predict", judge, "--input", plain, "--output", "-")
    code, out, err = command("predict", judge, "--input", named, "--output", "-")
    assert (code, out) == (0, expected[1]), err
    assert "columns as in training: premise=first,hypothesis=second" in err and "columns" not in expected[2]
    code, _, err = command("evaluate", judge, "--data", named, "--out", tmp_path / "p.jsonl")
    assert code == 0 and "columns as in training: premise=first,hypothesis=second,label=gold" in err
    assert kdda.evaluate(judge, Path(plain)).scores["accuracy"] == kdda.evaluate(judge, named).scores["accuracy"]


def test_ids_are_read_from_their_column_of_the_training_data_or_the_one_that_is_named(
    command: Any, tmp_path: Path
) -> None:
    model = make_judge(tmp_path / "nli", kdda_task="nli", **{COLUMNS: [{"id": "mã", **NAMING}]})
    rows = [{"mã": f"a{number}", "pair": f"b{number}", **row} for number, row in enumerate(make_rows("bb", 3, 0))]
    source = renamed_rows(tmp_path / "in.jsonl", rows, NAMING)
    for arguments, first in (((), "a0"), (("--columns", "id=pair"), "b0")):
        code, out, err = command("predict", model, "--input", source, "--output", "-", *arguments)
        assert code == 0 and f'"id": "{first}"' in out.splitlines()[0] and "premise=first" in err, err


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        ({"premise": "first", "hypothesis": "zweite"}, "premise=first,hypothesis=zweite"),  # half of the stored ones
        ({"premise": "a b", "hypothesis": "c"}, "'premise=a b,hypothesis=c'"),  # by what they hold
        ({"premise": "gold"}, "premise=gold"),
    ],
)
def test_other_columns_are_refused_with_the_option_that_would_do(
    command: Any, judge: str, tmp_path: Path, names: dict[str, str], guess: str
) -> None:
    source = renamed(tmp_path / "in.jsonl", names)
    code, _, err = command("predict", judge, "--input", source, "--output", "-")
    assert code == 2 and f"--columns {guess} says which is which" in err and "no column for premise" in err
    code, _, err = command("evaluate", judge, "--data", source, "--out", tmp_path / "p.jsonl")
    assert code == 2 and "--columns" in err
    with pytest.raises(KddaError, match=r"columns=\{"):
        kdda.evaluate(judge, source)


def test_columns_that_a_user_names_hold(command: Any, judge: str, tmp_path: Path) -> None:
    source = renamed(tmp_path / "in.jsonl", {**NAMING, "label": "third"})
    crossed = ("--columns", "premise=second,hypothesis=first")
    code, out, err = command("predict", judge, "--input", source, "--output", "-", *crossed)
    assert code == 0 and len(out.splitlines()) == 3 and "as in training" not in err


def test_a_first_row_that_lacks_a_field_is_skipped_where_others_have_it(
    command: Any, judge: str, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"note": "a b"}, *make_rows("bb", 2, 0)])
    code, out, err = command("predict", judge, "--input", source, "--output", "-", "--skip-bad-rows")
    assert code == 0 and len(out.splitlines()) == 2 and "1 bad row skipped" in err


def test_the_longest_text_is_taken_for_the_only_field(command: Any, tmp_path: Path) -> None:
    model = make_tagger(tmp_path / "model")
    source = write_rows(tmp_path / "in.jsonl", [{"author": "An", "comment": "cat sleeps", "n": 3}])
    code, _, err = command("predict", model, "--input", source, "--output", "-")
    assert code == 2 and "the columns are author, comment, n; --columns text=comment says" in err


def test_a_run_stores_how_its_columns_are_called(bench: Any, command: Any, tmp_path: Path) -> None:
    for language in ("aa", "bb"):
        data = bench.values["data"][language]
        for split in ("train", "dev", "test"):
            rows = [json.loads(line) for line in Path(data[split]).read_text("utf-8").splitlines()]
            write_rows(Path(data[split]), [{NAMING[field]: value for field, value in row.items()} for row in rows])
        data["columns"] = NAMING
    bench.values["training"]["epochs"] = 1
    recipe = bench.write()
    code, _, err = command("run", recipe, "--arms", "student", "--seeds", "1", "--out", tmp_path / "runs")
    assert code == 0, err
    model = tmp_path / "runs/nli/student/seed-1/model"
    assert json.loads((model / "config.json").read_text("utf-8"))[COLUMNS] == [NAMING]
    code, out, err = command("predict", model, "--input", bench.values["data"]["aa"]["test"], "--output", "-")
    assert code == 0 and len(out.splitlines()) == 18, err
