"""Which task a file's columns are for: a recogniser a task (`RECOGNISERS`), by columns' usual names and their values.

`LABEL_COLUMNS`, `TEXT_PAIRS`, …: the names that authors of data sets give to columns. A task of a plugin is recognised
by columns that are called as its fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from string import ascii_lowercase
from typing import Any

from kdda.data.choices import OPTION_COLUMN
from kdda.data.examples import BadRowError
from kdda.data.fields import BadFieldError, canonical
from kdda.data.tagged_rows import word_list
from kdda.draft.tables import UNNAMED, FileTable, names_an_id
from kdda.tasks.classify import CLASSIFY, SEPARATORS
from kdda.tasks.registry import TASKS

LABEL_COLUMNS = (
    "gold_label", "label", "label_id", "labels", "gold", "verdict", "class", "category", "topic", "sentiment",
    "emotion", "intent", "categories", "topics", "emotions", "genres", "target", "rating", "stars", "y", "label_text",
    "nhãn",
)  # fmt: skip

TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("premise", "hypo"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("sent1", "sent2"),
    ("s1", "s2"),
    ("context", "hypothesis"),
)

TEXT_COLUMNS = (
    "text", "sentence", "content", "comment", "review", "free_text", "document", "tweet", "body", "utterance",
    "message", "văn bản", "bình luận", "câu",
)  # fmt: skip

EVIDENCE = ("context", "evidence")  # what a claim is checked against; evidence is often empty for one of the labels

QUESTIONS = ("question", "query", "câu hỏi")
CONTEXTS = ("context", "passage", "paragraph", "article", "document", "story")
ANSWERS = ("answers", "answer", "answer_text", "gold_answer")

TOKENS = ("tokens", "words", "token")
TAGS = ("tags", "ner_tags", "ner", "labels", "pos_tags", "tag")
SPANS = ("spans", "index_spans", "entities", "span", "toxic_spans", "label")

OPTIONS = ("options", "choices", "endings", "candidates")
CHOICE_CONTEXTS = ("context", "premise", "passage", "article", "sentence", "ctx", "story")
CHOICE_LABELS = ("label", "answer", "gold", "correct", "answerkey", "answer_key", "gold_label")

SCORES = ("score", "similarity", "similarity_score", "relatedness_score", "gold_score", "label", "labels")

DECIMAL = re.compile(r"-?\d+,\d+")  # a number with a comma, which parts no labels

FLAGS = frozenset({"0", "1", "True", "False"})  # values of a column that says of one label whether a row has it

MOST_CLASSES = 60  # different values of a column, above which they are no labels

# How authors of inference data write labels, in lower case, and which label of the task each is.
INFERENCE_LABELS = {
    "entailment": "entailment", "entail": "entailment", "entails": "entailment", "e": "entailment",
    "neutral": "neutral", "n": "neutral",
    "contradiction": "contradiction", "contradictory": "contradiction", "contradicts": "contradiction",
    "c": "contradiction",
}  # fmt: skip

# Values that say that a row has no label: no agreement, another one (ViNLI's OTHER), none.
NO_LABEL = ("-", "", "-1", "o", "other", "none", "nan", "null")


@dataclass(frozen=True)
class Recognised:
    """How a file is read for a task.

    Attributes:
        task: its name.
        columns: field of the task → the file's column or columns, where their names differ.
        label_map: the file's label → the task's; None leaves such rows out.
        task_options: what a recipe sets of the task.
        labels: the file's labels, of tasks whose labels the rows decide.
        numbers: labels that are numbers and whose meaning nobody tells.
        reasons: what was seen, a phrase each.
    """

    task: str
    columns: dict[str, Any] = field(default_factory=dict)
    label_map: dict[str, str | None] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def text_columns(self) -> list[str]:
        """The columns whose texts a model reads."""
        columns = []
        for name, column in self.columns.items():
            if name in ("label", "id", "answers", "answer", "answer_start", "tags", "spans", "score"):
                continue
            if isinstance(column, list):
                columns += column
            else:
                columns.append(column)
        return columns


def as_words(columns: str | Sequence[str]) -> str:
    """A column's name, or those of several, for messages."""
    if isinstance(columns, str):
        return columns
    return " + ".join(columns)


Recogniser = Callable[[FileTable], Recognised | None]


def recognise(table: FileTable, task: str = "") -> Recognised | None:
    """The task that a file is for, of all or of a given one; None where its columns fit none."""
    names = [task]
    if not task:
        names = [*dict.fromkeys([*RECOGNISERS, *TASKS])]
    renamed = {column: field for field, column in table.named.items() if column in table.columns}
    columns_of = {field: column for column, field in renamed.items()}
    if renamed:
        others = {*columns_of, *LABEL_COLUMNS} if "label" in columns_of else set(columns_of)
        table = table.with_names(renamed, others)
    for name in names:
        recognised = RECOGNISERS.get(name, _by_field_names(name))(table)
        if recognised is not None:
            return _with_columns(recognised, columns_of)
    return None


def _with_columns(recognised: Recognised, columns_of: Mapping[str, str]) -> Recognised:
    """What was recognised in a table whose columns a user has named, with the columns as the file calls them.

    Args:
        columns_of: the name by which a column was recognised → its name in the file.
    """
    columns: dict[str, Any] = {}
    for field_name, column in recognised.columns.items():
        if isinstance(column, list):
            columns[field_name] = [columns_of.get(part, part) for part in column]
        else:
            columns[field_name] = columns_of.get(column, column)
    return replace(recognised, columns=columns)


def _by_field_names(task: str) -> Recogniser:
    """The recogniser of a task that is none of `RECOGNISERS`."""
    return partial(_by_fields, task)


def _by_fields(task: str, table: FileTable) -> Recognised | None:
    """A task of a plugin, whose fields are columns."""
    known = TASKS.get(task)
    if known is None or not all(name in table.by_lower_name for name in known.fields):
        return None
    columns = {name: table.by_lower_name[name] for name in known.fields}
    label = table.first_of(LABEL_COLUMNS)
    if known.labelled and label:
        columns["label"] = label
    return Recognised(task, columns, reasons=(f"columns {', '.join(columns.values())}",))


def _pair(table: FileTable) -> tuple[str, str] | None:
    """The columns of two texts, by their names; or the first two texts of a file without names."""
    for first, second in TEXT_PAIRS:
        if first in table.by_lower_name and second in table.by_lower_name:
            return table.by_lower_name[first], table.by_lower_name[second]
    if table.header:
        texts = [column for column in table.columns if column.startswith(UNNAMED) and _is_long(table, column)]
        if len(texts) >= 2:
            return texts[0], texts[1]
    return None


def _is_long(table: FileTable, column: str) -> bool:
    """Whether a column holds sentences and no labels."""
    return table.is_text(column) and table.words(column) > 2


def _label_column(table: FileTable) -> str:
    """The column of labels: one that is called so, or the last with few values that are no texts; empty without one."""
    column = table.first_of(LABEL_COLUMNS)
    if column and _is_label(table, column):
        return column
    for column in reversed(table.columns):
        if not names_an_id(column) and _is_label(table, column) and table.words(column) <= 3:
            counts = table.values[column]
            if 2 <= len(counts) <= max(table.count / 4, 2):
                return column
    return ""


def _is_label(table: FileTable, column: str) -> bool:
    """Whether a column has few different values."""
    return column in table.values and 1 <= len(table.values[column]) <= MOST_CLASSES


def _inference(table: FileTable) -> Recognised | None:
    """Natural language inference: two texts, and labels that say entailment, neutral, contradiction."""
    pair = _pair(table)
    label = _label_column(table)
    if pair is None or not label:
        return None
    label_map, numbers = _inference_labels(table.values[label])
    known = {name for name in label_map.values() if name}
    called_so = any(name in table.by_lower_name for name in ("hypothesis", "hypo"))
    if len(known) < 2 and not (called_so and numbers):
        return None
    columns = {"premise": pair[0], "hypothesis": pair[1], "label": label}
    values = ", ".join(f'"{value}"' for value in table.values[label])
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{label} has {values}")
    return Recognised("nli", columns, label_map, numbers=numbers, reasons=reasons)


def _inference_labels(counts: Mapping[str, int]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """What each value of a label is, in the order of the values, and the values that are numbers."""
    label_map: dict[str, str | None] = {}
    numbers = []
    for value in sorted(counts):
        if value.lower() in INFERENCE_LABELS:
            label_map[value] = INFERENCE_LABELS[value.lower()]
        elif value.lower() in NO_LABEL:
            label_map[value] = None
        elif value.isdigit():
            numbers.append(value)
    return label_map, tuple(numbers)


def _questions(table: FileTable) -> Recognised | None:
    """Reading comprehension: a question, a passage, answers."""
    question, context, answer = table.first_of(QUESTIONS), table.first_of(CONTEXTS), table.first_of(ANSWERS)
    if not (question and context and answer):
        return None
    if _options(table) or table.words(context) <= table.words(question):
        return None
    columns = {"question": question, "context": context}
    start = table.first_of(("answer_start", "start"))
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
    numbered = [column for column in table.columns if OPTION_COLUMN.fullmatch(column)]
    if len(numbered) < 2:
        return _lettered(table)
    return numbered


def _lettered(table: FileTable) -> list[str]:
    """The columns A, B, … of an option each, in that order; none where there are fewer than two."""
    lettered: list[str] = []
    for letter in ascii_lowercase:
        if letter not in table.by_lower_name:
            break
        lettered.append(table.by_lower_name[letter])
    return lettered if len(lettered) > 1 else []


def _choice(table: FileTable) -> Recognised | None:
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


def _tags(table: FileTable) -> Recognised | None:
    """Labels of words (two lists of one length) or of spans (positions in a text)."""
    tokens, tags = table.first_of(TOKENS), table.first_of(TAGS)
    if tokens and tags and tokens != tags and _are_parallel(table, tokens, tags):
        columns = {"tokens": tokens, "tags": tags}
        numbers = _numbers_of_tags(table, tags)
        reasons = (f"{tokens} and {tags} are lists of one length",)
        return Recognised("tag", columns, numbers=numbers, reasons=reasons)
    spans, text = table.first_of(SPANS), _text_column(table)
    if spans and text and spans != text and _are_positions(table.cells(spans)):
        columns = {"text": text, "spans": spans}
        return Recognised("tag", columns, reasons=(f"{spans} has positions in {text}",))
    return None


def _are_parallel(table: FileTable, tokens: str, tags: str) -> bool:
    """Whether two columns hold lists of the same length in every row of the sample."""
    lists = 0
    for values in table.sample:
        try:
            first = word_list(values.get(tokens), tokens)
            second = word_list(values.get(tags), tags)
        except (BadRowError, BadFieldError):
            return False
        if len(first) != len(second):
            return False
        lists += len(first) > 1
    return lists > 0


def _numbers_of_tags(table: FileTable, tags: str) -> tuple[str, ...]:
    """The tags of the sample that are numbers, in order; none where tags have names."""
    numbers: set[int] = set()
    for cell in table.cells(tags):
        numbers.update(int(tag) for tag in word_list(cell, tags) if tag.isdecimal())
    return tuple(map(str, sorted(numbers)))


def _are_positions(cells: Sequence[Any]) -> bool:
    """Whether all cells are lists of numbers, of lists, or of dicts with a start, perhaps as texts."""
    is_any_filled = False
    for cell in cells:
        if isinstance(cell, str):
            if not re.fullmatch(r"\s*\[[\s\d,\[\]{}\"':\w-]*\]\s*", cell):
                return False
            is_any_filled = is_any_filled or any(character.isdigit() for character in cell)
        elif isinstance(cell, list):
            is_any_filled = is_any_filled or bool(cell)
            if cell and not isinstance(cell[0], int | list | dict):
                return False
        else:
            return False
    return is_any_filled


def _text_column(table: FileTable) -> str:
    """The column of the text: one that is called so, or the one with the longest texts."""
    named = table.first_of(TEXT_COLUMNS)
    if named and table.is_text(named):
        return named
    texts = [column for column in table.columns if _is_long(table, column)]
    return max(texts, key=table.words, default="")


def _similarity(table: FileTable) -> Recognised | None:
    """Two texts, and a number that says how alike they are."""
    pair, score = _pair(table), table.first_of(SCORES)
    if pair is None or not score:
        return None
    numbers = table.numbers(score)
    is_scale = any(not number.is_integer() for number in numbers) or len(set(numbers)) > 5
    if not numbers or not (is_scale or "scor" in score.lower() or "simil" in score.lower()):
        return None
    top = max(numbers)
    highest = next((limit for limit in (1, 5, 10, 100) if top <= limit), top)
    lowest = min(0, *numbers)
    columns = {"sentence1": pair[0], "sentence2": pair[1], "score": score}
    options = {"range": [lowest, highest]}
    reasons = (f"{pair[0]} and {pair[1]} are two texts", f"{score} has numbers up to {top:g}")
    return Recognised("similarity", columns, task_options=options, reasons=reasons)


def _classes(table: FileTable) -> Recognised | None:
    """One text, two or three with a label: a claim with its evidence, a pair of sentences, or one text."""
    flags = _flag_columns(table)
    if flags:
        return _flags(table, flags)
    label = _label_column(table)
    if not label:
        return _label_lists(table)
    separator = _separator(table.values[label])
    if separator:
        return _label_sets(table, label, separator)
    counts = Counter(table.values[label])
    label_map: dict[str, str | None] = {}
    for value in ("-", ""):
        if counts.pop(value, 0):
            label_map[value] = None
    if len(counts) < 2:
        return None
    columns = _class_fields(table, label)
    if not columns:
        return None
    options: dict[str, Any] = {}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    commonest = ", ".join(f'"{value}"' for value, _ in counts.most_common(6))
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has {len(counts)} values, most often {commonest}")
    return Recognised("classify", {**columns, "label": label}, label_map, options, tuple(sorted(counts)), (), reasons)


def _flag_columns(table: FileTable) -> list[str]:
    """The columns of 1 or 0, or of true or false, where there are two or more and no other column is one of labels."""
    if table.header or table.first_of(LABEL_COLUMNS):
        return []
    flags = [column for column, counts in table.values.items() if _is_flag(counts)]
    others = [column for column in table.columns if column not in flags]
    if len(flags) < 2 or _label_column(replace(table, columns=others)):
        return []
    return flags


def _is_flag(counts: Mapping[str, int]) -> bool:
    """Whether a column's values are 1 or 0, true or false, or nothing; not of a column without any."""
    values = set(map(canonical, counts)) - {""}
    return bool(values) and values <= FLAGS


def _flags(table: FileTable, flags: list[str]) -> Recognised | None:
    """Texts with a column a label, which has 1 or 0."""
    columns = _class_fields(table, "")
    if not columns:
        return None
    options: dict[str, Any] = {"multi_label": True}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    reasons = (f"text in {', '.join(columns.values())}", f"{', '.join(flags)} are labels with 1 or 0 each")
    return Recognised("classify", {**columns, "label": flags}, task_options=options, reasons=reasons)


def _label_lists(table: FileTable) -> Recognised | None:
    """Texts with any number of labels each: in lists, or in cells of more combinations than there are classes."""
    label = table.first_of(LABEL_COLUMNS)
    cells = table.cells(label)
    if cells and all(isinstance(cell, list) for cell in cells):
        if {len(cell) for cell in cells} == {1}:
            return _single_labels(table, label)
        return _label_sets(table, label)
    separator = ""
    if all(isinstance(cell, str) for cell in cells):
        separator = _separator(set(cells))
    if not separator:
        return None
    return _label_sets(table, label, separator)


def _single_labels(table: FileTable, label: str) -> Recognised | None:
    """Texts with a label each, in lists of one."""
    columns = _class_fields(table, label)
    if not columns:
        return None
    options = {}
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has lists of one label")
    return Recognised("classify", {**columns, "label": label}, task_options=options, reasons=reasons)


def _separator(values: Iterable[str]) -> str:
    """What stands between the labels in cells of several; empty where cells hold one label each.

    Cells of several are made of fewer labels than there are different cells.

    >>> _separator(["joy;love", "love", "fear;joy", "fear", "joy"]), _separator(["art, music", "law", "sport"])
    (';', '')
    """
    cells = [value for value in values if value and not DECIMAL.fullmatch(value)]
    for separator in SEPARATORS:
        labels = set[str]()
        for cell in cells:
            labels.update(map(str.strip, cell.split(separator)))
        if any(separator in cell for cell in cells) and len(labels - {""}) < len(cells):
            return separator
    return ""


def _label_sets(table: FileTable, label: str, separator: str = "") -> Recognised | None:
    """Texts with any number of labels each, in lists or in cells with a separator."""
    columns = _class_fields(table, label)
    if not columns:
        return None
    options: dict[str, Any] = {"multi_label": True}
    if separator not in ("", CLASSIFY.separator):
        options["separator"] = separator
    if list(columns) != ["text"]:
        options["fields"] = list(columns)
    form = f'labels with "{separator}" between them' if separator else "lists of labels"
    reasons = (f"text in {', '.join(columns.values())}", f"{label} has {form}")
    return Recognised("classify", {**columns, "label": label}, task_options=options, reasons=reasons)


def _class_fields(table: FileTable, label: str) -> dict[str, str]:
    """Field → column of the texts that a label is of."""
    claim, pair = table.first_of(("claim", "statement")), _pair(table)
    evidence = table.first_of(EVIDENCE)
    if claim and evidence and evidence != label:
        return {"claim": claim, evidence.lower(): evidence}
    if pair is not None and not table.header:
        return {pair[0].lower(): pair[0], pair[1].lower(): pair[1]}
    if pair is not None:
        return {"first": pair[0], "second": pair[1]}
    text = _text_column(table)
    if not text or text == label:
        return {}
    return {"text": text}


# Task → its recogniser, in the order in which a file is tried: the most special ones first.
RECOGNISERS: dict[str, Recogniser] = {
    "choose": _choice,
    "qa": _questions,
    "tag": _tags,
    "nli": _inference,
    "similarity": _similarity,
    "classify": _classes,
}
