"""The base class `Task`: which facts and methods a task has, from its fields to its words on the page.

A task says which fields a row has, how rows become windows, how a model's outputs become predictions and scores, and
how predictions are given out: from Python, in files, over HTTP, on the server's page, in an export and on a model card.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float, Float32, Int32, Shaped
from numpy import ndarray
from torch import Tensor

from kdda.data.examples import BadRowError, Example, RowConverter, Schema, mapped_label, row_id, value_of
from kdda.data.fields import BadFieldError, canonical, plain_name, structure
from kdda.data.sources import Row
from kdda.errors import KddaError, unknown_choice
from kdda.runtime.disk_sequence import LazySequence
from kdda.runtime.numbers import count_of
from kdda.tasks.features import Features, TextSpan
from kdda.tasks.places import LogitPlaces
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window

DIGITS = 6  # decimals of a probability or a cosine in results

SMALLEST = 0.5 * 10**-DIGITS  # the probability whose logarithm stands for one that was rounded to 0

NUMBER = re.compile(r"-?\d+(\.\d+)?")  # a label of an ordinal scale

OPTIONS = "kdda_task_options"  # the field of a model's config that stores the options of its task


@dataclass(frozen=True)
class Prediction:
    """A prediction of one row, beside its gold; a task's subclass adds both.

    Attributes:
        id: the row's.
        group: what ties rows that are not independent, such as those of one premise or passage.
    """

    id: str
    group: str


@dataclass(frozen=True)
class Result:
    """A prediction as a user gets it: without golds and scores. Each task has a subclass with fields of its kind.

    `kdda.load(...)` returns it, `kdda predict` prints it or writes it to a file, `kdda serve` sends it.
    """

    def as_dict(self) -> dict[str, Any]:
        """All fields; what `kdda predict --json` prints."""
        return asdict(self)

    def as_row(self) -> dict[str, Any]:
        """The fields of a line of `kdda predict --output`, beside the row's id."""
        return self.as_dict()

    def as_response(self) -> dict[str, Any]:
        """The body of an HTTP response, as the task's `response_type` describes it."""
        return self.as_dict()

    @property
    def decision(self) -> Any:
        """What two models must agree on to give the same result; probabilities differ in their last digits."""
        return self.as_dict()


def _list_of(row: Row, columns: Sequence[str]) -> Any:
    """A row's value of a field that holds a list: of one column, perhaps as the text of a cell, or one of several."""
    if len(columns) > 1:
        return [value_of(row, column) for column in columns]
    value = value_of(row, columns[0])
    return structure(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class PageWords:
    """What a task's tab on the server's page says, in one language.

    Args:
        tab: its title.
        button: what the button says.
        fields: text field → its label, in the order in which the page shows them.
        labels: label name → what it means, where that helps.
    """

    tab: str
    button: str
    fields: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task(ABC):
    """Base class of every task: subclass it, or make a `Classification` or a `QuestionAnswering` of another name.

    Register it with `kdda.tasks.registry.register_task`; it can then be named in recipes, trained, loaded, served and
    exported.

    Args:
        name: what recipes and checkpoints call it.
        fields: the text fields of a row, in the order in which a model reads them.
        metric: the score that selects a model on the development rows, and that tables compare.
        scores: scores that tables show.
        labels: default names of the labels, in the order of the head's outputs; none for tasks without labels.
        label_words: words that authors of data write for its labels → the label of each.
        methods: names of the `Predictor` methods that work for this task; the last one is named in messages.
        route: the path of its HTTP interface; ``/NAME`` by default.
        summary: one line about the route.
        samples: a sample text of each field, for the server's documentation and page; of a field that holds a list,
            its texts, one a line.
        short_fields: fields that take a question's length over HTTP, not a passage's.
        export_rows: embedded corpora that an export is checked on, such as ``nli/vi/test``.
        page_words: what the page says, by language code (``vi``, ``en``); names of the task's fields by default.

    A kind of tasks also sets, as class attributes: `list_fields`, `optional_fields` and `gold_fields`, `head` (a key of
    `MODEL_CLASSES`), `labelled` (rows have labels that a recipe names), `states_read` (the states that the head reads),
    `outputs` (names of the logits), `logits_of` (what logits belong to), `compares_token_logits` (whether
    `logit_places` says where those of tokens are compared) and `logit_edges` (where one distribution is over tokens),
    `response_type` and `result_key` (what a result looks like over HTTP and in files), `pipeline_tag` (the Hub's name
    of such tasks), `row_score`, `row_weight` and `breakdown` (how reports score a row and split the test rows),
    `page_view` (how the page shows a result), `purpose` (what messages say that its models do), `embeds` (whether its
    candidates are vectors of texts), `distillation` (how `kdda new` distils it), and `option_names` (which of its
    fields a recipe's `task_options` may set).
    """

    name: str
    fields: tuple[str, ...]
    _: KW_ONLY
    metric: str = "accuracy"
    scores: tuple[str, ...] = ("accuracy",)
    labels: tuple[str, ...] = ()
    label_words: Mapping[str, str] = field(default_factory=dict, hash=False)
    methods: tuple[str, ...] = ()
    route: str = ""
    summary: str = ""
    samples: tuple[str, ...] = ()
    short_fields: tuple[str, ...] = ()
    export_rows: tuple[str, ...] = ()
    page_words: Mapping[str, PageWords] = field(default_factory=dict, hash=False)

    # What holds for every task of a kind.
    list_fields: ClassVar[tuple[str, ...]] = ()  # fields that hold a list of texts, of any length
    optional_fields: ClassVar[tuple[str, ...]] = ()  # fields that a row may lack; the last ones
    gold_fields: ClassVar[tuple[str, ...] | None] = None  # further fields of rows with golds; None if nobody names them
    head: ClassVar[str]  # a key of `kdda.models.load.MODEL_CLASSES`
    labelled: ClassVar[bool] = False  # whether rows have labels that a recipe names
    states_read: ClassVar[Literal["first token", "all tokens"]] = "first token"  # the states that the head reads
    outputs: ClassVar[tuple[str, ...]] = ("logits",)  # names of the logits among a model's outputs
    logits_of: ClassVar[Literal["text", "token"]] = "text"  # a head gives them once a text, or for every token
    compares_token_logits: ClassVar[bool] = False  # of both models, at places of the text (`logit_places`)
    # where each output is a distribution over the tokens: by which of its characters a token is an answer's edge
    logit_edges: ClassVar[tuple[Literal["first", "last"], ...]] = ()
    response_type: ClassVar[type]  # a dataclass that describes `Result.as_response`
    result_key: ClassVar[str]  # a field that every line of `Result.as_row` has, and no other task's lines
    pipeline_tag: ClassVar[str]  # the Hub's name of such tasks
    row_weight: ClassVar[str] = ""  # the field of such a row with its weight in the mean; "" where all have the same
    # the score of one row of predictions.jsonl, or the correlation over rows by which reports compare arms
    row_score: ClassVar[Literal["f1", "accuracy", "spearman"]] = "accuracy"
    breakdown: ClassVar[Literal["label", "answer length", "none"]] = "label"  # parts of the test rows in a report
    # how the page shows a result
    page_view: ClassVar[Literal["bars", "passage", "spans", "text", "options", "number"]] = "text"
    purpose: ClassVar[str] = "predicts"  # in messages: '"my-model" labels texts: classify(text)'
    embeds: ClassVar[bool] = False  # its candidates are vectors of texts, which translations are retrieved by
    # `distill` of the recipes that `kdda new` drafts: what did best in inference (docs/results/effect.md)
    distillation: ClassVar[Mapping[str, Any]] = {"objective": "mse-pooled", "lambda": 1.0, "align": "procrustes"}
    option_names: ClassVar[tuple[str, ...]] = ()  # fields that a recipe's `task_options` may set

    def __post_init__(self) -> None:
        if not self.fields:
            raise KddaError(f'task "{self.name}" has no fields, expected the names of its text fields')
        if len(self.samples) not in (0, len(self.fields)):
            raise KddaError(
                f'task "{self.name}": got {len(self.samples)} samples, expected one for each of its '
                f"{count_of(len(self.fields), 'field')}"
            )
        if not self.route:
            object.__setattr__(self, "route", f"/{self.name}")

    @property
    def compares_logits(self) -> bool:
        """Whether a teacher's and a student's logits are of the same labels of the same texts, and can be compared."""
        return self.labelled and self.logits_of == "text"

    @property
    def only_field(self) -> str | None:
        """The field that a plain text is for; None where a row needs several texts, or a list of them."""
        needed = [name for name in self.fields if name not in self.optional_fields]
        if len(needed) != 1 or needed[0] in self.list_fields:
            return None
        return needed[0]

    def token_logits(self, outputs: Any) -> Float[Tensor, "windows tokens classes"]:
        """The logits of every token in a model's outputs, of tasks whose logits belong to tokens."""
        if len(self.outputs) == 1:
            return cast(Tensor, getattr(outputs, self.outputs[0]))
        return torch.stack([getattr(outputs, name) for name in self.outputs], dim=-1)

    def logit_places(self, window: Window) -> LogitPlaces:
        """Where the logits of a window's tokens are compared with another model's, of tasks that compare those."""
        raise NotImplementedError(f'task "{self.name}" compares no logits of tokens')

    def labels_inside(self, labels: Sequence[str]) -> tuple[int, ...]:
        """For each label the number of the label that it is behind the start of its place: itself by default.

        Args:
            labels: names of the head's outputs, in their order.
        """
        return tuple(range(len(labels)))

    def describe(self) -> str:
        """What a model of this task does, and how it is called."""
        method = self.methods[-1] if self.methods else "predict_texts"
        return f"{self.purpose}: {method}({', '.join(self.fields)})"

    def report_facts(self) -> dict[str, Any]:
        """What a report, which reads run folders alone, must know about the task: the `task` event of a run."""
        facts = {
            "task": self.name,
            "metric": self.metric,
            "scores": list(self.scores),
            "row_score": self.row_score,
            "breakdown": self.breakdown,
        }
        if self.row_weight:
            facts["row_weight"] = self.row_weight
        return facts

    # -- options that a recipe sets

    def with_options(self, options: Mapping[str, Any]) -> Task:
        """The task with the settings of a recipe's `task_options`.

        Args:
            options: name → value, as YAML or JSON gives them; each name is one of `option_names`.

        Raises:
            KddaError: an option that the task does not have, or a value that the option cannot have.
        """
        changes = {}
        for name, value in options.items():
            if not self.option_names:
                raise KddaError(f'task_options: task "{self.name}" has no options, got "{name}"')
            if name not in self.option_names:
                raise KddaError(unknown_choice(f'task_options of task "{self.name}"', name, self.option_names))
            changes[name] = self.check_option(name, value)
        if not changes:
            return self
        return replace(self, **changes)

    def check_option(self, name: str, value: Any) -> Any:
        """The value of an option as the task's field of that name has it.

        Raises:
            KddaError: a value that the option cannot have.
        """
        return value

    # -- labels

    def head_labels(self, labels: Sequence[str]) -> list[str]:
        """The names of a head's outputs, of labels that a recipe, a caller or the task names: these by default."""
        return list(labels)

    def labels_of(self, rows: Iterable[tuple[Row, Schema]]) -> list[str]:
        """The labels of all training rows, in the order of a head's outputs.

        Args:
            rows: of all languages, each with the schema of its source.

        Raises:
            KddaError: fewer than two labels.
        """
        labels: dict[str, str] = {}  # as all formats write it → as it is written where it occurs first
        reason = ""  # why the first of the rows without a label has none
        for row, schema in rows:
            try:
                for label in self.row_labels(row, schema):
                    labels.setdefault(canonical(label), label)
            except (BadRowError, BadFieldError) as error:
                reason = reason or f"; {row.where}: {error}"
        if len(labels) < 2:
            names = ", ".join(labels.values()) or "none"
            raise KddaError(f"labels: the training rows have fewer than two labels ({names}){reason}")
        return self.ordered_labels(list(labels.values()))

    def row_labels(self, row: Row, schema: Schema) -> Iterable[str]:
        """The labels that a row has, as its schema maps them; none for a row without one.

        Raises:
            BadRowError: a row that cannot be read, which `convert` refuses later.
        """
        label = mapped_label(value_of(row, schema.column("label")), schema)
        return [label] if label else []

    def label_meant(self, word: str) -> str:
        """The label that a word of data means, such as "kéo theo", however it is written; empty of another word."""
        name = plain_name(word)
        for written, label in self.label_words.items():
            if plain_name(written) == name:
                return label
        return ""

    def ordered_labels(self, labels: Sequence[str]) -> list[str]:
        """Labels of training rows in the order of a head's outputs: numbers by size, all others by the alphabet."""
        if all(map(NUMBER.fullmatch, labels)):
            return sorted(labels, key=float)
        return sorted(labels)

    # -- settings that training rows or a checkpoint decide

    def fitted(self, examples: Iterable[Example]) -> Task:
        """The task with the settings that training rows decide."""
        return self

    def settings(self) -> dict[str, Any]:
        """Those settings and the options, as a model's config stores them."""
        if not self.option_names:
            return {}
        options = {}
        for name in self.option_names:
            value = getattr(self, name)
            options[name] = list(value) if isinstance(value, tuple) else value  # JSON has no tuples
        return {OPTIONS: options}

    def with_settings(self, config: Mapping[str, Any]) -> Task:
        """The task with the settings and options that a model's config stores."""
        return self.with_options(config.get(OPTIONS) or {})

    def for_inference(self, no_answer: bool | None = None) -> Task:
        """The task as a `Predictor` uses it.

        Args:
            no_answer: whether "there is no answer" may be predicted; what the checkpoint stores by default. Tasks
                without answers ignore it.
        """
        return self

    def output_names(self, labels: Sequence[str]) -> Sequence[str] | None:
        """Names of the outputs that a new head of this task has; None where its class decides how many there are.

        Args:
            labels: of a recipe, for tasks with labels.
        """
        return labels if self.labelled else None

    def check_outputs(self, config: Any, name: str) -> None:
        """Refuse a model with a head of the right kind and the wrong size.

        Raises:
            KddaError: says what the head gives and what is needed.
        """
        if self.labelled and config.num_labels < 2:
            raise KddaError(f'"{name}" gives one number a row, not probabilities of labels')

    # -- from rows to predictions

    def check_columns(self, columns: Mapping[str, Any], place: str = "columns") -> None:
        """Refuse a column for a field that no row of the task has, which would be left unread without a word.

        Args:
            columns: field → the column or columns of a source.
            place: where they stand, for the message.

        Raises:
            KddaError: names the field, and those that there are.
        """
        if self.gold_fields is None:
            return
        known = ("id", *self.fields, *self.gold_fields)
        for name in columns:
            if name not in known:
                raise KddaError(unknown_choice(place, name, known))

    def texts_of(self, values: Mapping[str, Any], name: Callable[[str], str] = str) -> tuple[str, ...]:
        """What an example of a row from outside (Python, a file, HTTP) has as its texts: by default one a field.

        Args:
            values: by field; without those of `optional_fields` that the row lacks.
            name: what messages call a field.

        Raises:
            KddaError: a value that is no text, is empty, or cannot be read.
        """
        texts = []
        for field_name in self.fields:
            check_text(values[field_name], name(field_name))
            texts.append(values[field_name])
        return tuple(texts)

    def sample_values(self) -> dict[str, Any]:
        """A sample of a row, by field, as `texts_of` takes it."""
        values: dict[str, Any] = {}
        for field_name, sample in zip(self.fields, self.samples or ("…",) * len(self.fields), strict=True):
            values[field_name] = sample.splitlines() if field_name in self.list_fields else sample
        return values

    @abstractmethod
    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes an example of a row."""

    def convert_unlabelled(self, schema: Schema) -> RowConverter:
        """The function that makes an example without a gold label of a row, from the task's text fields alone."""

        def convert(row: Row, repaired: Counter[str]) -> Example:
            """The row as an example; its group is the first text, which other rows may share."""
            values: dict[str, Any] = {}
            for name in self.fields:
                columns = schema.columns_of(name)
                if name in self.optional_fields and columns[0] not in row.values:
                    continue
                if name in self.list_fields:
                    values[name] = _list_of(row, columns)
                else:
                    values[name] = value_of(row, schema.column(name))
            try:
                texts = self.texts_of(values, lambda name: f'"{", ".join(schema.columns_of(name))}"')
            except KddaError as error:
                raise BadRowError(str(error)) from None
            return Example(row_id(row, schema), texts, texts[0])

        return convert

    def texts_of_row(self, row: Row, schema: Schema) -> tuple[str, ...]:
        """What a model reads of a row of a file, as `texts_of` gives it, whatever gold the row has or lacks.

        Args:
            schema: names of columns.

        Raises:
            BadRowError: a row that lacks a field, or has a value that is no text.
        """
        try:
            return self.convert_unlabelled(schema)(row, Counter()).texts
        except BadFieldError as error:
            raise BadRowError(str(error)) from None

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """Examples as a model reads them: by default one window an example, cut where it is too long."""

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The only window of each example of a chunk."""
            # the first texts of all examples, then the second ones, as the encoder takes them
            columns = zip(*(example.texts for example in chunk), strict=True)
            for window in encoder.encode(*map(list, columns)):
                yield [window]

        return Features(examples, Windows(in_chunks(examples, read)))

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """What each window reads, for another model to read the same."""
        examples = features.examples
        return LazySequence(len(examples), lambda i: TextSpan(examples[i].texts, None))

    @abstractmethod
    def targets(self, features: Features, labels: Sequence[str]) -> Mapping[str, Any]:
        """What `outputs_with_loss` takes beside the windows, by name.

        Each is an array with a number a window, or whatever the task's `batch_targets` reads.
        """

    def batch_targets(
        self, targets: Mapping[str, Any], windows: Sequence[int], tokens: int
    ) -> dict[str, Shaped[Tensor, "windows ..."]]:
        """The targets of some windows, as `outputs_with_loss` takes them.

        Args:
            targets: of all windows, as the method `targets` returns them.
            windows: numbers of windows.
            tokens: to which these windows are padded.
        """
        return target_tensors(targets, windows)

    def count_targets(self, targets: Mapping[str, Any], items: Sequence[int]) -> int:
        """How many golds the loss of some items is the mean of: one an item by default.

        Args:
            targets: of all windows, as the method `targets` returns them.
            items: of a batch, by their numbers.
        """
        return len(items)

    def outputs_with_loss(self, model: Any, inputs: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Any:
        """A model's outputs for a part of a batch, with the mean loss of its items as `loss`.

        By default the model's forward takes the targets as arguments and computes the loss, as those of transformers
        do. A task whose loss reads several windows of a row together computes it here.

        Args:
            model: as the trainer has wrapped it.
            inputs: arguments of its forward.
            targets: the windows' values of `targets`, by name.
        """
        return model(**inputs, **targets)

    def outputs_without_labels(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """A model's outputs for a part of a batch without gold labels, with a `loss` of 0.

        The loss depends on the logits, so that every weight has a gradient, also where processes wait for all of them.

        Args:
            model, inputs: as for `outputs_with_loss`.
        """
        outputs = model(**inputs)
        loss: Any = 0.0
        for name in self.outputs:
            loss = loss + 0.0 * getattr(outputs, name).float().sum()
        outputs.loss = loss
        return outputs

    @abstractmethod
    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[Any]:
        """What `decode` needs of a batch's outputs, one item a window."""

    @abstractmethod
    def decode(
        self, features: Features, candidates: Sequence[Any], labels: Sequence[str], language: str
    ) -> Sequence[Prediction]:
        """The predictions of all examples, in their order, scored by a language's rules."""

    # -- scores

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """The scores of predictions, in per cent: `metric`, all of `scores`, `rows` and `standard_error`."""

    @abstractmethod
    def eval_prediction(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> tuple[Any, Any]:
        """Predictions and golds in the shape of transformers' `EvalPrediction`, for a user's `compute_metrics`."""

    # -- results

    def files_beside_model(self, config: Any, encoder: Encoder) -> dict[str, Any]:
        """JSON files that other programs read beside a saved model: path in its folder → content; none by default.

        Args:
            config: the model's.
            encoder: that the model was trained with.
        """
        return {}

    @abstractmethod
    def result(self, prediction: Prediction, best: int = 5) -> Result:
        """A prediction as a user gets it.

        Args:
            best: candidates to give, of tasks that have candidates.
        """


def target_tensors(
    targets: Mapping[str, Int32[ndarray, "windows ..."] | Float32[ndarray, "windows ..."]], windows: Sequence[int]
) -> dict[str, Tensor]:
    """The values of `Task.targets` of some windows as tensors: whole numbers in 64 bits, as losses take them."""
    tensors = {}
    for name, values in targets.items():
        chosen = torch.from_numpy(values[windows])
        tensors[name] = chosen if chosen.is_floating_point() else chosen.long()
    return tensors
