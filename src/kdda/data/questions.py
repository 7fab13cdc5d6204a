"""Rows of question answering: SQuAD's fields or flat ones, unanswerable ones; wrong `answer_start` are repaired."""

from __future__ import annotations

import re
import unicodedata
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
    row_id,
    text_of,
    value_of,
)
from kdda.data.fields import BadFieldError, check_surrogates, is_missing, plain, shown, structure, truth, whole_number
from kdda.data.normal_forms import equivalent_matches
from kdda.data.sources import Row
from kdda.runtime.numbers import count_of

NO_START = -1  # the start of an answer whose row gives none

Claim = tuple[str, int]

"""An answer's text, and the start that its row gives: a character of the context, or `NO_START`."""


def question_converter(schema: Schema) -> RowConverter:
    """A converter of rows with `question`, `context` and `answers`, in any of the usual forms.

    `answers` is a list of ``{"text", "answer_start"}`` (SQuAD's files), ``{"text": […], "answer_start": […]}`` (the
    Hub's), a list of texts, or any of these as the text of a cell; or the row has one `answer` and perhaps its
    `answer_start`. A question is unanswerable if `is_impossible` is true, or if it has no answer with a text.

    Args:
        schema: names of columns.
    """

    def convert(row: Row, repaired: Counter[str]) -> Question:
        """The row as an example; its group is the context, which other questions may share."""
        question = text_of(row, schema.column("question"))
        context = raw_text(row, schema.column("context"))
        try:
            claims = _claims(row, schema)
        except BadFieldError as error:
            raise BadRowError(f'"{schema.column("answers")}": {error}') from None
        answers = _placed(claims, context, repaired)
        if claims and not answers:
            raise DroppedError("answer not in its context")
        return Question(row_id(row, schema), (question, context), context, answers)

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

    White space and the normal form of Unicode may differ between answer and context; the slice has the context's.

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
    matches = [match.span() for match in re.finditer(pattern, context)]
    whole = [span for span in matches if not _ends_inside_letter(context, span[1])]
    candidates = whole or equivalent_matches(text, context) or matches
    if not candidates:
        return None
    begin, end = min(candidates, key=lambda span: _distance(context, text, span[0], start))
    return GoldAnswer(context[begin:end], begin)


def _ends_inside_letter(context: str, end: int) -> bool:
    """Whether a combining mark stands at a character of the context, so that a slice that ends there cuts a letter."""
    return end < len(context) and unicodedata.combining(context[end]) != 0


def _distance(context: str, answer: str, begin: int, start: int) -> int:
    """How far a match is from where the answer should begin, in characters of the context.

    The start of an answer may count characters of the context in another normal form than the one it now has.
    """
    for form in ("NFC", "NFD"):
        is_possible = not unicodedata.is_normalized("NFC", context if form == "NFC" else answer)
        if is_possible and len(unicodedata.normalize(form, context[:begin])) == start:
            return 0
    return abs(begin - start)


def _claims(row: Row, schema: Schema) -> list[Claim]:
    """The answers of a row in any of its forms (see `question_converter`); none where it cannot be answered."""
    if _is_impossible(row, schema):
        return []
    column = schema.column("answers")
    if column in row.values or schema.column("answer") not in row.values:
        items = _answer_list(value_of(row, column), column)
    else:
        column = schema.column("answer")
        start = row.values.get(schema.column("answer_start"))
        items = [{"text": row.values[column], "answer_start": start}]
    claims = []
    for item in items:
        claim = _claim(item, column)
        if claim is not None:
            claims.append(claim)
    return claims


def _is_impossible(row: Row, schema: Schema) -> bool:
    """Whether a row says that its question cannot be answered, whatever answers it has."""
    column = schema.column("is_impossible")
    try:
        return truth(row.values.get(column))
    except BadFieldError as error:
        raise BadRowError(f'"{column}": {error}') from None


def _answer_list(value: Any, column: str) -> list[Any]:
    """The answers of a row as a list: SQuAD's form, the Hub's, one answer, or a cell with any of these as text."""
    value = plain(value)
    if is_missing(value):
        return []
    if isinstance(value, str):
        try:
            value = structure(value)
        except BadFieldError as error:
            raise BadRowError(f'"{column}": {error}: expected a list of answers, as JSON') from None
    if value is None:
        return []
    if isinstance(value, Mapping) and isinstance(plain(value.get("text")), list):
        return _answers_of_lists(value, column)
    if isinstance(value, Mapping) and "text" in value:
        return [value]
    if not isinstance(value, list):
        raise BadRowError(f'"{column}": got {shown(value)}, expected a list of answers')
    return value


def _answers_of_lists(value: Mapping[str, Any], column: str) -> list[Any]:
    """The Hub's form, a list of texts and a list of starts, as SQuAD's: a list of dicts of one text and start."""
    texts = plain(value["text"])
    starts = plain(value.get("answer_start"))
    if is_missing(starts) or starts == []:
        starts = [None] * len(texts)
    if not isinstance(starts, list) and len(texts) == 1:
        starts = [starts]
    if not isinstance(starts, list) or len(starts) != len(texts):
        count = len(starts) if isinstance(starts, list) else 1
        raise BadRowError(f'"{column}": {count_of(len(texts), "text")} but {count} answer_start')
    answers = []
    for text, start in zip(texts, starts, strict=True):
        answers.append({"text": text, "answer_start": start})
    return answers


def _claim(item: Any, column: str) -> Claim | None:
    """One answer of a row: a text, or SQuAD's dict of text and start; None where it has no text.

    Args:
        item: as the row has it.
        column: its field, for the message.
    """
    start = None
    text = item
    if isinstance(item, Mapping):
        text = item.get("text", item)
        start = item.get("answer_start")
    if is_missing(text):
        return None
    if not isinstance(text, str):
        raise BadRowError(f'"{column}": got {shown(item)}, expected {{"text": …, "answer_start": …}}')
    try:
        check_surrogates(text)
        begin = whole_number(start)
    except BadFieldError as error:
        raise BadRowError(f'"{column}": {"" if text is item else "answer_start "}{error}') from None
    return text, NO_START if begin is None else begin
