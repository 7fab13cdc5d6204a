"""Epochs and batch size of a draft: few rows, too, make 250 steps; 20 epochs at most, batches of 4 rows at least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kdda.experiment.few_steps import ENOUGH_STEPS, MOST_EPOCHS, enough_epochs
from kdda.report.few_steps import FEW_STEPS
from kdda.runtime.numbers import ceil_div, count_of

SMALLEST_BATCH = 4  # rows: to that a batch is halved where `MOST_EPOCHS` of larger ones would make too few steps

TEACHER_EPOCHS = 3  # of mini teachers at least, as in the built-in recipes


@dataclass(frozen=True)
class Epochs:
    """How often the models of a draft read their rows, and in batches of how many.

    Attributes:
        rows: language → training rows, the target first.
        shared: epochs of whatever has none set for it.
        batch_size: rows of a batch.
    """

    rows: Mapping[str, int]
    shared: int
    batch_size: int

    @classmethod
    def choose(cls, rows: Mapping[str, int], epochs: int, batch_size: int) -> Epochs:
        """The epochs that give the arms of all languages `ENOUGH_STEPS`, if `MOST_EPOCHS` do.

        Args:
            rows: language → training rows, the target first.
            epochs, batch_size: where rows are many.

        >>> Epochs.choose({"vi": 64}, epochs=1, batch_size=4).shared
        16
        >>> Epochs.choose({"vi": 30}, epochs=2, batch_size=32)
        Epochs(rows={'vi': 30}, shared=20, batch_size=4)
        """
        while _batches(rows.values(), batch_size) * MOST_EPOCHS < ENOUGH_STEPS and batch_size > SMALLEST_BATCH:
            batch_size //= 2
        return cls(rows, max(epochs, enough_epochs(_batches(rows.values(), batch_size))), batch_size)

    def of_target(self) -> int:
        """Epochs of the arm that trains on the target's rows alone: more than the others' where these rows are few."""
        return self._of(next(iter(self.rows)), self.shared)

    def of_teacher(self, language: str, is_mini: bool) -> int:
        """Epochs of a language's teacher, which reads the rows of its language alone."""
        least = TEACHER_EPOCHS if is_mini else self.shared
        return self._of(language, max(least, self.shared))

    def _of(self, language: str, epochs: int) -> int:
        """Some epochs, or more of them where they are few steps on the rows of one language."""
        batches = _batches([self.rows[language]], self.batch_size)
        if batches * epochs < FEW_STEPS:
            return max(epochs, enough_epochs(batches))
        return epochs

    def reason(self, unit: str) -> str:
        """How the shared epochs came about.

        Args:
            unit: what a row is called.
        """
        batches = _batches(self.rows.values(), self.batch_size)
        rows = count_of(sum(self.rows.values()), unit)
        return (
            f"to learn, a student needs some {ENOUGH_STEPS} steps; reading {rows} once takes "
            f"{count_of(batches, 'step')}, each of up to {self.batch_size}"
        )


def _batches(rows: Iterable[int], batch_size: int) -> int:
    """Batches of an epoch, each of one language: as many as there are where every row is read in one window."""
    return sum(ceil_div(count, batch_size) for count in rows)
