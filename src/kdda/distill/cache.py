"""What a teacher says of the student's windows: stored once for all runs where it fits, asked in each step where not.

A teacher is frozen and runs without dropout, so its states for a row never change. It reads the same texts as the
student's window, through its own tokenizer and, where its own limit is smaller, in several windows of its own, whose
context states are joined and whose question states count once.
"""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.distill.blocks import Answers, Said
from kdda.distill.layers import attended, hidden_at, last_hidden
from kdda.distill.store import StateStore, fingerprint
from kdda.models import Checkpoint
from kdda.tasks import Excerpt
from kdda.tasks.windows import ByRow, RowWindows, in_chunks
from kdda.text import Encoder
from kdda.transport import ObjectiveSettings, Side, mean_pairwise_cost, self_term

CALIBRATION_ROWS = 512
BATCH = 64
READ = {"all": "", "text": " texts alone", "attended": " attended"}  # what stored states say of their tokens


class TeacherWindows:
    """What a teacher reads where the student reads its windows: a window of its own, or several, a row.

    Args:
        tokens: which of them count, as a recipe's `distill.tokens` says it.

    Attributes:
        rows: on disk where they are many.
        lengths: of each row, tokens that count.
        digest: of every token that is read.
    """

    def __init__(self, encoder: Encoder, excerpts: Sequence[Excerpt], tokens: str = "all"):
        self.encoder, self.tokens = encoder, tokens
        lengths, digest = array("i"), hashlib.sha256()

        def read(some: Sequence[Excerpt]) -> Iterator[RowWindows]:
            encoder.read([text for excerpt in some for text in excerpt.texts])
            for windows in (_windows(encoder, excerpt) for excerpt in some):
                lengths.append(sum(map(len, self.kept(windows))))
                for window in windows:
                    digest.update(np.array([*window.ids, -1, window.last_at, -2], np.int32).tobytes())
                digest.update(b"|")
                yield windows

        self.rows = ByRow(in_chunks(excerpts, read))
        self.lengths: Int32[ndarray, " rows"] = np.array(lengths, np.int32)
        self.digest = digest.hexdigest() + READ[tokens]

    def kept(self, windows: RowWindows) -> list[list[int]]:
        """Which tokens of a row's windows count: in later ones the context's, since the question was heard."""
        first, *later = windows
        kept = [i for i, text in enumerate(first.is_text) if text or self.tokens != "text"]
        return [kept, *(list(range(own.last_at, own.last_at + own.last_count)) for own in later)]

    def stored_bytes(self, width: int) -> int:
        """That their stored states take, in bfloat16, and masses."""
        token = 2 * width + (4 if self.tokens == "attended" else 0)
        return token * int(self.lengths.sum(dtype=np.int64))


class TeacherStates:
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
        read: TeacherWindows,
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
        self.store: StateStore | None = None
        self.written = 0
        self._self_terms: Float[Tensor, " rows"] | None = None
        if store is not None:
            name = fingerprint(self.model, f"{read.digest} {depth:g}", self.order)
            self.store = StateStore(store / name, name, self.lengths, teacher.width)
            self.written = self.store.fill(self._answers)
        self.scale = float(self.store.term("scale", self._calibrated) if self.store else self._calibrated())

    def batch(self, rows: Sequence[int]) -> Side:
        """The teacher's side of some rows, padded, with the mask of real tokens, or their masses."""
        return self._side([int(self.shown[row]) for row in rows])

    def _side(self, rows: Sequence[int]) -> Side:
        said = self.store.read(rows) if self.store is not None else self._ask(rows)
        padded = pad_sequence([own.states for own in said], batch_first=True).float()
        counted = [torch.ones(len(own.states), dtype=torch.bool) if own.masses is None else own.masses for own in said]
        mask = pad_sequence(counted, batch_first=True)
        logits = [own.logits for own in said if own.logits is not None]
        terms = None if self._self_terms is None else self._self_terms[list(rows)]
        return Side(padded, mask.to(padded.device), torch.stack(logits) if logits else None, terms)

    def know_self_terms(self, settings: ObjectiveSettings) -> None:
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
    def _ask(self, rows: Sequence[int]) -> list[Said]:
        asked = [self.windows[row] for row in rows]
        padded = self.encoder.pad([window for own in asked for window in own])
        inputs: dict[str, Any] = {name: ids.to(self.model.device) for name, ids in padded.items()}
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            states, outputs = self._read(inputs)
        masses = attended(self.model, outputs, inputs["attention_mask"].bool(), self.depth) if self.weighed else None
        at, said = 0, []
        for own in asked:
            kept = list(enumerate(self.kept(own), start=at))
            said.append(
                Said(
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


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk that a folder, made or not yet, is on."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _windows(encoder: Encoder, excerpt: Excerpt) -> RowWindows:
    if excerpt.span is None:
        return encoder.encode(*([text] for text in excerpt.texts))
    return encoder.windows(excerpt.texts, span=excerpt.span, overlap=0)
