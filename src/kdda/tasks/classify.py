"""The task `classify`: labels of one text, two or three under any names; several labels a row (threshold 0.5); windows.

Its options are `fields` (by default ``[text]``), `multi_label`, `separator` (of labels in a cell, ``,`` by default) and
`long_texts`: ``cut`` (by default), or the last field in windows whose logits are pooled (``mean``, ``max``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, fields, replace
from statistics import fmean
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32
from numpy import ndarray
from torch import Tensor

from kdda.data.examples import (
    BadRowError,
    DroppedError,
    Example,
    RowConverter,
    Schema,
    checked_label,
    mapped_label,
    row_id,
    text_of,
    value_of,
)
from kdda.data.fields import BadFieldError, is_missing, plain, shown, structure, truth
from kdda.data.sources import Row
from kdda.errors import KddaError
from kdda.metrics.labels import accuracy, macro_f1_of_sets, micro_f1_of_sets, per_label_f1_of_sets, set_f1
from kdda.metrics.significance import standard_error
from kdda.runtime.numbers import count_of
from kdda.tasks.base import DIGITS, SMALLEST, PageWords, Prediction, Result, Task
from kdda.tasks.classification import Classification, LabelPrediction, gold_of
from kdda.tasks.features import Features, TextSpan, spans_of_windows
from kdda.tasks.pooling import check_long_texts, pooled
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.encode import TEXT_COUNTS, Encoder, Window

MOST_FIELDS = 3  # texts of a row: so many a template of special tokens has

RESERVED = ("id", "label")  # columns of a row that are no texts

THRESHOLD = 0.5  # the probability from which a label of several is predicted

MULTI_LABEL = "multi_label_classification"  # transformers' name of such models, in a config's `problem_type`
SINGLE_LABEL = "single_label_classification"

SEPARATORS = (",", ";", "|")  # that people write between labels, for a hint


@dataclass(frozen=True)
class LabelSetExample(Example):
    """An example with any number of gold labels, each once, in the order of the head's outputs."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelSetPrediction(Prediction):
    """The predicted labels, beside the gold ones; either may be none.

    Attributes:
        probabilities: label name → its probability, whatever the others'.
        f1: of the predicted labels against the gold ones, from 0 to 1; 1 where both are none.
    """

    gold: list[str]
    predicted: list[str]
    probabilities: dict[str, float]
    f1: float


@dataclass(frozen=True)
class LabelSetResult(Result):
    """The labels whose probability is at least `THRESHOLD`, and every label's probability by name."""

    labels: list[str]
    probabilities: dict[str, float]

    @property
    def decision(self) -> list[str]:
        """The labels alone: what two models must agree on."""
        return self.labels

    @property
    def chosen(self) -> list[str]:
        """The predicted labels, which the page marks."""
        return self.labels

    def __str__(self) -> str:
        """One line a label, the likeliest first, as `kdda predict` prints it; a star marks predicted ones."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        lines = []
        for label, probability in ranked:
            mark = "*" if label in self.labels else " "
            lines.append(f"{probability:7.1%} {mark} {label}")
        return "\n".join(lines)


@dataclass(frozen=True)
class TextClassification(Classification):
    """One label for a row of one text, two or three.

    Args:
        long_texts: ``cut`` truncates a row's longest texts; ``mean`` and ``max`` read the last field in as many windows
            as it takes, after the other texts, and pool the windows' logits, in training as in prediction.
        separator: between labels in a cell, of tasks with several labels a row.
    """

    fields: tuple[str, ...] = ("text",)
    _: KW_ONLY
    long_texts: Literal["cut", "mean", "max"] = "cut"
    separator: str = ","

    most_fields: ClassVar[int] = MOST_FIELDS
    option_names: ClassVar[tuple[str, ...]] = ("fields", "multi_label", "separator", "long_texts")
    multi_label: ClassVar[bool] = False  # whether a row has any number of labels; a class for each

    # -- options

    def with_options(self, options: Mapping[str, Any]) -> Task:
        """The task with other options: `multi_label` changes its class, and `fields` leaves its sample texts out."""
        task: TextClassification = self
        others = dict(options)
        if "multi_label" in others:
            task = self._of_kind(self.check_option("multi_label", others.pop("multi_label")))
        if "fields" in others:
            task = task._with_fields(self.check_option("fields", others.pop("fields")))
        return super(TextClassification, task).with_options(others)

    def _with_fields(self, names: tuple[str, ...]) -> TextClassification:
        """The same task on texts of other names, without samples of them, which the page shows under these names."""
        if names == self.fields:
            return self
        labels_of_boxes = dict(zip(names, names, strict=True))
        page_words = {}
        for code, words in self.page_words.items():
            page_words[code] = replace(words, fields=labels_of_boxes)
        return replace(self, fields=names, samples=(), export_rows=(), page_words=page_words)

    def _of_kind(self, multi_label: bool) -> TextClassification:
        """The same task for one label a row, or for any number of labels."""
        kind = LabelSetClassification if multi_label else TextClassification
        if multi_label == self.multi_label:
            return self
        values = {}
        for known in fields(self):
            if known.name not in ("metric", "scores", "summary"):  # which differ between both classes
                values[known.name] = getattr(self, known.name)
        return kind(**values)

    def check_option(self, name: str, value: Any) -> Any:
        """The value of an option, checked; names of fields become a tuple."""
        if name == "fields":
            return _field_names(value)
        if name == "multi_label" and not isinstance(value, bool):
            raise KddaError(f"task_options.multi_label: got {value!r:.80}, expected true or false")
        if name == "long_texts":
            return check_long_texts(value)
        if name == "separator" and (not isinstance(value, str) or not value):
            raise KddaError(f'task_options.separator: got {value!r:.80}, expected a text such as ";"')
        return value

    def settings(self) -> dict[str, Any]:
        """The options, and transformers' name of what a row's labels are."""
        return {**super().settings(), "problem_type": MULTI_LABEL if self.multi_label else SINGLE_LABEL}

    def with_settings(self, config: Mapping[str, Any]) -> Task:
        """The task with a config's options; `problem_type` tells of a checkpoint of others if it has several labels."""
        task = super().with_settings(config)
        if task is self and config.get("problem_type") == MULTI_LABEL:
            return self._of_kind(multi_label=True)
        return task

    # -- from rows to predictions

    def row_labels(self, row: Row, schema: Schema) -> Iterable[str]:
        """The label of a row, as its schema maps it."""
        _check_one_label_column(schema)
        return super().row_labels(row, schema)

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes an example of a row: its texts by field, and its label."""
        _check_one_label_column(schema)
        convert_texts = super().convert(schema)

        def convert(row: Row, repaired: Counter[str]) -> Example:
            """The row as an example, which is of one group with those that share its longest text."""
            example = convert_texts(row, repaired)
            return replace(example, group=_group(example.texts))

        return convert

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """One window an example, or the last text of each in windows, which stay together in a batch."""
        if self.long_texts == "cut":
            return super().encode(examples, encoder)

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The windows of each example of a chunk."""
            texts: list[str] = []
            for example in chunk:
                texts += example.texts
            encoder.tokenize(texts)  # fills the encoder's cache, all at once: fast tokenizers use every core
            for example in chunk:
                yield encoder.windows(example.texts, count_as=TEXT_COUNTS)

        return Features(examples, Windows(in_chunks(examples, read)), whole_rows=True)

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """The texts of each window, with the characters of the last one where it is read in windows."""
        if self.long_texts == "cut":
            return super().text_spans(features)
        return spans_of_windows(features)

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Any]:
        """The gold of each window's row, as `labels`, and the number of its row, as `rows`."""
        owners = np.asarray(features.owners, np.int32)
        return {"labels": self._golds(features, labels)[owners], "rows": owners}

    def _golds(self, features: Features, labels: Sequence[str]) -> Int32[ndarray, " rows"] | Float32[ndarray, "rows _"]:
        """What the loss compares with each row's logits: the number of its label."""
        golds: Int32[ndarray, " rows"] = super().targets(features, labels)["labels"]
        return golds

    def outputs_with_loss(self, model: Any, inputs: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Any:
        """A model's outputs, with the mean loss of rows' pooled logits."""
        outputs = model(**inputs)
        rows = targets["rows"]
        is_first = torch.ones_like(rows, dtype=torch.bool)  # of its row's windows, which stand together
        is_first[1:] = rows[1:] != rows[:-1]
        logits = pooled(outputs.logits.float(), is_first.cumsum(0) - 1, self.long_texts)
        outputs.loss = self._loss(logits, targets["labels"][is_first])
        return outputs

    def _loss(self, logits: Float[Tensor, "rows labels"], golds: Tensor) -> Float[Tensor, ""]:
        """The mean cross-entropy of some rows."""
        return torch.nn.functional.cross_entropy(logits, golds)

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[list[float]]:
        """The logits of all labels, a row a window."""
        rows: list[list[float]] = outputs.logits.float().tolist()
        return rows

    def decode(
        self, features: Features, candidates: Sequence[Sequence[float]], labels: Sequence[str], language: str
    ) -> list[Any]:
        """The prediction for each example.

        Args:
            candidates: the logits of each window, in the order of `labels`.
        """
        logits = pooled(torch.tensor(candidates), torch.tensor(features.owners), self.long_texts)
        predictions = []
        for example, row in zip(features.examples, self._probabilities(logits).tolist(), strict=True):
            probabilities = {}
            for label, probability in zip(labels, row, strict=True):
                probabilities[label] = round(probability, DIGITS)
            predictions.append(self._prediction(example, row, probabilities))
        return predictions

    def _probabilities(self, logits: Float[Tensor, "rows labels"]) -> Float[Tensor, "rows labels"]:
        """Each label's share among all labels of a row."""
        return logits.softmax(dim=-1)

    def _prediction(self, example: Example, row: Sequence[float], probabilities: dict[str, float]) -> Prediction:
        """The likeliest label, beside the gold one.

        Args:
            row: the labels' probabilities before they are rounded.
        """
        best = max(range(len(row)), key=row.__getitem__)
        return LabelPrediction(example.id, example.group, gold_of(example), list(probabilities)[best], probabilities)


@dataclass(frozen=True)
class LabelSetClassification(TextClassification):
    """Any number of labels for a row, none included (`multi_label: true`): each with a probability by itself.

    The F1 of a row compares its predicted labels with its gold ones; `f1`, by which arms are compared, is the mean over
    rows, so that its interval is one over rows, too.
    """

    _: KW_ONLY
    metric: str = "f1"
    scores: tuple[str, ...] = ("f1", "micro_f1", "macro_f1")
    summary: str = "Label a row: every label's probability, and the labels of at least one half"

    response_type: ClassVar[type] = LabelSetResult
    result_key: ClassVar[str] = "labels"
    row_score: ClassVar[Literal["f1", "accuracy"]] = "f1"
    multi_label: ClassVar[bool] = True

    @property
    def compares_logits(self) -> bool:
        """No: objectives that compare logits, and weights of examples, are of texts with one label."""
        return False

    def row_labels(self, row: Row, schema: Schema) -> Iterable[str]:
        """The labels of a row, as its schema maps them; of a column a label the labels of all columns."""
        columns = schema.columns_of("label")
        values: Sequence[Any] = columns
        if len(columns) == 1:
            values = _label_values(value_of(row, columns[0]), self.separator)
        for value in values:
            label = mapped_label(value, schema)
            if label:
                yield label

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes an example of a row: its texts by field, and its labels."""

        def convert(row: Row, repaired: Counter[str]) -> LabelSetExample:
            """The row as an example; a label that is there twice counts once."""
            labels = self._checked_labels(row, schema)
            texts = tuple(text_of(row, schema.column(name)) for name in self.fields)
            in_order = tuple(label for label in schema.labels if label in labels)
            return LabelSetExample(row_id(row, schema), texts, _group(texts), in_order)

        return convert

    def _checked_labels(self, row: Row, schema: Schema) -> set[str]:
        """The labels of a row as the task names them, without those that the schema's map drops.

        Raises:
            BadRowError: a label that the task does not have, or a cell that holds no labels.
        """
        columns = schema.columns_of("label")
        if len(columns) > 1:
            return _known_labels(_marked_columns(row, columns), ", ".join(columns), schema)
        cell = value_of(row, columns[0])
        try:
            return _known_labels(_label_values(cell, self.separator), columns[0], schema)
        except BadFieldError as error:
            raise BadRowError(f'"{columns[0]}": {error}') from None
        except BadRowError as error:
            for separator in SEPARATORS:
                if isinstance(cell, str) and separator in cell and separator != self.separator:
                    hint = f'task_options: {{separator: "{separator}"}} splits cells at {separator}'
                    raise BadRowError(f"{error}; {hint}") from None
            raise

    def _golds(self, features: Features, labels: Sequence[str]) -> Int32[ndarray, " rows"] | Float32[ndarray, "rows _"]:
        """1 for each label of a row, 0 for the others."""
        golds = np.zeros((len(features.examples), len(labels)), np.float32)
        index = {label: number for number, label in enumerate(labels)}
        for row, example in enumerate(features.examples):
            for label in _golds_of(example):
                golds[row, index[label]] = 1
        return golds

    def _loss(self, logits: Float[Tensor, "rows labels"], golds: Tensor) -> Float[Tensor, ""]:
        """The mean binary cross-entropy of some rows' labels."""
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, golds)

    def _probabilities(self, logits: Float[Tensor, "rows labels"]) -> Float[Tensor, "rows labels"]:
        """Each label's probability, whatever the others'."""
        return logits.sigmoid()

    def _prediction(self, example: Example, row: Sequence[float], probabilities: dict[str, float]) -> Prediction:
        """The labels of at least `THRESHOLD`, beside the gold ones."""
        predicted = []
        for label, probability in zip(probabilities, row, strict=True):
            if probability >= THRESHOLD:
                predicted.append(label)
        gold = _golds_of(example)
        return LabelSetPrediction(example.id, example.group, gold, predicted, probabilities, set_f1(gold, predicted))

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """F1 in per cent: its mean over rows, over all labels of all rows (micro), of each label, and its mean (macro).

        With the share of rows whose labels are all right (accuracy), and the standard error of the mean over rows.
        """
        golds, predicted, row_scores = [], [], []
        for row in map(_checked, predictions):
            golds.append(row.gold)
            predicted.append(row.predicted)
            row_scores.append(100 * row.f1)
        return {
            "rows": len(row_scores),
            "f1": fmean(row_scores),
            "micro_f1": micro_f1_of_sets(golds, predicted),
            "macro_f1": macro_f1_of_sets(golds, predicted, labels),
            "accuracy": accuracy(list(map(str, golds)), list(map(str, predicted))),
            "per_label": per_label_f1_of_sets(golds, predicted, labels),
            "standard_error": standard_error(row_scores),
        }

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[Float32[ndarray, "rows labels"], Int32[ndarray, "rows labels"]]:
        """Log-odds in the order of `labels`, positive for predicted ones; and 1 for each gold label, else 0."""
        odds = np.zeros((len(predictions), len(labels)), np.float32)
        golds = np.zeros((len(predictions), len(labels)), np.int32)
        for row, prediction in enumerate(map(_checked, predictions)):
            for place, label in enumerate(labels):
                probability = min(max(prediction.probabilities[label], SMALLEST), 1 - SMALLEST)
                odds[row, place] = np.log(probability / (1 - probability))
                golds[row, place] = label in prediction.gold
        return odds, golds

    def result(self, prediction: Prediction, best: int = 5) -> Any:
        """The labels and the probabilities, without the golds."""
        row = _checked(prediction)
        return LabelSetResult(row.predicted, row.probabilities)


def _field_names(value: Any) -> tuple[str, ...]:
    """The names of a row's texts.

    Raises:
        KddaError: not one to `MOST_FIELDS` different names, or one that a column or a request cannot have.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        names = []
    are_names = all(map(_is_field_name, names))
    if are_names and 1 <= len(names) <= MOST_FIELDS and len(set(names)) == len(names):
        return tuple(names)
    raise KddaError(
        f"task_options.fields: got {value!r:.80}, expected one to {MOST_FIELDS} different names of text columns, other "
        f"than {' and '.join(RESERVED)}, such as [claim, evidence, context]"
    )


def _is_field_name(name: Any) -> bool:
    """Whether a row's column and a request's field may have this name."""
    return isinstance(name, str) and bool(name.strip()) and name not in RESERVED and not name.startswith("_")


def _label_values(value: Any, separator: str) -> list[Any]:
    """The labels that a field names, no empty ones: of a list, also as JSON or Python write it, or of a separated cell.

    >>> _label_values("joy; love", ";"), _label_values('["joy", "love, true"]', ","), _label_values(None, ",")
    (['joy', 'love'], ['joy', 'love, true'], [])

    Raises:
        BadFieldError: a value that is none of these.
    """
    value = plain(value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = structure(value)
    if isinstance(value, dict):
        raise BadFieldError(f"got {shown(value)}, expected labels: a list, or a text with {separator!r} between them")
    parts = value
    if not isinstance(value, list):
        parts = [] if is_missing(value) else str(value).split(separator)
    labels = []
    for part in parts:
        if not is_missing(part):
            labels.append(part.strip() if type(part) is str else part)  # names of integers stay what they are
    return labels


def _marked_columns(row: Row, columns: Sequence[str]) -> list[str]:
    """Of columns with yes or no (1 or 0, true or false), each for the label that it is called after, those with yes.

    An empty cell is no.

    Raises:
        BadRowError: a column that the row lacks, or a value that is neither.
    """
    marked = []
    for column in columns:
        try:
            if truth(value_of(row, column)):
                marked.append(column)
        except BadFieldError as error:
            raise BadRowError(f'"{column}": {error}; a column for a label has 1 or 0') from None
    return marked


def _known_labels(values: Iterable[Any], column: str, schema: Schema) -> set[str]:
    """Labels as the task names them, without those that the schema's map drops; `column` is where they stand.

    Raises:
        BadRowError: a label that the task does not have.
    """
    labels = set()
    for value in values:
        with suppress(DroppedError):
            labels.add(checked_label(value, column, schema))
    return labels


def _check_one_label_column(schema: Schema) -> None:
    """Refuse a column for each label where a row has one label.

    Raises:
        KddaError: says what reads them.
    """
    columns = schema.columns_of("label")
    if len(columns) > 1:
        raise KddaError(
            f"columns.label: got {count_of(len(columns), 'column')} ({', '.join(columns)}); task_options: "
            "{multi_label: true} reads a column a label with 1 or 0, and a task with one label a row reads one column"
        )


def _group(texts: Sequence[str]) -> str:
    """What ties a row to others: its longest text, such as the context of many claims."""
    return max(texts, key=len)


def _golds_of(example: Example) -> list[str]:
    """An example's labels; none of a row that is to be labelled."""
    return list(example.labels) if isinstance(example, LabelSetExample) else []


def _checked(prediction: Prediction) -> LabelSetPrediction:
    """The same prediction, known to the type checker as one of a task with several labels a row."""
    assert isinstance(prediction, LabelSetPrediction)
    return prediction


CLASSIFY = TextClassification(
    "classify",
    samples=("Thầy giảng bài rất dễ hiểu.",),
    export_rows=("sentiment/vi/test", "sentiment/en/dev"),
    page_words={
        "vi": PageWords(tab="Phân loại", button="Phân loại", fields={"text": "Văn bản"}),
        "en": PageWords(tab="Classify", button="Classify the text", fields={"text": "Text"}),
    },
)
