"""Texts to windows of token ids, each model through its own tokenizer, and never a silent truncation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kdda.text.segment import Span, clear_segment_cache
from kdda.text.tokenize import Template, TokenizedText, TokenizerAdapter

AT_ONCE = 1024  # windows whose ids are looked at together

CACHED_TOKENS = 2**20  # tokens that an encoder remembers, each text counting for `OVERHEAD` more

OVERHEAD = 64

QUESTION_SHARE = 2  # a question that would take more than one half of a window is cut to it


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """What a model reads at once: one text, or a pair of texts, each of them from one token to another.

    Attributes:
        parts: the texts in tokens; shared between windows, never copied.
        ranges: for each part the first token that is read, and the one after the last.
        template: the specials around the parts.
    """

    parts: tuple[TokenizedText, ...]
    ranges: tuple[tuple[int, int], ...]
    template: Template

    def __len__(self) -> int:
        return self.template.extra + sum(stop - start for start, stop in self.ranges)

    @property
    def ids(self) -> list[int]:
        out = list(self.template.specials[0])
        for part, (start, stop), after in zip(self.parts, self.ranges, self.template.specials[1:], strict=True):
            out += part.ids[start:stop].tolist()
            out += after
        return out

    @property
    def types(self) -> list[int]:
        own = self.template
        out = list(own.special_types[0])
        for (start, stop), kind, after in zip(self.ranges, own.text_types, own.special_types[1:], strict=True):
            out += [kind] * (stop - start) + list(after)
        return out

    @property
    def is_text(self) -> list[bool]:
        """Which of the window's tokens are of its texts; the others are specials."""
        out = [False] * len(self.template.specials[0])
        for (start, stop), after in zip(self.ranges, self.template.specials[1:], strict=True):
            out += [True] * (stop - start) + [False] * len(after)
        return out

    @property
    def context_length(self) -> int:
        """How many tokens of the last part are read."""
        start, stop = self.ranges[-1]
        return stop - start

    @property
    def context_start(self) -> int:
        """Where the last part's tokens begin among the window's."""
        before = sum(stop - start for start, stop in self.ranges[:-1])
        return before + self.template.extra - len(self.template.specials[-1])

    @property
    def context_span(self) -> Span:
        """The characters of the last text that the window reads."""
        part, (start, stop) = self.parts[-1], self.ranges[-1]
        return (int(part.starts[start]), int(part.ends[start:stop].max())) if stop > start else (0, 0)


def used_ids(windows: Iterable[Window]) -> set[int]:
    """Every id that stands in the texts that these windows read, and in their specials."""
    left = iter(windows)
    found: set[int] = set()
    while some := list(islice(left, AT_ONCE)):
        parts = {id(part): part.ids for window in some for part in window.parts}  # shared parts once
        found.update(np.unique(np.concatenate(list(parts.values()))).tolist())
        templates = {id(window.template): window.template for window in some}
        found.update(i for own in templates.values() for stretch in own.specials for i in stretch)
    return found


@dataclass
class Encoder:
    """A tokenizer, the segmenter its vocabulary expects, and the number of tokens its model can read.

    `counts` says what did not fit, under names for people: texts that lost their end, texts that were split.

    Args:
        overlap: tokens of the longer text that two neighbouring windows share.
    """

    tokenizer: Any
    segmenter: str = "none"
    max_length: int = 512
    overlap: int = 128
    counts: Counter[str] = field(default_factory=Counter, init=False)
    _remembered: int = field(default=0, init=False, repr=False, compare=False)

    def encode(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[Window]:
        """A window a text, or a pair of texts; the longer member of a pair is cut first when both do not fit."""
        sides = [self._pieces(first)] if second is None else [self._pieces(first), self._pieces(second)]
        template = self._templates[len(sides) - 1]
        return [self._cut(parts, template) for parts in zip(*sides, strict=True)]

    def windows(self, texts: Sequence[str], span: Span | None = None, overlap: int | None = None) -> list[Window]:
        """As many windows as it takes to read the second text, or a span of its characters, each beside all the first.

        Neighbouring windows share `overlap` tokens (the encoder's own by default), or half a window where that is less.
        """
        asked, read = self._pieces(texts)
        template = self._templates[1]
        length = min(len(asked), (self.max_length - template.extra) // QUESTION_SHARE)
        room = self.max_length - template.extra - length
        start, end = read.within(*span) if span else (0, len(read))
        step = room - min(self.overlap if overlap is None else overlap, room // 2)
        bounds = [(start, min(start + room, end))]
        while bounds[-1][1] < end:
            at = bounds[-1][0] + step
            bounds.append((at, min(at + room, end)))
        self.counts["questions truncated"] += length < len(asked)
        self.counts["contexts split"] += len(bounds) > 1
        return [Window((asked, read), ((0, length), bound), template) for bound in bounds]

    def pad(self, windows: Sequence[Window]) -> dict[str, Int[Tensor, "batch tokens"]]:
        """Pad to the longest window of the batch and no further; the result is what the model's forward takes."""
        shape = (len(windows), max(map(len, windows)))
        fields = {"input_ids": np.full(shape, int(self.tokenizer.pad_token_id)), "attention_mask": np.zeros(shape, int)}
        if "token_type_ids" in self.tokenizer.model_input_names:
            fields["token_type_ids"] = np.zeros(shape, int)
        for row, window in enumerate(windows):
            fields["input_ids"][row, : len(window)] = window.ids
            fields["attention_mask"][row, : len(window)] = 1
            if "token_type_ids" in fields:
                fields["token_type_ids"][row, : len(window)] = window.types
        return {name: torch.from_numpy(values) for name, values in fields.items()}

    @staticmethod
    def text_mask(windows: Sequence[Window]) -> Bool[Tensor, "batch tokens"]:
        """True at tokens of texts: neither specials nor padding."""
        return pad_sequence([torch.tensor(window.is_text) for window in windows], batch_first=True)

    def tokenize(self, texts: Sequence[str]) -> None:
        """Cut texts into tokens ahead of `windows`, all at once, which fast tokenizers do on every core."""
        self._pieces(texts)

    def clear_cache(self) -> None:
        """Let go of the texts read so far: whoever reads without end, such as a server, must not keep them all."""
        self._known.clear()
        self._remembered = 0
        clear_segment_cache()

    @cached_property
    def _tokens(self) -> TokenizerAdapter:
        return TokenizerAdapter(self.tokenizer, self.segmenter)

    @cached_property
    def _templates(self) -> tuple[Template, Template]:
        return self._tokens.template(1), self._tokens.template(2)

    @cached_property
    def _known(self) -> dict[str, TokenizedText]:
        return {}

    def _pieces(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Each text once, however often it is asked for: questions share their context, pairs their premise."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new and self._remembered > CACHED_TOKENS:
            self._known.clear()
            self._remembered = 0
            new = list(dict.fromkeys(texts))
        if new:
            read = self._tokens.tokenize(new)
            self._known.update(zip(new, read, strict=True))
            self._remembered += sum(len(pieces) + OVERHEAD for pieces in read)
        return [self._known[text] for text in texts]

    def _cut(self, parts: tuple[TokenizedText, ...], template: Template) -> Window:
        lengths = [len(part) for part in parts]
        room = self.max_length - template.extra
        if sum(lengths) > room:
            self.counts[f"texts truncated at {self.max_length} tokens"] += 1
            lengths = _truncated(lengths, room)
        return Window(parts, tuple((0, n) for n in lengths), template)


def _truncated(lengths: list[int], room: int) -> list[int]:
    """Lengths that fit: of a pair the longer text is truncated, or both where each takes more than half."""
    if len(lengths) == 1:
        return [room]
    shorter = min(lengths)
    limit = min(shorter, room // 2)
    return [limit if n == shorter else min(n, room - limit) for n in lengths]
