"""What the teachers say of the training rows: stored once where it fits in memory, asked anew where it does not.

A teacher is frozen and runs without dropout, so its states for a row never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdda.distill.loss import last_hidden
from kdda.models import Checkpoint
from kdda.text import Encoder, Features
from kdda.transport import mean_pairwise_cost

BUDGET = 2 * 2**30  # bytes of memory that stored states may take, a language
CALIBRATION_ROWS = 512
BATCH = 64


class TeacherStates:
    """A frozen teacher's last hidden states for the training rows of its language.

    Args:
        teacher: put in eval mode and frozen.
        encoder: the teacher's own.
        features: its encoding of each training row.
        budget: bytes; states are stored in bfloat16 when they fit, else computed in each step.
    """

    def __init__(self, teacher: Checkpoint, encoder: Encoder, features: Sequence[Features], budget: int = BUDGET):
        self.model = teacher.model.base_model.eval().requires_grad_(False)
        self.encoder, self.features = encoder, features
        self.bytes = 2 * teacher.width * sum(len(row["input_ids"]) for row in features)
        self.stored: list[Tensor] | None = self._all_rows() if self.bytes <= budget else None
        # every k-th row, so that a source sorted by label or length is still seen whole
        rows = list(range(0, len(features), -(-len(features) // CALIBRATION_ROWS)))
        self.scale = mean_pairwise_cost(*self.batch(rows))

    def batch(self, rows: Sequence[int]) -> tuple[Float[Tensor, "batch m d"], Bool[Tensor, "batch m"]]:
        """States of some rows, padded, with the mask of real tokens."""
        if self.stored is None:
            return self._ask(rows)
        states = torch.nn.utils.rnn.pad_sequence([self.stored[row] for row in rows], batch_first=True)
        lengths = torch.tensor([len(self.stored[row]) for row in rows])
        return states.float(), torch.arange(states.shape[1]) < lengths[:, None]

    @torch.inference_mode()
    def _ask(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        inputs: dict[str, Any] = {
            name: ids.to(self.model.device) for name, ids in self.encoder.pad([self.features[i] for i in rows]).items()
        }
        return last_hidden(self.model(**inputs)).float(), inputs["attention_mask"].bool()

    def _all_rows(self) -> list[Tensor]:
        order = sorted(range(len(self.features)), key=lambda i: len(self.features[i]["input_ids"]))
        stored: list[Tensor] = [torch.empty(0)] * len(order)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            states, mask = self._ask(rows)
            for i, row in enumerate(rows):
                stored[row] = states[i][mask[i]].to("cpu", torch.bfloat16, copy=True)
        return stored
