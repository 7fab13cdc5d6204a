"""What a task is: which rows it reads, how they become features, and how outputs become predictions and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from kdda.data import Example
from kdda.text import Encoder, Features


@dataclass(frozen=True)
class Prediction:
    """One row's answer, beside its gold."""

    id: str
    group: str
    gold: str
    predicted: str
    probabilities: dict[str, float]


@runtime_checkable
class Task(Protocol):
    """The interface of every task; reading differs from classification here and nowhere else."""

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def texts(self) -> tuple[str, ...]: ...

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> list[Features]: ...

    def targets(self, examples: Sequence[Example], labels: Sequence[str]) -> list[int]: ...

    def decode(
        self, examples: Sequence[Example], logits: Sequence[Sequence[float]], labels: Sequence[str]
    ) -> list[Prediction]: ...

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]: ...


@torch.no_grad()
def predict(
    model: Any,
    task: Task,
    examples: Sequence[Example],
    features: Sequence[Features],
    encoder: Encoder,
    labels: Sequence[str],
    batch_size: int = 64,
) -> list[Prediction]:
    """Predictions for all examples, in their order; read in batches of like length, in eval mode."""
    order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
    logits: list[list[float]] = [[] for _ in features]
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs = {name: ids.to(model.device) for name, ids in encoder.pad([features[i] for i in chosen]).items()}
        for i, row in zip(chosen, model(**inputs).logits.float().tolist(), strict=True):
            logits[i] = row
    model.train(training)
    return task.decode(examples, logits, labels)
