"""Rows, from wherever they come, checked before anything is trained on them."""

from kdda.data.examples import Answer, Checked, Convert, Example, Labelled, Question, Schema, check_rows, labelled
from kdda.data.mixture import OneLanguageBatches
from kdda.data.questions import questions
from kdda.data.sources import EMBEDDED, Row, Source, read_rows, sample
from kdda.data.spill import Items, Lazy, Spilled

__all__ = [
    "EMBEDDED",
    "Answer",
    "Checked",
    "Convert",
    "Example",
    "Items",
    "Labelled",
    "Lazy",
    "OneLanguageBatches",
    "Question",
    "Row",
    "Schema",
    "Source",
    "Spilled",
    "check_rows",
    "labelled",
    "questions",
    "read_rows",
    "sample",
]
