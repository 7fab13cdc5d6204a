"""Files and folders that a user names, as sources with a language and a split each; which file is train, dev or test.

Files that are left out are named with the reason. `PREFERRED`: of one table in several formats, which is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdda.data.folders import SAVED, SHARD, is_format, is_saved_dataset, split_of, without_rows
from kdda.data.sources import READERS, NoRowsError, format_of
from kdda.data.text_lines import text_lines
from kdda.draft.columns import Recognised, label_column
from kdda.draft.languages import (
    OTHER_CODES,
    UNKNOWN,
    can_be_told,
    check_code,
    code_of,
    language_of_name,
    language_of_texts,
)
from kdda.draft.models import TEACHERS
from kdda.draft.names import LANGUAGE_COLUMNS, SPLIT_COLUMNS, names_an_id
from kdda.draft.recognise import recognise
from kdda.draft.tables import NO_WISHES, FileTable, Wishes, look_at
from kdda.errors import KddaError, unknown_choice
from kdda.runs.folder import ENVIRONMENT
from kdda.runtime.numbers import count_of
from kdda.runtime.reasons import NAMED_REASONS, Reasons
from kdda.runtime.text_files import printable

PREFERRED = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".conll", ".bio", ".iob", ".txt", ".xlsx")

MARKDOWN = ".md"

CERTAIN = ("en", "vi")  # texts that are told to be in one of these are in no language that could not be told

MOST_LANGUAGES = 200  # different values of a column, above which it does not name languages


@dataclass(frozen=True)
class RowSource:
    """A file's rows of one language, as a recipe reads them.

    Attributes:
        split: that the file's name tells, or a column of it; empty where neither does.
        evidence: what the language is told by.
        split_column: the column whose value the split's rows have, in a file of several splits; else empty.
    """

    table: FileTable
    recognised: Recognised
    language: str
    split: str
    evidence: str
    split_column: str = ""

    @property
    def select(self) -> dict[str, str]:
        """Column → its value in the language's rows, whatever their split is."""
        return {column: value for column, value in self.table.select.items() if column != self.split_column}


@dataclass
class SeenFiles:
    """What was seen in the files.

    Attributes:
        sources: what a recipe can read.
        left_out: the files that are not used, by reason.
        texts: those of them that are plain texts.
    """

    sources: list[RowSource] = field(default_factory=list)
    left_out: Reasons = field(default_factory=Reasons)
    texts: list[Path] = field(default_factory=list)


def find_sources(names: Sequence[str], languages: Sequence[str], wishes: Wishes = NO_WISHES) -> SeenFiles:
    """The sources of rows in files and folders.

    Args:
        names: files, folders, or ``folder:split``.
        languages: their codes, which a user names; guessed by default.
        wishes: what a user says of the rows: their task, columns of the files that have them, labels.

    Raises:
        KddaError: a file that is named and cannot be read, or no file with rows of a task.
    """
    seen = SeenFiles()
    tables: list[tuple[FileTable, Recognised]] = []
    for name in names:
        is_folder = Path(name).is_dir() and not is_saved_dataset(Path(name))
        paths = [name]
        if is_folder:
            paths = _paths_in(Path(name))
        for path in paths:
            try:
                tables += _recognised_in(path, wishes, seen)
            except KddaError as error:
                if not is_folder:
                    raise
                reason = str(error).removeprefix(printable(path)).removeprefix(":").lstrip()
                seen.left_out.add(printable(path), reason)
    if not tables:
        raise _nothing(names, seen)
    _check_named_columns(wishes.columns, [table for table, _ in tables])
    tables = _of_one_task(tables, seen)
    for table, recognised in _without_copies(tables, seen):
        for source in _by_language(table, recognised, languages, seen):
            seen.sources += _by_split(source)
    return seen


def _recognised_in(path: str, wishes: Wishes, seen: SeenFiles) -> list[tuple[FileTable, Recognised]]:
    """A file with how it is read for a task; nothing of a file without rows of one, which is left out with the reason.

    Raises:
        KddaError: a file that cannot be read.
    """
    is_markdown = is_format(Path(path), (MARKDOWN,)) and Path(path).is_file()  # which no reader of rows reads
    table = None
    if not is_markdown:
        try:
            table = look_at(path, wishes=wishes)
        except NoRowsError:
            if format_of(Path(path)) != ".txt" or not any(map(str.strip, text_lines(Path(path)))):
                raise  # a text of one line has no row as a table, either
        else:
            recognised = recognise(table, wishes.task)
            if recognised is not None:
                return [(table, recognised)]
    if table is None or _is_plain_text(table):
        seen.texts.append(Path(path))
        seen.left_out.add(printable(path), "a text without columns")
    else:
        seen.left_out.add(printable(path), _unlike(table, wishes.task))
    return []


def _nothing(names: Sequence[str], seen: SeenFiles) -> KddaError:
    """The refusal of files of which none has rows of a task, with the reasons; of texts, what can be done with them."""
    shown = seen.left_out.lines(NAMED_REASONS)
    if not shown:
        for name in names:
            shown.append(without_rows(Path(name), READERS))
    for name in names:
        count = _count_texts(Path(name), seen.texts)
        if count:
            shown.append(
                f"{printable(name)}: {count_of(count, 'text')} without columns: "
                f"kdda index {printable(name)} INDEX splits texts into passages and indexes them, for kdda ask; a "
                "recipe needs rows with labels or answers, in a table or in JSON lines"
            )
    listed = "\n  ".join(shown)
    return KddaError(f"nothing that a recipe could train on:\n  {listed}")


def _is_plain_text(table: FileTable) -> bool:
    """Whether a file is a text that was read as a table of one column."""
    return format_of(Path(table.name)) == ".txt" and len(table.columns) < 2


def _count_texts(path: Path, texts: Sequence[Path]) -> int:
    """How many plain texts a file or folder is: those that were looked at, and files of Markdown in the folder."""
    members = [text for text in texts if path in (text, *text.parents)]
    if path.is_dir():
        members += path.rglob(f"*{MARKDOWN}")
    return len(members)


def _check_named_columns(columns: Mapping[str, str], tables: Sequence[FileTable]) -> None:
    """Refuse a column that a user names and no file has; `columns` are by field."""
    for field_name, column in columns.items():
        if not any(column in table.columns for table in tables):
            raise KddaError(f"--columns: {field_name}: {unknown_choice('column', column, tables[0].columns)}")


def _paths_in(folder: Path) -> list[str]:
    """The files of a folder and the folders in it that rows are read from; each split of a saved data set."""
    if (folder / SAVED).is_file():
        return [str(path) for path in sorted(folder.iterdir()) if is_saved_dataset(path)]
    paths = []
    shards: dict[str, None] = {}
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        is_of_a_run = (path.parent / ENVIRONMENT).is_file()
        if not path.is_file() or not is_format(path, READERS) or is_hidden or is_of_a_run:
            continue
        shard = SHARD.match(path.name.partition(".")[0])
        if shard:  # all shards of a split are one source
            shards[f"{path.parent}:{shard['split']}"] = None
        else:
            paths.append(str(path))
    return [*paths, *shards]


def _unlike(table: FileTable, task: str) -> str:
    """Why a file's columns fit no task."""
    wanted = f"task {task or 'of any kind'}"
    columns = []
    for column in table.columns[:12]:
        kind = "other values"
        if table.is_text(column):
            kind = "texts"
        if column in table.values:
            kind = count_of(len(table.values[column]), "different value")
        columns.append(f"{column} ({kind})")
    reason = f"{count_of(table.count, table.unit)}, and no columns of {wanted}; it has {', '.join(columns) or 'none'}"
    are_texts = all(table.is_text(column) or names_an_id(column) for column in table.columns)
    if table.columns and are_texts and not label_column(table):
        reason += (
            "; texts without labels may be added to a recipe, as training rows of a language that has a teacher: "
            "labels: none (docs/languages.md)"
        )
    return reason


def _of_one_task(tables: list[tuple[FileTable, Recognised]], seen: SeenFiles) -> list[tuple[FileTable, Recognised]]:
    """The files of the task that most rows are for; the others are left out."""
    rows: dict[str, int] = {}
    for table, recognised in tables:
        rows[recognised.task] = rows.get(recognised.task, 0) + table.count
    if len(rows) < 2:
        return tables
    best = max(rows, key=rows.__getitem__)
    same = []
    for table, recognised in tables:
        again = recognise(table, best)
        if again is None:
            reason = (
                f"rows of the task {recognised.task}, not of {best}, which most rows are for; "
                f"--task {recognised.task} drafts a recipe for them"
            )
            seen.left_out.add(printable(table.name), reason)
        else:
            same.append((table, again))
    return same


def _without_copies(
    tables: Iterable[tuple[FileTable, Recognised]], seen: SeenFiles
) -> list[tuple[FileTable, Recognised]]:
    """The files without those that are another one in a second format: the same name with another extension."""
    best: dict[str, tuple[FileTable, Recognised]] = {}
    for table, recognised in tables:
        stem = _without_format(table.name)
        other = best.get(stem)
        if other is None:
            best[stem] = table, recognised
            continue
        pair = sorted([other, (table, recognised)], key=lambda item: PREFERRED.index(format_of(Path(item[0].name))))
        best[stem] = pair[0]
        kept, copy = printable(pair[0][0].name), printable(pair[1][0].name)
        seen.left_out.add(copy, f"the same as {kept} in another format, by its name")
    return list(best.values())


def _without_format(name: str) -> str:
    """A source's name without the extension of its format and that of a compression: alike for copies of one table."""
    suffix = format_of(Path(name))
    if suffix not in PREFERRED:
        return name
    # the last one: a folder or the name itself may hold the same letters before
    return name[: name.lower().rindex(suffix)]


def _by_language(
    table: FileTable, recognised: Recognised, languages: Sequence[str], seen: SeenFiles
) -> list[RowSource]:
    """A file as one source, or as one a language where a column names the languages of its rows."""
    split = _split_of(table.name)
    column = table.first_of(LANGUAGE_COLUMNS)
    only = _only_code(table, column)
    if only and (not languages or only in languages):
        return [RowSource(table, recognised, only, split, f"column {column}")]
    if column and 1 < len(table.values.get(column, ())) <= MOST_LANGUAGES:
        sources = []
        for language in _wanted(sorted(table.values[column]), languages, table, seen):
            selected = look_at(table.name, {column: language}, table.header, table.wishes)
            again = recognise(selected, recognised.task)
            if again is not None:
                sources.append(RowSource(selected, again, language, split, f"column {column}"))
        return sources
    language, evidence = _language(table, recognised, languages)
    return [RowSource(table, recognised, language, split, evidence)]


def _by_split(source: RowSource) -> list[RowSource]:
    """A source as one a split, where the file's name tells none and a column tells that of each row; else as it is."""
    table = source.table
    column = table.first_of(SPLIT_COLUMNS)
    values = list(table.values.get(column, ()))
    is_named = bool(split_of(Path(table.name).name))
    if is_named or len(values) < 2 or not all(map(split_of, values)):
        return [source]
    parts = []
    for value in values:
        selected = look_at(table.name, {**table.select, column: value}, table.header, table.wishes)
        recognised = recognise(selected, source.recognised.task)
        if recognised is None or recognised.columns != source.recognised.columns:
            return [source]
        parts.append(replace(source, table=selected, recognised=recognised, split=split_of(value), split_column=column))
    return parts


def _only_code(table: FileTable, column: str) -> str:
    """The language of all rows of a file whose column of languages has one value, a code or a name; else empty."""
    values = list(table.values.get(column, ()))
    if len(values) != 1:
        return ""
    if re.fullmatch("[a-z]{2,3}", values[0]):  # in such a column codes that are words elsewhere, and unknown ones
        return OTHER_CODES.get(values[0], values[0])
    code = code_of(values[0])
    return "" if code == UNKNOWN else code


def _wanted(values: Sequence[str], languages: Sequence[str], table: FileTable, seen: SeenFiles) -> list[str]:
    """Of the languages of a file those that the user names, or those that have a teacher here; all where none has."""
    wanted = [value for value in values if value and value in (languages or TEACHERS)]
    if not wanted and not languages:
        return [value for value in values if value]
    others = [value for value in values if value and value not in wanted]
    if others:
        names = ", ".join(others)
        seen.left_out.add(printable(table.name), f"rows in {names}; --languages names those that are taken")
    return wanted


def _language(table: FileTable, recognised: Recognised, languages: Sequence[str]) -> tuple[str, str]:
    """A file's language, and what tells it: the user, the texts, or the file's name.

    Texts that nothing tells are in the only one of the user's languages that could not be told.
    """
    longest = max(recognised.text_columns, key=table.words)  # a question may be in another language than its passage
    texts = []
    for cell in table.cells(longest):
        if isinstance(cell, list):
            cell = " ".join(map(str, cell))
        texts.append(str(cell))
    by_texts = language_of_texts(texts)
    by_name = language_of_name(Path(table.name).name)
    if by_name == UNKNOWN:
        by_name = code_of(Path(table.name).parent.name)
    if by_name in languages:
        return by_name, "the name of the file or its folder, and --languages"
    if by_texts != UNKNOWN and (not languages or by_texts in languages):
        return by_texts, "letters and words of the texts"
    if not languages:
        if by_name == UNKNOWN:
            return UNKNOWN, "nothing; --languages CODE names it"
        return by_name, "the name of the file or its folder"
    for language in languages:
        check_code(language)
    untold = [language for language in languages if not can_be_told(language)]
    if len(untold) == 1 and (by_texts not in CERTAIN or len(languages) == 1):
        return untold[0], "--languages, of which no other fits"
    if len(languages) == 1 and by_texts == UNKNOWN:
        return languages[0], "--languages"
    if by_texts != UNKNOWN:  # none of the user's
        return by_texts, "letters and words of the texts"
    raise KddaError(
        f"{printable(table.name)}: which of the languages {', '.join(languages)} is it in? By its texts it is "
        f'"{by_texts}"; name the file with the code, such as {languages[0]}.train.csv'
    )


def _split_of(name: str) -> str:
    """The split that a source's name tells, or the name of the folder that it is in.

    MultiNLI's development rows of other genres (``mismatched``) are test rows.
    """
    path = Path(name)
    split = split_of(path.name) or split_of(path.parent.name)
    if split == "dev" and "mismatched" in path.name.lower():
        return "test"
    return split
