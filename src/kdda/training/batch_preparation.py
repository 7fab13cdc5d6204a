"""`BatchPreparation`: a batch's rows as padded inputs, in parts of `micro_batch_size` rows, with what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.runtime import distributed
from kdda.runtime.device import pins_memory
from kdda.runtime.numbers import ceil_div
from kdda.tasks.places import logit_places_of, places_of_windows
from kdda.training.config import DistillationConfig
from kdda.training.data import TrainingData
from kdda.training.fine_tune import EncodedData


class BatchPreparation:
    """Makes the inputs of a step from the numbers of a batch's rows. `parts` is called in the thread of `ReadAhead`.

    Args:
        data: task and labels, and which languages have no gold labels.
        encoded: the windows of the training rows.
        args: sizes of batches, and which tokens are compared.
        loss: says what it compares.
        distilled: the languages that have a teacher.
        read: the stored teacher states of some windows of a language, by the teachers' indices.

    Attributes:
        micro_batch_size: the most rows of a part; `halve` lowers it.
    """

    def __init__(
        self,
        data: TrainingData,
        encoded: EncodedData,
        args: DistillationConfig,
        loss: DistillationLoss,
        distilled: Sequence[str],
        read: Callable[[str, Sequence[int]], Mapping[int, Any]],
    ):
        self._data = data
        self._encoded = encoded
        self._args = args
        self._loss = loss
        self._distilled = distilled
        self._read = read
        self._targets = _gold_targets(data, encoded)
        self.micro_batch_size = args.micro_batch_size or args.per_device_train_batch_size

    def parts(self, batch: Mapping[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        """The most rows of a part, and the batch's rows that fall to this process, padded in parts (see `_padded`).

        Args:
            batch: its `language` and `rows`, the numbers of its rows (`collate`).
        """
        language, rows = batch["language"], batch["rows"]
        rows_here = rows[distributed.rank() :: distributed.size()]
        # gradients of processes are averaged; one without rows of a small batch adds nothing
        weight = distributed.size() / len(rows) if rows_here else 0.0
        windows_a_row = len(self._encoded.train[language].windows_of(rows)) / len(rows)
        size = self.micro_batch_size
        parts = []
        for part in _cut(rows_here or rows[:1], size):
            parts.append(self._padded(language, part, weight, windows_a_row))
            parts[-1]["task_share"] = self._task_share(language, part, rows)
        return size, parts

    def halve(self, rows: int) -> None:
        """After a lack of memory in a batch of so many rows, take half as many of them at once.

        Raises:
            KddaError: a single row does not fit, or other processes share the batch.
        """
        if self.micro_batch_size == 1 or distributed.size() > 1:  # other processes would wait for this one's first try
            raise KddaError(
                f"{self.micro_batch_size} of a batch's rows do not fit into the free memory; lower "
                "training.micro_batch_size or max_length"
            ) from None
        self.micro_batch_size = ceil_div(min(self.micro_batch_size, rows), 2)

    def _task_share(self, language: str, part: Sequence[int], items: Sequence[int]) -> float:
        """The share that a part has in the golds of a batch, over the share that it has in the batch's items.

        1 where each item has one gold. A loss over tokens times this is the mean over the batch's, however it is cut.
        0 where the part has no gold, such as rows without labels.
        """
        task, targets = self._data.task, self._targets[language]
        if language in self._data.unlabelled:
            return 0.0
        golds = task.count_targets(targets, part)
        if not golds:
            return 0.0
        return golds / task.count_targets(targets, items) / (len(part) / len(items))

    def _padded(self, language: str, items: Sequence[int], weight: float, windows_a_row: float) -> dict[str, Any]:
        """The padded inputs of some items of a batch, with what `compute_loss` takes out of them again.

        That is `targets` (the gold ones), `share`: the items' number times `weight`, by which their mean loss is
        multiplied, and what `ComparedWindows` says; its `windows_share` is how many windows an item has here, as a
        multiple of `windows_a_row`, which is the whole batch's. A divergence is a mean over windows, so that times this
        factor it is the batch's whatever its parts are. `parts` adds `task_share`, such a factor of the task's loss.
        """
        features = self._encoded.train[language]
        numbers = features.windows_of(items)
        windows = [features.windows[number] for number in numbers]
        inputs = self._encoded.encoder.pad(windows)
        targets = {}
        if language not in self._data.unlabelled:
            tokens = inputs["input_ids"].shape[1]
            targets = self._data.task.batch_targets(self._targets[language], numbers, tokens)
        counted = inputs["attention_mask"].bool()
        batch: dict[str, Any] = {**inputs}
        if language in self._distilled:
            if self._args.tokens == "text":
                counted = self._encoded.encoder.text_mask(windows)
            if self._loss.needs_places:
                batch["places"], batch["words"] = places_of_windows(self._data.task, features, numbers)
            if self._loss.needs_logits and self._data.task.compares_token_logits:
                batch["logit_tokens"], batch["logit_characters"] = logit_places_of(self._data.task, windows)
        batch["counted"] = counted
        if pins_memory(self._args.device):
            for values in (batch, targets):
                for name, value in values.items():
                    values[name] = value.pin_memory()
        batch |= {"targets": targets, "language": language, "windows": numbers}
        batch["read"] = self._read(language, numbers)
        batch["share"] = len(items) * weight
        batch["windows_share"] = len(numbers) / len(items) / windows_a_row
        return batch


def _gold_targets(data: TrainingData, encoded: EncodedData) -> dict[str, Mapping[str, Any]]:
    """Language → what the task's loss takes as gold (such as `labels`) → an array with a value a window."""
    targets: dict[str, Mapping[str, Any]] = {}
    for language, features in encoded.train.items():
        targets[language] = {}
        if language not in data.unlabelled:
            targets[language] = data.task.targets(features, data.labels)
    return targets


def _cut(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Rows cut into parts of `size` each; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
