"""What a task is: which rows it reads, how they become windows, and how outputs become predictions and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int32
from numpy import ndarray

from kdda.data.examples import Example, RowConverter, Schema
from kdda.tasks.windows import Windows
from kdda.text.encode import Encoder, Window
from kdda.text.segment import Span


@dataclass(frozen=True)
class Prediction:
    """One row's answer; each task adds what it found and what was right."""

    id: str
    group: str


class TextSpan(NamedTuple):
    """What a student's window reads: texts, and the characters of the last one, or None for as much as fits."""

    texts: tuple[str, ...]
    span: Span | None


@dataclass(frozen=True)
class Features:
    """Examples as one model reads them.

    Attributes:
        windows: one an example, or as many as it takes.
    """

    examples: Sequence[Example]
    windows: Windows

    @property
    def owners(self) -> Sequence[int]:
        """`windows[k]` belongs to `examples[owners[k]]`; ordered."""
        return self.windows.owners

    @property
    def lengths(self) -> Int32[ndarray, " windows"]:
        """TokenizerAdapter of each window."""
        return self.windows.lengths


@runtime_checkable
class Task(Protocol):
    """The interface of every task; reading differs from classification here and nowhere else."""

    @property
    def name(self) -> str: ...

    @property
    def head(self) -> str:
        """Which kind of model it needs, a key of `kdda.models.load.MODEL_CLASSES`."""
        ...

    @property
    def metric(self) -> str:
        """The score that selects a model on the development rows, and that tables compare."""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """Scores that tables show."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether rows have labels that a recipe names."""
        ...

    def convert(self, schema: Schema) -> RowConverter:
        """How this task makes an example of a row."""
        ...

    def fitted(self, examples: Iterable[Example]) -> Task:
        """The task with the settings that training rows decide."""
        ...

    def settings(self) -> dict[str, Any]:
        """Those settings, as a model's config keeps them."""
        ...

    def with_settings(self, config: Mapping[str, Any]) -> Task:
        """The task as a model's config remembers it."""
        ...

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features: ...

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """What each window reads, for another model to read the same."""
        ...

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Int32[ndarray, " windows"]]:
        """What the model's forward takes beside a window to give a loss, a number a window."""
        ...

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[Any]:
        """What of a batch's outputs `decode` needs, a window."""
        ...

    def decode(
        self, features: Features, candidates: Sequence[Any], labels: Sequence[str], language: str
    ) -> Sequence[Prediction]: ...

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]: ...


@torch.no_grad()
def predict(
    model: Any,
    task: Task,
    features: Features,
    encoder: Encoder,
    labels: Sequence[str],
    language: str,
    batch_size: int = 64,
) -> Sequence[Prediction]:
    """Predictions for all examples, in their order; windows are read in batches of like length, in eval mode."""
    windows = features.windows
    order: list[int] = np.argsort(features.lengths, kind="stable").tolist()
    found: list[Any] = [None] * len(windows)
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [windows[i] for i in chosen]
        inputs = {name: ids.to(model.device) for name, ids in encoder.pad(batch).items()}
        for i, candidate in zip(chosen, task.candidates(model(**inputs), batch), strict=True):
            found[i] = candidate
    model.train(training)
    return task.decode(features, found, labels, language)
