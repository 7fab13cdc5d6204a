"""Rows whose windows stay together in a batch: what batches are made of, and that other tasks train as they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.data.examples import Example
from kdda.tasks.classification import Classification
from kdda.tasks.features import Features
from kdda.tasks.windows import Windows
from kdda.text.encode import Encoder
from tests.conftest import LABELS, make_model, make_rows, make_tokenizer


@dataclass(frozen=True)
class WholeRows(Classification):
    """A classification task that says its rows stay whole; each has one window, so that nothing may change."""

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        return replace(super().encode(examples, encoder), whole_rows=True)


def train(folder: Path, task: Classification, **options: Any) -> dict[str, torch.Tensor]:
    """The weights of a tiny student that is distilled from a tiny teacher."""
    args = DistillationConfig(
        str(folder), num_train_epochs=1, per_device_train_batch_size=8, precision="fp32", seed=1, **options
    )
    trainer = DistillationTrainer(
        make_model(folder / "student"),
        {"aa": Teacher(make_model(folder / "teacher", seed=1), random=True)},
        task=task,
        train_dataset={"aa": make_rows("aa", 24, 0), "bb": make_rows("bb", 12, 1)},
        args=args,
        say=lambda _: None,
    )
    trainer.train()
    weights: dict[str, torch.Tensor] = trainer.model.state_dict()
    return weights


def test_a_task_whose_rows_have_one_window_trains_alike_whether_rows_stay_whole_or_not(tmp_path: Path) -> None:
    fields = ("premise", "hypothesis")
    separate = train(tmp_path / "a", Classification("pairs", fields, labels=tuple(LABELS)), micro_batch_size=3)
    whole = train(tmp_path / "b", WholeRows("pairs", fields, labels=tuple(LABELS)), micro_batch_size=3)
    for name, weight in separate.items():
        assert torch.equal(weight, whole[name]), name


@pytest.fixture
def rows() -> Features:
    """Three rows of two, one and three windows, which have different texts in a row."""
    encoder = Encoder(make_tokenizer(), max_length=16)
    texts = [["mèo ngủ", "mèo"], ["chó chạy"], ["gà", "gà ngủ rất", "cá"]]
    examples = [Example(str(i), tuple(row), "") for i, row in enumerate(texts)]
    return Features(examples, Windows(encoder.encode(row) for row in texts), whole_rows=True)


def test_items_of_a_batch_are_windows_or_whole_rows(rows: Features) -> None:
    assert rows.item_lengths.tolist() == [4, 4, 5]  # of the longest window, with two special tokens
    assert rows.windows_of([2, 0]) == [3, 4, 5, 0, 1]
    windows = replace(rows, whole_rows=False)
    assert windows.item_lengths.tolist() == [4, 3, 4, 3, 5, 3] and windows.windows_of([2, 0]) == [2, 0]


def test_windows_of_one_row_may_have_different_texts(rows: Features) -> None:
    read = [window.parts[0].text for window in rows.windows]
    assert read == ["mèo ngủ", "mèo", "chó chạy", "gà", "gà ngủ rất", "cá"]
    assert [rows.windows[k].parts[0].text for k in range(6)] == read
