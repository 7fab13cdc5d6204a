"""Tokens of a text with their spans in the raw text, by fast tokenizers and by PhoBERT's slow one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise, starmap
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from kdda.errors import KddaError
from kdda.text.segment import SegmentedText, segmented_text

_WORD = re.compile(r"\S+")

CACHED_WORDS = 60_000  # words whose PhoBERT pieces are cached, since words repeat


@dataclass(frozen=True, eq=False)
class TokenizedText:
    """The tokens of one text without special tokens. Token k is `text[starts[k]:ends[k]]`, no outer white space."""

    text: str
    ids: Int32[ndarray, "tokens"]
    starts: Int32[ndarray, "tokens"]
    ends: Int32[ndarray, "tokens"]

    def __len__(self) -> int:
        return len(self.ids)

    def within(self, start: int, end: int) -> tuple[int, int]:
        """The range of tokens that contain any of the characters from `start` to `end`."""
        if not len(self):
            return 0, 0
        first = int(np.searchsorted(self._reach, start, side="right"))
        stop = int(np.searchsorted(self.starts, end, side="left"))
        return first, max(first, stop)

    @cached_property
    def _reach(self) -> Int32[ndarray, "tokens"]:
        """The furthest end of all tokens up to each one, in order even where ends are not."""
        return np.maximum.accumulate(self.ends)


@dataclass(frozen=True)
class Template:
    """The special tokens around one text, or around and between two.

    Attributes:
        specials: ids of the special tokens before the first text, and after each text.
        special_types: their token types.
        text_types: the token type of each text.
    """

    specials: tuple[tuple[int, ...], ...]
    special_types: tuple[tuple[int, ...], ...]
    text_types: tuple[int, ...]

    @property
    def extra(self) -> int:
        """How many special tokens there are in all."""
        return sum(map(len, self.specials))


class TokenizerAdapter:
    """The two operations that kdda needs of any tokenizer: `tokenize` and `template`.

    Args:
        tokenizer: any fast tokenizer of transformers, or `PhobertTokenizer`.
        segmenter: the word segmentation that its vocabulary expects (a key of `SEGMENTERS`).

    Raises:
        KddaError: a slow tokenizer that gives no offsets of its tokens.
    """

    def __init__(self, tokenizer: Any, segmenter: str):
        self.tokenizer = tokenizer
        self.segmenter = segmenter
        self._word_pieces: dict[str, tuple[list[int], list[int]]] = {}
        name = type(tokenizer).__name__
        is_phobert = hasattr(tokenizer, "bpe") and "Phobert" in name
        if not tokenizer.is_fast and not is_phobert:
            raise KddaError(
                f"{name} is a slow tokenizer that gives no offsets of its tokens; use a checkpoint with a fast "
                "tokenizer (its folder has a tokenizer.json), or PhoBERT"
            )

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The tokens of each text, without special tokens or truncation."""
        segmented = [segmented_text(text, self.segmenter) for text in texts]
        if self.tokenizer.is_fast:
            return self._tokenize_fast(segmented)
        return list(map(self._tokenize_phobert, segmented))

    def _tokenize_fast(self, texts: list[SegmentedText]) -> list[TokenizedText]:
        encoding = self.tokenizer(
            [text.text for text in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,
        )
        rows = zip(texts, encoding["input_ids"], encoding["offset_mapping"], strict=True)
        return list(starmap(_tokenized_text, rows))

    def _tokenize_phobert(self, segmented: SegmentedText) -> TokenizedText:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for word in _WORD.finditer(segmented.text):
            word_ids, lengths = self._pieces(word[0])
            ids += word_ids
            spans += pairwise(accumulate(lengths, initial=word.start()))
        return _tokenized_text(segmented, ids, spans)

    def _pieces(self, word: str) -> tuple[list[int], list[int]]:
        """The ids of a word's pieces, and how many characters each stands for: its length without the mark ``@@``."""
        if word not in self._word_pieces:
            pieces = self.tokenizer.bpe(word).split(" ")
            lengths = [len(piece) - 2 for piece in pieces[:-1]] + [len(pieces[-1])]
            if len(self._word_pieces) >= CACHED_WORDS:
                self._word_pieces.clear()
                self.tokenizer.cache.clear()  # the tokenizer's cache of words has no limit
            self._word_pieces[word] = self.tokenizer.convert_tokens_to_ids(pieces), lengths
        return self._word_pieces[word]

    def template(self, texts: int) -> Template:
        """The special tokens of one text or of a pair.

        Args:
            texts: 1 or 2.
        """
        specials: list[tuple[int, ...]] = [()]
        special_types: list[tuple[int, ...]] = [()]
        text_types = []
        previous = None
        for token, text, token_type in self._example(texts):
            if text is None:
                specials[-1] += (token,)
                special_types[-1] += (token_type,)
            elif text != previous:
                text_types.append(token_type)
                specials.append(())
                special_types.append(())
            previous = text
        return Template(tuple(specials), tuple(special_types), tuple(text_types))

    def _example(self, texts: int) -> Iterable[tuple[int, int | None, int]]:
        """Tokens of the shortest texts: id, number of the text (None for special tokens), and token type."""
        if self.tokenizer.is_fast:
            encoding = self.tokenizer(*["a", "a"][:texts], return_token_type_ids=True, verbose=False)
            return zip(encoding["input_ids"], encoding.sequence_ids(0), encoding["token_type_ids"], strict=True)
        placeholders = [[-1], [-2]]  # ids of no vocabulary, which mark the texts
        ids = self.tokenizer.build_inputs_with_special_tokens(*placeholders[:texts])
        text_numbers = map({-1: 0, -2: 1}.get, ids)
        return zip(ids, text_numbers, [0] * len(ids), strict=True)


def _tokenized_text(segmented: SegmentedText, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> TokenizedText:
    starts, ends = segmented.to_raw(np.array(spans, dtype=np.int64).reshape(-1, 2))
    return TokenizedText(segmented.raw, np.array(ids, np.int32), starts.astype(np.int32), ends.astype(np.int32))
