"""What reads passages: a model as it is, or ViReader, which shows it the nearest sentences alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kdda.predict import Chooser, Predictor, restored_slices
from kdda.predict.vireader import KEEP, LANGUAGE, MODEL
from kdda.tasks.reading import Candidate


@runtime_checkable
class Reader(Protocol):
    """Finds answers in passages; `kdda.load` gives one."""

    def slices(self, pairs: Sequence[tuple[str, str]]) -> list[list[Candidate]]:
        """The best slices of each passage for its question, best first; scores compare over passages of a question."""
        ...


@dataclass(frozen=True)
class ViReader:
    """Reads the sentences of each passage that are nearest to the question; slices are the passage's own."""

    predictor: Reader
    chooser: Chooser

    def slices(self, pairs: Sequence[tuple[str, str]]) -> list[list[Candidate]]:
        shortened = self.chooser.choose(pairs)
        read = self.predictor.slices([(asked, own.text) for (asked, _), own in zip(pairs, shortened, strict=True)])
        return [restored_slices(*pair) for pair in zip(read, shortened, strict=True)]


def reader_of(predictor: Predictor) -> Reader:
    """A model as it was trained to read: one of ViReader's says so in its config.

    Raises:
        KddaError: a model that does not answer, or whose sentence encoder is not there.
    """
    config = predictor.engine.config
    keep = getattr(config, KEEP, None)
    predictor.must_be("qa")
    if not keep:
        return predictor
    return ViReader(predictor, Chooser.load(getattr(config, MODEL), int(keep), getattr(config, LANGUAGE, "")))
