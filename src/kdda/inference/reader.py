"""What finds answers in passages: a model as it is, or ViReader, which gives it the nearest sentences alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from kdda.tasks.qa import AnswerSpan


@runtime_checkable
class Reader(Protocol):
    """Finds answers in passages; `kdda.load` gives one."""

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        """The best spans of each passage for its question, best first; scores compare over passages of a question."""
        ...
