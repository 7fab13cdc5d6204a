"""What the teachers say of the training rows: stored once where it fits in memory, asked anew where it does not.

A teacher is frozen and runs without dropout, so its states for a row never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdda.distill.loss import last_hidden
from kdda.models import Checkpoint
from kdda.text import Encoder, Features
from kdda.transport import Side, mean_pairwise_cost

BUDGET = 2 * 2**30  # bytes of memory that stored states may take, a language
CALIBRATION_ROWS = 512
BATCH = 64


class TeacherStates:
    """What a frozen teacher says of the training rows of its language: last hidden states and logits.

    Args:
        teacher: put in eval mode and frozen.
        encoder: the teacher's own.
        features: its encoding of each training row.
        labels: the task's label names, in the student's order.
        budget: bytes; states are stored in bfloat16 when they fit, else computed in each step.
    """

    def __init__(
        self,
        teacher: Checkpoint,
        encoder: Encoder,
        features: Sequence[Features],
        labels: Sequence[str],
        budget: int = BUDGET,
    ):
        self.model = teacher.model.eval().requires_grad_(False)
        self.encoder, self.features = encoder, features
        self.order = [int(self.model.config.label2id[label]) for label in labels]
        self.bytes = 2 * teacher.width * sum(len(row["input_ids"]) for row in features)
        self.stored = self._all_rows() if self.bytes <= budget else None
        # every k-th row, so that a source sorted by label or length is still seen whole
        calibration = self.batch(range(0, len(features), -(-len(features) // CALIBRATION_ROWS)))
        self.scale = mean_pairwise_cost(calibration.states, calibration.mask)

    def batch(self, rows: Sequence[int]) -> Side:
        """The teacher's side of some rows, padded, with the mask of real tokens."""
        if self.stored is None:
            return self._ask(rows)
        states, logits = zip(*(self.stored[row] for row in rows), strict=True)
        lengths = torch.tensor([len(row) for row in states])
        padded = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True).float()
        return Side(padded, torch.arange(padded.shape[1]) < lengths[:, None], torch.stack(list(logits)))

    @torch.no_grad()
    def _ask(self, rows: Sequence[int]) -> Side:
        inputs: dict[str, Any] = {
            name: ids.to(self.model.device) for name, ids in self.encoder.pad([self.features[i] for i in rows]).items()
        }
        outputs = self.model(**inputs, output_hidden_states=True)
        return Side(
            last_hidden(outputs).float(), inputs["attention_mask"].bool(), outputs.logits[:, self.order].float()
        )

    def _all_rows(self) -> list[tuple[Tensor, Tensor]]:
        order = sorted(range(len(self.features)), key=lambda i: len(self.features[i]["input_ids"]))
        stored: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(order)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            side = self._ask(rows)
            assert side.mask is not None and side.logits is not None
            for i, row in enumerate(rows):
                states = side.states[i][side.mask[i]].to("cpu", torch.bfloat16, copy=True)
                stored[row] = (states, side.logits[i].cpu())
        return stored
