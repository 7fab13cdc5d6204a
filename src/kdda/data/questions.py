"""Rows of reading comprehension, in SQuAD's fields or flat ones, and the mending of answers that are misplaced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from kdda.data.examples import (
    BadRowError,
    DroppedError,
    GoldAnswer,
    Question,
    RowConverter,
    Schema,
    raw_text,
    text_of,
    value_of,
)
from kdda.data.sources import Row

UNPLACED = -1  # a row that does not say where its answer is

Claim = tuple[str, int]  # an answer's text, and where the row says it begins


def question_converter(schema: Schema) -> RowConverter:
    """Rows with `question`, `context` and `answers`, in any of the usual forms.

    `answers` is a list of ``{"text", "answer_start"}`` (SQuAD's files), ``{"text": […], "answer_start": […]}`` (the
    Hub's), or a list of texts; or the row has one `answer` and perhaps its `answer_start`. None at all: the question
    cannot be answered.
    """

    def convert(row: Row, repaired: Counter[str]) -> Question:
        question = text_of(row, schema.column("question"))
        context = raw_text(row, schema.column("context"))
        claims = _claims(row, schema)
        answers = [found for text, start in claims if (found := place_answer(text, start, context, repaired))]
        if claims and not answers:
            raise DroppedError("answer not in its context")
        return Question(str(row.values.get("id", row.where)), (question, context), context, tuple(answers))

    return convert


def place_answer(text: str, start: int, context: str, repaired: Counter[str]) -> GoldAnswer | None:
    """The answer as a slice of its context; where it is not at `start`, the nearest place that reads the same.

    White space may differ; then the answer is what the context has. None if it is nowhere.
    """
    text = text.strip()
    if not text:
        return None
    if start >= 0 and context.startswith(text, start):
        return GoldAnswer(text, start)
    pattern = r"\s+".join(map(re.escape, text.split()))
    places = [match.span() for match in re.finditer(pattern, context)]
    if not places:
        repaired["gold answers not in their context"] += 1
        return None
    begin, end = min(places, key=lambda found: abs(found[0] - max(start, 0)))
    repaired["answers placed by search" if start == UNPLACED else "answers misplaced, moved to the nearest match"] += 1
    return GoldAnswer(context[begin:end], begin)


def _claims(row: Row, schema: Schema) -> list[Claim]:
    if row.values.get("is_impossible") is True:
        return []
    column = schema.column("answers")
    if column in row.values or schema.column("answer") not in row.values:
        return [_claim(item, column) for item in _listed(value_of(row, column), column)]
    text = value_of(row, schema.column("answer"))
    start = row.values.get("answer_start")
    return [_claim({"text": text, "answer_start": UNPLACED if start is None else start}, "answer")] if text else []


def _listed(value: Any, column: str) -> list[Any]:
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        starts = value.get("answer_start") or [UNPLACED] * len(value["text"])
        if len(starts) != len(value["text"]):
            raise BadRowError(f'"{column}": {len(value["text"])} texts but {len(starts)} answer_start')
        return [{"text": t, "answer_start": s} for t, s in zip(value["text"], starts, strict=True)]
    if not isinstance(value, list):
        raise BadRowError(f'"{column}": found {value!r}, expected a list of answers')
    return value


def _claim(item: Any, column: str) -> Claim:
    if isinstance(item, str):
        return item, UNPLACED
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
        raise BadRowError(f'"{column}": found {item!r}, expected {{"text": …, "answer_start": …}}')
    start = item.get("answer_start", UNPLACED)
    if not isinstance(start, int) or isinstance(start, bool):
        raise BadRowError(f'"{column}": answer_start {start!r} is not a number')
    return item["text"], start
