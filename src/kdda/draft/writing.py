"""A draft as the YAML of a recipe with a comment a guess, written where no file is, and checked on all of its rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from kdda.draft.columns import as_words
from kdda.draft.draft import Draft, LanguageData
from kdda.draft.models import HUB_STUDENT, HUB_TEACHERS
from kdda.draft.sources import RowSource
from kdda.errors import KddaError
from kdda.experiment.context import task_of, with_labels
from kdda.experiment.splits import SplitReader
from kdda.hub.licences import licence, warning_of
from kdda.recipe.load import load_recipe
from kdda.recipe.mistakes import SUFFIXES
from kdda.recipe.schema import Recipe
from kdda.runtime.folders import check_output_file
from kdda.runtime.numbers import count_of
from kdda.runtime.text_files import printable
from kdda.tasks.registry import TASKS

MOST_BAD = 0.05  # of a language's rows: more bad ones mean that the files are read wrongly

TEACHER_RATE = 2.0e-5  # of teachers that are no mini models, beside a student that is one

FIRST_TRY = 100  # training rows of a recipe that is tried


def write_recipe(drafted: Draft, out: Path) -> Recipe:
    """Write a draft as a recipe, and read all rows of it; rows that cannot be used are skipped where they are few.

    Returns:
        The recipe as `kdda run` loads it.

    Raises:
        KddaError: there is a file already, or the recipe cannot run; no file is left then.
    """
    check_new(out)
    try:
        _write(drafted, out)
        recipe = load_recipe(str(out))
        if _skip_bad_rows(drafted, recipe):
            _write(drafted, out)
            recipe = load_recipe(str(out))
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return recipe


def check_new(out: Path) -> None:
    """Refuse a place for a recipe where something is, or where nothing can be written."""
    if out.is_dir():
        inside = printable(out / "recipe.yaml")
        raise KddaError(f"--out {printable(out)} is a folder: name a file in it, such as {inside}")
    if out.suffix not in SUFFIXES:
        renamed = printable(out.with_suffix(SUFFIXES[0]))
        raise KddaError(f"--out {printable(out)}: a recipe's file ends in {SUFFIXES[0]}: --out {renamed}")
    if out.exists():
        raise KddaError(f"{printable(out)} is there already: name another file with --out, or delete it")
    check_output_file("--out", out)


def _write(drafted: Draft, out: Path) -> None:
    """Write the recipe's text."""
    try:
        content = recipe_text(drafted, out.parent).encode()
    except UnicodeEncodeError as error:
        character = repr(error.object[error.start])
        raise KddaError(f"a column or label of the files has an unpaired surrogate, {character}: mend it") from None
    out.write_bytes(content)


def _skip_bad_rows(drafted: Draft, recipe: Recipe) -> bool:
    """Read all rows of a recipe; whether some are bad, so few that the draft's languages now skip them.

    Raises:
        KddaError: many bad rows, or none that are good.
    """
    recipe = with_labels(recipe)
    task = task_of(recipe)
    is_changed = False
    for language, data in drafted.languages.items():
        try:
            SplitReader(recipe, task).read_language(language, limited=False)
            continue
        except KddaError as error:
            refusal = error
        lenient = recipe.data[language].model_copy(update={"on_bad_row": "skip"})
        reader = SplitReader(recipe.model_copy(update={"data": {**recipe.data, language: lenient}}), task)
        splits, skipped = reader.read_language(language, limited=False)
        good = sum(map(len, splits.values()))
        bad = sum(map(data.rows, data.splits)) - good
        if bad > MOST_BAD * (good + bad):
            raise refusal
        data.on_bad_row = "skip"
        data.remarks.append(f"rows that cannot be used are skipped{skipped}")
        is_changed = True
    return is_changed


def recipe_text(drafted: Draft, folder: Path) -> str:
    """The YAML of a draft, with a comment a guess.

    Args:
        folder: where the recipe will be; files below it are named from there.
    """
    lines = [
        "# Drafted by kdda new. Every line may be changed: docs/recipes.md has all fields.",
        "#   kdda plan THIS-FILE     what it needs and will cost here",
        "#   kdda run THIS-FILE      trains all arms, and prints the table",
        f"task: {drafted.task}  # {'; '.join(drafted.recognised.reasons)}",
    ]
    if drafted.task_options:
        lines.append(f"task_options: {_flow(drafted.task_options)}")
    lines += [f"target: {_flow(drafted.target)}  # the language whose test rows make the table", ""]
    lines += _model_lines(drafted, folder)
    lines += ["", "data:"]
    for language in drafted.languages:
        lines += _data_lines(drafted, language, folder)
    lines += ["", f"# epochs: {drafted.epochs.reason(_unit(drafted))}; docs/results/effect.md"]
    lines.append(f"# max_length: {drafted.length_reason}")
    if "head" in drafted.whole_training:
        lines.append(
            "# head standardized: the new last layer reads standardised features, so that it learns from the start"
        )
    lines.append(f"training: {_flow(drafted.whole_training)}")
    lines += [*_distill_lines(drafted), ""]
    lines += _arm_lines(drafted)
    lines.append("seeds: [1]  # [1, 2, 3] also shows the spread between seeds, and takes three times as long")
    if drafted.models.is_mini:
        lines.append("note: Mini models; this says nothing of PhoBERT and XLM-R.")
    return "\n".join(lines) + "\n"


def _unit(drafted: Draft) -> str:
    """What a row of the target is called."""
    return drafted.languages[drafted.target].first.table.unit


# What the settings of distillation in a draft are, in plain words, by field and value.
EXPLAINED = {
    "mse-pooled": "objective mse-pooled: the student's mean hidden state of a text is to be near the teacher's",
    "sinkhorn": "objective sinkhorn: the student's tokens are matched with the teacher's by optimal transport",
    "kd-logits": "objective kd-logits: the student's scores, of labels or answers, are to be near the teacher's",
    "procrustes": "align procrustes: the teacher's states are turned to fit the student's before they are compared",
}


def _distill_lines(drafted: Draft) -> list[str]:
    """The settings of distillation that the task recommends, below a comment on each."""
    settings = dict(TASKS[drafted.task].distillation)
    lines = []
    for value in settings.values():
        if value in EXPLAINED:
            lines.append(f"# {EXPLAINED[value]}")
    return [*lines, _distill_line(settings)]


def _distill_line(settings: dict[str, Any]) -> str:
    """The settings of distillation in one line."""
    return f"distill: {_flow(settings)}  # docs/choose-recipe.md; the paper: objective sinkhorn, lambda 0.3"


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")


def _model_lines(drafted: Draft, folder: Path) -> list[str]:
    """The student and the teachers, each with its licence; `folder` is the recipe's."""
    models = drafted.models
    lines = [
        f"student: {_flow(_model_name(models.student, folder))}  # {models.reason}; {_licence_note(models.student)}"
    ]
    if models.teachers:
        lines.append("teachers:")
    for language, name in models.teachers.items():
        settings: Any = _model_name(name, folder)
        training = _teacher_training(drafted, language)
        if training:
            settings = {"model": settings, "training": training}
        lines.append(f"  {_flow(language)}: {_flow(settings)}  # {_licence_note(name)}")
    for language in drafted.languages:
        if language not in models.teachers:
            lines.append(f"# no teacher of {language} is known here: a folder or a Hub id under teachers.{language}")
    if models.is_mini:
        lines.append(f"# with a GPU: student {HUB_STUDENT}; teachers {_flow(HUB_TEACHERS)}")
    return lines


def _teacher_training(drafted: Draft, language: str) -> dict[str, Any]:
    """How a language's teacher is trained in another way than the student."""
    is_mini = drafted.models.teachers[language].startswith("mini/")
    training: dict[str, Any] = {}
    epochs = drafted.epochs.of_teacher(language, is_mini)
    if epochs != drafted.epochs.shared:
        training["epochs"] = epochs
    if drafted.models.is_mini and not is_mini:  # the student's learning rate is too large for most others
        training["learning_rate"] = TEACHER_RATE
    return training


def _model_name(name: str, folder: Path) -> str:
    """A model's name in a recipe; of a folder its path, as `_path` names files."""
    return _path(name, folder) if Path(name).is_dir() else name


def _licence_note(name: str) -> str:
    """A model's licence, with what it asks of those who pass a model on."""
    model_licence = licence(name)
    return warning_of(model_licence) or f"licence {model_licence}"


def _data_lines(drafted: Draft, language: str, folder: Path) -> list[str]:
    """The entry of a language under `data`."""
    data = drafted.languages[language]
    lines = [f"  {_flow(language)}:  # told by {data.first.evidence}"]
    for remark in [*data.remarks, *_unread(data)]:
        lines.append(f"    # {remark}")
    for split, sources in data.splits.items():
        names = [_path(source.table.name, folder) for source in sources]
        lines.append(f"    {split}: {_flow(names[0] if len(names) == 1 else names)}  # {data.count_of(split)}")
    if data.holdout:
        lines.append(f"    holdout: {_flow(data.holdout)}  # {_holdout_note(data)}")
    select = _selection(data)
    if select:
        lines.append(f"    select: {_flow(select)}")
    if data.header:
        lines.append(f"    header: {_flow(data.header)}  # of files without a line of names")
    columns = {name: column for name, column in data.columns.items() if name != column}
    if columns:
        lines.append(f"    columns: {_flow(columns)}")
    labels = _label_map(drafted)
    if labels:
        lines.append(f"    labels: {_flow(labels)}{_dropped_note(labels, data)}")
    limits = drafted.limits(language)
    if limits:
        lines.append(f"    limit: {_flow(limits)}  # for minutes on a CPU; without it all rows are used")
    else:
        first_try = {"train": FIRST_TRY}
        lines.append(f"    # limit: {_flow(first_try)}  # so many rows at most, for a first try; dev and test likewise")
    if data.on_bad_row == "skip":
        lines.append("    on_bad_row: skip")
    return lines


def _selection(data: LanguageData) -> dict[str, Any]:
    """Column → its value in a language's rows; of a column that tells splits, split → its value."""
    select: dict[str, Any] = dict(data.first.select)
    column = data.first.split_column
    if column:
        select[column] = {split: sources[0].table.select[column] for split, sources in data.splits.items()}
    return select


def _label_map(drafted: Draft) -> dict[str, str | None]:
    """The labels that a recipe has to map: those with another name, and those that are left out."""
    labels = {}
    for value, name in drafted.labels.items():
        if value != name:
            labels[value] = name
    return labels


def _dropped_note(labels: dict[str, str | None], data: LanguageData) -> str:
    """A comment on how many rows of a language have a label that is left out; empty where none has."""
    counts = []
    for value, name in labels.items():
        rows = sum(_rows_with(value, source) for sources in data.splits.values() for source in sources)
        if name is None and rows:
            counts.append(f'{count_of(rows, data.first.table.unit)} with "{value}"')
    if not counts:
        return ""
    return f"  # left out: {', '.join(counts)}"


def _rows_with(value: str, source: RowSource) -> int:
    """How many rows of a source have a label; none where each label has a column."""
    column = source.recognised.columns.get("label", "label")
    if isinstance(column, list):
        return 0
    return source.table.values.get(column, Counter[str]())[value]


def _path(name: str, folder: Path) -> str:
    """A source's name in a recipe: from the recipe's folder where it is below it, else absolute.

    A path from the working folder would be meant first, where both lead to a file.
    """
    absolute = Path(name).resolve()  # also of ``folder:split``, which is no file
    base = folder.resolve()
    if not absolute.is_relative_to(base):
        return str(absolute)
    relative = absolute.relative_to(base)
    if base != Path.cwd() and relative.exists():
        return str(absolute)
    return str(relative)


def _arm_lines(drafted: Draft) -> list[str]:
    """The arms that the languages and teachers allow."""
    student: dict[str, Any] = {"train": "target"}
    comment = ""
    if drafted.epochs.of_target() != drafted.epochs.shared:
        student["training"] = {"epochs": drafted.epochs.of_target()}
        comment = f"  # more epochs, since {drafted.target} has few rows"
    lines = ["arms:", f"  student: {_flow(student)}{comment}"]
    if len(drafted.languages) > 1:
        lines.append("  student-da: {}  # all languages")
    teachers = drafted.models.teachers
    if not teachers:
        return lines
    missing = {language: None for language in drafted.languages if language not in teachers}
    settings: dict[str, Any] = {"distill": True}
    if missing:
        settings["teachers"] = missing
    lines.append(f"  student-kdda: {_flow(settings)}  # and distilled from the teachers")
    return lines


def _holdout_note(data: LanguageData) -> str:
    """Why a language's recipe has `holdout`."""
    return f"shares of the training {data.first.table.unit}s, since no file is called so"


def _unread(data: LanguageData) -> list[str]:
    """A remark on columns with texts that no field of the task reads, if there are any."""
    if not data.unread:
        return []
    return [f"columns with texts that the recipe does not read: {', '.join(data.unread)}"]


def _columns_in_words(data: LanguageData) -> str:
    """Which column each field of the task is read from, in the words of the file's format."""
    if data.first.table.is_conll:  # whose columns have no names
        return "words in the first, tags in the last"
    return ", ".join(f"{name} = {as_words(column)}" for name, column in data.columns.items())


def summary(drafted: Draft) -> list[str]:
    """What was guessed and from what, a line each."""
    lines = [f"task      {drafted.task}: {'; '.join(drafted.recognised.reasons)}"]
    for language, data in drafted.languages.items():
        role = "language"
        if language == drafted.target:
            role = "target"
        unit = data.first.table.unit
        lines.append(f"{role:10}{language}: told by {data.first.evidence}")
        for split, sources in data.splits.items():
            names = ", ".join(printable(source.table.name) for source in sources)
            lines.append(f"  {split:8}{data.count_of(split)} of {names}")
        for split, share in data.holdout.items():
            lines.append(f"  {split:8}{share:.0%} of the training {unit}s, which no other split has")
        for remark in [*data.remarks, *_unread(data)]:
            lines.append(f"  note    {remark}")
        lines.append(f"  columns {_columns_in_words(data)}")
    for value, meaning in _label_map(drafted).items():
        lines.append(f'label     "{value}" is {meaning or "left out"}')
    lines.append(f"student   {drafted.models.student}: {drafted.models.reason}")
    for language in drafted.languages:
        lines.append(f"teacher   {language}: {drafted.models.teachers.get(language, 'none is known here')}")
    lines.append(f"epochs    {drafted.epochs.shared}: {drafted.epochs.reason(_unit(drafted))}")
    lines.append(f"window    {drafted.training['max_length']} tokens: {drafted.length_reason}")
    for reason in drafted.seen.left_out.lines():
        lines.append(f"left out  {reason}")
    return lines
