"""What a teacher says of the student's windows: stored once for all runs where it fits, asked in each step where not.

A teacher is frozen and runs without dropout, so its states for a row never change. It reads the same texts as the
student's window, through its own tokenizer and, where its own limit is smaller, in several windows of its own, whose
context states are joined and whose question states count once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.models.hidden_states import attention_masses, hidden_at, last_hidden
from kdda.models.load import Checkpoint
from kdda.teachers.inputs import TeacherInputs
from kdda.teachers.shards import Answers, TeacherOutput
from kdda.teachers.store import CacheStore, cache_fingerprint
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import self_term

CALIBRATION_ROWS = 512

BATCH = 64


class TeacherCache:
    """What a frozen teacher says of the training rows of its language: hidden states of a layer, and logits of labels.

    Args:
        teacher: put in eval mode and frozen.
        read: what it reads.
        labels: the task's label names, in the student's order; none for tasks without labels.
        store: folder under which states of all teachers are kept; `None` asks the teacher in each step.
        bf16: whether the teacher computes in bfloat16, in which its states are stored in any case.
        shuffled: a control: `batch` gives each row what the teacher says of another one.
        depth: of the layer, as a part of the model's: 1 is the last.
    """

    def __init__(
        self,
        teacher: Checkpoint,
        read: TeacherInputs,
        labels: Sequence[str],
        store: Path | None = None,
        bf16: bool = False,
        shuffled: bool = False,
        depth: float = 1.0,
    ):
        self.model = teacher.model.eval().requires_grad_(False)
        self.encoder, self.windows, self.lengths, self.bf16 = read.encoder, read.rows, read.lengths, bf16
        self.kept, self.depth, self.weighed = read.kept, depth, read.tokens == "attended"
        self.shown = _another_each(len(self.windows)) if shuffled else range(len(self.windows))
        self.order = [int(self.model.config.label2id[label]) for label in labels]
        self.store: CacheStore | None = None
        self.written = 0
        self._self_terms: Float[Tensor, " rows"] | None = None
        if store is not None:
            name = cache_fingerprint(self.model, f"{read.digest} {depth:g}", self.order)
            self.store = CacheStore(store / name, name, self.lengths, teacher.width)
            self.written = self.store.fill(self._answers)
        self.scale = float(self.store.term("scale", self._calibrated) if self.store else self._calibrated())

    def batch(self, rows: Sequence[int]) -> Representations:
        """The teacher's side of some rows, padded, with the mask of real tokens, or their masses."""
        return self._side([int(self.shown[row]) for row in rows])

    def _side(self, rows: Sequence[int]) -> Representations:
        said = self.store.read(rows) if self.store is not None else self._ask(rows)
        padded = pad_sequence([own.states for own in said], batch_first=True).float()
        counted = [torch.ones(len(own.states), dtype=torch.bool) if own.masses is None else own.masses for own in said]
        mask = pad_sequence(counted, batch_first=True)
        logits = [own.logits for own in said if own.logits is not None]
        terms = None if self._self_terms is None else self._self_terms[list(rows)]
        return Representations(padded, mask.to(padded.device), torch.stack(logits) if logits else None, terms)

    def precompute_self_terms(self, settings: ObjectiveSettings) -> None:
        """Find OT_ε(β, β) of every stored row once for these settings; `batch` gives it from then on."""
        if self.store is not None:
            solved = (settings.epsilon, settings.scale, settings.tolerance, settings.max_iterations)
            name = "self-terms-" + "-".join(map(str, solved))
            self._self_terms = self.store.term(name, lambda: self._solve_self_terms(settings))

    def _solve_self_terms(self, settings: ObjectiveSettings) -> Float[Tensor, " rows"]:
        terms = torch.empty(len(self.windows))
        for rows in self._by_length(range(len(self.windows))):
            side = self._side(rows)
            terms[rows] = self_term(
                side.states,
                y_mask=side.mask,
                epsilon=settings.epsilon,
                scale=settings.scale,
                tolerance=settings.tolerance,
                max_iterations=settings.max_iterations,
            )
        return terms

    def _calibrated(self) -> Tensor:
        # every k-th row, so that a source sorted by label or length is still seen whole
        side = self._side(range(0, len(self.windows), -(-len(self.windows) // CALIBRATION_ROWS)))
        assert side.mask is not None
        return torch.tensor(mean_pairwise_cost(side.states, side.mask > 0), dtype=torch.float64)

    @torch.no_grad()
    def _ask(self, rows: Sequence[int]) -> list[TeacherOutput]:
        asked = [self.windows[row] for row in rows]
        padded = self.encoder.pad([window for own in asked for window in own])
        inputs: dict[str, Any] = {name: ids.to(self.model.device) for name, ids in padded.items()}
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            states, outputs = self._read(inputs)
        masses = (
            attention_masses(self.model, outputs, inputs["attention_mask"].bool(), self.depth) if self.weighed else None
        )
        at, said = 0, []
        for own in asked:
            kept = list(enumerate(self.kept(own), start=at))
            said.append(
                TeacherOutput(
                    torch.cat([states[window, tokens] for window, tokens in kept]),
                    outputs.logits[at, self.order].float() if self.order else None,
                    None if masses is None else torch.cat([masses[window, tokens] for window, tokens in kept]),
                )
            )
            at += len(own)
        return said

    def _read(self, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """The layer's states and the head's outputs; for the last one without keeping the others' meanwhile."""
        if self.depth < 1 or self.weighed:
            outputs = self.model(**inputs, output_hidden_states=True)
            return hidden_at(outputs, self.depth).float(), outputs
        kept: list[Tensor] = []
        listening = self.model.base_model.register_forward_hook(lambda *own: kept.append(last_hidden(own[-1]).float()))
        try:
            outputs = self.model(**inputs)
        finally:
            listening.remove()
        return kept[0], outputs

    def _answers(self, rows: range) -> Answers:
        """`_ask`, in batches of like length."""
        return ((chosen, self._ask(chosen)) for chosen in self._by_length(rows))

    def _by_length(self, rows: range) -> Iterator[list[int]]:
        order = rows.start + np.argsort(self.lengths[rows.start : rows.stop], kind="stable")
        return (order[start : start + BATCH].tolist() for start in range(0, len(order), BATCH))


def _another_each(count: int) -> Int64[ndarray, " rows"]:
    """For every row another one, each once: a fixed cycle through all of them.

    >>> found = _another_each(5).tolist()
    >>> sorted(found), any(row == other for row, other in enumerate(found))
    ([0, 1, 2, 3, 4], False)
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    following = np.empty_like(order)
    following[order] = np.roll(order, -1)
    return following
