"""`load` and `Predictor`: results for texts (answers, labels) from any checkpoint with a task's head; 5 candidates."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from kdda.data.examples import Example
from kdda.errors import KddaError
from kdda.inference.checkpoint import choose_task, counted, encoder_of_config, label_names, no_head
from kdda.inference.engines import RECORD, Engine, OnnxEngine, TorchEngine
from kdda.inference.streams import in_streams
from kdda.models.classes import outputs_config
from kdda.models.load import is_exported, load_checkpoint, load_config, load_tokenizer
from kdda.runtime.device import in_bfloat16
from kdda.runtime.numbers import count_of
from kdda.tasks.base import Prediction, Result, Task
from kdda.tasks.choose import ChoiceResult
from kdda.tasks.classification import LabelResult
from kdda.tasks.features import Features
from kdda.tasks.prediction import check_finite
from kdda.tasks.qa import AnswerResult, AnswerSpan
from kdda.tasks.similarity import SimilarityResult
from kdda.tasks.tag import TagResult
from kdda.text.batching import buckets
from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window

BEST = 5  # candidates of an answer

Texts = str | Sequence[Any]  # of one field


class Predictor:
    """A checkpoint that predicts for texts, one row or many at once; safe to share between threads.

    Args:
        name: what it was loaded from.
        engine: computes logits of token ids, in torch or onnxruntime.
        encoder: turns texts into windows of token ids.
        task: what its head is for.
        labels: names of the head's outputs, in their order; none for tasks without labels.
    """

    def __init__(self, name: str, engine: Engine, encoder: Encoder, task: Task, labels: Sequence[str]):
        self.name = name
        self.engine = engine
        self.encoder = encoder
        self.task = task
        self.labels = list(labels)
        self.streams = engine.streams  # batches that are computed at once; threads that read wait for their turn
        self._encoding = threading.Lock()
        self._computing = threading.BoundedSemaphore(self.streams)

    def predict_texts(self, *texts: Texts, **fields: Texts) -> Any:
        """The result for one row, or a list of results for lists of texts, for any task.

        Args:
            texts: the task's fields in their order, each a text or a list of texts; a text goes with all of a list.
                Of a field that holds a list a row, such as the options of a choice, a list or a list of lists.
            fields: the same by name.

        Returns:
            A `kdda.tasks.base.Result` of the task's kind, or a list of them.

        Raises:
            KddaError: too few or too many fields, an empty text, or lists of two lengths.
        """
        if fields:
            texts = (*texts, *_by_name(fields, self.task, len(texts)))
        return self._results(texts)

    __call__ = predict_texts

    @overload
    def answer(self, question: str, context: str, best: int = BEST) -> AnswerResult: ...
    @overload
    def answer(self, question: Texts, context: Texts, best: int = BEST) -> AnswerResult | list[AnswerResult]: ...
    def answer(self, question: Texts, context: Texts, best: int = BEST) -> AnswerResult | list[AnswerResult]:
        """The span of the context that answers the question. Lists give a list; one text goes with all of a list.

        Args:
            best: candidates that a result has.

        Raises:
            KddaError: a model that does not answer, an empty text, or lists of two lengths.
        """
        self.require("answer")
        results: AnswerResult | list[AnswerResult] = self._results((question, context), best)
        return results

    def classify(self, *texts: Texts) -> Any:
        """The label of a row, and every label's probability. Lists give a list; one text goes with all of a list.

        Args:
            texts: the task's fields in their order, each a text or a list of texts.

        Returns:
            A `LabelResult`, of a model with several labels a row a `LabelSetResult`; or a list of them.

        Raises:
            KddaError: a model that does not classify, an empty text, or lists of two lengths.
        """
        self.require("classify")
        return self._results(texts)

    @overload
    def entails(self, premise: str, hypothesis: str) -> LabelResult: ...
    @overload
    def entails(self, premise: Texts, hypothesis: Texts) -> LabelResult | list[LabelResult]: ...
    def entails(self, premise: Texts, hypothesis: Texts) -> LabelResult | list[LabelResult]:
        """`classify` of a natural language inference model: what the premise means for the hypothesis.

        Raises:
            KddaError: a model of another task, an empty text, or lists of two lengths.
        """
        self.require("entails")
        results: LabelResult | list[LabelResult] = self.classify(premise, hypothesis)
        return results

    def choose(self, context: Texts, options: Sequence[Any], question: Texts = "") -> ChoiceResult | list[ChoiceResult]:
        """The likeliest of a row's options, and every option's probability.

        Args:
            context: what the options are about; a list gives a list, and one text goes with all of a list.
            options: two texts or more; of several rows a list of such lists, whose lengths may differ.
            question: what is asked of the context, where something is.

        Raises:
            KddaError: a model that does not choose, an empty text, fewer than two options, two equal ones, or lists of
                two lengths.
        """
        self.require("choose")
        results: ChoiceResult | list[ChoiceResult] = self._results((context, options, question))
        return results

    @overload
    def tag(self, text: str) -> TagResult: ...
    @overload
    def tag(self, text: Texts) -> TagResult | list[TagResult]: ...
    def tag(self, text: Texts) -> TagResult | list[TagResult]:
        """The labelled spans of a text: characters, label and probability of each. A list gives a list.

        Raises:
            KddaError: a model of another task, or an empty text.
        """
        self.require("tag")
        results: TagResult | list[TagResult] = self._results((text,))
        return results

    @overload
    def similarity(self, sentence1: str, sentence2: str) -> SimilarityResult: ...
    @overload
    def similarity(self, sentence1: Texts, sentence2: Texts) -> SimilarityResult | list[SimilarityResult]: ...
    def similarity(self, sentence1: Texts, sentence2: Texts) -> SimilarityResult | list[SimilarityResult]:
        """How alike two texts are. Lists give a list, pair by pair; one text goes with all of a list.

        Raises:
            KddaError: a model that does not compare texts, an empty text, or lists of two lengths.
        """
        self.require("similarity")
        results: SimilarityResult | list[SimilarityResult] = self._results((sentence1, sentence2))
        return results

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """One vector of length 1 for each text, so that the product of two is their cosine.

        Raises:
            KddaError: a model that does not compare texts, no text, or an empty one.
        """
        self.require("encode")
        if isinstance(texts, str) or not texts:
            raise KddaError("encode: expected a list of one text or more")
        for number, text in enumerate(texts):
            check_text(text, f"text {number}")
        features = self._features(_examples([(text,) for text in texts]))
        return np.stack(self._candidates(features))

    def read(self, rows: Sequence[tuple[str, ...]]) -> Sequence[Prediction]:
        """The task's predictions for rows of texts, in their order."""
        return self.predict(_examples(rows))

    def predict(self, examples: Sequence[Example], language: str = "") -> Sequence[Prediction]:
        """The task's predictions for examples, scored against their golds by a language's rules."""
        features = self._features(examples)
        return self.task.decode(features, self._candidates(features), self.labels, language)

    def results(self, predictions: Sequence[Prediction], best: int = BEST) -> list[Result]:
        """What predictions tell a user, without golds and scores."""
        return [self.task.result(prediction, best) for prediction in predictions]

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        """The best spans of each context for its question, with scores that compare over contexts of one question.

        Raises:
            KddaError: a model that does not answer.
        """
        self.require("answer")
        task: Any = self.task
        features = self._features(_examples(pairs))
        spans: list[list[AnswerSpan]] = task.answer_spans(features, self._candidates(features))
        return spans

    def windows(self, rows: Sequence[tuple[str, ...]]) -> Sequence[Window]:
        """What the model reads of rows of texts."""
        return self._features(_examples(rows)).windows

    def logits(self, windows: Sequence[Window]) -> Any:
        """The head's outputs for one batch.

        Raises:
            NotFiniteError: one of them is not finite.
        """
        outputs = self.engine(self.encoder.pad(windows))
        check_finite(outputs, self.task)
        return outputs

    @property
    def warnings(self) -> list[str]:
        """What was truncated or split, of all that was read so far."""
        return counted(self.encoder.counts)

    def require(self, method: str) -> None:
        """Refuse a method that does not work for this model's task.

        Raises:
            KddaError: says what the model does.
        """
        if method not in self.task.methods:
            raise KddaError(f'"{self.name}" {self.task.describe()}')

    def _results(self, texts: Sequence[Texts], best: int = BEST) -> Any:
        """A result for one row, a list for lists.

        Args:
            texts: of each of the task's fields.
            best: candidates that a result has.
        """
        rows, is_single = _rows(texts, self.task)
        results = self.results(self.read(rows), best)
        if is_single:
            return results[0]
        return results

    def _features(self, examples: Sequence[Example]) -> Features:
        """The windows of some examples; the encoder's memory of words is emptied, since a server reads without end."""
        with self._encoding:
            features = self.task.encode(examples, self.encoder)
            self.encoder.clear_cache()
        return features

    def _candidates(self, features: Features) -> list[Any]:
        """What the task reads from the logits of each window, in the order of windows; batches are of one length."""
        candidates: list[Any] = [None] * len(features.windows)

        def compute(chosen: Sequence[int]) -> None:
            """Put in their places what the task reads from the logits of the windows of these numbers."""
            batch = [features.windows[i] for i in chosen]
            with self._computing:
                outputs = self.logits(batch)
            for i, candidate in zip(chosen, self.task.candidates(outputs, batch), strict=True):
                candidates[i] = candidate

        batches = list(buckets(features.lengths.tolist(), self.engine.batch_tokens))
        with self.engine.around_batches():
            in_streams(compute, batches, self.engine.streams)
        return candidates


def load(
    name: str | Path,
    *,
    task: str | Task | None = None,
    no_answer: bool | None = None,
    precision: str = "auto",
    task_options: Mapping[str, Any] | None = None,
) -> Predictor:
    """Load a student, a folder that `kdda export` wrote, or any checkpoint of transformers with a task's head.

    Args:
        name: a folder, or a Hub id.
        task: a task or its name; by default what the checkpoint's config says, or the first registered task that needs
            its kind of head.
        no_answer: whether "there is no answer" may be predicted; by default what the checkpoint stores, which only
            kdda's do.
        precision: ``auto``, bfloat16 where the device has the instructions, as in training: faster, with
            probabilities that differ in the third digit; ``fp32`` for the same digits everywhere; ``bf16``. Exports
            have the precision that they were exported in.
        task_options: options of the task, instead of those that the checkpoint stores, which only kdda's do.

    Raises:
        KddaError: no such model, task or option, or a model without a task's head.
    """
    name = str(name)
    config = load_config(name)
    chosen = choose_task(task, config, name, task_options)
    chosen.check_outputs(outputs_config(config, chosen.head), name)
    engine, tokenizer, segmenter = _open(name, chosen.head, in_bfloat16(precision))
    encoder = encoder_of_config(engine.config, tokenizer, segmenter)
    labels = label_names(config) if chosen.labelled else []
    return Predictor(name, engine, encoder, chosen.for_inference(no_answer), labels)


def task_of_model(name: str, task: str | Task | None = None, task_options: Mapping[str, Any] | None = None) -> Task:
    """The task that `load` would choose, read from a model's config alone."""
    return choose_task(task, load_config(name), name, task_options)


def _open(name: str, head: str, bf16: bool) -> tuple[Engine, Any, str]:
    """An engine, its tokenizer, and the word segmentation that the tokenizer expects."""
    if is_exported(name):
        if not (Path(name) / RECORD).is_file():
            raise KddaError(f'"{name}" is an export that was not finished: it lacks {RECORD}; export it again')
        return OnnxEngine(Path(name), load_config(name)), *load_tokenizer(name)
    checkpoint = load_checkpoint(name, head=head, whole=True)
    if checkpoint.new_head:
        raise no_head(name)
    return TorchEngine(checkpoint.model, bf16), checkpoint.tokenizer, checkpoint.segmenter


def _by_name(texts: Mapping[str, Texts], task: Task, given: int) -> list[Texts]:
    """Texts in the order of a task's fields, from the field of number `given` on; empty ones of optional fields.

    Raises:
        KddaError: other fields than these.
    """
    fields = task.fields[given:]
    missing = set(fields) - set(texts) - set(task.optional_fields)
    if missing or not set(texts) <= set(fields):
        raise KddaError(f"got fields {', '.join(texts)}, expected: {', '.join(fields)}")
    return [texts.get(field, "") for field in fields]


def _rows(texts: Sequence[Texts], task: Task) -> tuple[list[tuple[str, ...]], bool]:
    """Rows of checked texts, and whether they are one row that was given as single texts.

    Args:
        texts: of each field, one for all rows, or a list with one a row; optional fields at the end may lack.

    Raises:
        KddaError: another number of fields, an empty text, or lists of two lengths.
    """
    fields = task.fields
    least = len(fields) - len(task.optional_fields)
    if not least <= len(texts) <= len(fields):
        raise KddaError(f"got {count_of(len(texts), 'text')}, expected {len(fields)}: {', '.join(fields)}")
    columns = dict(zip(fields, texts, strict=False))
    lists = [field for field, column in columns.items() if _is_list_of_rows(column, field in task.list_fields)]
    lengths = [len(columns[field]) for field in lists]
    if len(set(lengths)) > 1:
        counts = " and ".join(map(str, lengths))
        raise KddaError(f"{' and '.join(fields)}: got lists of {counts} texts, expected one length")
    rows = []
    for i in range(lengths[0] if lengths else 1):
        values = {}
        names = {}  # what messages call a field
        for field, column in columns.items():
            values[field] = column[i] if field in lists else column
            names[field] = f"{field} {i}" if field in lists else field
        rows.append(task.texts_of(values, names.__getitem__))
    return rows, not lengths


def _is_list_of_rows(column: Any, holds_lists: bool) -> bool:
    """Whether a field's value is a list with one entry a row, not that of a single row.

    Args:
        holds_lists: whether the field's value of one row is a list of texts already.
    """
    if isinstance(column, str) or not isinstance(column, Sequence):
        return False
    return not holds_lists or (len(column) > 0 and not isinstance(column[0], str))


def _examples(rows: Sequence[tuple[str, ...]]) -> list[Example]:
    """Rows of texts as examples without golds, with their positions as ids."""
    examples = []
    for i, texts in enumerate(rows):
        examples.append(Example(str(i), texts, group=""))
    return examples
