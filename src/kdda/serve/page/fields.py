"""The text boxes of a task: their labels and heights, and the row that a person's texts make, at most so long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdda.errors import KddaError
from kdda.serve.page.words import Words
from kdda.tasks.base import PageWords, Task


def page_words(task: Task, words: Words) -> PageWords:
    """What a task's tab says in a language; its names where the task has no words for the page."""
    fields = dict(zip(task.fields, task.fields, strict=True))
    return task.page_words.get(words.code) or PageWords(task.name, words.predict, fields)


def task_tab(task: Task, words: Words) -> str:
    """The title of a task's tab."""
    return page_words(task, words).tab


def button_label(task: Task, words: Words) -> str:
    """The text of a task's button."""
    return page_words(task, words).button


def field_label(task: Task, field: str, words: Words) -> str:
    """The label of a field's text box."""
    return page_words(task, words).fields[field]


def sample_texts(task: Task) -> dict[str, str]:
    """Field → what its text box holds at first; fields without a sample are left out."""
    return dict(zip(task.fields, task.samples, strict=False))


def lines_of_box(task: Task, field: str, is_last: bool) -> int:
    """The height of a text box; Enter in one of a single line sends the texts."""
    if field in task.list_fields:  # a text a line
        return 4
    if is_last:
        return 1
    return 6 if task.page_view == "passage" else 2


def row_of(task: Task, texts: Mapping[str, str | None], limit: int, words: Words) -> tuple[str, ...]:
    """The row of texts, in the order of the task's fields, that a person wrote.

    Args:
        texts: field → what was written.
        limit: characters of a text at most.
        words: what a refusal says.

    Raises:
        KddaError: an empty text, one that is too long, or what the task refuses.
    """
    written = {field: texts[field] or "" for field in task.fields}
    for field, text in written.items():
        if not text.strip() and field not in task.optional_fields:
            raise KddaError(words.empty)
    if max(map(len, written.values())) > limit:
        raise KddaError(words.too_long.format(limit=f"{limit:,}"))
    values: dict[str, Any] = dict(written)
    for field in task.list_fields:  # a text a line
        values[field] = [line for line in written[field].splitlines() if line.strip()]
    row: tuple[str, ...] = task.texts_of(values)
    return row
