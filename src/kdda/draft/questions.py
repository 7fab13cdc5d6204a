"""Files of questions: reading comprehension (`recognise_questions`) and multiple choice (`recognise_choice`)."""

from __future__ import annotations

from string import ascii_lowercase

from kdda.data.fields import plain_name
from kdda.draft.columns import Recognised, as_words
from kdda.draft.names import (
    ANSWER_STARTS,
    ANSWERS,
    CHOICE_CONTEXTS,
    CHOICE_LABELS,
    CONTEXTS,
    OPTION_NAME,
    OPTIONS,
    QUESTIONS,
)
from kdda.draft.tables import FileTable


def recognise_questions(table: FileTable) -> Recognised | None:
    """Reading comprehension: a question, a passage, answers."""
    question, context, answer = table.first_of(QUESTIONS), table.first_of(CONTEXTS), table.first_of(ANSWERS)
    if not (question and context and answer):
        return None
    if _options(table) or table.words(context) <= table.words(question):
        return None
    columns = {"question": question, "context": context}
    start = table.first_of(ANSWER_STARTS)
    if answer.lower() == "answers":
        columns["answers"] = answer
    else:
        columns["answer"] = answer
        if start:
            columns["answer_start"] = start
    return Recognised("qa", columns, reasons=(f"columns {question}, {context} and {answer}",))


def _options(table: FileTable) -> str | list[str]:
    """The column of options, or the columns of one option each (choice1, …; A, B, …); empty where there are none."""
    column = table.first_of(OPTIONS)
    if column:
        return column
    numbered = [column for column in table.columns if OPTION_NAME.fullmatch(plain_name(column))]
    if len(numbered) < 2:
        return _lettered(table)
    return numbered


def _lettered(table: FileTable) -> list[str]:
    """The columns A, B, … of an option each, in that order; none where there are fewer than two."""
    lettered: list[str] = []
    for letter in ascii_lowercase:
        if letter not in table.by_plain_name:
            break
        lettered.append(table.by_plain_name[letter])
    return lettered if len(lettered) > 1 else []


def recognise_choice(table: FileTable) -> Recognised | None:
    """Multiple choice: a context, options, the right one."""
    options = _options(table)
    context, label = table.first_of(CHOICE_CONTEXTS), table.first_of(CHOICE_LABELS)
    question = table.first_of(QUESTIONS)
    if not options or not label or not (context or question):
        return None
    columns = {"context": context or question, "options": options, "label": label}
    if question and context:
        columns["question"] = question
    return Recognised("choose", columns, reasons=(f"options in {as_words(options)}", f"{label} says which is right"))
