"""Texts to windows of token ids, by the tokenizer of each model. Every truncation is counted."""

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

WINDOWS_PER_BATCH = 1024  # windows whose ids are collected together

CACHED_TOKENS = 2**20  # tokens of the texts that an encoder caches

TOKENS_PER_TEXT = 64  # what a cached text counts in addition to its tokens

QUESTION_SHARE = 2  # a question is truncated where it would take more than one half of a window

# What `Encoder.windows` counts, in the words of question answering: the texts before the last one, and the last one.
# {tokens} is the limit that a row is beyond, and in brackets the setting that it comes from.
QUESTION_COUNTS = (
    "questions of more than {tokens} tokens (half of max_length), whose ends are not read",
    "contexts of more than {tokens} tokens (max_length), read in parts",
)

TEXT_COUNTS = (  # the same in other tasks
    "texts of more than {tokens} tokens (half of max_length), whose ends are not read",
    "texts of more than {tokens} tokens (max_length), read in parts",
)

# What `Encoder.encode` counts.
TRUNCATED = "texts of more than {tokens} tokens (max_length), whose ends are not read"


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """One input of a model: a range of the tokens of one text, or of each of two or three texts.

    Attributes:
        parts: the texts in tokens; shared between windows, never copied.
        ranges: for each part the first token of the window and the one after its last.
        template: the special tokens around the parts.
    """

    parts: tuple[TokenizedText, ...]
    ranges: tuple[tuple[int, int], ...]
    template: Template

    def __len__(self) -> int:
        """The number of its tokens, special tokens included."""
        return self.template.extra + _count_tokens(self.ranges)

    @property
    def ids(self) -> list[int]:
        """Token ids, special tokens included."""
        first, *others = self.template.specials
        ids = list(first)
        for part, (start, stop), specials in zip(self.parts, self.ranges, others, strict=True):
            ids += part.ids[start:stop].tolist()
            ids += specials
        return ids

    @property
    def types(self) -> list[int]:
        """Token types, special tokens included."""
        first, *others = self.template.special_types
        types = list(first)
        for (start, stop), text_type, special_types in zip(self.ranges, self.template.text_types, others, strict=True):
            types += [text_type] * (stop - start)
            types += special_types
        return types

    @property
    def is_text(self) -> list[bool]:
        """True at tokens of texts, False at special tokens."""
        first, *others = self.template.specials
        flags = [False] * len(first)
        for (start, stop), specials in zip(self.ranges, others, strict=True):
            flags += [True] * (stop - start)
            flags += [False] * len(specials)
        return flags

    @property
    def context_length(self) -> int:
        """How many tokens of the last part are in the window."""
        return _count_tokens(self.ranges[-1:])

    @property
    def context_start(self) -> int:
        """Index in the window of the last part's first token."""
        specials_before = self.template.extra - len(self.template.specials[-1])
        return specials_before + _count_tokens(self.ranges[:-1])

    @property
    def context_span(self) -> Span:
        """The characters of the last part's text that are in the window."""
        part = self.parts[-1]
        start, stop = self.ranges[-1]
        if start == stop:
            return 0, 0
        return int(part.starts[start]), int(part.ends[start:stop].max())


def _count_tokens(ranges: Iterable[tuple[int, int]]) -> int:
    """The number of tokens in some ranges (first token, one after the last)."""
    return sum(stop - start for start, stop in ranges)


def used_ids(windows: Iterable[Window]) -> set[int]:
    """Every id that occurs in the texts of these windows, inside the windows or not, and in their special tokens."""
    remaining = iter(windows)
    ids: set[int] = set()
    while batch := list(islice(remaining, WINDOWS_PER_BATCH)):
        texts = {}  # by identity, so that a text that windows share is read once
        templates = {}
        for window in batch:
            templates[id(window.template)] = window.template
            for part in window.parts:
                texts[id(part)] = part.ids
        ids.update(np.unique(np.concatenate(list(texts.values()))).tolist())
        for template in templates.values():
            ids.update(*template.specials)
    return ids


@dataclass(frozen=True)
class Padding:
    """What batches of windows need of their tokenizer, which takes hundreds of MB, once its texts are windows.

    Args:
        pad_token_id: the tokenizer's.
        token_types: whether its model reads types of tokens.
    """

    pad_token_id: int
    token_types: bool

    def pad(self, windows: Sequence[Window]) -> dict[str, Int[Tensor, "batch tokens"]]:
        """The inputs of the model's forward for a batch, padded to its longest window."""
        shape = (len(windows), max(map(len, windows)))
        fields = {"input_ids": np.full(shape, self.pad_token_id), "attention_mask": np.zeros(shape, int)}
        if self.token_types:
            fields["token_type_ids"] = np.zeros(shape, int)
        for row, window in enumerate(windows):
            fields["input_ids"][row, : len(window)] = window.ids
            fields["attention_mask"][row, : len(window)] = 1
            if self.token_types:
                fields["token_type_ids"][row, : len(window)] = window.types
        return {name: torch.from_numpy(values) for name, values in fields.items()}


@dataclass
class Encoder:
    """A tokenizer, the segmenter that its vocabulary expects, and the number of tokens that its model can read.

    `counts` holds how many texts were truncated or split, under names to show to users.

    Args:
        tokenizer: of transformers.
        segmenter: a key of `SEGMENTERS`.
        max_length: tokens of a window at most, special tokens included.
        overlap: tokens of the longer text that two neighbouring windows share.
    """

    tokenizer: Any
    segmenter: str = "none"
    max_length: int = 512
    overlap: int = 128
    counts: Counter[str] = field(default_factory=Counter, init=False)
    _cached_tokens: int = field(default=0, init=False, repr=False, compare=False)

    def encode(self, *columns: Sequence[str]) -> list[Window]:
        """One window for each row of one text, two or three; of texts that do not fit the longest are truncated.

        Args:
            columns: the first text of each row, the second one, and the third one.
        """
        tokenized = list(map(self._tokenized, columns))
        return list(map(self._window, zip(*tokenized, strict=True)))

    def windows(
        self,
        texts: Sequence[str],
        span: Span | None = None,
        overlap: int | None = None,
        count_as: tuple[str, str] = QUESTION_COUNTS,
    ) -> list[Window]:
        """As many windows as it takes to read the last text, or a span of it, each after the other texts.

        Args:
            texts: the text that is read in windows comes last, such as a question and its context. Those before it
                take one half of a window at most.
            span: characters of the last text to read; all by default.
            overlap: tokens that neighbouring windows share, half a window at most; by default the encoder's `overlap`.
            count_as: under which names `counts` has rows whose other texts were truncated, and whose last text takes
                several windows.
        """
        *others, context = self._tokenized(texts)
        template = self._templates[len(texts) - 1]
        room = self.max_length - template.extra
        share = room // QUESTION_SHARE
        lengths = _fitted(list(map(len, others)), share)
        start, end = 0, len(context)
        if span is not None:
            start, end = context.within(*span)
        if overlap is None:
            overlap = self.overlap
        bounds = _bounds(start, end, room - sum(lengths), overlap)
        are_truncated, is_split = count_as
        self.counts[are_truncated.format(tokens=share)] += sum(lengths) < sum(map(len, others))
        self.counts[is_split.format(tokens=self.max_length)] += len(bounds) > 1
        ranges_before = [(0, length) for length in lengths]
        windows = []
        for bound in bounds:
            windows.append(Window((*others, context), (*ranges_before, bound), template))
        return windows

    @property
    def padding(self) -> Padding:
        """What `pad` needs of the tokenizer."""
        return Padding(int(self.tokenizer.pad_token_id), "token_type_ids" in self.tokenizer.model_input_names)

    def pad(self, windows: Sequence[Window]) -> dict[str, Int[Tensor, "batch tokens"]]:
        """The inputs of the model's forward for a batch, padded to its longest window."""
        return self.padding.pad(windows)

    @staticmethod
    def text_mask(windows: Sequence[Window]) -> Bool[Tensor, "batch tokens"]:
        """True at tokens of texts, False at special tokens and padding."""
        return pad_sequence([torch.tensor(window.is_text) for window in windows], batch_first=True)

    def tokenize(self, texts: Sequence[str]) -> None:
        """Tokenize many texts before `windows` takes each, since fast tokenizers then use every core."""
        self._tokenized(texts)

    def clear_cache(self) -> None:
        """Drop the texts tokenized so far; a process that runs without end, such as a server, must call it."""
        self._cache.clear()
        self._cached_tokens = 0
        clear_segment_cache()

    @cached_property
    def _adapter(self) -> TokenizerAdapter:
        """The tokenizer behind the two operations that are needed of it."""
        return TokenizerAdapter(self.tokenizer, self.segmenter)

    @cached_property
    def _templates(self) -> tuple[Template, Template, Template]:
        """Of one text, of two, and of three."""
        return self._adapter.template(1), self._adapter.template(2), self._adapter.template(3)

    @cached_property
    def _cache(self) -> dict[str, TokenizedText]:
        """Text → its tokens; emptied when it holds more than `CACHED_TOKENS`."""
        return {}

    def _tokenized(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Each text is tokenized once: questions share their context, pairs their premise."""
        distinct = dict.fromkeys(texts)
        new = [text for text in distinct if text not in self._cache]
        if new and self._cached_tokens > CACHED_TOKENS:
            self._cache.clear()
            self._cached_tokens = 0
            new = list(distinct)
        if new:
            for text, tokenized in zip(new, self._adapter.tokenize(new), strict=True):
                self._cache[text] = tokenized
                self._cached_tokens += len(tokenized) + TOKENS_PER_TEXT
        return [self._cache[text] for text in texts]

    def _window(self, parts: tuple[TokenizedText, ...]) -> Window:
        """The only window over a row's texts, truncated where it does not fit."""
        template = self._templates[len(parts) - 1]
        room = self.max_length - template.extra
        lengths = list(map(len, parts))
        self.counts[TRUNCATED.format(tokens=self.max_length)] += sum(lengths) > room
        ranges = []
        for length in _fitted(lengths, room):
            ranges.append((0, length))
        return Window(parts, tuple(ranges), template)


def _bounds(start: int, end: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Ranges of at most `room` tokens that cover those from `start` to `end`; neighbours share `overlap` tokens."""
    step = room - min(overlap, room // 2)
    bounds = [(start, min(start + room, end))]
    while bounds[-1][1] < end:
        start += step
        bounds.append((start, min(start + room, end)))
    return bounds


def _fitted(lengths: list[int], room: int) -> list[int]:
    """The lengths of a row's texts so that they fit together: the longest are truncated, and equal ones alike.

    Each text, from the shortest, gets an equal share of what the shorter ones leave, or all that it needs.

    >>> _fitted([4, 20, 9], 30), _fitted([4, 20, 30], 24), _fitted([20, 30], 25)
    ([4, 17, 9], [4, 10, 10], [12, 13])
    """
    limits: dict[int, int] = {}  # length → how much of such a text fits
    remaining = room
    for place, length in enumerate(sorted(lengths)):
        share = remaining // (len(lengths) - place)
        limits.setdefault(length, min(length, share))
        remaining -= limits[length]
    return [limits[length] for length in lengths]
