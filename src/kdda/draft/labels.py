"""What labels of files are for the task: usual names, the user's `--labels`; of unknown ones a row each is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdda.data.examples import label_text
from kdda.data.fields import canonical
from kdda.data.sources import Source, read_rows
from kdda.data.tagged_rows import word_list
from kdda.draft.names import NO_LABEL, english_sentiment, inference_label
from kdda.draft.sources import RowSource
from kdda.draft.tables import Wishes
from kdda.errors import KddaError, unknown_choice
from kdda.runtime.shorten import shorten
from kdda.runtime.text_files import printable
from kdda.tasks.nli import NLI
from kdda.tasks.registry import TASKS

EXAMPLE_TAGS = ("O", "B-PER", "I-PER")  # of a message about tags that are numbers

BLANK = "___"  # in a message, what a user is to fill in

SHOWN_COLUMNS = 90  # of a terminal, for each text of a row in a message


class UnknownLabelsError(KddaError):
    """Labels, most often numbers, of which the files do not say what they mean.

    Attributes:
        values: the labels, as text.
        names: the task's labels.
        rows: a line about a row with each label.
    """

    def __init__(
        self,
        values: Sequence[str],
        names: Sequence[str],
        rows: Sequence[str],
        advice: str = "",
        meanings: Mapping[str, str | None] | None = None,
    ):
        """The refusal; `meanings` are what the user has said of other labels, which the advised option repeats."""
        listed = "\n  ".join(rows)
        pairs = [f"{value}={meaning or 'null'}" for value, meaning in (meanings or {}).items()]
        for value in values:
            pairs.append(f"{value}={BLANK}")
        blanks = ",".join(pairs)
        super().__init__(
            f"labels: nothing tells what {', '.join(values)} mean, and data sets differ in it. A row of each:\n  "
            f'{listed}\nfill in {", ".join(names)}, or null for rows to leave out: --labels "{blanks}"{advice}'
        )
        self.values = values
        self.names = names
        self.rows = rows


def labels_of(sources: Sequence[RowSource], task: str, wishes: Wishes) -> dict[str, str | None]:
    """What each label of the data is for the task, in all languages and splits.

    Raises:
        KddaError: the user names labels that the task has not.
        UnknownLabelsError: nothing tells what some labels are, such as numbers.
    """
    meanings = _meanings(wishes.labels, task)
    labels: dict[str, str | None] = {}
    unknown: dict[str, RowSource] = {}
    for source in sources:
        labels.update(source.recognised.label_map)
        for value in source.recognised.unknown:
            unknown.setdefault(value, source)
    labels.update(meanings)
    for value in labels:
        unknown.pop(value, None)
    if unknown:
        raise _unknown_labels(unknown, task, wishes, meanings)
    if task == "classify":
        labels.update(_sentiment_in_english(sources, labels))
    return labels


def unused_labels(sources: Sequence[RowSource], wishes: Wishes) -> list[str]:
    """The user's labels that no row has, of files whose labels are known; most often they are written otherwise."""
    values = _values(sources)
    if not values:
        return []
    written = set(map(canonical, values))
    return [label for label in wishes.labels if canonical(label) not in written]


def _values(sources: Sequence[RowSource]) -> list[str]:
    """The labels of all files that have one in a column; none where a file has lists, or a column for each label."""
    values: dict[str, None] = {}
    for source in sources:
        column = source.recognised.columns.get("label")
        if not isinstance(column, str) or column not in source.table.values:
            return []
        values.update(dict.fromkeys(source.table.values[column]))
    return list(values)


def _meanings(labels: Mapping[str, str | None], task: str) -> dict[str, str | None]:
    """What a user says of labels, by the task's names: of inference under its usual names, too, such as "kéo theo".

    Raises:
        KddaError: a name that the task has not, or a blank of a message still.
    """
    known = TASKS[task].labels
    meanings: dict[str, str | None] = {}
    for value, meaning in labels.items():
        if meaning == BLANK:
            raise KddaError(f"--labels: {value}={BLANK}: fill in what the label is")
        if task == NLI.name and meaning is not None and meaning not in known:
            named = inference_label(meaning)
            if not named and meaning.lower() not in NO_LABEL:
                raise KddaError(unknown_choice(f"--labels: {value}", meaning, known) + _turned(value, meaning))
            meaning = named or None
        elif meaning is not None and known and meaning not in known:
            raise KddaError(unknown_choice(f"--labels: {value}", meaning, known))
        meanings[value] = meaning
    return meanings


def _turned(value: str, meaning: str) -> str:
    """What to advise of a ``value=meaning`` that is written the other way round; empty of another one."""
    if not inference_label(value):
        return ""
    return f'; the file\'s value stands first: --labels "{meaning}={inference_label(value)}"'


def _unknown_labels(
    unknown: Mapping[str, RowSource], task: str, wishes: Wishes, meanings: Mapping[str, str | None]
) -> UnknownLabelsError:
    """The refusal of labels that nothing tells, with a row of each.

    Args:
        unknown: label → a source that has it.
        meanings: label → what the user has said of it, of the others.
    """
    values = sorted(unknown, key=lambda value: (len(value), value))  # 10 after 9
    rows = [_row_with(value, unknown[value]) for value in values]
    advice = ""
    if task == "nli" and not wishes.task:
        advice = "; --task classify takes them as classes of their own"
    for source in unknown.values():
        column = _column_of_labels(source)
        if column:
            advice = f'; column "{column}" holds labels of inference: are columns swapped? --columns label={column},…'
    return UnknownLabelsError(values, TASKS[task].labels or EXAMPLE_TAGS, rows, advice, meanings)


def _column_of_labels(source: RowSource) -> str:
    """The column that is read as a text although every value of it is a label of inference; empty without one."""
    for column in source.recognised.text_columns:
        values = source.table.values.get(column, ())
        if values and all(map(inference_label, values)):
            return column
    return ""


def _row_with(value: str, source: RowSource) -> str:
    """A line about the first row of a source that has a label: the label, the row's place, its texts."""
    column = source.recognised.columns.get("label", "")
    for row in read_rows(Source(source.table.name, source.table.header, source.table.select)):
        texts = []
        if not column:  # of tags: the words that have this one
            words = word_list(row.values.get(source.recognised.columns["tokens"]), "tokens")
            tags = word_list(row.values.get(source.recognised.columns["tags"]), "tags")
            texts = [word for word, tag in zip(words, tags, strict=False) if tag == value]
        elif label_text(row.values.get(column)) == value:
            texts = [as_text(row.values.get(text)) for text in source.recognised.text_columns]
        if texts:
            return f"{value}: {printable(row.where)}: {_shortened(texts)}"
    return f"{value}: {printable(source.table.name)}"


def _shortened(texts: Sequence[str]) -> str:
    """Texts of a row in quotes, each with its first words."""
    shown = []
    for text in texts:
        line = shorten(" ".join(text.split()), SHOWN_COLUMNS)
        shown.append(f'"{line}"')
    return ", ".join(shown)


def _sentiment_in_english(sources: Sequence[RowSource], labels: Mapping[str, str | None]) -> dict[str, str]:
    """Vietnamese label → its English name, of those whose English name other rows have: both are one class."""
    values = _values(sources)
    renamed = {}
    for value in values:
        english = english_sentiment(value)
        if english and english in values and value not in labels:
            renamed[value] = english
    return renamed


def as_text(value: Any) -> str:
    """A cell as the text that its tokens are counted of."""
    if isinstance(value, list):
        return " ".join(map(as_text, value))
    return str(value or "")
