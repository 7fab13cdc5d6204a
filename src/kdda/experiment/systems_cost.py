"""Costs of a recipe's open-domain systems, measured on 64 documents, and on 4 questions with up to 5 passages each."""

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
from kdda.models.load import load_checkpoint
from kdda.recipe.schema import Recipe
from kdda.retrieval.base import Retriever
from kdda.retrieval.index import Index
from kdda.retrieval.open_domain import read_passages
from kdda.retrieval.registry import RETRIEVERS, open_retriever
from kdda.runtime.device import in_bfloat16
from kdda.tasks.base import Task

T = TypeVar("T")

DOCUMENTS = 64  # documents of the corpus that are indexed for the measurement, at most

QUESTIONS = 4  # development rows that are answered for the measurement, at most

PASSAGES = 5  # passages that are read for each of these questions, at most


class Reading(NamedTuple):
    """Passages that a run's reader reads once for all systems that need them.

    Attributes:
        arm: whose model reads.
        retriever: its registered name.
        options: of the retriever, as JSON.
        passages: a question.
    """

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
        documents: the number of documents of the corpus.
        index: seconds to index them all.
        readings: what each reading takes one run.
    """

    documents: int
    index: float
    readings: Mapping[Reading, ReadingCost]

    def seconds(self, runs: Sequence[StudentRun]) -> float:
        """Seconds of all systems of some runs, with the index; 0 where none of them is a system's reader.

        Of an arm that was run at several learning rates, one run a seed reads.
        """
        readers = {(run.arm, run.seed) for run in runs}
        seconds = 0.0
        for arm, _seed in readers:
            for reading, cost in self.readings.items():
                if reading.arm == arm:
                    seconds += cost.load + cost.read
        if not seconds:
            return 0.0
        return seconds + self.index


def readings_of(recipe: Recipe, arms: Sequence[str]) -> dict[Reading, list[str]]:
    """What the readers of some arms read → the names of the systems that need it."""
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
    by_context: dict[str, Example] = {}  # an example for each different context
    for example in corpus:
        _question, context = example.texts
        by_context[context] = example
    documents = list(by_context.values())
    readings: dict[Reading, ReadingCost] = {}
    with tempfile.TemporaryDirectory() as folder:
        # the index of one document takes the start, such as loading a model; each further one of the sample the same
        start, _ = _timed_index(recipe, documents[:1], Path(folder) / "one")
        sample = _evenly_spaced(documents, DOCUMENTS)
        seconds, index = _timed_index(recipe, sample, Path(folder) / "some")
        each = max(0.0, seconds - start) / max(1, len(sample) - 1)
        for reading in readings_of(recipe, arms):
            readings[reading] = _measure_reading(recipe, task, reading, splits, index, len(documents))
    return SystemsCost(len(documents), start + each * (len(documents) - 1), readings)


def _timed_index(recipe: Recipe, examples: Sequence[Example], out: Path) -> tuple[float, Index]:
    """Seconds to index the contexts of some examples below a folder, and the index."""
    evaluation = SystemsEvaluation(recipe, out, [], {}, examples, say=lambda _: None)
    return _timed(evaluation.open_index)


def _measure_reading(
    recipe: Recipe, task: Task, reading: Reading, splits: Mapping[str, Sequence[Example]], index: Index, documents: int
) -> ReadingCost:
    """Load an arm's reader, and let it read the passages of some questions twice.

    The second time takes what each pair of question and passage takes; what the first took longer, each passage takes
    once: ViReader embeds the sentences of a passage once, whichever questions it is read for.

    Args:
        splits: "dev" and "test" → rows, all of whose questions the estimate is for.
        index: of some documents.
        documents: the number of all documents.
    """
    load, reader = _timed(lambda: _untrained_reader(recipe, task, reading.arm))
    retriever = _retriever(reading, index)
    questions = []
    for example in _evenly_spaced(splits["dev"], QUESTIONS + 1):
        questions.append(example.texts[0])  # the texts of a question are the question and its context
    count = min(reading.passages, PASSAGES)
    read_passages(retriever, reader, questions[:1], 1)  # warms up
    first, passages_by_question = _timed(lambda: read_passages(retriever, reader, questions[1:], count))
    again, _ = _timed(lambda: read_passages(retriever, reader, questions[1:], count))
    measured_pairs = 0
    distinct = set[str]()
    for passages in passages_by_question:
        measured_pairs += len(passages)
        for read in passages:
            distinct.add(read.hit.passage.text)
    seconds_a_passage = max(0.0, first - again) / max(1, len(distinct))
    seconds_a_pair = again / max(1, measured_pairs)
    pairs = (len(splits["dev"]) + len(splits["test"])) * reading.passages
    return ReadingCost(load, seconds_a_pair * pairs + seconds_a_passage * min(documents, pairs))


def _retriever(reading: Reading, index: Index) -> Retriever:
    """The retriever of a reading, or BM25 in place of one that searches elsewhere, such as on a cluster.

    Reading takes nearly all of the time, whichever retriever there is.
    """
    if RETRIEVERS[reading.retriever].reads_index:
        return open_retriever(reading.retriever, index, json.loads(reading.options))
    return open_retriever("bm25", index)


def _untrained_reader(recipe: Recipe, task: Task, arm: str) -> Reader:
    """An arm's student as a reader, with a new head: it is as fast as the trained one."""
    student, training = recipe.student_of(arm), recipe.training_of(arm)
    checkpoint = load_checkpoint(student.model, head=task.head, layers=student.layers, segmenter=student.segmenter)
    encoder = checkpoint.encoder(training.max_length, training.stride)
    engine = TorchEngine(checkpoint.model, in_bfloat16(training.precision))
    predictor = Predictor(student.model, engine, encoder, task, [])
    sentences = recipe.sentences_of(arm)
    if sentences is None:
        return predictor
    return ViReader(predictor, SentenceSelector.load(str(sentences.model), sentences.keep, recipe.targets[0]))


def _evenly_spaced(examples: Sequence[Example], count: int) -> list[Example]:
    """So many examples, evenly spaced from the first on; all where there are fewer."""
    count = min(count, len(examples))
    return [examples[number * len(examples) // count] for number in range(count)]


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
