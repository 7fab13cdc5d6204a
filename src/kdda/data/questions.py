"""Rows of question answering: SQuAD's fields or flat ones, unanswerable ones; wrong `answer_start` are repaired."""

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

NO_START = -1  # the start of an answer whose row gives none

Claim = tuple[str, int]

"""An answer's text, and the start that its row gives: a character of the context, or `NO_START`."""


def question_converter(schema: Schema) -> RowConverter:
    """A converter of rows with `question`, `context` and `answers`, in any of the usual forms.

    `answers` is a list of ``{"text", "answer_start"}`` (SQuAD's files), ``{"text": […], "answer_start": […]}`` (the
    Hub's), or a list of texts; or the row has one `answer` and perhaps its `answer_start`. No answer at all makes the
    question unanswerable.

    Args:
        schema: names of columns.
    """

    def convert(row: Row, repaired: Counter[str]) -> Question:
        """The row as an example; its group is the context, which other questions may share."""
        question = text_of(row, schema.column("question"))
        context = raw_text(row, schema.column("context"))
        claims = _claims(row, schema)
        answers = _placed(claims, context, repaired)
        if claims and not answers:
            raise DroppedError("answer not in its context")
        return Question(str(row.values.get("id", row.where)), (question, context), context, answers)

    return convert


def _placed(claims: list[Claim], context: str, repaired: Counter[str]) -> tuple[GoldAnswer, ...]:
    """The answers that are somewhere in the context, as slices of it."""
    answers = []
    for text, start in claims:
        answer = place_answer(text, start, context, repaired)
        if answer is not None:
            answers.append(answer)
    return tuple(answers)


def place_answer(text: str, start: int, context: str, repaired: Counter[str]) -> GoldAnswer | None:
    """The answer as a slice of its context; where it is not at `start`, the nearest match in the context.

    White space may differ between answer and context; the slice has the context's.

    Args:
        text: the answer as its row gives it.
        start: the character of the context at which it should begin, or `NO_START`.
        context: the passage.
        repaired: counts answers that were moved, or that are nowhere.

    Returns:
        The slice and its start; None if the context does not contain the answer.
    """
    text = text.strip()
    if not text:
        return None
    if start >= 0 and context.startswith(text, start):
        return GoldAnswer(text, start)
    nearest = _nearest_match(text, max(start, 0), context)
    if nearest is None:
        repaired["gold answers not in their context"] += 1
    elif start == NO_START:
        repaired["answers placed by search"] += 1
    else:
        repaired["answers misplaced, moved to the nearest match"] += 1
    return nearest


def _nearest_match(text: str, start: int, context: str) -> GoldAnswer | None:
    """The place in the context nearest to `start` with the same text, whatever its white space; None without one."""
    pattern = r"\s+".join(map(re.escape, text.split()))
    matches = list(re.finditer(pattern, context))
    if not matches:
        return None
    nearest = min(matches, key=lambda match: abs(match.start() - start))
    return GoldAnswer(nearest[0], nearest.start())


def _claims(row: Row, schema: Schema) -> list[Claim]:
    """The answers of a row in any of its forms (see `question_converter`); none where it cannot be answered."""
    if row.values.get("is_impossible") is True:
        return []
    column = schema.column("answers")
    if column in row.values or schema.column("answer") not in row.values:
        return [_claim(item, column) for item in _answer_list(value_of(row, column), column)]
    text = value_of(row, schema.column("answer"))
    if not text:
        return []
    start = row.values.get("answer_start")
    if start is None:
        start = NO_START
    return [_claim({"text": text, "answer_start": start}, "answer")]


def _answer_list(value: Any, column: str) -> list[Any]:
    """The answers of a row as a list, SQuAD's form or the Hub's."""
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        return _answers_of_lists(value, column)
    if not isinstance(value, list):
        raise BadRowError(f'"{column}": got {value!r}, expected a list of answers')
    return value


def _answers_of_lists(value: Mapping[str, Any], column: str) -> list[Any]:
    """The Hub's form, a list of texts and a list of starts, as SQuAD's: a list of dicts of one text and start."""
    texts = value["text"]
    starts = value.get("answer_start") or [NO_START] * len(texts)
    if len(starts) != len(texts):
        raise BadRowError(f'"{column}": {len(texts)} texts but {len(starts)} answer_start')
    answers = []
    for text, start in zip(texts, starts, strict=True):
        answers.append({"text": text, "answer_start": start})
    return answers


def _claim(item: Any, column: str) -> Claim:
    """One answer of a row: a text, or SQuAD's dict of text and start.

    Args:
        item: as the row has it.
        column: its field, for the message.
    """
    if isinstance(item, str):
        return item, NO_START
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
        raise BadRowError(f'"{column}": got {item!r}, expected {{"text": …, "answer_start": …}}')
    start = item.get("answer_start", NO_START)
    if not isinstance(start, int) or isinstance(start, bool):
        raise BadRowError(f'"{column}": answer_start {start!r} is not a number')
    return item["text"], start
