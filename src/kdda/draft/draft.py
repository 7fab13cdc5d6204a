"""A recipe's draft: sources by language and split, labels, models, training; what a user does not say is guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdda.data.folders import is_format
from kdda.draft.columns import Recognised, text_columns
from kdda.draft.epochs import Epochs
from kdda.draft.labels import as_text, labels_of, unused_labels
from kdda.draft.languages import UNKNOWN
from kdda.draft.models import (
    MINI_LIMITS,
    MINI_READING_LIMITS,
    Models,
    choose_models,
    longest_window,
    token_counts,
    training_settings,
    window_for,
)
from kdda.draft.names import ID_COLUMNS
from kdda.draft.sources import RowSource, SeenFiles, find_sources
from kdda.draft.tables import Wishes
from kdda.errors import KddaError
from kdda.runtime.numbers import count_of
from kdda.runtime.text_files import printable
from kdda.tasks.registry import TASKS, task_named

HOLDOUT = {"dev": 0.1, "test": 0.1}  # shares of the training rows, where a split has no file

AUXILIARY = "en"  # of several languages, the one that is hardly ever the target

PREFERRED_TARGETS = ("vi",)  # of several others, the first with a teacher of its language here

TOKENS_LOOKED_AT = 200  # rows of a source


@dataclass(frozen=True)
class Request:
    """What a user asks for; everything that is empty is guessed.

    Attributes:
        data: files and folders.
        languages: codes, the target first.
        teachers: language → a model's name.
        labels: the data's label → the task's, or None to leave such rows out.
        columns: field of the task → the column that it is in.
    """

    data: Sequence[str]
    task: str = ""
    languages: Sequence[str] = ()
    student: str = ""
    teachers: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str | None] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass
class LanguageData:
    """A language's part of a draft.

    Attributes:
        splits: train, dev, test → the sources.
        columns: field of the task → the column or columns of it in all files.
        header: names for files without a line of names.
        holdout: splits that are shares of the training rows.
        remarks: what a reader of the recipe should know.
        on_bad_row: what is done with rows that cannot be used.
    """

    splits: dict[str, list[RowSource]]
    columns: dict[str, Any]
    header: list[str] | None = None
    holdout: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    on_bad_row: str = "raise"

    @property
    def first(self) -> RowSource:
        """The first training source, whose columns are the others', too."""
        return self.splits["train"][0]

    @property
    def sources(self) -> list[RowSource]:
        """The sources of all splits."""
        sources = []
        for members in self.splits.values():
            sources += members
        return sources

    @property
    def unread(self) -> list[str]:
        """Columns of texts that no field of the task reads; they are named so that none is left out unseen."""
        read: set[str] = set()
        for column in self.first.recognised.columns.values():
            read.update([column] if isinstance(column, str) else column)
        return [column for column in text_columns(self.first.table) if column not in read]

    def count_of(self, split: str) -> str:
        """The number of a split's rows in words, as their format calls them."""
        return count_of(self.rows(split), self.first.table.unit)

    def rows(self, split: str) -> int:
        """Rows of a split's sources."""
        return sum(source.table.count for source in self.splits.get(split, ()))


@dataclass
class Draft:
    """What a recipe will say, and why.

    Attributes:
        languages: code → its data, the target first.
        labels: the data's label → the task's, of all languages.
        training: fields of a recipe's; epochs and batch size as they are where rows are many.
        length_reason: how `training`'s `max_length` came about.
        seen: the files, and those that are left out.
    """

    task: str
    task_options: dict[str, Any]
    languages: dict[str, LanguageData]
    labels: dict[str, str | None]
    models: Models
    training: dict[str, Any]
    length_reason: str
    seen: SeenFiles

    @property
    def target(self) -> str:
        """The language whose test rows make the table."""
        return next(iter(self.languages))

    @property
    def recognised(self) -> Recognised:
        """How the target's files are read."""
        return self.languages[self.target].first.recognised

    def limits(self, language: str) -> dict[str, int]:
        """Numbers of rows that mini models draw of a language's splits with more."""
        if not self.models.is_mini:
            return {}
        limits = {}
        largest = MINI_LIMITS
        if _is_reading(self.task):
            largest = MINI_READING_LIMITS
        for split, limit in largest.items():
            if self.languages[language].rows(split) > limit:
                limits[split] = limit
        return limits

    @cached_property
    def epochs(self) -> Epochs:
        """How often models read the rows that are trained on: those that are not held out, as many as are drawn."""
        rows = {}
        for language, data in self.languages.items():
            count = int(data.rows("train") * (1 - sum(data.holdout.values())))
            rows[language] = min(count, self.limits(language).get("train", count))
        return Epochs.choose(rows, self.training["epochs"], self.training["batch_size"])

    @property
    def whole_training(self) -> dict[str, Any]:
        """`training` with the epochs and the batch size that suit the number of rows."""
        return {**self.training, "epochs": self.epochs.shared, "batch_size": self.epochs.batch_size}


def draft(request: Request) -> Draft:
    """What a recipe for some files says.

    Raises:
        KddaError: files that cannot be read, that no task fits, or whose languages cannot be told apart.
        UnknownLabelsError: labels without a meaning, such as numbers.
    """
    if request.task:
        task_named(request.task, "--task")
    wishes = Wishes(request.task, request.columns, request.labels)
    seen = find_sources(request.data, request.languages, wishes)
    task = seen.sources[0].recognised.task
    if task not in TASKS:
        raise KddaError(f"the files are for the task {task}, which this installation lacks")
    task_named(task).check_columns(request.columns, "--columns")
    languages = _by_language(seen, request)
    used: list[RowSource] = []
    for data in languages.values():
        used += data.sources
    labels = labels_of(used, task, wishes)
    for label in unused_labels(used, wishes):
        seen.left_out.add(f"--labels {label}", "no row has this label")
    _remark_on_translations(languages)
    for language in request.teachers:
        if language not in languages:
            seen.left_out.add(f"--teachers {language}", "no rows are in this language")
    models = choose_models(list(languages), request.student, dict(request.teachers))
    training = training_settings(models, _is_reading(task))
    window, reason = _window(languages, models, task)
    training["max_length"] = window
    if _is_reading(task):
        training["stride"] = window // 4
    options = languages[next(iter(languages))].first.recognised.task_options
    return Draft(task, dict(options), languages, labels, models, training, reason, seen)


def _by_language(seen: SeenFiles, request: Request) -> dict[str, LanguageData]:
    """The data of each language, the target first; files of other languages than the user's are left out."""
    by_language: dict[str, list[RowSource]] = {}
    for source in seen.sources:
        by_language.setdefault(source.language, []).append(source)
    languages: dict[str, LanguageData] = {}
    for language in _target_first(by_language, request.languages):
        languages[language] = _divided(by_language[language], seen, is_target=not languages)
    for source in seen.sources:
        if source.language not in languages:
            name = printable(source.table.name)
            seen.left_out.add(name, f"rows in {source.language}, which --languages leaves out")
    return languages


def _is_reading(task: str) -> bool:
    """Whether a task reads passages in windows, which takes longer a row."""
    return bool(getattr(TASKS.get(task), "methods", ())) and "answer" in TASKS[task].methods


def _target_first(by_language: Mapping[str, Any], named: Sequence[str]) -> list[str]:
    """The languages in the order of a recipe: the user's, or with the target first.

    Raises:
        KddaError: a language that the user names has no rows.
    """
    for language in named:
        if language not in by_language:
            raise KddaError(f'--languages: no rows in "{language}"; there are rows in {", ".join(by_language)}')
    if named:
        return list(named)
    others = [language for language in by_language if language != AUXILIARY]
    for language in (*PREFERRED_TARGETS, UNKNOWN):
        if language in others:
            others.remove(language)
            others.insert(0, language)
    return [*others, *(language for language in by_language if language == AUXILIARY)]


def _divided(sources: Sequence[RowSource], seen: SeenFiles, is_target: bool) -> LanguageData:
    """A language's sources by split; what has no file is held out of the training rows.

    Args:
        seen: gets the files that are not used.
        is_target: whether the language's test rows make the table.
    """
    splits: dict[str, list[RowSource]] = {}
    for source in sources:
        splits.setdefault(source.split or "train", []).append(source)
    remarks = []
    if "train" not in splits:  # development or test rows alone, such as XNLI's
        stand_in = "test"
        if "dev" in splits:
            stand_in = "dev"
        splits["train"] = splits.pop(stand_in)
        remarks.append(f"no file is called train: the {stand_in} rows are trained on")
    first = max(splits["train"], key=lambda source: source.table.count)
    fitting: dict[str, list[RowSource]] = {}
    for split in ("train", "dev", "test"):
        members = _readable_together(splits.get(split, ()), first, seen)
        if members:
            fitting[split] = members
    data = LanguageData(fitting, {}, remarks=remarks)
    data.columns, data.header = _columns_and_header(data.sources)
    identifier = _id_column(data.sources)
    if identifier:
        data.columns = {"id": identifier, **data.columns}
    for split, share in HOLDOUT.items():
        if split not in fitting and (split == "dev" or is_target):
            data.holdout[split] = share
    return data


def _remark_on_translations(languages: Mapping[str, LanguageData]) -> None:
    """Warn of languages with equally many training rows, which may be translations of rows that are held out."""
    target, *others = languages
    for language in others:
        data = languages[language]
        if languages[target].holdout and data.rows("train") == languages[target].rows("train"):
            data.remarks.append(
                f"as many rows as {target}: if they are translations, held out rows of {target} are known from here"
            )


def _readable_together(members: Sequence[RowSource], first: RowSource, seen: SeenFiles) -> list[RowSource]:
    """The sources of a split that one entry of a recipe can read with the first; the others are left out.

    They have the same columns. A file without a line of names can get any, but not beside a table that has one.
    """
    fitting = []
    for source in members:
        table = source.table
        if bool(table.header) != bool(first.table.header):
            fits = _names_its_fields(first) != _names_its_fields(source)
        else:
            fits = source.recognised.columns == first.recognised.columns
        if fits and (source.select, source.split_column) == (first.select, first.split_column):
            fitting.append(source)
        else:
            seen.left_out.add(printable(table.name), f"other columns than {printable(first.table.name)}")
    return fitting


def _names_its_fields(source: RowSource) -> bool:
    """Whether every row of a source's format names its fields, so that no line of names is missing."""
    return not is_format(Path(source.table.name), (".csv", ".tsv", ".txt", ".xlsx"))


def _columns_and_header(sources: Sequence[RowSource]) -> tuple[dict[str, Any], list[str] | None]:
    """Which columns the fields of the task are in, and the names for files without a line of names."""
    unnamed = None
    columns: dict[str, Any] = {}
    for source in sources:
        if source.table.header:
            unnamed = source
        else:
            columns = columns or source.recognised.columns
    if unnamed is None:
        return columns, None
    fields = unnamed.recognised.columns
    columns = columns or {name: name for name in fields}
    header = list(unnamed.table.header or ())
    for name, column in fields.items():
        header[header.index(column)] = str(columns[name])
    return columns, header


def _id_column(sources: Sequence[RowSource]) -> str:
    """The column that names each row in all files of a language; empty where it is called ``id``, or is in none."""
    shared = sources[0].table.all_of(ID_COLUMNS)
    for source in sources:
        shared = [column for column in shared if column in source.table.id_columns]
    if not shared or "id" in shared:
        return ""
    return shared[0]


def _window(languages: Mapping[str, LanguageData], models: Models, task: str) -> tuple[int, str]:
    """`max_length` for the training rows, and how it came about."""
    rows = []
    for data in languages.values():
        columns = data.first.recognised.text_columns
        for values in data.first.table.sample[:TOKENS_LOOKED_AT]:
            rows.append([as_text(values.get(column)) for column in columns])
    counts, how = token_counts(models.student, rows)
    longest = longest_window(models.student)
    if _is_reading(task) and models.is_mini:
        longest = min(longest, 256)
    window = window_for(counts, longest)
    median = sorted(counts)[len(counts) // 2]
    unit = languages[next(iter(languages))].first.table.unit
    return window, f"half of the {unit}s have {median} tokens or fewer, the longest {max(counts)}; {how}"
