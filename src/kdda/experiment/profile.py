"""What a fine-tuning will cost here, measured in a few of its own steps."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from kdda.data.examples import Example
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import Representations
from kdda.models.device import in_bfloat16
from kdda.models.hidden_states import last_hidden
from kdda.models.load import Checkpoint
from kdda.models.vocabulary import TrimmedVocabulary
from kdda.recipe.schema import Distill, ModelSpec, TeacherSpec, Training
from kdda.runtime.memory import keep_freed_memory
from kdda.tasks.base import Features, Task
from kdda.teachers.cache import TeacherCache
from kdda.teachers.inputs import TeacherInputs
from kdda.text.encode import Encoder, Window, used_ids
from kdda.training.fine_tune import load_for
from kdda.training.sampler import LanguageBatchSampler

ROWS = 512  # of a language, that are encoded; the rest is taken to be like them

STEPS = 3  # timed ones, after one that warms up

ENOUGH = 4.0  # seconds of steps, after which a slow model is believed

READ = 16  # windows of one forward pass

BLOCK = 32 * 2**20  # bytes written to time the disk


@dataclass(frozen=True)
class ModelCost:
    """A model's costs.

    Attributes:
        load: seconds to load it and its tokenizer.
        encode: seconds a row of text to tokens.
        step: seconds a step on a batch of mean size.
        read: seconds a window in evaluation.
        tokens: mean tokens of a window.
        windows: mean windows of a row.
        saved, trained: bytes of the whole checkpoint, and of what the optimizer holds and a checkpoint keeps.
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
    """Seconds that a batch's objective takes, that the teacher needs to be asked a row, and bytes of a stored row."""

    solve: float
    ask: float
    stored: float


class Loaded(NamedTuple):
    """A model that was loaded for its measurement, and the rows that it has read."""

    checkpoint: Checkpoint
    encoder: Encoder
    own: dict[str, Features]
    load: float
    encode: float


class Profiler:
    """Measures models at a task, as `fine_tune` would train them.

    Args:
        rows: language → training rows.
    """

    def __init__(self, task: Task, labels: Sequence[str], training: Training, rows: Mapping[str, Sequence[Example]]):
        keep_freed_memory()
        self.task, self.labels, self.training, self.rows = task, labels, training, rows
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._in_bf16 = in_bfloat16(training.precision)
        self._loaded: dict[ModelSpec, Loaded] = {}

    def model(self, spec: ModelSpec, languages: Sequence[str]) -> ModelCost:
        """Load a model, let it read its rows, and take some steps with it."""
        loaded = self._loaded[spec] = self._load(spec, languages)
        model, windows = loaded.checkpoint.model, list(chain.from_iterable(own.windows for own in loaded.own.values()))
        saved = _bytes(model)
        TrimmedVocabulary(model, used_ids(windows))
        model.to(self.device)
        step = self._steps(loaded)
        some = windows[:: -(-len(windows) // READ)]
        with self._clock() as read, torch.inference_mode():
            model.eval()(**self._padded(loaded.encoder, some))
        return ModelCost(
            load=loaded.load,
            encode=loaded.encode / sum(len(own.examples) for own in loaded.own.values()),
            step=step,
            read=read[0] / len(some),
            tokens={name: float(own.lengths.mean()) for name, own in loaded.own.items()},
            windows={name: len(own.windows) / len(own.examples) for name, own in loaded.own.items()},
            saved=saved,
            trained=3 * _bytes(model),
        )

    def teacher_check(self, student: ModelSpec, teacher: TeacherSpec, language: str, distill: Distill) -> TeacherCost:
        """What a teacher adds to a student's step; both were measured before."""
        read_student, read_teacher = self._loaded[student], self._loaded[teacher]
        examples = read_student.own[language].examples[: self.training.batch_size]
        features = self.task.encode(examples, read_student.encoder)
        labels = self.labels if self.task.labelled else ()
        read_teacher.checkpoint.model.config.label2id = {label: i for i, label in enumerate(labels)}
        inputs = self._padded(read_student.encoder, features.windows)
        with torch.no_grad():
            outputs = read_student.checkpoint.model(**inputs, output_hidden_states=True)
        states = last_hidden(outputs).float().requires_grad_()
        side, depths = (
            Representations(states, inputs["attention_mask"].bool(), outputs.get("logits")),
            len(distill.layers),
        )
        with self._clock() as asked:
            read = TeacherInputs(read_teacher.encoder, self.task.text_spans(features), distill.tokens)
            said = TeacherCache(read_teacher.checkpoint, read, labels, None, self._in_bf16, depth=distill.layers[0])
        heard, rows = said.batch(range(len(read.lengths))), len(examples)
        settings = DistillationLoss(distill, {language: [said.scale]}).objective_settings(language)
        for _ in range(2):  # the first warms up
            with self._clock() as solved:
                torch.autograd.backward(OBJECTIVES[distill.objective](side, heard, settings).value.sum())
        stored = depths * read.stored_bytes(read_teacher.checkpoint.width)
        return TeacherCost(depths * solved[0], depths * asked[0] / rows, stored / rows)

    def _load(self, spec: ModelSpec, languages: Sequence[str]) -> Loaded:
        drawn = spec.seed if isinstance(spec, TeacherSpec) and spec.random else None
        with self._clock() as load:
            checkpoint = load_for(self.task, spec, self.labels, self.training.attention_dropout, drawn)
            encoder = checkpoint.encoder(self.training.max_length, self.training.stride)
            encoder.tokenize(["."])  # segmenters load when they are first used
        with self._clock() as encode:
            own = {language: self.task.encode(_some(self.rows[language]), encoder) for language in languages}
        return Loaded(checkpoint, encoder, own, load[0], encode[0])

    def _steps(self, loaded: Loaded) -> float:
        """Seconds a step: the mean over batches that stand for all, from short to long."""
        batches = sorted(self._batches(loaded), key=lambda batch: batch[0])
        chosen = [batches[int((k + 0.5) * len(batches) / STEPS)] for k in range(STEPS)]
        model = loaded.checkpoint.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)  # which leaves the weights as they are
        times: list[float] = []
        for _, name, rows in [chosen[-1], *chosen]:
            own = loaded.own[name]
            inputs = self._padded(loaded.encoder, [own.windows[row] for row in rows])
            for key, values in self.task.targets(own, self.labels).items():
                inputs[key] = torch.from_numpy(values[rows]).long().to(self.device)
            with self._clock() as step:
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16):
                    loss = model(**inputs).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.training.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            times.append(step[0])
            if len(times) > 1 and sum(times) > ENOUGH:
                break
        return fmean(times[1:])

    def _batches(self, loaded: Loaded) -> Iterator[tuple[int, str, list[int]]]:
        """A batch's longest window, its language, and its rows."""
        for name, own in loaded.own.items():
            for rows in LanguageBatchSampler({name: own.lengths}, self.training.batch_size, seed=0):
                yield int(own.lengths[rows].max()), name, rows

    def _padded(self, encoder: Encoder, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        return {name: values.to(self.device) for name, values in encoder.pad(windows).items()}

    @contextmanager
    def _clock(self) -> Iterator[list[float]]:
        spent: list[float] = []
        started = time.perf_counter()
        yield spent
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)


def bytes_a_second(folder: Path) -> float:
    """How fast the disk of a folder takes what is written."""
    with tempfile.TemporaryFile(dir=folder) as file:
        block, started = random.Random(0).randbytes(BLOCK), time.perf_counter()
        file.write(block)
        file.flush()
        return BLOCK / (time.perf_counter() - started)


def _bytes(model: Any) -> int:
    return sum(own.numel() * own.element_size() for own in model.parameters())


def _some(rows: Sequence[Example]) -> list[Example]:
    """Every k-th row, so that a sorted source is seen whole."""
    return list(rows[:: -(-len(rows) // ROWS)])
