"""PhoBERT's pieces of words, as transformers' `PhobertTokenizer` makes them, in bounded time.

The marks ``</w>`` and ``@@`` of its vocabulary; 60,000 words are cached; words of more than 64 letters go a faster way.
"""

from __future__ import annotations

import heapq
from typing import Any

CACHED_WORDS = 60_000  # words whose pieces are cached, since words repeat

LONG_WORD = 64  # letters from which on the tokenizer's merging, which takes quadratic time, is not used

END_OF_WORD = "</w>"  # what the last symbol of a word carries in bpe.codes

CONTINUED = "@@"  # what a piece carries that is not the last of its word


class PhobertPieces:
    """Pieces of single words: ids, and how many characters each piece stands for.

    Args:
        tokenizer: a `PhobertTokenizer`.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._cache: dict[str, tuple[list[int], list[int]]] = {}

    def pieces(self, word: str) -> tuple[list[int], list[int]]:
        """The ids of a word's pieces, and the length of each: its characters without the mark `CONTINUED`."""
        if word in self._cache:
            return self._cache[word]
        if len(word) > LONG_WORD:
            names = _merged(word, self.tokenizer.bpe_ranks)
        else:
            names = self.tokenizer.bpe(word).split(" ")
        lengths = []
        for name in names[:-1]:
            lengths.append(len(name) - len(CONTINUED))
        lengths.append(len(names[-1]))
        if len(self._cache) >= CACHED_WORDS:
            self._cache.clear()
            self.tokenizer.cache.clear()  # the tokenizer's cache of words has no limit
        self._cache[word] = self.tokenizer.convert_tokens_to_ids(names), lengths
        return self._cache[word]


def _merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The pieces of a word by byte-pair merging, equal to those of `PhobertTokenizer.bpe`, in n log n steps.

    As there, all pairs of the lowest rank are merged from left to right before pairs that this makes are looked at.

    Args:
        word: of two letters or more.
        ranks: of each pair of symbols that may be merged; lower ones first.
    """
    symbols = _Symbols(word, ranks)
    while symbols.queue:
        rank = symbols.queue[0][0]
        merged = []
        while symbols.queue and symbols.queue[0][0] == rank:
            _, first, left, right = heapq.heappop(symbols.queue)
            if symbols.merge(first, left, right):
                merged.append(first)
        for first in merged:
            symbols.add_pair(symbols.preceding[first])
            symbols.add_pair(first)
    pieces = []
    for symbol in symbols.symbols:
        if symbol:
            pieces.append(symbol + CONTINUED)
    pieces[-1] = pieces[-1].removesuffix(END_OF_WORD + CONTINUED)
    return pieces


class _Symbols:
    """The symbols of a word as a doubly linked list, and a queue of the pairs that may be merged.

    Attributes:
        symbols: at first the letters; a symbol that was merged into the one before it is empty.
        following: index of the symbol after each one; the length of the word after the last.
        preceding: index of the symbol before each one; -1 before the first.
        queue: a heap of pairs: rank, index of the first symbol, the two symbols.
    """

    def __init__(self, word: str, ranks: dict[tuple[str, str], int]):
        self.ranks = ranks
        self.symbols = [*word[:-1], word[-1] + END_OF_WORD]
        self.following = list(range(1, len(word) + 1))
        self.preceding = list(range(-1, len(word) - 1))
        self.queue: list[tuple[int, int, str, str]] = []
        for index in range(len(word)):
            self.add_pair(index)

    def add_pair(self, first: int) -> None:
        """Put the pair that begins with a symbol into the queue, if there is one and it may be merged."""
        if first < 0 or not self.symbols[first] or self.following[first] >= len(self.symbols):
            return
        pair = self.symbols[first], self.symbols[self.following[first]]
        if pair in self.ranks:
            heapq.heappush(self.queue, (self.ranks[pair], first, *pair))

    def merge(self, first: int, left: str, right: str) -> bool:
        """Merge a symbol with the next one; False, and nothing is done, where one of them has been merged since."""
        second = self.following[first]
        if self.symbols[first] != left or second >= len(self.symbols) or self.symbols[second] != right:
            return False
        self.symbols[first] = left + right
        self.symbols[second] = ""
        self.following[first] = self.following[second]
        if self.following[first] < len(self.symbols):
            self.preceding[self.following[first]] = first
        return True
