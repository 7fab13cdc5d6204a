"""Offsets of a fast tokenizer's tokens, checked against the text: right, mended by alignment, or refused.

A byte-level tokenizer behind another pre-tokenizer, for one, gives offsets that are shifted. `Offsets.checked` compares
how many characters each token has with how many its slice has; only where these differ are the characters compared.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import regex
from jaxtyping import Bool, Int
from numpy import ndarray

from kdda.errors import KddaError

METASPACE = "\u2581"  # ▁, which SentencePiece writes for a space

# White space, marks, control and format characters: what normalizers may drop, add or move.
_INVISIBLE = regex.compile(rf"[\p{{Z}}\p{{M}}\p{{C}}{METASPACE}]+")

LOOKAHEAD = 64  # characters of a text that may be missing among the tokens before the next token that is recognised

UNKNOWN = -1  # the count of a token of which it is not known how many characters it stands for


class _Stream(NamedTuple):
    """Characters of a text, folded so that they compare with a tokenizer's, and the raw character that each is of."""

    characters: str
    places: list[int]


class Offsets:
    """The check of one tokenizer's offsets.

    Args:
        tokenizer: a fast tokenizer of transformers.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.backend = tokenizer.backend_tokenizer
        description = json.loads(self.backend.to_str())
        self._model = description["model"]
        self._is_byte_level = '"ByteLevel"' in json.dumps(
            [description["pre_tokenizer"], description["normalizer"], description["decoder"]]
        )
        self._added = {}  # id → content of tokens that are matched in the text before the model sees it
        for added in description["added_tokens"]:
            self._added[added["id"]] = added["content"]
        self._bytes: dict[int, bytes | None] = {}
        self._counts: dict[int, int] = {}

    def checked(
        self, texts: Sequence[str], ids: Sequence[Sequence[int]], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[Int[ndarray, "tokens 2"]]:
        """The spans of each text's tokens, as the tokenizer gives them where they are right, else mended.

        Args:
            texts: what was tokenized.
            ids: of each text's tokens.
            spans: their offsets by the tokenizer.

        Raises:
            KddaError: they are wrong, and the tokens do not spell the text either.
        """
        lengths = np.array([len(tokens) for tokens in ids], np.int64)
        numbers = chain.from_iterable(chain.from_iterable(spans))
        given = np.fromiter(numbers, np.int64, 2 * int(lengths.sum())).reshape(-1, 2)
        agree = self._counts_agree(texts, list(chain.from_iterable(ids)), given, lengths)
        checked = []
        for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
            checked.append(given[end - length : end])
        for number in np.flatnonzero(~agree).tolist():
            checked[number] = self._compared(texts[number], ids[number], checked[number])
        return checked

    def _counts_agree(
        self, texts: Sequence[str], ids: Sequence[int], spans: Int[ndarray, "tokens 2"], lengths: Int[ndarray, " texts"]
    ) -> Bool[ndarray, " texts"]:
        """Whether a text's spans are in order, hold all that is visible, and each as many characters as its token.

        Args:
            texts: which are joined here, so that all are checked by few operations.
            ids: of the tokens of all texts.
            spans: of these tokens, each in its text.
            lengths: how many tokens each text has.
        """
        text_starts, text_ends = _joined_places(texts)
        text_of = np.arange(len(texts)).repeat(lengths)  # of each token
        starts, ends = (spans + text_starts[text_of, None]).T  # in the joined text
        first, last = text_starts[text_of], text_ends[text_of]  # places that a token's span may have
        wrong = (starts < first) | (ends > last) | (ends < starts)
        if wrong.any():  # places that are not in the text cannot be looked up
            starts, ends = starts.clip(first, last), ends.clip(first, last)
        wrong[1:] |= starts[1:] < starts[:-1]  # the joined texts are in order as well

        before = _visible_before("".join(texts))
        counts = self._counts_of(ids)
        is_prefix = np.zeros(len(ids), bool)  # the space that is put before a text has the text's first character
        is_prefix[:-1] = (counts[:-1] == 0) & (starts[:-1] == starts[1:]) & (ends[:-1] == starts[:-1] + 1)
        wrong |= (before[ends] - before[starts] != counts) & (counts != UNKNOWN) & ~is_prefix

        # what is visible before a token and after the one before it, or after a text's last token
        reached = np.maximum.accumulate(ends)
        gap_starts = first.copy()
        gap_starts[1:] = np.maximum(reached[:-1], first[1:])
        wrong |= before[np.maximum(starts, gap_starts)] > before[gap_starts]
        text_reached = text_starts.copy()
        text_reached[text_of] = reached  # of several tokens, the last one counts
        agree: Bool[ndarray, " texts"] = before[text_ends] == before[text_reached]
        agree[text_of[wrong]] = False
        return agree

    def _counts_of(self, ids: Sequence[int]) -> Int[ndarray, " tokens"]:
        """`_count` of each token."""
        for token in set(ids).difference(self._counts):
            self._count(token)
        return np.fromiter(map(self._counts.__getitem__, ids), np.int64, len(ids))

    def _count(self, token: int) -> int:
        """How many visible characters a token stands for; `UNKNOWN` for unknown tokens and for parts of characters."""
        if token not in self._counts:
            spelling = self.spelling(token)
            count = UNKNOWN
            if spelling is not None:
                try:
                    count = int(_visible_before(spelling.decode())[-1])
                except UnicodeDecodeError:
                    count = UNKNOWN
            self._counts[token] = count
        return self._counts[token]

    def spelling(self, token: int) -> bytes | None:
        """What a token stands for in a text, in UTF-8, perhaps a part of a character; None for unknown tokens."""
        if token not in self._bytes:
            self._bytes[token] = self._read_spelling(token)
        return self._bytes[token]

    def _read_spelling(self, token: int) -> bytes | None:
        """`spelling`, read from the vocabulary by the rules of the tokenizer's kind (bytes, ``##``, ``▁``)."""
        name = self.backend.id_to_token(token)
        unknown_names = (self._model.get("unk_token"), getattr(self.tokenizer, "unk_token", None))
        if name is None or name in unknown_names or token in (self._model.get("unk_id"), self.tokenizer.unk_token_id):
            return None
        if token in self._added:
            return str(self._added[token]).encode()
        if self._is_byte_level:
            return _bytes_of(name)
        if self._model.get("byte_fallback") and len(name) == 6 and name.startswith("<0x"):
            return bytes([int(name[3:5], 16)])
        prefix = self._model.get("continuing_subword_prefix") or ""
        suffix = self._model.get("end_of_word_suffix") or ""
        return str(name).removeprefix(prefix).removesuffix(suffix).replace(METASPACE, " ").encode()

    # -- the slower comparison of characters

    def _compared(self, text: str, ids: Sequence[int], given: Int[ndarray, "tokens 2"]) -> Int[ndarray, "tokens 2"]:
        """Spans whose characters are those of their tokens: the given ones, and what is aligned between them."""
        units = self._units(ids)
        spans = np.zeros((len(units), 2), np.int64)
        is_right = np.zeros(len(units), bool)
        reached = 0  # the end of the last unit whose span is right
        for k, unit in enumerate(units):
            start, end = int(given[unit.first, 0]), int(given[unit.last, 1])
            spans[k] = start, end
            if start < 0 or end < start or end > len(text):
                continue
            if unit.characters == "":
                following = int(given[unit.last + 1, 0]) if k + 1 < len(units) else len(text)
                is_space = end <= following and not _folded(text[start:end])
                # the space that is put before a text has the text's first character
                is_right[k] = reached <= start and (is_space or start == following == end - 1)
            elif _reads(text[start:end], unit.characters):
                # several tokens may share a character, such as ½
                is_right[k] = reached <= start or start == reached - 1 == end - 1
                if is_right[k]:
                    reached = end
        if not is_right.all():
            self._align(text, units, spans, is_right)
        per_token = np.zeros((len(ids), 2), np.int64)
        for k, unit in enumerate(units):
            if is_right[k] and given[unit.first, 0] == spans[k, 0] and given[unit.last, 1] == spans[k, 1]:
                per_token[unit.first : unit.last + 1] = given[unit.first : unit.last + 1]
            else:
                per_token[unit.first : unit.last + 1] = spans[k]
        # spaces, whose offsets nothing in the text confirms, stand no later than what follows them
        starts = np.minimum.accumulate(per_token[::-1, 0])[::-1]
        for moved in np.flatnonzero(starts < per_token[:, 0]).tolist():
            per_token[moved, 0] = starts[moved]
            if self._count(ids[moved]) == 0:
                per_token[moved, 1] = starts[moved]
        return per_token

    def _units(self, ids: Sequence[int]) -> list[_Unit]:
        """The tokens one by one, but together where several share the bytes of one character."""
        units: list[_Unit] = []
        spelling = b""
        first = 0
        for k, token in enumerate(ids):
            part = self.spelling(token)
            if part is None:
                if k > first:
                    units.append(_Unit(first, k - 1, _folded(spelling.decode(errors="ignore"))))
                units.append(_Unit(k, k, None))
                first, spelling = k + 1, b""
                continue
            spelling += part
            if _is_whole(spelling) and not self._goes_on(ids, k):
                units.append(_Unit(first, k, _folded(spelling.decode(errors="ignore"))))
                first, spelling = k + 1, b""
        if first < len(ids):
            units.append(_Unit(first, len(ids) - 1, _folded(spelling.decode(errors="ignore"))))
        return units

    def _goes_on(self, ids: Sequence[int], k: int) -> bool:
        """Whether the next token begins inside a character."""
        following = self.spelling(ids[k + 1]) if k + 1 < len(ids) else None
        if not following:
            return False
        return 0x80 <= following[0] < 0xC0  # bytes that UTF-8 has inside characters alone

    def _align(
        self, text: str, units: list[_Unit], spans: Int[ndarray, "units 2"], is_right: Bool[ndarray, " units"]
    ) -> None:
        """Give spans to the units whose offsets are wrong, between their neighbours whose offsets are right.

        Raises:
            KddaError: fewer than half of the units' characters are those of the text.
        """
        first = recognised = 0
        readable = 0
        for unit in units:
            readable += bool(unit.characters)
        while first < len(units):
            if is_right[first]:
                recognised += bool(units[first].characters)
                first += 1
                continue
            stop = first
            while stop < len(units) and not is_right[stop]:
                stop += 1
            start = int(spans[:first, 1].max(initial=0))
            end = int(spans[stop, 0]) if stop < len(units) else len(text)
            recognised += _place(text, start, max(start, end), units[first:stop], spans[first:stop])
            first = stop
        if recognised * 2 < readable:
            name = type(self.tokenizer).__name__
            raise KddaError(
                f"{name} gives wrong offsets of its tokens, and its tokens do not spell the text {text[:60]!r}, so "
                "that no answer or state can be traced to its place; use another checkpoint"
            )


class _Unit(NamedTuple):
    """Tokens from `first` to `last` of a text, and their characters, folded; None where they are unknown."""

    first: int
    last: int
    characters: str | None


def _place(text: str, start: int, end: int, units: Sequence[_Unit], spans: Int[ndarray, "units 2"]) -> int:
    """Write the spans of units that lie between two places of a text; returns how many were recognised there.

    A unit that is not recognised gets what is left between its neighbours.
    """
    stream = _stream(text, start, end)
    position = recognised = 0
    pending: list[int] = []  # units before the next one that is recognised
    reached = start

    def close_gap(gap_end: int) -> None:
        """Give the pending units, of which none was recognised, the text up to a place."""
        for index in pending:
            is_empty = units[index].characters == ""
            spans[index] = (reached, reached) if is_empty else (reached, max(reached, gap_end))
        pending.clear()

    for k, unit in enumerate(units):
        if not unit.characters:
            pending.append(k)
            continue
        limit = position + LOOKAHEAD + len(unit.characters)
        match = stream.characters.find(unit.characters, position, limit)
        if match < 0:
            pending.append(k)
            continue
        match_end = match + len(unit.characters)
        match_start = stream.places[match]
        close_gap(match_start)
        spans[k] = match_start, stream.places[match_end - 1] + 1
        reached = int(spans[k, 1])
        position = match_end
        recognised += 1
    close_gap(end)
    return recognised


def _reads(piece: str, characters: str | None) -> bool:
    """Whether a slice of a text reads as a token's characters; of unknown tokens, whether there is anything to read."""
    folded = _folded(piece)
    if characters is None:
        return bool(folded)
    if len(piece) == 1 and characters and characters in folded:  # a part of a character such as ½ or ﷺ
        return True
    return folded == characters


def _is_whole(spelling: bytes) -> bool:
    """Whether UTF-8 bytes end with a whole character."""
    try:
        spelling.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


def _stream(text: str, start: int, end: int) -> _Stream:
    """The folded characters of a part of a text, each with the place in the text that it comes from."""
    characters = []
    places = []
    for place in range(start, end):
        folded = _folded_character(text[place])
        characters.append(folded)
        places += [place] * len(folded)
    return _Stream("".join(characters), places)


def _folded(text: str) -> str:
    """A text's visible characters without what normalizers of tokenizers change: case, marks, compatible forms."""
    return "".join(map(_folded_character, text))


@lru_cache(maxsize=2**16)
def _folded_character(character: str) -> str:
    """One character in lower case, its parts decomposed, without marks and invisible ones."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    folded: str = _INVISIBLE.sub("", decomposed)
    return folded


@cache
def _visibility() -> Bool[ndarray, " codepoints"]:
    """For each Unicode code point: whether it is visible."""
    visible = np.ones(0x110000, bool)
    for invisible in _INVISIBLE.finditer("".join(map(chr, range(0x110000)))):
        visible[invisible.start() : invisible.end()] = False
    return visible


def _joined_places(texts: Sequence[str]) -> tuple[Int[ndarray, " texts"], Int[ndarray, " texts"]]:
    """Where each text begins and ends in all of them joined."""
    places = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=places[1:])
    return places[:-1], places[1:]


def _visible_before(text: str) -> Int[ndarray, "_"]:
    """For each position of a text, its end included: how many visible characters are before it."""
    codepoints = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    before = np.zeros(len(text) + 1, np.int64)
    np.cumsum(_visibility()[codepoints], out=before[1:])
    return before


def _bytes_of(name: str) -> bytes:
    """The bytes of a byte-level token's name."""
    table = _byte_table()
    spelling = b""
    for character in name:
        if character in table:
            spelling += table[character]
        else:
            spelling += character.encode()
    return spelling


@cache
def _byte_table() -> dict[str, bytes]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's table).

    Bytes that are printable in Latin-1 stand for themselves, the others are numbered from U+0100 on.
    """
    table = {}
    others = 0
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255:
            table[chr(byte)] = bytes([byte])
        else:
            table[chr(256 + others)] = bytes([byte])
            others += 1
    return table
