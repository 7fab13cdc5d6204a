"""Teachers' hidden states, stored once or computed each step; scale s and maps from 512 rows; self-terms OT(β,β).

A teacher is frozen and runs without dropout, so its states for a row never change. It reads the same texts as the
student's window through another tokenizer and, where it reads fewer tokens at once, in several windows, whose context
states are joined and whose question states count once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import ObjectiveSettings, Representations, TokenLogits
from kdda.models.hidden_states import attention_masses, hidden_at, last_hidden
from kdda.models.load import Checkpoint
from kdda.recipe.schema import has_masses
from kdda.runtime.device import compute_device, in_bfloat16, is_out_of_memory, pins_memory
from kdda.runtime.live import tell_count
from kdda.runtime.memory import free_bytes
from kdda.runtime.numbers import ceil_div, count_of
from kdda.runtime.progress import Say
from kdda.tasks.base import Task
from kdda.tasks.features import TextSpan
from kdda.tasks.places import PaddedLogitPlaces
from kdda.teachers.align import ProcrustesMap, fit_everywhere, pooled_chunks
from kdda.teachers.inputs import TeacherInputs
from kdda.teachers.shards import OutputBatches, TeacherOutput
from kdda.teachers.store import CacheStore, cache_fingerprint
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import self_term

CALIBRATION_ROWS = 512  # whose mean pairwise cost is the scale
BATCH_WINDOWS = 64  # rows that the teacher reads at once while its states are stored; fewer where memory runs out
PRECISION_MARKS = {"bf16": "", "int8": " int8"}  # by which fingerprints differ, so that each has a folder for itself
FREE_SHARE = 0.9  # of the free disk that stored states may take


class TeacherCache:
    """A frozen teacher's representations of the training rows of one language, at one or several layers.

    Args:
        layers: one cache a layer.
        stored_bytes: that all layers' states take, or would take, on disk.

    Attributes:
    """

    def __init__(self, layers: Sequence[LayerCache], stored_bytes: int):
        self.layers, self.stored_bytes = list(layers), stored_bytes

    @property
    def scales(self) -> list[float]:
        """The teacher's mean pairwise cost at each layer, the calibrated scale s (docs/method.md, 7)."""
        return [layer.scale for layer in self.layers]

    @classmethod
    def build(
        cls,
        teacher: Checkpoint,
        spans: Sequence[TextSpan],
        *,
        labels: Sequence[str] = (),
        layers: Sequence[float] = (1.0,),
        tokens: str = "all",
        max_length: int = 128,
        stride: int = 128,
        folder: Path | None = None,
        budget: float = float("inf"),
        precision: str = "auto",
        stored_in: str = "bf16",
        shuffle: bool = False,
        places: bool = False,
        token_task: Task | None = None,
        device: torch.device | None = None,
        say: Say = lambda _: None,
    ) -> TeacherCache:
        """Run a teacher over all rows and store its states, read what is stored already, or prepare to run it live.

        Args:
            teacher: read in eval mode, without gradients; it is not changed.
            spans: what the student's windows read, `task.text_spans(features)`.
            labels: the task's label names in the student's order; none where logits are not compared.
            layers: as parts of the model's depth: 1 is the last layer, 0.5 the middle one.
            tokens: which tokens count, and with which masses: a value of `distill.tokens`.
            max_length: tokens of a teacher's window at most.
            stride: tokens that neighbouring windows share, where the teacher splits a window.
            folder: under which states of all teachers are stored; `None` runs the teacher in each step.
            budget: bytes that may be stored; the teacher runs in each step where its states take more.
            precision: of the teacher's forward pass.
            stored_in: precision of stored states, whatever that of the pass is: ``bf16``, or ``int8``, 8 bits with a
                scale a token, in half the bytes. A teacher that runs in each step gives float32.
            shuffle: a control: each row gets the states of another row.
            places: whether `batch` gives the tokens' places, which some objectives read (`Objective.uses_places`).
            token_task: the task, where logits of its tokens are compared: `batch` then gives `token_logits`.
            device: where the teacher runs, self-terms are solved, and `batch` puts what it returns;
                `compute_device()` by default. A teacher whose states are stored goes back to where it was.
            say: told when the device's memory makes batches smaller.

        Raises:
            KddaError: a row that the device's memory does not hold.
        """
        inputs = TeacherInputs(teacher.encoder(max_length, stride), spans, tokens, places, token_task)
        classes = _compared_classes(labels, token_task)
        needed = len(layers) * inputs.stored_bytes(teacher.width, classes, stored_in)
        if folder is not None and not _fits(needed, budget, folder):
            folder = None
        computation = Computation(device or compute_device(), in_bfloat16(precision), say)
        device_before = teacher.model.device
        caches = []
        for layer in layers:
            caches.append(LayerCache(teacher, inputs, labels, computation, folder, shuffle, layer, stored_in))
        if folder is not None:
            teacher.model.to(device_before)  # so that the device's memory is the training's
        return cls(caches, needed)

    def for_another_training(self) -> TeacherCache:
        """The same stored states for another student: as they were read, without maps and self-terms."""
        layers = []
        for layer in self.layers:
            other = copy.copy(layer)
            other.map = None
            other._self_terms = None
            other.shards_written = 0
            layers.append(other)
        return TeacherCache(layers, self.stored_bytes)

    @property
    def is_stored(self) -> bool:
        """Whether states are read from disk; else the teacher runs in each step."""
        return all(layer.store is not None for layer in self.layers)

    @property
    def shards_written(self) -> int:
        """Files that were written by this build; 0 where all were stored already."""
        written = 0
        for layer in self.layers:
            written += layer.shards_written
        return written

    def batch(self, rows: Sequence[int], read: Sequence[ReadStates | None] | None = None) -> list[Representations]:
        """The teacher's representations of some rows, padded, one a layer.

        Args:
            read: what `read` returned for the same rows; read now by default.
        """
        representations = []
        for number, layer in enumerate(self.layers):
            representations.append(layer.batch(rows, read[number] if read is not None else None))
        return representations

    def read(self, rows: Sequence[int]) -> list[ReadStates | None]:
        """What is stored of some rows, one a layer, for `batch`: may be called in a thread, ahead of time."""
        return [layer.read(rows) for layer in self.layers]

    def align(self, student_chunks: Sequence[Float64[Tensor, "texts chunks width"]]) -> None:
        """Map the teacher's states into a student's space from now on (`align: procrustes`), and scale them anew.

        Stored states stay as the teacher has computed them.

        Args:
            student_chunks: the student's pooled states of the rows `calibration_rows`, one a layer.
        """
        for layer, chunks in zip(self.layers, student_chunks, strict=True):
            layer.align(chunks)

    def precompute_self_terms(self, loss: DistillationLoss) -> None:
        """Compute OT_ε(β, β) of every stored row once, where the loss reads it; `batch` returns it from then on."""
        if not loss.uses_self_term:
            return
        for layer in self.layers:
            layer.precompute_self_terms(loss.settings_at(layer.scale))


@dataclass(frozen=True)
class ReadStates:
    """Outputs of some rows, padded: states (bfloat16 where stored so), mask or masses, logits of tasks with labels; and
    the tokens' places and logits where they are read.
    """

    states: Float[Tensor, "rows tokens width"]
    mask: Shaped[Tensor, "rows tokens"]
    logits: Float[Tensor, "rows labels"] | None
    places: Float[Tensor, "rows tokens 2"] | None = None
    token_logits: TokenLogits | None = None

    @classmethod
    def of_outputs(
        cls,
        outputs: Sequence[TeacherOutput],
        places: Float[Tensor, "rows tokens 2"] | None = None,
        token_logits: TokenLogits | None = None,
    ) -> ReadStates:
        """The outputs of some rows as one batch, on their device."""
        states, masses, logits = [], [], []
        for output in outputs:
            states.append(output.states)
            masses.append(_token_masses(output))
            if output.logits is not None:
                logits.append(output.logits)
        stacked = torch.stack(logits) if logits else None
        padded = pad_sequence(states, batch_first=True)
        return cls(padded, pad_sequence(masses, batch_first=True), stacked, places, token_logits)

    def pinned(self) -> ReadStates:
        """The same in pinned memory, from which a GPU copies beside its computation."""
        logits = None if self.logits is None else self.logits.pin_memory()
        places = None if self.places is None else self.places.pin_memory()
        token_logits = None if self.token_logits is None else self.token_logits.pinned()
        return ReadStates(self.states.pin_memory(), self.mask.pin_memory(), logits, places, token_logits)


class Computation(NamedTuple):
    """How a teacher computes: on which device, in bfloat16 or not, and who is told of smaller batches."""

    device: torch.device
    bf16: bool
    say: Say


class LayerCache:
    """A frozen teacher's states of one layer, and its logits.

    Args:
        teacher: read in eval mode, without gradients; kept only where its states are not stored.
        inputs: what it reads.
        labels: the task's label names, in the student's order; none for tasks without labels.
        computation: the device on which the teacher runs and states are returned, and its precision.
        folder: under which states of all teachers are stored; `None` runs the teacher in each step.
        shuffle: a control: `batch` gives each row the states of another one.
        layer: as a part of the model's depth: 1 is the last.
        stored_in: precision of stored states.
    """

    def __init__(
        self,
        teacher: Checkpoint,
        inputs: TeacherInputs,
        labels: Sequence[str],
        computation: Computation,
        folder: Path | None = None,
        shuffle: bool = False,
        layer: float = 1.0,
        stored_in: str = "bf16",
    ):
        self.inputs, self.layer = inputs, layer
        self.device, self.bf16, self._say = computation
        self.batch_windows = BATCH_WINDOWS
        self.model: Any = teacher.model
        self.label_order = [int(self.model.config.label2id[label]) for label in labels]
        if not labels:  # outputs without names keep their order
            self.label_order = list(range(_compared_classes(labels, inputs.token_task)))
        self._labels_inside: tuple[int, ...] = ()  # of logits of tokens: `Task.labels_inside`
        if inputs.token_task is not None:
            self._labels_inside = inputs.token_task.labels_inside(labels)
        self.source_rows: Sequence[int] = range(len(inputs.rows))
        self.map: ProcrustesMap | None = None  # into the student's space, once `align` was called
        if shuffle:
            self.source_rows = _other_rows(len(inputs.rows)).tolist()
        self.store: CacheStore | None = None
        self.shards_written = 0
        self._self_terms: Float[Tensor, " rows"] | None = None
        if folder is None:
            self.scale = float(self._calibrated_scale())
            return
        digest = f"{inputs.digest} {layer:g}{PRECISION_MARKS[stored_in]}"
        name = cache_fingerprint(self.model, digest, self.label_order)
        self.store = CacheStore(folder / name, name, inputs.lengths, teacher.width, stored_in)
        self.shards_written = self.store.fill(self._outputs)
        self.scale = float(self.store.term("scale", self._calibrated_scale))
        self.model = None  # everything it computes is stored, so that its memory can be the training's

    def batch(self, rows: Sequence[int], read: ReadStates | None = None) -> Representations:
        """The teacher's representations of some rows on the device, padded, with the mask of real tokens or masses."""
        return self._representations([self.source_rows[row] for row in rows], read)

    def read(self, rows: Sequence[int]) -> ReadStates | None:
        """What is stored of some rows, for `batch`; None where the teacher runs in each step."""
        if self.store is None:
            return None
        sources = [self.source_rows[row] for row in rows]
        states = self._as_batch(self.store.read(sources), sources)
        return states.pinned() if pins_memory(self.device) else states

    def _as_batch(self, outputs: Sequence[TeacherOutput], rows: Sequence[int]) -> ReadStates:
        """Outputs of some rows as one batch, with what is read of the rows' tokens beside them."""
        token_logits = None
        places = self.inputs.logit_places(rows)
        if places is not None:
            token_logits = self._token_logits(outputs, places)
        return ReadStates.of_outputs(outputs, self.inputs.padded_places(rows), token_logits)

    def _token_logits(self, outputs: Sequence[TeacherOutput], places: PaddedLogitPlaces) -> TokenLogits:
        """The logits of some rows' tokens at the places where they are compared."""
        logits = []
        for output in outputs:
            assert output.token_logits is not None
            logits.append(output.token_logits)
        padded = pad_sequence(logits, batch_first=True)
        assert self.inputs.token_task is not None  # there are no places without it
        chosen = places.to(padded.device).chosen(padded)
        return TokenLogits(chosen, places.characters, self._labels_inside, self.inputs.token_task.logit_edges)

    def align(self, student_chunks: Float64[Tensor, "texts chunks width"]) -> None:
        """Find the map into a student's space, and the scale of mapped states; arguments as in `TeacherCache.align`."""
        teacher = self._representations(calibration_rows(len(self.inputs.rows)))
        assert teacher.mask is not None
        teacher_chunks = pooled_chunks(teacher.states, teacher.mask)
        self.map = fit_everywhere(student_chunks.flatten(0, 1), teacher_chunks.flatten(0, 1))
        self.scale = mean_pairwise_cost(self.map(teacher.states), teacher.mask > 0)

    def precompute_self_terms(self, settings: ObjectiveSettings) -> None:
        """Compute OT_ε(β, β) of every stored row once for these settings; `batch` returns it from then on."""
        if self.store is None:
            return
        solved_for = (settings.epsilon, settings.scale, settings.tolerance, settings.max_iterations)
        name = "self-terms-" + "-".join(map(str, solved_for))
        if self.map is not None:
            name += f"-{self.map.digest}"  # of states as they are mapped
        self._self_terms = self.store.term(name, lambda: self._solve_self_terms(settings))

    def _representations(self, rows: Sequence[int], read: ReadStates | None = None) -> Representations:
        """The representations of some rows as they are numbered in the data, whatever `shuffle` says."""
        if read is None:
            outputs = self.store.read(rows) if self.store is not None else self._run(rows)
            read = self._as_batch(outputs, rows)
        # moved before they become float32, so that half as many bytes are copied
        padded = read.states.to(self.device, non_blocking=True).float()
        if self.map is not None:
            padded = self.map(padded)
        mask = read.mask.to(self.device, non_blocking=True)
        logits = None if read.logits is None else read.logits.to(self.device, non_blocking=True)
        places = None if read.places is None else read.places.to(self.device, non_blocking=True)
        self_terms = None if self._self_terms is None else self._self_terms[list(rows)].to(self.device)
        token_logits = None if read.token_logits is None else read.token_logits.to(self.device)
        return Representations(padded, mask, logits, self_terms, places, token_logits=token_logits)

    def _solve_self_terms(self, settings: ObjectiveSettings) -> Float[Tensor, " rows"]:
        """OT_ε(β, β) of every row."""
        count = len(self.inputs.rows)
        terms = torch.empty(count)
        done = 0
        for rows in self._batches_by_length(range(count)):
            tell_count(done, count, "rows", "self-terms")
            representations = self._representations(rows)
            solved = self_term(
                representations.states,
                y_mask=representations.mask,
                epsilon=settings.epsilon,
                scale=settings.scale,
                tolerance=settings.tolerance,
                max_iterations=settings.max_iterations,
            )
            terms[rows] = solved.cpu()
            done += len(rows)
        return terms

    def _calibrated_scale(self) -> Tensor:
        """The scale s: the mean of ½‖k_i − k_j‖² over pairs of tokens of up to `CALIBRATION_ROWS` rows."""
        representations = self._representations(calibration_rows(len(self.inputs.rows)))
        assert representations.mask is not None
        scale = mean_pairwise_cost(representations.states, representations.mask > 0)
        return torch.tensor(scale, dtype=torch.float64)

    def _outputs(self, rows: range) -> OutputBatches:
        """The teacher's outputs of consecutive rows, in batches of similar length, which memory can make smaller."""
        done = rows.start
        for batch in self._batches_by_length(rows):
            start = 0
            while start < len(batch):
                part = batch[start : start + self.batch_windows]
                tell_count(done, len(self.inputs.rows), "rows", "teacher states")
                outputs = self._run_if_it_fits(part)
                if outputs is None:
                    self._halve_batches(part)
                    continue
                yield part, outputs
                start += len(part)
                done += len(part)

    def _run_if_it_fits(self, rows: Sequence[int]) -> list[TeacherOutput] | None:
        """The outputs of some rows; None where the device's memory does not hold what computes them."""
        try:
            return self._run(rows)
        except RuntimeError as error:  # among them torch.OutOfMemoryError
            if not is_out_of_memory(error):
                raise
        return None  # outside of the handler, whose exception keeps the tensors of the failed pass alive

    def _halve_batches(self, rows: Sequence[int]) -> None:
        """Read half as many rows at once from here on, after so many did not fit."""
        if len(rows) == 1:
            tokens = int(self.inputs.lengths[rows[0]])
            raise KddaError(
                f"a row of {count_of(tokens, 'token')} of the teacher does not fit into the memory of {self.device}; "
                "lower training.max_length, or compute on another device (--device cpu)"
            )
        self.batch_windows = ceil_div(len(rows), 2)
        self._say(
            f"  teacher: {len(rows)} rows at once do not fit into the memory of {self.device}; "
            f"{self.batch_windows} from here on"
        )

    def _batches_by_length(self, rows: range) -> Iterator[list[int]]:
        """The rows in batches, shortest first, so that little of a batch is padding."""
        lengths = self.inputs.lengths[rows.start : rows.stop]
        order = rows.start + np.argsort(lengths, kind="stable")
        for start in range(0, len(order), BATCH_WINDOWS):
            yield order[start : start + BATCH_WINDOWS].tolist()

    @torch.no_grad()
    def _run(self, rows: Sequence[int]) -> list[TeacherOutput]:
        """The model's forward pass over the windows of some rows."""
        self.model.to(self.device)
        windows_of_rows = [self.inputs.rows[row] for row in rows]
        inputs = self._padded(windows_of_rows)
        with in_eval_mode(self.model), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            states, outputs = self._forward(inputs)
        masses = None
        if has_masses(self.inputs.tokens):
            mask = inputs["attention_mask"].bool()
            masses = attention_masses(self.model, outputs, mask, self.layer, self.inputs.tokens)
        logits = self._logits(outputs)
        results = []
        first_window = 0  # of the row, among all windows of the batch
        for windows in windows_of_rows:
            counted = self.inputs.counted_tokens(windows)
            output = TeacherOutput(_counted_values(states, counted, first_window))
            if masses is not None:
                output = output._replace(masses=_counted_values(masses, counted, first_window))
            if logits is not None and self.inputs.token_task is not None:
                output = output._replace(token_logits=_counted_values(logits, counted, first_window))
            elif logits is not None:
                output = output._replace(logits=logits[first_window])
            results.append(output)
            first_window += len(windows)
        return results

    def _logits(self, outputs: Any) -> Tensor | None:
        """The head's logits in the student's order of labels, of texts or of tokens; None if nobody reads them."""
        if not self.label_order:
            return None
        task = self.inputs.token_task
        logits: Tensor = outputs.logits if task is None else task.token_logits(outputs)
        return logits[..., self.label_order].float()

    def _padded(self, windows_of_rows: Sequence[Any]) -> dict[str, Tensor]:
        """All windows of some rows as one padded batch, on the device."""
        windows: list[Any] = []
        for row in windows_of_rows:
            windows += row
        padded = self.inputs.padding.pad(windows)
        return {name: values.to(self.device) for name, values in padded.items()}

    def _forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Any]:
        """The layer's states and the head's outputs; of the last layer without keeping the others' states meanwhile."""
        if self.layer < 1 or has_masses(self.inputs.tokens):
            outputs = self.model(**inputs, output_hidden_states=True)
            return hidden_at(outputs, self.layer).float(), outputs
        last: list[Tensor] = []

        def keep_last(module: Any, arguments: Any, output: Any) -> None:
            """A forward hook of torch on the body: its output holds the last layer's states."""
            last.append(last_hidden(output).float())

        hook = self.model.base_model.register_forward_hook(keep_last)
        try:
            outputs = self.model(**inputs)
        finally:
            hook.remove()
        return last[0], outputs


def calibration_rows(count: int) -> range:
    """The rows, of so many, that the scale and the map into the student's space are computed from.

    Every k-th one, so that all parts of a source sorted by label or length are used.

    >>> calibration_rows(1030)
    range(0, 1030, 3)
    """
    return range(0, count, ceil_div(count, CALIBRATION_ROWS))


@contextmanager
def in_eval_mode(model: Any) -> Iterator[None]:
    """The model without dropout; in the mode that it had afterwards."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def _compared_classes(labels: Sequence[str], token_task: Task | None) -> int:
    """How many logits of a text, or of each token, are compared: one a label, or one an output; 0 for none."""
    if token_task is None or labels:
        return len(labels)
    return len(token_task.outputs)


def _fits(needed: int, budget: float, folder: Path) -> bool:
    """Whether so many bytes may be stored, and the folder's disk has room for them."""
    return needed <= budget and needed <= FREE_SHARE * free_bytes(folder)


def _token_masses(output: TeacherOutput) -> Tensor:
    """Each token's mass; all alike, as a mask, where the teacher gives none."""
    if output.masses is None:
        return torch.ones(len(output.states), dtype=torch.bool, device=output.states.device)
    return output.masses


def _counted_values(values: Tensor, counted: Sequence[list[int]], first_window: int) -> Tensor:
    """The counted tokens' values of one row, all its windows joined.

    Args:
        values: ``[windows of the batch, tokens]`` or ``[windows of the batch, tokens, width]``.
        counted: positions of the tokens that count, a list a window of the row.
        first_window: the row's first, among those of the batch.
    """
    parts = []
    for window, tokens in enumerate(counted, start=first_window):
        parts.append(values[window, tokens])
    return torch.cat(parts)


def _other_rows(count: int) -> Int64[ndarray, " rows"]:
    """For every row another one, each once: a fixed cycle through all rows.

    >>> rows = _other_rows(5).tolist()
    >>> sorted(rows), any(row == other for row, other in enumerate(rows))
    ([0, 1, 2, 3, 4], False)
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    return following
