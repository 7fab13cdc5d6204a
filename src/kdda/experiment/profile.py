"""What a fine-tuning costs on this machine, measured in a few of its steps."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from kdda.data.examples import Example
from kdda.losses.representations import Representations
from kdda.models.device import in_bfloat16
from kdda.models.hidden_states import last_hidden
from kdda.models.load import Checkpoint
from kdda.models.vocabulary import TrimmedVocabulary
from kdda.recipe.schema import Distill, ModelSpec, TeacherSpec, Training
from kdda.runtime.memory import keep_freed_memory
from kdda.runtime.numbers import ceil_div
from kdda.tasks.base import Features, Task
from kdda.teachers.cache import TeacherCache
from kdda.text.encode import Encoder, Window
from kdda.training.config import DistillationConfig
from kdda.training.fine_tune import load_model
from kdda.training.sampler import LanguageBatchSampler

ENCODED_ROWS = 512  # of a language; the others are taken to be like them
TIMED_STEPS = 3  # after one that warms up
TIMED_SECONDS = 4.0  # of steps, after which no more are taken
FORWARD_WINDOWS = 16
DISK_BYTES = 32 * 2**20  # that are written to time the disk


@dataclass(frozen=True)
class ModelCost:
    """A model's costs.

    Attributes:
        load: seconds to load it and its tokenizer.
        encode: seconds a row of text to tokens.
        step: seconds a step on a batch of mean size.
        read: seconds a window in evaluation.
        tokens: language → mean tokens of a window.
        windows: language → mean windows of a row.
        saved: bytes of the whole checkpoint.
        trained: bytes that the optimizer holds and a checkpoint of the training stores.
    """

    load: float
    encode: float
    step: float
    read: float
    tokens: Mapping[str, float]
    windows: Mapping[str, float]
    saved: int
    trained: int


class TeacherCost(NamedTuple):
    """What a teacher adds.

    Attributes:
        solve: seconds a batch for the objective.
        run: seconds a row for the teacher's forward pass.
        stored: bytes of a row's stored states.
    """

    solve: float
    run: float
    stored: float


class LoadedModel(NamedTuple):
    """A model that was loaded for its measurement, with the rows that it has encoded, and the seconds of both."""

    checkpoint: Checkpoint
    encoder: Encoder
    features: dict[str, Features]
    load: float
    encode: float


class Profiler:
    """Measures models at a task, as they would be trained.

    Args:
        labels: in the order of the head's outputs.
        rows: language → training rows.
    """

    def __init__(self, task: Task, labels: Sequence[str], training: Training, rows: Mapping[str, Sequence[Example]]):
        keep_freed_memory()
        self.task, self.labels, self.training, self.rows = task, labels, training, rows
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._in_bf16 = in_bfloat16(training.precision)
        self._loaded: dict[ModelSpec, LoadedModel] = {}

    def model(self, spec: ModelSpec, languages: Sequence[str]) -> ModelCost:
        """Load a model, encode its rows, and take some steps with it."""
        loaded = self._loaded[spec] = self._load(spec, languages)
        model = loaded.checkpoint.model
        saved = _bytes(model)
        windows: list[Window] = []
        used: set[int] = set()
        for features in loaded.features.values():
            windows += features.windows
            used |= features.windows.used
        TrimmedVocabulary(model, used)
        model.to(self.device)
        step = self._seconds_a_step(loaded)
        tokens, windows_a_row, rows = {}, {}, 0
        for language, features in loaded.features.items():
            tokens[language] = float(features.lengths.mean())
            windows_a_row[language] = len(features.windows) / len(features.examples)
            rows += len(features.examples)
        return ModelCost(
            load=loaded.load,
            encode=loaded.encode / rows,
            step=step,
            read=self._seconds_a_window(loaded, windows),
            tokens=tokens,
            windows=windows_a_row,
            saved=saved,
            trained=3 * _bytes(model),
        )

    def teacher(self, student: ModelSpec, teacher: TeacherSpec, language: str, distill: Distill) -> TeacherCost:
        """What a teacher adds to a student's step; both were measured before."""
        ours, theirs = self._loaded[student], self._loaded[teacher]
        examples = ours.features[language].examples[: self.training.batch_size]
        features = self.task.encode(examples, ours.encoder)
        labels = self.labels if self.task.labelled else ()
        theirs.checkpoint.model.config.label2id = {label: i for i, label in enumerate(labels)}
        with self._clock() as running:
            cache = TeacherCache.build(
                theirs.checkpoint,
                self.task.text_spans(features),
                labels=labels,
                layers=distill.layers[:1],
                tokens=distill.tokens,
                max_length=self.training.max_length,
                stride=self.training.stride,
                precision=self.training.precision,
            )
        solve = self._seconds_to_solve(self._student_side(ours, features), cache, len(features.windows), distill)
        layers = len(distill.layers)
        rows = len(examples)
        return TeacherCost(layers * solve, layers * running[0] / rows, layers * cache.stored_bytes / rows)

    def _student_side(self, loaded: LoadedModel, features: Features) -> Representations:
        inputs = self._padded(loaded.encoder, features.windows)
        with torch.no_grad():
            outputs = loaded.checkpoint.model(**inputs, output_hidden_states=True)
        states = last_hidden(outputs).float().requires_grad_()
        return Representations(states, inputs["attention_mask"].bool(), outputs.get("logits"))

    def _seconds_to_solve(self, student: Representations, cache: TeacherCache, windows: int, distill: Distill) -> float:
        (teacher,) = cache.batch(range(windows))
        config = DistillationConfig.from_recipe(self.training, distill, output_dir="", seed=1)
        loss = config.distillation_loss()
        settings = loss.settings_at(cache.scales[0])
        for _ in range(2):  # the first warms up
            with self._clock() as solving:
                torch.autograd.backward(loss.objective(student, teacher, settings).value.sum())
        return solving[0]

    def _load(self, spec: ModelSpec, languages: Sequence[str]) -> LoadedModel:
        seed = None
        if isinstance(spec, TeacherSpec) and spec.random:
            seed = spec.seed
        with self._clock() as loading:
            checkpoint = load_model(spec, self.task, self.labels, self.training.attention_dropout, seed)
            encoder = checkpoint.encoder(self.training.max_length, self.training.stride)
            encoder.tokenize(["."])  # segmenters load when they are first used
        features = {}
        with self._clock() as encoding:
            for language in languages:
                features[language] = self.task.encode(_every_kth(self.rows[language]), encoder)
        return LoadedModel(checkpoint, encoder, features, loading[0], encoding[0])

    def _seconds_a_window(self, loaded: LoadedModel, windows: Sequence[Window]) -> float:
        some = windows[:: ceil_div(len(windows), FORWARD_WINDOWS)]
        with self._clock() as reading, torch.inference_mode():
            loaded.checkpoint.model.eval()(**self._padded(loaded.encoder, some))
        return reading[0] / len(some)

    def _seconds_a_step(self, loaded: LoadedModel) -> float:
        """The mean over batches that stand for all, from short to long."""
        batches = sorted(self._batches(loaded), key=lambda batch: batch[0])
        chosen = [batches[int((k + 0.5) * len(batches) / TIMED_STEPS)] for k in range(TIMED_STEPS)]
        model = loaded.checkpoint.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)  # which leaves the weights as they are
        times: list[float] = []
        for _, language, rows in [chosen[-1], *chosen]:
            inputs = self._batch(loaded, language, rows)
            with self._clock() as stepping:
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16):
                    loss = model(**inputs).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.training.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            times.append(stepping[0])
            if len(times) > 1 and sum(times) > TIMED_SECONDS:
                break
        return fmean(times[1:])

    def _batch(self, loaded: LoadedModel, language: str, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        features = loaded.features[language]
        inputs = self._padded(loaded.encoder, [features.windows[row] for row in rows])
        for name, values in self.task.targets(features, self.labels).items():
            inputs[name] = torch.from_numpy(values[rows]).long().to(self.device)
        return inputs

    def _batches(self, loaded: LoadedModel) -> Iterator[tuple[int, str, list[int]]]:
        """A batch's longest window, its language, and its rows."""
        for language, features in loaded.features.items():
            for rows in LanguageBatchSampler({language: features.lengths}, self.training.batch_size, seed=0):
                yield int(features.lengths[rows].max()), language, rows

    def _padded(self, encoder: Encoder, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        return {name: values.to(self.device) for name, values in encoder.pad(windows).items()}

    @contextmanager
    def _clock(self) -> Iterator[list[float]]:
        seconds: list[float] = []
        started = time.perf_counter()
        yield seconds
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)


def bytes_a_second(folder: Path) -> float:
    """How fast the disk of a folder takes what is written."""
    with tempfile.TemporaryFile(dir=folder) as file:
        data = random.Random(0).randbytes(DISK_BYTES)
        started = time.perf_counter()
        file.write(data)
        file.flush()
        return DISK_BYTES / (time.perf_counter() - started)


def _bytes(model: Any) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _every_kth(rows: Sequence[Example]) -> list[Example]:
    """Every k-th row, so that all parts of a sorted source are used."""
    return list(rows[:: ceil_div(len(rows), ENCODED_ROWS)])
