"""What a recipe's systems will cost on this machine, measured on a few of their documents and passages."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from kdda.baselines.sentence_selector import SentenceSelector
from kdda.baselines.vireader import ViReader
from kdda.data.examples import Example
from kdda.experiment.open_domain import SystemsEvaluation
from kdda.experiment.specs import StudentRun
from kdda.inference.engines import TorchEngine
from kdda.inference.predictor import Predictor
from kdda.inference.reader import Reader
from kdda.models.device import in_bfloat16
from kdda.models.load import load_checkpoint
from kdda.recipe.schema import Recipe
from kdda.retrieval.base import Retriever
from kdda.retrieval.index import Index
from kdda.retrieval.open_domain import read_passages
from kdda.retrieval.registry import RETRIEVERS, open_retriever
from kdda.tasks.base import Task

T = TypeVar("T")

DOCUMENTS = 64  # of the corpus, that are indexed

QUESTIONS = 4  # of the development rows, that are answered

PASSAGES = 5  # that are read for each of them, at most


class Reading(NamedTuple):
    """Passages that a run's reader reads once for all systems that need them."""

    arm: str
    retriever: str
    options: str
    passages: int


class ReadingCost(NamedTuple):
    """Seconds to load a reader, and to find and read the passages of all questions."""

    load: float
    read: float


@dataclass(frozen=True)
class SystemsCost:
    """Seconds of a recipe's systems.

    Attributes:
        documents: of the corpus.
        index: seconds to index them all.
        readings: what one run takes, of each kind.
    """

    documents: int
    index: float
    readings: Mapping[Reading, ReadingCost]

    def seconds(self, runs: Sequence[StudentRun]) -> float:
        """Seconds of all systems of some runs."""
        seconds = 0.0
        readers = {(run.arm, run.seed) for run in runs}
        for arm, _ in readers:
            for reading, cost in self.readings.items():
                if reading.arm == arm:
                    seconds += cost.load + cost.read
        return seconds + self.index if seconds else 0.0


def readings_of(recipe: Recipe, arms: Sequence[str]) -> dict[Reading, list[str]]:
    """What the readers of some arms read, with the systems that need it."""
    readings: dict[Reading, list[str]] = {}
    for name, system in recipe.systems.items():
        if system.arm in arms:
            options = json.dumps(system.retriever_options, sort_keys=True)
            reading = Reading(system.arm, system.retriever, options, max(system.passages))
            readings.setdefault(reading, []).append(name)
    return readings


def measure_systems(
    recipe: Recipe,
    task: Task,
    arms: Sequence[str],
    splits: Mapping[str, Sequence[Example]],
    corpus: Sequence[Example],
) -> SystemsCost:
    """Index some documents, and let the readers of some arms, as they are before training, read some passages.

    Args:
        task: fitted to the training rows.
        arms: whose systems are measured.
        splits: the target language's development and test rows.
        corpus: examples whose contexts are the documents.
    """
    contexts = {example.texts[1]: example for example in corpus}
    documents = list(contexts.values())
    readings: dict[Reading, ReadingCost] = {}
    with tempfile.TemporaryDirectory() as folder:
        start, _ = _index(recipe, documents[:1], Path(folder) / "one")
        sample = _evenly(documents, DOCUMENTS)
        seconds, index = _index(recipe, sample, Path(folder) / "some")
        each = max(0.0, seconds - start) / max(1, len(sample) - 1)
        for reading in readings_of(recipe, arms):
            readings[reading] = _measure_reading(recipe, task, reading, splits, index, len(documents))
    return SystemsCost(len(documents), start + each * (len(documents) - 1), readings)


def _index(recipe: Recipe, examples: Sequence[Example], out: Path) -> tuple[float, Index]:
    """Seconds to index the contexts of some examples, and the index."""
    evaluation = SystemsEvaluation(recipe, out, [], {}, examples, say=lambda _: None)
    return _timed(evaluation.open_index)


def _measure_reading(
    recipe: Recipe, task: Task, reading: Reading, splits: Mapping[str, Sequence[Example]], index: Index, documents: int
) -> ReadingCost:
    load, reader = _timed(lambda: _reader(recipe, task, reading.arm))
    retriever = _retriever(reading, index)
    questions = [example.texts[0] for example in _evenly(splits["dev"], QUESTIONS + 1)]
    count = min(reading.passages, PASSAGES)
    read_passages(retriever, reader, questions[:1], 1)  # warms up
    first, hits = _timed(lambda: read_passages(retriever, reader, questions[1:], count))
    again, _ = _timed(lambda: read_passages(retriever, reader, questions[1:], count))
    # ViReader embeds the sentences of a passage once, whichever questions it is read for
    distinct = {read.hit.passage.text for reads in hits for read in reads}
    once = max(0.0, first - again) / max(1, len(distinct))
    each = again / max(1, sum(len(reads) for reads in hits))
    pairs = (len(splits["dev"]) + len(splits["test"])) * reading.passages
    return ReadingCost(load, each * pairs + once * min(documents, pairs))


def _retriever(reading: Reading, index: Index) -> Retriever:
    """The retriever of the readings; a service's index is not asked, and reading takes nearly all of the time."""
    if RETRIEVERS[reading.retriever].reads_index:
        return open_retriever(reading.retriever, index, json.loads(reading.options))
    return open_retriever("bm25", index)


def _reader(recipe: Recipe, task: Task, arm: str) -> Reader:
    """An arm's student as a reader, with a new head."""
    student, training = recipe.student_of(arm), recipe.training_of(arm)
    checkpoint = load_checkpoint(student.model, head=task.head, layers=student.layers, segmenter=student.segmenter)
    encoder = checkpoint.encoder(training.max_length, training.stride)
    engine = TorchEngine(checkpoint.model, in_bfloat16(training.precision))
    predictor = Predictor(student.model, engine, encoder, task, [])
    sentences = recipe.sentences_of(arm)
    if sentences is None:
        return predictor
    return ViReader(predictor, SentenceSelector.load(str(sentences.model), sentences.keep, recipe.target))


def _evenly(examples: Sequence[Example], count: int) -> list[Example]:
    """So many examples, evenly spaced."""
    count = min(count, len(examples))
    return [examples[k * len(examples) // count] for k in range(count)]


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
