"""A student that learns from nothing but a teacher's logits of tokens, for the tests of tasks that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdda import DistillationConfig, DistillationTrainer
from kdda.runs.events import read_metrics

KD: dict[str, Any] = {"objective": "kd-logits", "distill_weight": 1.0}


def distilled(
    folder: Path,
    student: Any,
    teachers: Any,
    task: str,
    rows: Sequence[dict[str, Any]],
    labels: Sequence[str] | None = None,
    **options: Any,
) -> DistillationTrainer:
    """A student that was distilled from teachers on rows without labels, by default with hardly a step."""
    defaults = {"num_train_epochs": 1, "learning_rate": 1e-9, "logging_steps": 1, "stride": 2}
    args = DistillationConfig(str(folder), precision="fp32", seed=1, **{**defaults, **options})
    trainer = DistillationTrainer(
        student,
        {"aa": teachers},
        task=task,
        train_dataset={"aa": rows},
        labels=labels,
        unlabelled=["aa"],
        args=args,
        say=lambda _: None,
    )
    trainer.train()
    return trainer


def terms(folder: Path) -> list[float]:
    """The distillation term of each logged step."""
    return [event["transport"] for event in read_metrics(folder / "metrics.jsonl") if event["event"] == "train"]
