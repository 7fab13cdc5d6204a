"""Answers and labels of texts, from any checkpoint with a head for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, overload

from kdda.data.examples import Example
from kdda.errors import KddaError
from kdda.inference.engines import RECORD, Engine, OnnxEngine, TorchEngine
from kdda.inference.evaluate import check_outputs, encoder_of_config
from kdda.models.device import in_bfloat16
from kdda.models.load import is_exported, load_config, load_tokenizer
from kdda.models.load import load_checkpoint as load_checkpoint
from kdda.tasks.base import Features, Prediction, Task
from kdda.tasks.nli import LabelPrediction
from kdda.tasks.qa import BEST as PAIRED
from kdda.tasks.qa import AnswerPrediction, AnswerSpan, QuestionAnswering
from kdda.tasks.registry import TASKS
from kdda.text.batching import BATCH_TOKENS, buckets
from kdda.text.check import check_text
from kdda.text.encode import Encoder, Window

BEST = 5  # candidates of an answer

NOTHING = "(no answer)"

HEADS = {"ForQuestionAnswering": "qa", "ForSequenceClassification": "nli"}  # how transformers names their classes

DOES = {"qa": "answers questions: answer(question, context)", "nli": "labels pairs: entails(premise, hypothesis)"}


@dataclass(frozen=True)
class AnswerResult:
    """What a model answers.

    Attributes:
        text: `context[start:end]`, to the character; empty where the model says that there is no answer.
        score: the answer's probability among the candidates of all windows.
        candidates: the best ones, the answer first: dicts of text, start, end and probability.
        no_answer: the probability that there is none; None of models that always answer.
    """

    text: str
    start: int
    end: int
    score: float
    candidates: list[dict[str, Any]]
    no_answer: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{own['probability']:7.1%}  {own['text'] or NOTHING}" for own in self.candidates]
        return "\n".join(lines)


@dataclass(frozen=True)
class LabelResult:
    """How a model labels a pair: the likeliest label, and every label's probability by name."""

    label: str
    probabilities: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda own: -own[1])
        return "\n".join(f"{share:7.1%}  {label}" for label, share in ranked)


Texts = str | Sequence[str]


class Predictor:
    """A checkpoint that answers or labels texts, one or many at once; safe to share between threads.

    Args:
        name: what it was loaded from.
        task: what its head is for.
        labels: names of the head's outputs, in their order.
    """

    def __init__(self, name: str, engine: Engine, encoder: Encoder, task: Task, labels: Sequence[str]):
        self.name, self.engine, self.encoder = name, engine, encoder
        self.task, self.labels = task, list(labels)
        self._one_at_a_time = threading.Lock()

    @overload
    def answer(self, question: str, context: str, best: int = BEST) -> AnswerResult: ...
    @overload
    def answer(self, question: Texts, context: Texts, best: int = BEST) -> AnswerResult | list[AnswerResult]: ...
    def answer(self, question: Texts, context: Texts, best: int = BEST) -> AnswerResult | list[AnswerResult]:
        """The slice of the context that answers the question. Lists give a list; one text goes with all of a list.

        Raises:
            KddaError: a model that does not answer, an empty text, or lists of two lengths.
        """
        self.must_be("qa")
        pairs, one = _pairs(question, context, ("question", "context"))
        found = [_answer(own, best) for own in self.read(pairs)]
        return found[0] if one else found

    @overload
    def entails(self, premise: str, hypothesis: str) -> LabelResult: ...
    @overload
    def entails(self, premise: Texts, hypothesis: Texts) -> LabelResult | list[LabelResult]: ...
    def entails(self, premise: Texts, hypothesis: Texts) -> LabelResult | list[LabelResult]:
        """What the premise says of the hypothesis. Lists give a list; one text goes with all of a list.

        Raises:
            KddaError: a model that does not label pairs, an empty text, or lists of two lengths.
        """
        self.must_be("nli")
        pairs, one = _pairs(premise, hypothesis, ("premise", "hypothesis"))
        found = [_label(own) for own in self.read(pairs)]
        return found[0] if one else found

    def read(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Prediction]:
        """The task's predictions for pairs of texts, in their order."""
        return self.predict(_examples(pairs))

    def predict(self, examples: Sequence[Example], language: str = "") -> Sequence[Prediction]:
        """The task's predictions for examples, held against their golds under a language's rules."""
        with self._one_at_a_time:
            features = self._features(examples)
            return self.task.decode(features, self._candidates(features), self.labels, language)

    def answer_spans(self, pairs: Sequence[tuple[str, str]]) -> list[list[AnswerSpan]]:
        """The best slices of each context for its question, with scores that compare over contexts of one question.

        Raises:
            KddaError: a model that does not answer.
        """
        self.must_be("qa")
        assert isinstance(self.task, QuestionAnswering)
        with self._one_at_a_time:
            features = self._features(_examples(pairs))
            return self.task.answer_spans(features, self._candidates(features))

    def _candidates(self, features: Features) -> list[Any]:
        found: list[Any] = [None] * len(features.windows)
        for chosen in buckets(features.lengths.tolist(), BATCH_TOKENS):
            batch = [features.windows[i] for i in chosen]
            for i, candidate in zip(chosen, self.task.candidates(self.logits(batch), batch), strict=True):
                found[i] = candidate
        return found

    def windows(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Window]:
        """What the model reads of these pairs."""
        with self._one_at_a_time:
            return self._features(_examples(pairs)).windows

    def _features(self, examples: Sequence[Example]) -> Features:
        features = self.task.encode(examples, self.encoder)
        self.encoder.clear_cache()
        return features

    @staticmethod
    def shown(predictions: Sequence[Prediction], best: int = BEST) -> list[AnswerResult | LabelResult]:
        """What predictions say, without what a scorer wants of them."""
        return [_label(own) if isinstance(own, LabelPrediction) else _answer(own, best) for own in predictions]

    def logits(self, windows: Sequence[Window]) -> Any:
        """The head's outputs for one batch."""
        return self.engine(self.encoder.pad(windows))

    @property
    def warnings(self) -> list[str]:
        """What did not fit, of all that was read so far."""
        return [f"{count:,} × {what}" for what, count in self.encoder.counts.items() if count]

    def must_be(self, task: str) -> None:
        """Refuse what this model's head is not for.

        Raises:
            KddaError: says what it does.
        """
        if self.task.name != task:
            raise KddaError(f'"{self.name}" {DOES[self.task.name]}')


def load(name: str | Path, *, no_answer: bool | None = None, precision: str = "auto") -> Predictor:
    """Load a student, a folder that `kdda export` wrote, or any checkpoint of transformers for reading or inference.

    Args:
        name: a folder, or a Hub id.
        no_answer: whether "there is no answer" may be the answer; by default what the checkpoint says of itself,
            which only kdda's own do.
        precision: ``auto``, bfloat16 where the device has the instructions, as in training: faster, with
            probabilities that differ in the third digit; ``fp32`` for the same digits everywhere; ``bf16``. Exports
            have their own.

    Raises:
        KddaError: no such model, or one that neither answers nor labels.
    """
    name = str(name)
    config = load_config(name)
    task = _task_of(config, name).with_settings(config.to_dict())
    check_outputs(config, name, task.name)
    if no_answer is not None and isinstance(task, QuestionAnswering):
        task = replace(task, no_answer=no_answer)
    labels = _labels(config, name) if task.labelled else []
    engine, tokenizer, segmenter = _open(name, task, in_bfloat16(precision))
    task = (
        replace(task, shown=1 + PAIRED) if isinstance(task, QuestionAnswering) else task
    )  # all of them, and no answer
    return Predictor(name, engine, encoder_of_config(engine.config, tokenizer, segmenter), task, labels)


def _open(name: str, task: Task, bf16: bool) -> tuple[Engine, Any, str]:
    if is_exported(name):
        if not (Path(name) / RECORD).is_file():
            raise KddaError(f'"{name}" is an export that was not finished: it lacks {RECORD}; export it again')
        return OnnxEngine(Path(name), load_config(name)), *load_tokenizer(name)
    checkpoint = load_checkpoint(name, head=task.head)
    if checkpoint.new_head:
        raise KddaError(_headless(name))
    return TorchEngine(checkpoint.model, bf16), checkpoint.tokenizer, checkpoint.segmenter


def _task_of(config: Any, name: str) -> Task:
    """What a checkpoint's head is for, as its config says."""
    classes = [str(own) for own in getattr(config, "architectures", None) or ()]
    for own in classes:
        for ending, task in HEADS.items():
            if own.endswith(ending):
                return TASKS[task]
    raise KddaError(_headless(name) + (f" (its config says {', '.join(classes)})" if classes else ""))


def _headless(name: str) -> str:
    return (
        f'"{name}" has no head that answers questions or labels pairs: give a fine-tuned checkpoint, such as the model '
        "folder of a run that kdda run has made"
    )


def _labels(config: Any, name: str) -> list[str]:
    found = [str(config.id2label[i]) for i in sorted(config.id2label)]
    if len(found) < 2:
        raise KddaError(f'"{name}" gives one number a pair, not probabilities of labels')
    return found


def _pairs(first: Texts, second: Texts, names: tuple[str, str]) -> tuple[list[tuple[str, str]], bool]:
    """Both sides as pairs of good texts, and whether one pair was asked for."""
    one = isinstance(first, str) and isinstance(second, str)
    counts = [len(side) for side in (first, second) if not isinstance(side, str)]
    if len(set(counts)) > 1:
        raise KddaError(f"{names[0]} and {names[1]}: found lists of {counts[0]} and {counts[1]}, expected one length")
    count = counts[0] if counts else 1
    sides = [[side] * count if isinstance(side, str) else list(side) for side in (first, second)]
    for name, side in zip(names, sides, strict=True):
        for i, text in enumerate(side):
            check_text(text, name if one else f"{name} {i}")
    return list(zip(*sides, strict=True)), one


def _examples(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    return [Example(str(i), pair, "") for i, pair in enumerate(pairs)]


def _answer(own: Prediction, best: int) -> AnswerResult:
    assert isinstance(own, AnswerPrediction)
    empty = [found["probability"] for found in own.candidates if not found["text"]]
    shown = own.candidates[: max(1, best)]
    return AnswerResult(own.predicted, own.start, own.end, own.probability, shown, empty[0] if empty else None)


def _label(own: Prediction) -> LabelResult:
    assert isinstance(own, LabelPrediction)
    return LabelResult(own.predicted, own.probabilities)
