"""Texts cut into a model's tokens, each with its place in the raw text, by fast tokenizers and PhoBERT's slow one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.errors import KddaError
from kdda.text.segment import SegmentedText, segmented_text

_WORD = re.compile(r"\S+")

CACHED_WORDS = 60_000  # PhoBERT's pieces of a word, kept because words repeat


@dataclass(frozen=True, eq=False)
class TokenizedText:
    """The tokens of one text, without specials: token k stands for `text[starts[k]:ends[k]]`, free of outer spaces."""

    text: str
    ids: Int32[ndarray, "tokens"]
    starts: Int32[ndarray, "tokens"]
    ends: Int32[ndarray, "tokens"]

    def __len__(self) -> int:
        return len(self.ids)

    def within(self, start: int, end: int) -> tuple[int, int]:
        """The range of tokens that stand for any of the characters from `start` to `end`."""
        if not len(self):
            return 0, 0
        first = int(np.searchsorted(self._reach, start, side="right"))
        return first, max(first, int(np.searchsorted(self.starts, end, side="left")))

    @cached_property
    def _reach(self) -> Int32[ndarray, "tokens"]:
        return np.maximum.accumulate(self.ends)


@dataclass(frozen=True)
class Template:
    """The special tokens around one text, or around and between two, and the token types of each stretch."""

    specials: tuple[tuple[int, ...], ...]
    special_types: tuple[tuple[int, ...], ...]
    text_types: tuple[int, ...]

    @property
    def extra(self) -> int:
        return sum(map(len, self.specials))


class TokenizerAdapter:
    """A tokenizer as kdda uses it: pieces of texts, and templates.

    Args:
        tokenizer: any fast tokenizer of transformers, or `PhobertTokenizer`.
        segmenter: how its vocabulary expects words to be found (a key of `SEGMENTERS`).

    Raises:
        KddaError: a slow tokenizer that gives no places of its tokens.
    """

    def __init__(self, tokenizer: Any, segmenter: str):
        self.tokenizer, self.segmenter = tokenizer, segmenter
        self._bpe: dict[str, tuple[list[int], list[int]]] = {}
        name = type(tokenizer).__name__
        if tokenizer.is_fast:
            self.tokenize: Callable[[Sequence[str]], list[TokenizedText]] = self._fast
        elif hasattr(tokenizer, "bpe") and "Phobert" in name:
            self.tokenize = self._phobert
        else:
            raise KddaError(
                f"{name} is a slow tokenizer that does not say where its tokens are; use a checkpoint whose tokenizer "
                "is a fast one (its folder has a tokenizer.json), or PhoBERT's own"
            )

    def template(self, texts: int) -> Template:
        """The specials of one text or of a pair."""
        ids, sides, types = self._sample(texts)
        bounds = [(sides.index(k), len(sides) - sides[::-1].index(k)) for k in range(texts)]
        gaps = [0, *(edge for bound in bounds for edge in bound), len(ids)]
        stretches = [slice(gaps[i], gaps[i + 1]) for i in range(0, len(gaps), 2)]
        return Template(
            tuple(tuple(ids[s]) for s in stretches),
            tuple(tuple(types[s]) for s in stretches),
            tuple(types[start] for start, _ in bounds),
        )

    def _sample(self, texts: int) -> tuple[list[int], list[int | None], list[int]]:
        """A shortest example: its ids, which text each token is of (None for specials), and its token types."""
        if not self.tokenizer.is_fast:
            ids = self.tokenizer.build_inputs_with_special_tokens(*([[-1 - k] for k in range(texts)]))
            return ids, [-1 - i if i < 0 else None for i in ids], [0] * len(ids)
        found = self.tokenizer(*["a", "a"][:texts], return_token_type_ids=True, verbose=False)
        return found["input_ids"], found.sequence_ids(0), found["token_type_ids"]

    def _fast(self, texts: Sequence[str]) -> list[TokenizedText]:
        read = [segmented_text(text, self.segmenter) for text in texts]
        options = {"add_special_tokens": False, "return_offsets_mapping": True, "truncation": False, "verbose": False}
        found = self.tokenizer([own.text for own in read], **options)
        return [_pieces(*row) for row in zip(read, found["input_ids"], found["offset_mapping"], strict=True)]

    def _phobert(self, texts: Sequence[str]) -> list[TokenizedText]:
        return [self._phobert_text(segmented_text(text, self.segmenter)) for text in texts]

    def _phobert_text(self, own: SegmentedText) -> TokenizedText:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for word in _WORD.finditer(own.text):
            word_ids, lengths = self._word(word[0])
            ids += word_ids
            spans += pairwise(accumulate(lengths, initial=word.start()))
        return _pieces(own, ids, spans)

    def _word(self, word: str) -> tuple[list[int], list[int]]:
        """Ids of a word's pieces, and how many characters each stands for: its own, less the mark ``@@``."""
        if word not in self._bpe:
            pieces = self.tokenizer.bpe(word).split(" ")
            lengths = [len(piece) - 2 for piece in pieces[:-1]] + [len(pieces[-1])]
            if len(self._bpe) >= CACHED_WORDS:
                self._bpe.clear()
                self.tokenizer.cache.clear()  # its own, which has no limit
            self._bpe[word] = self.tokenizer.convert_tokens_to_ids(pieces), lengths
        return self._bpe[word]


def _pieces(own: SegmentedText, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> TokenizedText:
    starts, ends = own.to_raw(np.array(spans, dtype=np.int64).reshape(-1, 2))
    return TokenizedText(own.raw, np.array(ids, np.int32), starts.astype(np.int32), ends.astype(np.int32))
