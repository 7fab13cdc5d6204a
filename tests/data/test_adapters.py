"""Datasets in Python become rows with their places, whatever holds them."""

from pathlib import Path

import datasets
import pytest

from kdda.data.adapters import to_rows
from kdda.data.sources import Source
from kdda.errors import KddaError
from tests.conftest import make_rows, write_rows

ROWS = make_rows("aa", 4, seed=0)


def test_lists_files_sources_and_datasets_give_the_same_rows(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", ROWS)
    for dataset in (ROWS, path, Path(path), Source(path), datasets.Dataset.from_list(ROWS)):
        assert [row.values for row in to_rows(dataset)] == ROWS


def test_integers_of_class_labels_become_their_names() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    assert [row.values["label"] for row in to_rows(dataset)] == ["good", "bad"]


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [(3, "got int, expected"), ([], "train is empty"), ([1], "train, row 1: got int, expected a dict")],
)
def test_what_is_no_dataset_is_refused_by_its_name(dataset: object, reason: str) -> None:
    with pytest.raises(KddaError, match=reason):
        to_rows(dataset, "train")
