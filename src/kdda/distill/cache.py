"""What the teachers say of the training rows: stored once where it fits in memory, asked anew where it does not.

A teacher is frozen and runs without dropout, so its states for a row never change. It reads the same texts as the
student's window, through its own tokenizer and, where its own limit is smaller, in several windows of its own, whose
context states are joined and whose question states count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.distill.loss import last_hidden
from kdda.models import Checkpoint
from kdda.tasks import Excerpt
from kdda.text import Encoder, Window
from kdda.transport import Side, mean_pairwise_cost

BUDGET = 2 * 2**30  # bytes of memory that stored states may take, a language
CALIBRATION_ROWS = 512
BATCH = 64
Said = tuple[Tensor, Tensor | None]  # a row's states [tokens, width], and its logits where labels have them


class TeacherStates:
    """What a frozen teacher says of the training rows of its language: last hidden states, and logits of labels.

    Args:
        teacher: put in eval mode and frozen.
        encoder: the teacher's own.
        excerpts: what each of the student's windows reads.
        labels: the task's label names, in the student's order; none for tasks without labels.
        budget: bytes; states are stored in bfloat16 when they fit, else computed in each step.
    """

    def __init__(
        self,
        teacher: Checkpoint,
        encoder: Encoder,
        excerpts: Sequence[Excerpt],
        labels: Sequence[str],
        budget: int = BUDGET,
    ):
        self.model = teacher.model.eval().requires_grad_(False)
        self.encoder = encoder
        self.windows = [_windows(encoder, excerpt) for excerpt in excerpts]
        self.order = [int(self.model.config.label2id[label]) for label in labels]
        self.bytes = 2 * teacher.width * sum(len(window) for row in self.windows for window in row)
        self.stored = self._all_rows() if self.bytes <= budget else None
        # every k-th row, so that a source sorted by label or length is still seen whole
        calibration = self.batch(range(0, len(self.windows), -(-len(self.windows) // CALIBRATION_ROWS)))
        self.scale = mean_pairwise_cost(calibration.states, calibration.mask)

    def batch(self, rows: Sequence[int]) -> Side:
        """The teacher's side of some rows, padded, with the mask of real tokens."""
        said = [self.stored[row] for row in rows] if self.stored is not None else self._ask(rows)
        lengths = torch.tensor([len(states) for states, _ in said])
        padded = pad_sequence([states for states, _ in said], batch_first=True).float()
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        logits = [own for _, own in said if own is not None]
        return Side(padded, mask.to(padded.device), torch.stack(logits) if logits else None)

    @torch.no_grad()
    def _ask(self, rows: Sequence[int]) -> list[Said]:
        windows = [window for row in rows for window in self.windows[row]]
        inputs: dict[str, Any] = {name: ids.to(self.model.device) for name, ids in self.encoder.pad(windows).items()}
        outputs = self.model(**inputs, output_hidden_states=True)
        states, at, said = last_hidden(outputs).float(), 0, []
        for row in rows:
            own = self.windows[row]
            parts = [_kept(window, k == 0, states[at + k]) for k, window in enumerate(own)]
            logits = outputs.logits[at, self.order].float() if self.order else None
            said.append((torch.cat(parts), logits))
            at += len(own)
        return said

    def _all_rows(self) -> list[Said]:
        order = sorted(range(len(self.windows)), key=lambda i: sum(map(len, self.windows[i])))
        stored: list[Said] = [(torch.empty(0), None)] * len(order)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            for row, (states, logits) in zip(rows, self._ask(rows), strict=True):
                kept = states.to("cpu", torch.bfloat16, copy=True)
                stored[row] = (kept, None if logits is None else logits.cpu())
        return stored


def _windows(encoder: Encoder, excerpt: Excerpt) -> list[Window]:
    if excerpt.span is None:
        return encoder.encode(*([text] for text in excerpt.texts))
    return encoder.windows(excerpt.texts, span=excerpt.span, overlap=0)


def _kept(window: Window, first: bool, states: Tensor) -> Tensor:
    """All of the first window's states; of later ones the context's, since the question was heard already."""
    return states[: len(window)] if first else states[window.last_at : window.last_at + window.last_count]
