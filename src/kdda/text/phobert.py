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
    symbols = [*word[:-1], word[-1] + END_OF_WORD]
    following = list(range(1, len(symbols) + 1))  # index of the next symbol
    preceding = list(range(-1, len(symbols) - 1))
    queue: list[tuple[int, int, str, str]] = []  # rank of a pair, index of its first symbol, the pair

    def add_pair(first: int) -> None:
        """Put the pair that begins with a symbol into the queue, if it may be merged."""
        if first < 0 or following[first] >= len(symbols):
            return
        pair = symbols[first], symbols[following[first]]
        if pair in ranks:
            heapq.heappush(queue, (ranks[pair], first, *pair))

    for index in range(len(symbols)):
        add_pair(index)
    while queue:
        rank = queue[0][0]
        merged = []
        while queue and queue[0][0] == rank:
            _, first, left, right = heapq.heappop(queue)
            second = following[first]
            if symbols[first] != left or second >= len(symbols) or symbols[second] != right:
                continue  # one of the two has been merged since
            symbols[first] = left + right
            symbols[second] = ""
            following[first] = following[second]
            if following[first] < len(symbols):
                preceding[following[first]] = first
            merged.append(first)
        for first in merged:
            if symbols[first]:
                add_pair(preceding[first])
                add_pair(first)
    pieces = []
    for symbol in symbols:
        if symbol:
            pieces.append(symbol + CONTINUED)
    pieces[-1] = pieces[-1].removesuffix(END_OF_WORD + CONTINUED)
    return pieces
