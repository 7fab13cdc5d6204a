"""Any number of languages: temperature sampling, several targets, languages without a teacher, labels or rows."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from kdda import DistillationConfig, DistillationTrainer
from kdda.errors import Interrupted, KddaError
from kdda.runs.events import read_metrics
from tests.conftest import make_model, make_rows

QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "num_train_epochs": 2,
    "logging_steps": 1,
    "precision": "fp32",
    "seed": 1,
}


class PressCtrlC(TrainerCallback):  # type: ignore[misc]
    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 6:  # of 5 an epoch: in the second one
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def student(tmp_path: Path) -> str:
    return make_model(tmp_path / "student", seed=0)


def heated(student: str, out: Path, **options: Any) -> DistillationTrainer:
    return DistillationTrainer(
        student,
        train_dataset={"aa": make_rows("aa", 4, seed=0), "bb": make_rows("bb", 16, seed=1)},
        eval_dataset={"aa": make_rows("aa", 6, seed=2)},
        args=DistillationConfig(str(out), **QUICK, sampling="temperature", sampling_temperature=3.0),
        **options,
    )


def test_temperature_sampling_is_said_and_resumes_to_the_last_bit(student: str, tmp_path: Path) -> None:
    lines: list[str] = []
    whole = heated(student, tmp_path / "whole", say=lines.append)
    whole.train()
    assert any("2 epochs of 5 batches of 4 (sampling temperature 3: aa 2, bb 3)" in line for line in lines)
    steps = [
        event["language"] for event in read_metrics(tmp_path / "whole" / "metrics.jsonl") if event["event"] == "train"
    ]
    assert (steps.count("aa"), steps.count("bb")) == (4, 6)
    with pytest.raises(Interrupted, match="stopped at step 7 of 10"):
        heated(student, tmp_path / "out", callbacks=[PressCtrlC()], say=lines.append).train()
    resumed = heated(student, tmp_path / "out", say=lines.append)
    resumed.train(resume_from_checkpoint=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"sampling": "temperature", "sampling_temperature": 0.5}, "got 0.5, expected a finite number, 1 or more"),
        ({"sampling": "temperature", "sampling_temperature": float("nan")}, "got nan, expected a finite number"),
        ({"sampling_temperature": 2.0}, "no effect without"),
        ({"sampling": "temprature"}, 'did you mean "temperature"'),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(KddaError, match=reason):
        DistillationConfig("out", **config)
