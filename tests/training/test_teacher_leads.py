"""Whether a teacher still leads during training is said after each evaluation, and `stop_when_ahead` stops it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from kdda import DistillationConfig, DistillationTrainer
from kdda.errors import Interrupted
from kdda.models.load import load_checkpoint
from kdda.runs.events import read_metrics
from kdda.training.prepare import PreparedTeacher
from kdda.training.teacher_leads import TeacherLeads
from tests.conftest import LABELS, Bench, make_model, make_rows
from tests.heads import make_judge

TRAIN = {"aa": make_rows("aa", 16, seed=0), "bb": make_rows("bb", 16, seed=1)}
DEV = {"aa": make_rows("aa", 6, seed=2), "bb": make_rows("bb", 6, seed=3)}
BATCHES = 8  # of 4 rows, an epoch: 4 of each language
QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "num_train_epochs": 2,
    "logging_steps": 1,
    "precision": "fp32",
    "seed": 1,
    "load_best_model_at_end": False,  # the last weights are compared, which all steps have changed
}
EVERY_TWO_STEPS = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    return {"student": make_model(tmp_path / "student"), "judge": make_judge(tmp_path / "judge")}


def teacher_of(models: dict[str, str], language: str, score: float | None) -> PreparedTeacher:
    """A teacher whose score on development rows is known to be `score`, or not known."""
    dev = {} if score is None else {"accuracy": score}
    opened = partial(load_checkpoint, models["judge"], head="classification", labels=LABELS)
    return PreparedTeacher(language, f"judge-{score}", dev, opened)


def trainer_of(
    models: dict[str, str], out: Path, scores: dict[str, list[float | None]], lines: list[str], **config: Any
) -> DistillationTrainer:
    """A trainer with teachers of these scores, whose target is `aa` unless `target` is among the settings."""
    teachers: dict[str, Any] = {}
    for language, of_language in scores.items():
        teachers[language] = [teacher_of(models, language, score) for score in of_language]
    target = config.pop("target", "aa")
    args = DistillationConfig(str(out), **{**QUICK, **config})
    return DistillationTrainer(
        models["student"],
        teachers,
        train_dataset=TRAIN,
        eval_dataset=DEV,
        target=target,
        args=args,
        say=lines.append,
    )


def trained(
    models: dict[str, str], out: Path, scores: dict[str, list[float | None]], **config: Any
) -> tuple[DistillationTrainer, list[str]]:
    lines: list[str] = []
    trainer = trainer_of(models, out, scores, lines, **config)
    trainer.train()
    return trainer, lines


def distilled_steps(out: Path, language: str, term: str = "transport") -> list[int]:
    """The steps at which a divergence of a language was logged."""
    events = read_metrics(out / "metrics.jsonl")
    return [event["step"] for event in events if event.get("language") == language and term in event]


def have_equal_weights(a: DistillationTrainer, b: DistillationTrainer) -> bool:
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return all(torch.equal(weight, other) for weight, other in pairs)


def test_a_teacher_is_stopped_from_the_evaluation_on_at_which_the_student_is_ahead(
    models: dict[str, str], tmp_path: Path
) -> None:
    scores: dict[str, list[float | None]] = {"aa": [0.0], "bb": [0.0]}
    _, lines = trained(models, tmp_path / "out", scores, stop_when_ahead=True)
    assert max(distilled_steps(tmp_path / "out", "aa")) <= BATCHES
    assert max(distilled_steps(tmp_path / "out", "bb")) > BATCHES  # no target: its development rows are not read
    first, second = (line for line in lines if "its teacher 0.0" in line)
    assert "epoch 1, accuracy on development rows: aa " in first and "(no longer leads: stopped)" in first
    assert "epoch 2, " in second and "(stopped at epoch 1)" in second
    assert sum("bb is never stopped" in line for line in lines) == 1
    leads = [event for event in read_metrics(tmp_path / "out/metrics.jsonl") if event["event"] == "teacher-lead"]
    facts = [(lead["language"], lead["step"], lead["ahead_since"], lead["stopped"]) for lead in leads]
    assert facts == [("aa", BATCHES, 1.0, True), ("aa", 2 * BATCHES, 1.0, True)]


def test_a_teacher_that_leads_or_is_level_is_never_stopped_and_nothing_is_without_the_option(
    models: dict[str, str], tmp_path: Path
) -> None:
    leading, lines = trained(models, tmp_path / "leading", {"aa": [100.0]}, stop_when_ahead=True)
    assert sum("its teacher 100.0 (it leads)" in line or "(level)" in line for line in lines) == 2
    behind, lines = trained(models, tmp_path / "behind", {"aa": [0.0]})
    assert sum("(no longer leads: stop_when_ahead would stop it here)" in line for line in lines) == 1
    assert sum("(stop_when_ahead would have stopped it at epoch 1)" in line for line in lines) == 1
    assert have_equal_weights(leading, behind)
    stopped, _ = trained(models, tmp_path / "stopped", {"aa": [0.0]}, stop_when_ahead=True)
    assert not have_equal_weights(stopped, behind)


class PressCtrlC(TrainerCallback):  # type: ignore[misc]
    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_training_goes_on_without_the_teachers_that_were_stopped_to_the_last_bit(
    models: dict[str, str], tmp_path: Path
) -> None:
    scores: dict[str, list[float | None]] = {"aa": [0.0, 100.0], "bb": [100.0, 0.0]}
    config: dict[str, Any] = {"stop_when_ahead": True, "align": "learned", "target": ["aa", "bb"], **EVERY_TWO_STEPS}
    config["num_train_epochs"] = 1
    whole, lines = trained(models, tmp_path / "whole", scores, **config)
    for language, stopped, leading in (("aa", 1, 2), ("bb", 2, 1)):  # each by itself, in the midst of an epoch
        all_steps = distilled_steps(tmp_path / "whole", language)
        assert distilled_steps(tmp_path / "whole", language, f"transport_{leading}") == all_steps
        assert distilled_steps(tmp_path / "whole", language, f"transport_{stopped}") == [
            step for step in all_steps if step <= 2
        ]
    assert any("its teacher judge-100.0 100.0 (it leads); bb " in line for line in lines)
    interrupted = trainer_of(models, tmp_path / "out", scores, [], **config)
    interrupted.add_callback(PressCtrlC())
    with pytest.raises(Interrupted):
        interrupted.train()
    resumed = trainer_of(models, tmp_path / "out", scores, [], **config)
    resumed.train(resume_from_checkpoint=True)
    assert have_equal_weights(whole, resumed)
    events = []
    for name in ("whole", "out"):
        leads = [event for event in read_metrics(tmp_path / name / "metrics.jsonl") if event["event"] == "teacher-lead"]
        events.append([{**lead, "seconds": 0} for lead in leads])
    assert events[0] == events[1] and len(events[0]) == 4 * BATCHES // 2


def test_a_teacher_whose_score_is_not_known_is_never_stopped_and_that_is_said_once(
    models: dict[str, str], tmp_path: Path
) -> None:
    _, lines = trained(models, tmp_path / "out", {"aa": [None]}, stop_when_ahead=True)
    sentence = "aa, teacher judge-None is never stopped (stop_when_ahead): its accuracy on"
    assert sum(sentence in line for line in lines) == 1
    assert max(distilled_steps(tmp_path / "out", "aa")) > BATCHES
    assert not any("on development rows: aa" in line for line in lines)


def test_a_recipe_stops_teachers_too_and_its_report_says_so(bench: Bench, command: Any) -> None:
    bench.values["teachers"] = {
        "aa": {"model": make_judge(bench.folder / "judge", always=LABELS[0]), "finetuned": True}
    }
    bench.leave_out_of_dev("aa", LABELS[0])
    bench.values["distill"] = {"stop_when_ahead": True}
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    code, text, error = command(*arguments)
    assert code == 0, error
    run = bench.folder / "runs/nli/student-kdda/seed-1"
    events = [event for event in read_metrics(run / "metrics.jsonl") if event["event"] == "teacher-lead"]
    assert len(events) == 2 and events[-1]["stopped"]
    score = f"{events[0]['student']:.1f}"
    assert f"student-kdda, seed 1: epoch 1, accuracy on development rows: aa {score}, its" in text + error
    _, report, _ = command("report", bench.folder / "runs/nli")
    first = events[-1]["ahead_since"]
    assert "Ahead of a teacher during training: student-kdda of aa, " in report
    assert f"(runs: 1 of 1; first at epoch {first:.3g}; the teacher was stopped there)." in report


def test_trackers_are_told_of_each_teacher_of_a_language_by_its_number(models: dict[str, str]) -> None:
    teachers = {"aa": [teacher_of(models, "aa", 90.0), teacher_of(models, "aa", 20.0)]}
    leads = TeacherLeads(teachers, "accuracy", stops=False)
    assert leads.scalars(leads.compare({"aa": 50.0}, epoch=1.0)) == {
        "eval_aa_teacher_1_accuracy": 90.0,
        "eval_aa_teacher_1_lead": 40.0,
        "eval_aa_teacher_2_accuracy": 20.0,
        "eval_aa_teacher_2_lead": -30.0,
    }
