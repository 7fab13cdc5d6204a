"""`WordUnits`: the words of a tokenized text that get one label each, a token or several; spans to them and back.

A word is a run of letters, marks and digits; any other character is one by itself, and so is each token of a script
without spaces. It gets the label of its first token, as BERT's authors have it (Devlin et al. 2019, §5.3). A mark that
a vocabulary joins to a number, as XLM-R's does in ``2015.``, is no part of the word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from kdda.data.examples import LabelledSpan
from kdda.data.tag_schemes import Run
from kdda.text.scripts import script_of
from kdda.text.tokenize import TokenizedText

# Writing systems that put no spaces between words.
UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "MYANMAR", "KHMER", "TIBETAN"})


# Marks that end a sentence or a part of it.
STOPS = ".,;:!?"


class WordUnits:
    """The words of a text as a model's tokens make them.

    Args:
        part: the text in tokens.

    Attributes:
        tokens: the number of each word's first token.
        starts, ends: its characters, those of all its tokens, but for marks behind a number.
    """

    def __init__(self, part: TokenizedText):
        self.text = part.text
        first_tokens: list[int] = []
        ends: list[int] = []
        reach = 0  # the furthest end of the tokens so far
        for token, (start, end) in enumerate(zip(part.starts.tolist(), part.ends.tolist(), strict=True)):
            if start == end:
                continue  # a token without characters, such as the space that is put before a text
            if ends and _goes_on(part.text, reach, start):
                ends[-1] = max(ends[-1], end)
            else:
                first_tokens.append(token)
                ends.append(end)
            reach = max(reach, end)
        self.tokens: Int64[ndarray, " words"] = np.array(first_tokens, np.int64)
        self.starts: Int64[ndarray, " words"] = part.starts[self.tokens].astype(np.int64)
        for word, (start, end) in enumerate(zip(self.starts.tolist(), ends, strict=True)):
            ends[word] = _without_stop(part.text, start, end)
        self.ends: Int64[ndarray, " words"] = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self.tokens)

    def runs(self, spans: Iterable[LabelledSpan]) -> list[Run]:
        """The words of each span, in order; none of a span that no word is left for.

        A word that a span cuts belongs to the span that has most of its characters, of two alike to the first. So a
        span has every word that it shares with no other, whole.

        Args:
            spans: in order, without overlap.
        """
        shares: dict[int, int] = {}  # word → the most of its characters that a span has
        labelled: list[Run] = []
        for start, end, label in spans:
            first = int(np.searchsorted(self.ends, start, side="right"))
            stop = int(np.searchsorted(self.starts, end, side="left"))
            if first >= stop:
                continue
            share = self._share(first, start, end)
            if first in shares and labelled:  # the word that the span before ends in
                if share <= shares[first]:
                    first += 1
                elif labelled[-1].stop - labelled[-1].first == 1:
                    labelled.pop()
                else:
                    labelled[-1] = labelled[-1]._replace(stop=first)
            if first < stop:
                shares[stop - 1] = self._share(stop - 1, start, end)
                labelled.append(Run(first, stop, label))
        return labelled

    def _share(self, word: int, start: int, end: int) -> int:
        """How many characters of a word a span has."""
        return int(min(self.ends[word], end) - max(self.starts[word], start))

    def spans(self, labelled: Sequence[Run]) -> list[LabelledSpan]:
        """The characters of runs of words, from the first one's start to the last one's end."""
        spans = []
        for first, stop, label in labelled:
            spans.append(LabelledSpan(int(self.starts[first]), int(self.ends[stop - 1]), label))
        return spans


def _goes_on(text: str, reach: int, start: int) -> bool:
    """Whether a token belongs to the word that ends where the tokens before it end.

    Args:
        reach: the end of the tokens before it.
        start: of the token.
    """
    if start < reach:  # it shares a character, such as an emoji, of which each has some bytes
        return True
    return start == reach and _is_of_word(text[start - 1]) and _is_of_word(text[start])


def _without_stop(text: str, start: int, end: int) -> int:
    """The end of a word, before the marks that its last token has behind a number."""
    word = text[start:end].rstrip(STOPS)
    if word and word[-1].isdigit():
        return start + len(word)
    return end


def _is_of_word(character: str) -> bool:
    """Whether a character stands in words: a letter of a script with spaces, a mark or a digit."""
    if script_of(character) in UNSPACED:
        return False
    return character.isalnum() or unicodedata.category(character).startswith("M")
