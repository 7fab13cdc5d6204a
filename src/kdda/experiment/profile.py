"""Profiling: seconds a step and a window, and bytes, of each model, by 3 steps, thrice (4 s), on up to 512 rows."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from kdda.data.examples import Example
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations, TokenLogits
from kdda.models.cpu_kernels import fast_cpu_kernels
from kdda.models.families import position_limit
from kdda.models.hidden_states import last_hidden
from kdda.models.load import Checkpoint
from kdda.models.vocabulary import TrimmedVocabulary
from kdda.recipe.schema import Distill, ModelSpec, TeacherSpec, Training
from kdda.runtime.device import compute_device, in_bfloat16, wait_for
from kdda.runtime.memory import KEPT_IN_TRAINING, bound_kernel_caches, keep_freed_memory
from kdda.runtime.numbers import ceil_div
from kdda.tasks.base import Task
from kdda.tasks.features import Features
from kdda.tasks.places import logit_places_of, places_of_windows
from kdda.teachers.align import pooled_chunks
from kdda.teachers.cache import TeacherCache, calibration_rows
from kdda.text.encode import Encoder, Window
from kdda.training.config import DistillationConfig
from kdda.training.fine_tune import load_model
from kdda.training.sampler import LanguageBatchSampler

ENCODED_ROWS = 512  # rows of a language that are encoded, at most; the others are taken to be like them
TIMED_STEPS = 3  # of unlike lengths, after one that warms up
TIMED_ROUNDS = 3  # how often each of them is timed, for the spread
TIMED_SECONDS = 4.0  # of steps, after which no more are taken
FORWARD_WINDOWS = 16  # windows, at most, in the batch by which evaluation is timed
DISK_BYTES = 32 * 2**20  # that are written to time the disk


class TimedSeconds(NamedTuple):
    """Seconds of what was timed several times: their mean, and what it would be were all as the fastest or slowest."""

    mean: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, times: Sequence[Sequence[float]]) -> TimedSeconds:
        """Means over different steps, each of which was timed once or several times.

        >>> TimedSeconds.of([[1.0, 3.0], [4.0, 6.0]])
        TimedSeconds(mean=3.5, fastest=2.5, slowest=4.5)
        """
        return cls(fmean(map(fmean, times)), fmean(map(min, times)), fmean(map(max, times)))


class RowLengths(NamedTuple):
    """Which of the encoded rows of a language are too long for one window of a model.

    Attributes:
        tokens: of each row by the model's tokenizer, whole and with special tokens.
        window: tokens of a window: `max_length`, or fewer where the model's positions end before.
        positions: tokens that the model can read at most.
    """

    tokens: Sequence[int]
    window: int
    positions: int

    def too_long(self, window: int) -> int:
        """How many rows windows of so many tokens truncate or split."""
        return sum(count > window for count in self.tokens)


@dataclass(frozen=True)
class ModelCost:
    """What a model costs at a task: seconds, bytes, and how many tokens and windows it makes of rows.

    Attributes:
        load: seconds to load it and its tokenizer.
        encode: seconds a row of text to tokens.
        step: seconds a step on a batch of mean size, with their spread.
        read: seconds a window in evaluation.
        tokens: language → mean tokens of a window.
        windows: language → mean windows of a row.
        items: language → mean items of a batch that a row makes: its windows, or 1 where rows stay whole.
        saved: bytes of the whole checkpoint.
        trained: bytes that the optimizer holds and a checkpoint of the training stores.
        lengths: language → tokens of the encoded rows, and the window into which they should fit.
    """

    load: float
    encode: float
    step: TimedSeconds
    read: float
    tokens: Mapping[str, float]
    windows: Mapping[str, float]
    items: Mapping[str, float]
    saved: int
    trained: int
    lengths: Mapping[str, RowLengths]


class TeacherCost(NamedTuple):
    """What a teacher adds to a student's training, over all layers that are distilled.

    Attributes:
        solve: seconds a batch for the objective.
        run: seconds a row for the teacher's forward pass.
        stored: bytes of a row's stored states.
    """

    solve: float
    run: float
    stored: float


class LoadedModel(NamedTuple):
    """A model that was loaded for its measurement, with the rows that it has encoded.

    Attributes:
        features: language → the encoded rows.
        load: seconds to load model and tokenizer.
        encode: seconds to encode all these rows.
    """

    checkpoint: Checkpoint
    encoder: Encoder
    features: dict[str, Features]
    load: float
    encode: float


class WindowBatch(NamedTuple):
    """A batch of windows of one language.

    Attributes:
        length: tokens of its longest window.
        windows: numbers of its windows among the language's encoded ones.
    """

    length: int
    language: str
    windows: list[int]


class Profiler:
    """Measures models at a task, as they would be trained. Students and teachers stay loaded.

    Args:
        task: fitted to the training rows.
        labels: in the order of the head's outputs.
        rows: language → training rows.
        unlabelled: the languages whose rows have no gold labels.
        stored_in: precision of stored teacher states.
    """

    def __init__(
        self,
        task: Task,
        labels: Sequence[str],
        training: Training,
        rows: Mapping[str, Sequence[Example]],
        unlabelled: Collection[str] = (),
        stored_in: str = "bf16",
    ):
        keep_freed_memory()
        bound_kernel_caches(KEPT_IN_TRAINING)
        self.task, self.labels, self.training, self.rows = task, labels, training, rows
        self.unlabelled = unlabelled
        self.stored_in = stored_in
        self.device = compute_device()
        self._in_bf16 = in_bfloat16(training.precision)
        self._loaded: dict[ModelSpec, LoadedModel] = {}

    def model(self, spec: ModelSpec, languages: Sequence[str]) -> ModelCost:
        """Load a model, encode rows of some languages, and take some steps on them."""
        loaded = self._loaded[spec] = self._load(spec, languages)
        model = loaded.checkpoint.model
        saved = _bytes(model)
        windows: list[Window] = []
        token_ids: set[int] = set()  # that occur in the rows
        for features in loaded.features.values():
            windows += features.windows
            token_ids |= features.windows.used
        TrimmedVocabulary(model, token_ids)  # changes the model in place, as training does
        model.to(self.device)
        with fast_cpu_kernels(self.device):  # as training and evaluation compute
            step = self._seconds_a_step(loaded)
            read = self._seconds_a_window(loaded, windows)
        tokens = {}  # language → mean tokens of a window
        windows_a_row = {}  # by language
        items_a_row = {}
        lengths = {}
        positions = position_limit(model.config, model)
        rows = 0
        for language, features in loaded.features.items():
            tokens[language] = float(features.lengths.mean())
            windows_a_row[language] = len(features.windows) / len(features.examples)
            items_a_row[language] = len(features.item_lengths) / len(features.examples)
            lengths[language] = RowLengths(_tokens_of_rows(features), loaded.encoder.max_length, positions)
            rows += len(features.examples)
        return ModelCost(
            load=loaded.load,
            encode=loaded.encode / rows,
            step=step,
            read=read,
            tokens=tokens,
            windows=windows_a_row,
            items=items_a_row,
            saved=saved,
            trained=3 * _bytes(model),  # of the trimmed model: weights, and AdamW's two moments
            lengths=lengths,
        )

    def teacher(self, student: ModelSpec, teacher: TeacherSpec, language: str, distill: Distill) -> TeacherCost:
        """What a teacher adds to a student's steps in a language, measured on one batch at one layer.

        Both models must have been measured by `model` before: they are taken as it has loaded them.
        """
        loaded_student = self._loaded[student]
        loaded_teacher = self._loaded[teacher]
        examples = loaded_student.features[language].examples[: self.training.batch_size]
        features = self.task.encode(examples, loaded_student.encoder)
        loss = DistillationConfig.from_recipe(self.training, distill, output_dir="", seed=1).distillation_loss()
        token_task = self.task if loss.needs_logits and self.task.compares_token_logits else None
        labels = self.labels if self.task.compares_logits or token_task else ()
        # the cache reorders a teacher's logits by its label names, which a teacher that is not fine-tuned yet lacks
        loaded_teacher.checkpoint.model.config.label2id = {label: number for number, label in enumerate(labels)}
        with self._clock() as running:
            cache = TeacherCache.build(
                loaded_teacher.checkpoint,
                self.task.text_spans(features),
                labels=labels,
                layers=distill.layers[:1],
                tokens=distill.tokens,
                max_length=self.training.max_length,
                stride=self.training.stride,
                precision=self.training.precision,
                stored_in=self.stored_in,
                places=loss.needs_places,
                token_task=token_task,
            )
        states = self._representations(loaded_student, features, token_task)
        if loss.needs_places:
            places = places_of_windows(self.task, features, range(len(features.windows)))
            states = replace(states, places=places.tokens.to(self.device), words=places.words.to(self.device))
        if (teacher.align or distill.align) != "none":
            assert states.mask is not None
            chunks = pooled_chunks(states.states.detach(), states.mask)
            cache.align([chunks[list(calibration_rows(len(chunks)))]])
        solve = self._seconds_to_solve(states, cache, len(features.windows), loss)
        layers = len(distill.layers)  # the costs of one layer, times their number
        rows = len(examples)
        return TeacherCost(layers * solve, layers * running[0] / rows, layers * cache.stored_bytes / rows)

    def _representations(
        self, loaded: LoadedModel, features: Features, token_task: Task | None = None
    ) -> Representations:
        """A model's last hidden states and logits of a batch, which require a gradient as in training, with the mask.

        Args:
            token_task: the task, where logits of its tokens are compared.
        """
        inputs = self._padded(loaded.encoder, features.windows)
        with torch.no_grad():
            outputs = loaded.checkpoint.model(**inputs, output_hidden_states=True)
        states = last_hidden(outputs).float().requires_grad_()
        logits = token_logits = None
        if self.task.compares_logits:
            logits = outputs.logits.float().requires_grad_()  # which `kd-logits` reads, and no states
        if token_task is not None:
            places = logit_places_of(token_task, features.windows).to(self.device)
            chosen = places.chosen(token_task.token_logits(outputs)).float().requires_grad_()
            token_logits = TokenLogits(chosen, places.characters)
        return Representations(states, inputs["attention_mask"].bool(), logits, token_logits=token_logits)

    def _seconds_to_solve(
        self, student: Representations, cache: TeacherCache, windows: int, loss: DistillationLoss
    ) -> float:
        """Seconds of the divergence, forward and backward, on one batch at one layer.

        Args:
            cache: the teacher's states of the batch.
            windows: of the batch.
        """
        teacher = cache.batch(range(windows))[0]  # representations at the cache's one layer
        for _ in range(2):  # the first warms up
            with self._clock() as solving:
                torch.autograd.backward(loss.divergence([student], [teacher], scales=cache.scales).mean)
        return solving[0]

    def _load(self, spec: ModelSpec, languages: Sequence[str]) -> LoadedModel:
        """Load a model with a head for the task, and encode rows of some languages, both timed."""
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
                features[language] = self.task.encode(every_kth(self.rows[language]), encoder)
        return LoadedModel(checkpoint, encoder, features, loading[0], encoding[0])

    def _seconds_a_window(self, loaded: LoadedModel, windows: Sequence[Window]) -> float:
        """Seconds of a window in evaluation: one forward pass of a few windows, evenly drawn from all."""
        some = windows[:: ceil_div(len(windows), FORWARD_WINDOWS)]
        with self._clock() as reading, torch.inference_mode():
            loaded.checkpoint.model.eval()(**self._padded(loaded.encoder, some))
        return reading[0] / len(some)

    def _seconds_a_step(self, loaded: LoadedModel) -> TimedSeconds:
        """Seconds of a training step over batches that stand for all, from short to long.

        Batches are sorted by their longest window, and the middle one of each third is timed, several times if time
        allows: its repetitions differ by what else the machine does, and not by its length.
        """
        batches = sorted(self._batches(loaded), key=lambda batch: batch.length)
        chosen = []
        for third in range(TIMED_STEPS):
            chosen.append(batches[int((third + 0.5) * len(batches) / TIMED_STEPS)])
        model = loaded.checkpoint.model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)  # rate 0 leaves the weights as they are
        spent = self._seconds_of_step(loaded, optimizer, chosen[-1])  # warms up
        times: dict[int, list[float]] = {}  # number of a chosen batch → seconds of its steps
        numbers = sorted(range(TIMED_STEPS), key=lambda number: abs(number - TIMED_STEPS // 2))
        for number in numbers * TIMED_ROUNDS:  # the middle third first: where steps are slow, it alone stands for all
            seconds = self._seconds_of_step(loaded, optimizer, chosen[number])
            times.setdefault(number, []).append(seconds)
            spent += seconds
            if spent > TIMED_SECONDS:
                break
        return TimedSeconds.of(list(times.values()))

    def _seconds_of_step(self, loaded: LoadedModel, optimizer: torch.optim.Optimizer, batch: WindowBatch) -> float:
        """Seconds of one training step on a batch."""
        model = loaded.checkpoint.model
        inputs, targets = self._training_inputs(loaded, batch)
        with self._clock() as stepping:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16):
                if batch.language in self.unlabelled:
                    loss = self.task.outputs_without_labels(model, inputs).loss
                else:
                    loss = self.task.outputs_with_loss(model, inputs, targets).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.training.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        return stepping[0]

    def _training_inputs(
        self, loaded: LoadedModel, batch: WindowBatch
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """A batch as keyword arguments of the model, padded token ids and mask; and its targets, such as labels."""
        features = loaded.features[batch.language]
        inputs = self._padded(loaded.encoder, [features.windows[number] for number in batch.windows])
        if batch.language in self.unlabelled:
            return inputs, {}
        tokens = inputs["input_ids"].shape[1]
        targets = self.task.batch_targets(self.task.targets(features, self.labels), batch.windows, tokens)
        for name, values in targets.items():
            targets[name] = values.to(self.device)
        return inputs, targets

    def _batches(self, loaded: LoadedModel) -> Iterator[WindowBatch]:
        """The batches of one epoch over the encoded rows, language after language."""
        for language, features in loaded.features.items():
            for items in LanguageBatchSampler({language: features.item_lengths}, self.training.batch_size, seed=0):
                windows = list(features.windows_of(items))
                yield WindowBatch(int(features.lengths[windows].max()), language, windows)

    def _padded(self, encoder: Encoder, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        """Windows padded to one length, as tensors on the device."""
        inputs = {}
        for name, values in encoder.pad(windows).items():
            inputs[name] = values.to(self.device)
        return inputs

    @contextmanager
    def _clock(self) -> Iterator[list[float]]:
        """Time the block: the list that it yields is empty in the block, and holds the seconds after it."""
        seconds: list[float] = []
        started = time.perf_counter()
        yield seconds
        wait_for(self.device)
        seconds.append(time.perf_counter() - started)


def bytes_a_second(folder: Path) -> float:
    """Bytes a second that the disk of a folder takes, measured by writing `DISK_BYTES` to a temporary file."""
    with tempfile.TemporaryFile(dir=folder) as file:
        data = random.Random(0).randbytes(DISK_BYTES)
        started = time.perf_counter()
        file.write(data)
        file.flush()
        return DISK_BYTES / (time.perf_counter() - started)


def _bytes(model: Any) -> int:
    """Bytes of all parameters of a model."""
    size = 0
    for parameter in model.parameters():
        size += parameter.numel() * parameter.element_size()
    return size


def _tokens_of_rows(features: Features) -> list[int]:
    """Tokens of each row's whole texts with special tokens, as one window would hold them; of options the longest."""
    tokens = []
    for windows in features.windows.by_row:
        longest = 0
        for window in windows:
            longest = max(longest, window.template.extra + sum(map(len, window.parts)))
        tokens.append(longest)
    return tokens


def every_kth(rows: Sequence[Example]) -> list[Example]:
    """Every k-th row, up to `ENCODED_ROWS` of them, so that all parts of a sorted source are used."""
    return list(rows[:: ceil_div(len(rows), ENCODED_ROWS)])
