"""Rows of tagging: words with tags, or a text with spans in any of their forms (ViHOS' positions too), as examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kdda.data.examples import (
    BadRowError,
    Example,
    LabelledSpan,
    NoFieldError,
    RowConverter,
    Schema,
    TaggedExample,
    raw_text,
    row_id,
    value_of,
)
from kdda.data.fields import BadFieldError, check_surrogates, is_missing, plain, shown, structure, whole_number
from kdda.data.sources import Row
from kdda.data.tag_schemes import BARE, BadTagError, count_repaired, labels_of, parse_tags, runs
from kdda.errors import unknown_choice
from kdda.runtime.numbers import count_of

# An underscore inside a word, which word segmentation of Vietnamese writes between the syllables of a word.
_JOINT = re.compile(r"(?<=[^\s_])_(?=[^\s_])")


@dataclass(frozen=True)
class TagFormat:
    """How rows of tagging are read.

    Attributes:
        scheme: a key of `SCHEMES`; None for what each row's tags look like.
        label: of spans and tags that name none.
        underscores: "keep", or "spaces" where words are segmented Vietnamese, ``Hà_Nội``, of which the text is to be
            "Hà Nội".
    """

    scheme: str | None = None
    label: str = BARE
    underscores: str = "keep"


def tagged_converter(schema: Schema, form: TagFormat) -> RowConverter:
    """A converter of rows with `tokens` and `tags`, or with `text` and `spans`.

    `tokens` and `tags` are lists, or texts of a cell: JSON, or words between spaces. `spans` is a list of
    ``{"start", "end", "label"}``, of ``[start, end, label]``, of ``[start, end]``, or of single characters' positions,
    whose runs are spans; or any of these as the text of a cell.

    Args:
        schema: names of columns and labels; its map is of tags (``"3"`` → ``B-PER``), else of labels, and None drops.
    """
    known = labels_of(schema.labels)

    def convert(row: Row, repaired: Counter[str]) -> TaggedExample:
        """The row as an example; its group is the text, which other rows may share."""
        text, spans = _read(row, schema, form, repaired)
        for span in spans:
            if span.label not in known:
                raise BadRowError(_unknown_label(span.label, known, schema))
        return TaggedExample(row_id(row, schema), (text,), text, tuple(spans))

    return convert


def untagged_converter(schema: Schema, form: TagFormat) -> RowConverter:
    """A converter of rows that are only to be tagged: with `text`, or with `tokens`, of which a text is made.

    Args:
        schema: names of columns.
    """

    def convert(row: Row, repaired: Counter[str]) -> Example:
        """The row as an example without spans; its group is the text, which other rows may share."""
        text = _untagged_text(row, schema, form)
        return Example(row_id(row, schema), (text,), text)

    return convert


def _untagged_text(row: Row, schema: Schema, form: TagFormat) -> str:
    """A row's text, or that of its words where it has none.

    Raises:
        BadRowError: a row with neither, or with words that are no list of texts.
    """
    text_column, words_column = schema.column("text"), schema.column("tokens")
    if words_column not in row.values or not is_missing(row.values.get(text_column)):
        try:
            return raw_text(row, text_column)
        except NoFieldError as error:
            raise NoFieldError(f'{error}; a list of words may stand in "{words_column}" instead') from None
    try:
        words = word_list(row.values[words_column], words_column)
    except BadFieldError as error:
        raise BadRowError(str(error)) from None
    text, _ = _joined(words, form)
    if not text:
        raise BadRowError(f'"{words_column}" is empty')
    return text


def row_labels(row: Row, schema: Schema, form: TagFormat) -> list[str]:
    """The labels of a row's spans, whatever labels a task has.

    Raises:
        BadRowError: a row that cannot be read.
    """
    _, spans = _read(row, schema, form, Counter())
    return [span.label for span in spans]


def _unknown_label(label: str, known: Sequence[str], schema: Schema) -> str:
    """The message about a label that the task does not have."""
    message = unknown_choice("label", label, known)
    if schema.advice.labels:
        message += f"; {schema.advice.labels.replace('VALUE', label)}"
    return message


def _read(row: Row, schema: Schema, form: TagFormat, repaired: Counter[str]) -> tuple[str, list[LabelledSpan]]:
    """A row's text and its spans in order.

    Raises:
        BadRowError: fields that are missing or that do not fit each other.
    """
    tags = schema.column("tags")
    try:
        if form.scheme != "spans" and tags in row.values:
            return _from_words(row, schema, form, repaired)
        return _from_spans(row, schema, form, repaired)
    except (BadFieldError, BadTagError) as error:
        raise BadRowError(str(error)) from None


# -- words with tags


def _from_words(row: Row, schema: Schema, form: TagFormat, repaired: Counter[str]) -> tuple[str, list[LabelledSpan]]:
    """The text that a row's words make with a space between each two, and the spans of its tags."""
    words_column, tags_column = schema.column("tokens"), schema.column("tags")
    words = word_list(value_of(row, words_column), words_column)
    names = word_list(value_of(row, tags_column), tags_column)
    if len(words) != len(names):
        raise BadRowError(
            f'"{tags_column}": got {count_of(len(names), "tag")} for {count_of(len(words), "word")} ("{words_column}")'
        )
    mapped = []
    for name in names:
        tag = schema.label_map.get(name, name) or "O"
        if tag.isdecimal():  # which may as well mean "no entity"
            raise BadRowError(
                f'"{tags_column}": got the number {tag}; say what numbers mean: labels: {{0: O, 1: B-PER}}'
            )
        mapped.append(tag)
    tags = parse_tags(mapped, form.scheme, form.label)
    if form.scheme != "io":
        repaired["tags I- or E- without a begin, read as one"] += count_repaired(tags)
    text, bounds = _joined(words, form)
    if not text:
        raise BadRowError(f'"{words_column}" is empty')
    spans = []
    for first, stop, label in runs(tags):
        start, end = bounds[first][0], bounds[stop - 1][1]
        if start < end:  # else of words that are empty
            spans += _mapped(LabelledSpan(start, end, label), schema)
    return text, spans


def word_list(value: Any, column: str) -> list[str]:
    """The words or tags of a field: a list, or the text of a cell."""
    value = plain(value)
    if isinstance(value, str):
        value = structure(value) if value.lstrip().startswith("[") else value.split()
    if not isinstance(value, list):
        raise BadRowError(f'"{column}": got {shown(value)}, expected a list')
    words = []
    for item in value:
        if item is None or isinstance(item, list | Mapping | bool):
            raise BadRowError(f'"{column}": got {shown(item)} in the list, expected texts')
        word = str(item).strip()
        check_surrogates(word)
        words.append(word)
    return words


def _joined(words: Sequence[str], form: TagFormat) -> tuple[str, list[tuple[int, int]]]:
    """Words with a space between each two that are not empty, and start and end of each in that text."""
    text = ""
    bounds = []
    for word in words:
        if form.underscores == "spaces":
            word = _JOINT.sub(" ", word)
        if word and text:
            text += " "
        bounds.append((len(text), len(text) + len(word)))
        text += word
    return text, bounds


# -- a text with spans


def _from_spans(row: Row, schema: Schema, form: TagFormat, repaired: Counter[str]) -> tuple[str, list[LabelledSpan]]:
    """A row's text as it is, and its spans, which must lie in it and not overlap."""
    text = raw_text(row, schema.column("text"))
    column = schema.column("spans")
    spans = []
    for start, end, label in _claims(value_of(row, column), column, form):
        if not 0 <= start < end <= len(text):
            raise BadRowError(f'"{column}": {start} to {end} is no span of the text, which has {len(text)} characters')
        spans += _mapped(_trimmed(LabelledSpan(start, end, label), text, repaired), schema)
    ordered = sorted(set(spans))
    repaired["spans given twice, read once"] += len(spans) - len(ordered)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise BadRowError(
                f'"{column}": spans overlap: {_named(before, text)} and {_named(after, text)}; each place has one label'
            )
    return text, ordered


def _named(span: LabelledSpan, text: str) -> str:
    """A span in a message."""
    return f"{span.start} to {span.end} {span.label} ({shown(text[span.start : span.end])})"


def _trimmed(span: LabelledSpan, text: str, repaired: Counter[str]) -> LabelledSpan:
    """A span without the white space at its edges, which no token has."""
    start, end = span.start, span.end
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if (start, end) == (span.start, span.end):
        return span
    if start == end:
        raise BadRowError(f"{span.start} to {span.end} is a span of white space")
    repaired["spans with outer white space, trimmed"] += 1
    return LabelledSpan(start, end, span.label)


def _mapped(span: LabelledSpan, schema: Schema) -> list[LabelledSpan]:
    """The span with its label as the schema's map has it; none where the map drops the label."""
    label = schema.label_map.get(span.label, span.label)
    if label is None:
        return []
    return [span._replace(label=label)]


def _claims(value: Any, column: str, form: TagFormat) -> list[LabelledSpan]:
    """The spans of a field in any of its forms (see `tagged_converter`), not yet checked against the text."""
    value = plain(value)
    if isinstance(value, str) and not is_missing(value):
        value = structure(value)
    if is_missing(value):
        return []
    if not isinstance(value, list):
        raise BadRowError(f'"{column}": got {shown(value)}, expected a list of spans')
    items = list(map(plain, value))
    if any(isinstance(item, list | Mapping) for item in items):
        return [_claim(item, column, form) for item in items]
    return _runs_of_positions(items, column, form)


def _claim(item: Any, column: str, form: TagFormat) -> LabelledSpan:
    """A span given as an object or as a list."""
    if isinstance(item, Mapping):
        start, end, label = item.get("start"), item.get("end"), item.get("label")
    elif isinstance(item, list) and len(item) in (2, 3):
        start, end, label = [*item, None][:3]
    else:
        start = end = label = None
    first, stop = whole_number(start), whole_number(end)
    if first is None or stop is None:
        raise BadRowError(f'"{column}": got {shown(item)}, expected {{"start", "end", "label"}} or [start, end, label]')
    return LabelledSpan(first, stop, form.label if is_missing(label) else str(label).strip())


def _runs_of_positions(items: Sequence[Any], column: str, form: TagFormat) -> list[LabelledSpan]:
    """Spans of single characters' positions: a run of positions without a gap is a span."""
    positions = set[int]()
    for item in items:
        position = whole_number(item)
        if position is None:
            raise BadRowError(f'"{column}": got {shown(item)}, expected the position of a character')
        positions.add(position)
    spans: list[LabelledSpan] = []
    for position in sorted(positions):
        if spans and spans[-1].end == position:
            spans[-1] = spans[-1]._replace(end=position + 1)
        else:
            spans.append(LabelledSpan(position, position + 1, form.label))
    return spans
