"""A recipe's data: folders, several sources of a split, rows of one language, and rows that are held out."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kdda.errors import KddaError
from kdda.experiment.context import task_of, with_labels
from kdda.experiment.splits import SplitReader, Splits
from kdda.recipe.load import load_recipe
from tests.conftest import make_rows, write_rows


def recipe_of(folder: Path, **data: Any) -> Path:
    path = folder / "recipe.yaml"
    values = {"task": "nli", "target": "aa", "student": "mini/multilingual", "data": {"aa": data}, "arms": {"a": {}}}
    path.write_text(yaml.safe_dump(values))
    return path


def splits_of(folder: Path, **data: Any) -> Splits:
    recipe = with_labels(load_recipe(str(recipe_of(folder, **data))))
    return SplitReader(recipe, task_of(recipe)).read_language("aa")[0]


def test_held_out_rows_are_the_share_that_is_asked_for_and_premises_stay_together(tmp_path: Path) -> None:
    rows = make_rows("aa", 120, 0)
    for number, row in enumerate(rows):
        row["premise"] += " rất" * (number // 3)
    source = write_rows(tmp_path / "rows.jsonl", rows)
    splits = splits_of(tmp_path, train=source, holdout={"dev": 0.1, "test": 0.2})
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 84, "dev": 12, "test": 24}
    premises = [{example.group for example in examples} for examples in splits.values()]
    assert not premises[0] & premises[1] and not premises[0] & premises[2] and not premises[1] & premises[2]
    again = splits_of(tmp_path, train=source, holdout={"dev": 0.1, "test": 0.2}, limit={"train": 20})
    assert list(again["test"]) == list(splits["test"]) and len(again["train"]) == 20


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    rows = [{**row, "premise": "mèo"} for row in make_rows("aa", 9, 0)]
    with pytest.raises(KddaError, match=r"data.aa.train: holdout: 9 rows in 1 group.*; give more rows, or files for "):
        splits_of(tmp_path, train=write_rows(tmp_path / "rows.jsonl", rows), holdout={"dev": 0.1, "test": 0.1})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": "a"}, "development rows: dev: SOURCE, or a share of the training rows"),
        ({"train": "a", "dev": "b", "holdout": {"dev": 0.1}}, "dev rows from its source or from holdout"),
        ({"train": "a", "holdout": {"dev": 0.5, "test": 0.5}}, "shares of holdout that leave training rows"),
        ({"train": "a", "holdout": {"dev": 1.0}}, "less than 1"),
        ({"train": [], "dev": "b"}, "data.aa.train"),
    ],
)
def test_data_without_an_origin_of_a_split_is_refused(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(KddaError) as error:
        load_recipe(str(recipe_of(tmp_path, **data)))
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_split_may_have_several_sources_and_rows_of_one_language(tmp_path: Path) -> None:
    for number, language in enumerate(("aa", "bb")):
        rows = [{**row, "language": language} for row in make_rows(language, 9, number)]
        write_rows(tmp_path / f"{language}.jsonl", rows)
    both = ["aa.jsonl", "bb.jsonl"]
    assert len(splits_of(tmp_path, train=both, dev="bb.jsonl", test="aa.jsonl")["train"]) == 18
    with pytest.raises(KddaError, match=r"data.aa.dev: .*bb.jsonl: no row has \"language\" aa"):
        splits_of(tmp_path, train="aa.jsonl", dev="bb.jsonl", test="aa.jsonl", select={"language": "aa"})


def test_a_folder_stands_for_its_splits(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for number, split in enumerate(("train", "validation", "test")):
        write_rows(tmp_path / "rows" / f"{split}.jsonl", make_rows("aa", 3 + number, number))
    splits = splits_of(tmp_path, train="rows", dev="rows", test="rows:validation")
    assert [len(examples) for examples in splits.values()] == [3, 4, 4]


def test_rows_of_each_split_are_selected_from_a_file_of_several(tmp_path: Path) -> None:
    rows = make_rows("aa", 12, 0)
    for number, row in enumerate(rows):
        row |= {"part": ("train", "val", 3)[number % 3], "lang": ("aa", "bb")[number // 6]}
    source = write_rows(tmp_path / "all.jsonl", rows)
    test = write_rows(tmp_path / "test.jsonl", [{**row, "lang": "aa"} for row in make_rows("aa", 3, 1)])
    select: dict[str, Any] = {"lang": "aa", "part": {"train": "train", "dev": "val"}}
    splits = splits_of(tmp_path, train=source, dev=source, test=test, select=select)
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 2, "dev": 2, "test": 3}
    select["part"]["test"] = 3
    assert len(splits_of(tmp_path, train=source, dev=source, test=source, select=select)["test"]) == 2
    select["part"]["testing"] = "test"
    wanted = r"recipe.yaml:\d+: data.aa.select.part: got the key \"testing\", expected: 'train', 'dev' or 'test'"
    with pytest.raises(KddaError, match=wanted):
        load_recipe(str(recipe_of(tmp_path, train=source, dev=source, test=source, select=select)))


def test_a_column_for_a_field_that_no_row_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match=r'data\.aa\.columns: got "lable", expected one of: id, premise, .*"label"'):
        splits_of(tmp_path, train="a.jsonl", dev="b.jsonl", test="c.jsonl", columns={"lable": "gold"})
