"""Tokens of a text with their spans in the raw text, by fast tokenizers and by PhoBERT's slow one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from jaxtyping import Int, Int32
from numpy import ndarray

from kdda.errors import KddaError
from kdda.text.offsets import Offsets
from kdda.text.phobert import PhobertPieces
from kdda.text.segment import SegmentedText, segmented_text

_WORD = re.compile(r"\S+")

TRIED_PIECES = 10_000  # of a vocabulary at most, to make a text of which its tokenizer makes a token


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
        """The first token, and the one after the last, that contain any of the characters from `start` up to `end`."""
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
    """The special tokens around one text, or around and between two or three.

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
        name = type(tokenizer).__name__
        is_phobert = hasattr(tokenizer, "bpe") and "Phobert" in name
        if not tokenizer.is_fast and not is_phobert:
            raise KddaError(
                f"{name} is a slow tokenizer that gives no offsets of its tokens; use a checkpoint with a fast "
                "tokenizer (its folder has a tokenizer.json), or PhoBERT"
            )

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The tokens of each text, without special tokens or truncation.

        Raises:
            KddaError: the tokenizer gives offsets that are wrong and cannot be mended.
        """
        segmented = []
        for text in texts:
            segmented.append(segmented_text(text, self.segmenter, composed=not self.tokenizer.is_fast))
        if self.tokenizer.is_fast:
            return self._tokenize_fast(segmented)
        return list(map(self._tokenize_phobert, segmented))

    @cached_property
    def _offsets(self) -> Offsets:
        return Offsets(self.tokenizer)

    @cached_property
    def _phobert_pieces(self) -> PhobertPieces:
        return PhobertPieces(self.tokenizer)

    def _tokenize_fast(self, texts: list[SegmentedText]) -> list[TokenizedText]:
        """The tokens of texts by a fast tokenizer, many texts at once on every core."""
        encoding = self.tokenizer(
            [text.text for text in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,
        )
        ids = encoding["input_ids"]
        spans = self._offsets.checked([text.text for text in texts], ids, encoding["offset_mapping"])
        return list(map(_tokenized_text, texts, ids, spans))

    def _tokenize_phobert(self, segmented: SegmentedText) -> TokenizedText:
        """The tokens of a text by PhoBERT's tokenizer, which reads words and gives no offsets."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for word in _WORD.finditer(segmented.text):
            word_ids, lengths = self._phobert_pieces.pieces(word[0])
            ids += word_ids
            spans += pairwise(accumulate(lengths, initial=word.start()))
        return _tokenized_text(segmented, ids, np.array(spans, dtype=np.int64).reshape(-1, 2))

    def template(self, texts: int) -> Template:
        """The special tokens of one text, of two or of three.

        Tokenizers know one text and a pair. Of three texts, the third follows the second one as that follows the first,
        and has its token type.

        Args:
            texts: 1, 2 or 3.
        """
        if texts == 3:
            return _with_third_text(self.template(2))
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
        """Tokens of short texts: id, number of the text (None for special tokens), and token type."""
        if self.tokenizer.is_fast:
            encoding = self.tokenizer(*[self._readable_text] * texts, return_token_type_ids=True, verbose=False)
            return zip(encoding["input_ids"], encoding.sequence_ids(0), encoding["token_type_ids"], strict=True)
        placeholders = [[-1], [-2]]  # ids of no vocabulary, which mark the texts
        ids = self.tokenizer.build_inputs_with_special_tokens(*placeholders[:texts])
        text_numbers = map({-1: 0, -2: 1}.get, ids)
        return zip(ids, text_numbers, [0] * len(ids), strict=True)

    @cached_property
    def _readable_text(self) -> str:
        """A short text of which a fast tokenizer makes a token: a letter, or a piece of its vocabulary.

        Raises:
            KddaError: there is none among the pieces that are tried.
        """
        if self._makes_tokens("a"):
            return "a"
        special = set(self.tokenizer.all_special_ids)
        for token in range(min(len(self.tokenizer), TRIED_PIECES)):
            spelling = self._offsets.spelling(token)
            if token not in special and spelling:
                text = spelling.decode(errors="ignore").strip()
                if text and self._makes_tokens(text):
                    return text
        raise KddaError(f"{type(self.tokenizer).__name__} makes no token of any of its vocabulary's pieces")

    def _makes_tokens(self, text: str) -> bool:
        return bool(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _with_third_text(pair: Template) -> Template:
    """The template of three texts that a tokenizer's template of two stands for."""
    before, between, after = pair.specials
    types_before, types_between, types_after = pair.special_types
    first_type, second_type = pair.text_types
    types_again = []  # of the special tokens between the second and the third text
    for token_type in types_between:
        types_again.append(second_type if token_type == first_type else token_type)
    return Template(
        specials=(before, between, between, after),
        special_types=(types_before, types_between, tuple(types_again), types_after),
        text_types=(first_type, second_type, second_type),
    )


def _tokenized_text(segmented: SegmentedText, ids: Sequence[int], spans: Int[ndarray, "tokens 2"]) -> TokenizedText:
    starts, ends = segmented.to_raw(spans)
    return TokenizedText(segmented.raw, np.array(ids, np.int32), starts.astype(np.int32), ends.astype(np.int32))
