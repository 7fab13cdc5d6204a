"""Rows, from wherever they come, checked before anything is trained on them."""

from kdda.data.examples import Example, Schema, check_rows
from kdda.data.mixture import OneLanguageBatches
from kdda.data.sources import EMBEDDED, Row, Source, read_rows, sample

__all__ = [
    "EMBEDDED",
    "Example",
    "OneLanguageBatches",
    "Row",
    "Schema",
    "Source",
    "check_rows",
    "read_rows",
    "sample",
]
