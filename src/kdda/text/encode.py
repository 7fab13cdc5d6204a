"""Texts to token ids, each model through its own tokenizer, and never a silent truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from kdda.text.segment import joined_words

Features = dict[str, list[int]]  # one text's input_ids, attention_mask, and token_type_ids where the model has them

# Their position ids begin after the padding id, so two of the rows of their table are never used.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "xmod"}


def position_limit(config: Any) -> int:
    """How many tokens a model can read: its position table, less what its family reserves (PhoBERT: 258 − 2)."""
    table = getattr(config, "max_position_embeddings", None)
    if not table or table < 0:
        return 512
    if config.model_type in OFFSET_POSITIONS:
        return int(table) - int(config.pad_token_id) - 1
    return int(table)


@dataclass
class Encoder:
    """A tokenizer, the segmenter its vocabulary expects, and the number of tokens its model can read.

    `cut` counts the texts that were longer than `max_length` and lost their end.
    """

    tokenizer: Any
    segmenter: str = "none"
    max_length: int = 512
    cut: int = field(default=0, init=False)

    def encode(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[Features]:
        """Encode texts, or pairs of texts; the longer member of a pair is cut first when both do not fit."""
        if not first:
            return []
        texts = [self._read(first)] if second is None else [self._read(first), self._read(second)]
        whole = self.tokenizer(*texts, truncation=False, verbose=False)
        names = [name for name in self.tokenizer.model_input_names if name in whole]
        rows = [{name: list(whole[name][i]) for name in names} for i in range(len(first))]
        return [self._fit(row, [side[i] for side in texts]) for i, row in enumerate(rows)]

    def _read(self, texts: Sequence[str]) -> list[str]:
        return [joined_words(text, self.segmenter) for text in texts]

    def _fit(self, row: Features, texts: list[str]) -> Features:
        if len(row["input_ids"]) <= self.max_length:
            return row
        self.cut += 1
        strategy = "longest_first" if len(texts) == 2 else "only_first"
        shorter = self.tokenizer(*texts, truncation=strategy, max_length=self.max_length, verbose=False)
        return {name: list(shorter[name]) for name in row}

    def pad(self, rows: Sequence[Features]) -> dict[str, Int[Tensor, "batch tokens"]]:
        """Pad to the longest row of the batch and no further; the result is what the model's forward takes."""
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": int(self.tokenizer.pad_token_id)}
        return {
            name: torch.tensor([row[name] + [fill.get(name, 0)] * (longest - len(row[name])) for row in rows])
            for name in rows[0]
        }
