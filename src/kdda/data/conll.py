"""CoNLL files (.conll, .bio, .iob): a word a line, its tag in the last column, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from kdda.data.text_lines import text_lines
from kdda.errors import KddaError
from kdda.runtime.numbers import count_of
from kdda.runtime.text_files import printable

DOCUMENT_START = "-DOCSTART-"  # the word of lines that begin a document in the files of CoNLL-2003

COMMENT = "#"  # begins lines about a sentence, which have other columns than its words

LINES_LOOKED_AT = 200  # of a file whose name does not say what it is

TAG = re.compile(r"O|[BIESLUM]-\S+")  # in the schemes of these files

_GAP = re.compile(r"[ \t]+")

Columns = list[str]

Sentence = tuple[int, dict[str, list[str]]]
"""The number of a sentence's first line, and its columns: `tokens`, `tags`, and those that a header names."""


def looks_like_conll(path: Path) -> bool:
    """Whether a file has a word and its tag a line, by its first lines: a tag last, and a word without spaces first."""
    count = 0
    for line in islice(text_lines(path), LINES_LOOKED_AT):
        text = line.strip(" \t\r\n")
        if not text or text.startswith((DOCUMENT_START, COMMENT)):
            continue
        columns = re.split(r"\t| +", text)
        if len(columns) < 2 or not TAG.fullmatch(columns[-1]):
            return False
        count += 1
    return count > 0


def read_sentences(path: Path, header: Sequence[str] | None = None) -> Iterator[Sentence]:
    """The sentences of a file, one after another. Columns are parted by tabs where the first line has one, else by
    spaces.

    Args:
        header: names of the columns; ``tokens`` is the first column and ``tags`` the last, whatever their names.

    Raises:
        KddaError: a line with more or fewer columns than the file's first, or with one; names the line.
    """
    words: list[Columns] = []
    begin = 0
    for number, columns in _word_lines(path):
        if not columns and words:
            yield begin, _columns(words, header)
            words = []
        elif columns:
            begin = begin if words else number
            words.append(columns)
    if words:
        yield begin, _columns(words, header)


def _word_lines(path: Path) -> Iterator[tuple[int, Columns]]:
    """The number and the columns of each word's line; no columns for a line between sentences."""
    first: tuple[int, int] | None = None  # of the file's first word: its line, and how many columns it has
    has_tabs = False
    for number, line in enumerate(text_lines(path), 1):
        text = line.strip(" \t\r\n")
        if not text or text.startswith(DOCUMENT_START):
            yield number, []
            continue
        if first is None:
            has_tabs = "\t" in text
        columns = text.split("\t") if has_tabs else _GAP.split(text)
        is_comment = text.startswith(COMMENT) and len(columns) != (first[1] if first else 2)
        if is_comment:
            continue
        first = first or (number, len(columns))
        _check_count(f"{printable(path)}:{number}", len(columns), first)
        yield number, columns


def _check_count(where: str, count: int, first: tuple[int, int]) -> None:
    """Refuse a line with another number of columns than the file's first word has, or without a tag.

    Args:
        where: the line's place.
        first: line and columns of the file's first word.
    """
    line, expected = first
    if count != expected:
        raise KddaError(
            f"{where}: got {count_of(count, 'column')}, expected {expected} as in line {line}: a word, …, its tag"
        )
    if count < 2:
        raise KddaError(f"{where}: got one column, expected a word and its tag")


def _columns(words: Sequence[Columns], header: Sequence[str] | None) -> dict[str, list[str]]:
    """A sentence's columns by name."""
    named: dict[str, list[str]] = {}
    columns = list(map(list, zip(*words, strict=True)))
    if header is not None:
        named.update(zip(header, columns, strict=False))
    return {**named, "tokens": columns[0], "tags": columns[-1]}
