"""Any number of languages: temperature sampling, several targets, languages without a teacher, labels or rows."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.errors import Interrupted, KddaError
from kdda.models.load import load_checkpoint
from kdda.runs.events import read_metrics
from tests.conftest import Bench, make_model, make_rows, write_rows

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
    rows = load_checkpoint(student).model.get_input_embeddings().num_embeddings
    line = next(line for line in lines if "trains the embeddings of the " in line)
    used, others = map(int, re.findall(r"the (\d+) (?:tokens that occur|others back at the end)", line))
    assert 0 < used < rows and used + others == rows and whole.model.get_input_embeddings().num_embeddings == rows
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


def three_languages(bench: Bench) -> None:
    """Labels in aa, unlabelled rows in bb with a teacher that learns from aa, and cc, which is only scored."""
    data, rows = bench.values["data"], make_rows("bb", 24, seed=5)
    texts = [{"premise": row["premise"], "hypothesis": row["hypothesis"]} for row in rows]
    data["bb"] |= {"train": write_rows(bench.folder / "texts.jsonl", texts), "labels": "none"}
    data["cc"] = {"test": data["bb"]["test"]}
    bench.values["teachers"]["bb"] = {"model": bench.values["teachers"]["bb"], "train": "aa"}
    bench.values["target"] = ["aa", "bb"]
    bench.values["training"] |= {"epochs": 1, "sampling": "temperature", "sampling_temperature": 4}
    data["aa"]["limit"] = {"train": 8}
    bench.values["arms"] = {"student": {"train": "target"}, "student-kdda": {"distill": True}}


def test_targets_unlabelled_rows_and_zero_shot_scores_go_through_plan_run_and_report(
    bench: Bench, command: Any
) -> None:
    three_languages(bench)
    recipe, out = bench.write(), bench.folder / "out"
    code, plan, error = command("plan", recipe, "--out", out)
    assert code == 0, error
    assert "target aa, bb" in plan and "| bb | 24 | 15 | 18 |" in " ".join(plan.split())
    assert "note: bb has no labels: student-kdda trains in it" in plan
    assert "Sampling temperature 4: student-kdda has aa 2, bb 2 batches an epoch." in plan
    assert "WARNING: cc has no training rows: its scores are zero-shot" in plan
    code, said, error = command("run", recipe, "--out", out)
    assert code == 0, error
    assert "note: bb has no labels" in said and "WARNING: cc has no training rows" in said
    assert "student-kdda, seed 1: bb has no labels: it is distilled from its teacher alone" in said
    student, kdda = (out / "nli" / arm / "seed-1" for arm in ("student", "student-kdda"))
    events = read_metrics(kdda / "metrics.jsonl")
    of_bb = [event for event in events if event["event"] == "train" and event["language"] == "bb"]
    assert of_bb and all(event["task"] == 0 and event["transport"] > 0 for event in of_bb)
    evaluation = next(event for event in events if event["event"] == "dev")
    by_language = [evaluation["languages"][language]["accuracy"] for language in ("aa", "bb")]
    assert evaluation["accuracy"] == pytest.approx(sum(by_language) / 2)
    assert [event["language"] for event in events if event["event"] == "final-test"] == ["aa", "bb", "cc"]
    assert json.loads((kdda / "model" / "config.json").read_text())["kdda_language"] == "aa"
    card = (kdda / "model" / "README.md").read_text()
    assert "24, no labels" in card and card.count("(zero-shot)") == 2

    code, text, _ = command("report", out)
    assert code == 0 and "target aa, bb" in text
    for heading in (
        "## mean of aa, bb, test rows",
        "## aa, test rows",
        "## bb, test rows",
        "## Other languages: accuracy",
    ):
        assert heading in text
    assert "student (zero-shot: bb)" in text and "student-kdda (zero-shot)" in text  # in the mean, and of bb alone
    assert "student-kdda: bb has no labels; it is distilled from its teacher alone." in text
    mean_table = text.split("## mean of")[1].split("## ")[0]
    scores = {e["language"]: e for e in read_metrics(student / "metrics.jsonl") if e["event"] == "final-test"}
    mean = (scores["aa"]["accuracy"] + scores["bb"]["accuracy"]) / 2
    row = next(line for line in mean_table.splitlines() if line.startswith("| student (zero"))
    assert f" {mean:.1f} |" in row


def test_languages_without_labels_are_the_same_in_python(student: str, tmp_path: Path) -> None:
    texts = [{"premise": row["premise"], "hypothesis": row["hypothesis"]} for row in make_rows("bb", 8, seed=1)]
    lines: list[str] = []
    trainer = DistillationTrainer(
        student,
        {"bb": Teacher(make_model(tmp_path / "teacher", seed=3), train="aa")},
        train_dataset={"aa": make_rows("aa", 8, seed=0), "bb": texts},
        eval_dataset={"aa": make_rows("aa", 6, seed=2), "bb": make_rows("bb", 6, seed=3)},
        target=["aa", "bb"],
        unlabelled=["bb"],
        args=DistillationConfig(str(tmp_path / "out"), **{**QUICK, "num_train_epochs": 1}),
        say=lines.append,
    )
    trainer.train()
    assert any("aa has no teacher: it trains on the task's loss alone" in line for line in lines)
    assert any("bb has no labels" in line for line in lines)
    scores = trainer.evaluate()
    assert scores["eval_accuracy"] == pytest.approx((scores["eval_aa_accuracy"] + scores["eval_bb_accuracy"]) / 2)
    events = [e for e in read_metrics(tmp_path / "out" / "metrics.jsonl") if e["event"] == "train"]
    assert all((event["task"] == 0) == (event["language"] == "bb") for event in events)


def test_a_language_with_neither_labels_nor_a_teacher_is_refused_in_python(student: str, tmp_path: Path) -> None:
    rows = {"aa": make_rows("aa", 8, seed=0), "bb": make_rows("bb", 8, seed=1)}
    args = DistillationConfig(str(tmp_path / "out"), **QUICK)
    with pytest.raises(KddaError, match='"bb" has neither labels nor a teacher'):
        DistillationTrainer(student, train_dataset=rows, unlabelled=["bb"], args=args)
    with pytest.raises(KddaError, match='got "cc"'):
        DistillationTrainer(student, train_dataset=rows, unlabelled=["cc"], args=args)
    with pytest.raises(KddaError, match='"aa" is there twice'):
        DistillationTrainer(student, train_dataset=rows, target=["aa", "aa"], args=args)
    teachers = {"bb": Teacher(student, train="bb")}
    with pytest.raises(KddaError, match=r'teachers\.bb: train: got "bb"'):
        DistillationTrainer(student, teachers, train_dataset=rows, unlabelled=["bb"], args=args)
