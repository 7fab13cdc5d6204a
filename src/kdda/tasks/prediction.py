"""`predict`: a model's predictions of a task's examples, in batches of 64 windows of like length, in eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kdda.errors import NotFiniteError
from kdda.tasks.base import Prediction, Task
from kdda.tasks.features import Features
from kdda.text.encode import Encoder

BATCH_SIZE = 64  # windows of a batch, if no other number is given


def check_finite(outputs: Any, task: Task) -> None:
    """Refuse a model's outputs for a batch that hold a logit that is not finite.

    Raises:
        NotFiniteError: names the output.
    """
    for name in task.outputs:
        if not bool(getattr(outputs, name).isfinite().all()):
            raise NotFiniteError(
                f"the model's {name} are not finite (nan or inf): its weights are broken, or its training diverged"
            )


def predict(
    model: Any,
    task: Task,
    features: Features,
    encoder: Encoder,
    labels: Sequence[str],
    language: str,
    batch_size: int = BATCH_SIZE,
) -> Sequence[Prediction]:
    """Predictions for all examples, in their order; windows are read in batches of like length, in eval mode.

    Args:
        features: the examples as `encoder` made them.
        labels: names of the head's outputs, of tasks with labels.
        language: whose scoring rules hold.

    Raises:
        NotFiniteError: the model's outputs are not finite.
    """
    candidates = window_candidates(model, task, features, encoder, batch_size)
    return task.decode(features, candidates, labels, language)


@torch.no_grad()
def window_candidates(
    model: Any, task: Task, features: Features, encoder: Encoder, batch_size: int = BATCH_SIZE
) -> list[Any]:
    """What `Task.candidates` makes of each window, in their order; arguments and errors as for `predict`."""
    windows = features.windows
    order: list[int] = np.argsort(features.lengths, kind="stable").tolist()
    candidates: list[Any] = [None] * len(windows)
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [windows[i] for i in chosen]
        inputs = {name: ids.to(model.device) for name, ids in encoder.pad(batch).items()}
        outputs = model(**inputs)
        check_finite(outputs, task)
        for i, candidate in zip(chosen, task.candidates(outputs, batch), strict=True):
            candidates[i] = candidate
    model.train(training)
    return candidates
