"""Some sentences of a passage as one text, with the mapping of positions between both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdda.text.segment import Span


class _Stretch(NamedTuple):
    """A kept stretch of the passage.

    Attributes:
        start, end: in the shortened text.
        offset: what is added to a position there to get that in the passage.
    """

    start: int
    end: int
    offset: int


@dataclass(frozen=True)
class ShortenedContext:
    """Some sentences of a passage, and the way back.

    Attributes:
        text: the kept stretches of the passage, joined by one space.
        raw: the passage.
        spans: of the stretches in the passage; neighbouring sentences are one stretch, with the white space between.
    """

    text: str
    raw: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, raw: str, sentences: Sequence[Span]) -> ShortenedContext:
        """The shortened context of a passage.

        Args:
            sentences: the spans to keep, in the order of the passage.

        >>> ShortenedContext.of("A b. C d. E f.", [(0, 4), (10, 14)]).text
        'A b. E f.'
        """
        spans: list[Span] = []
        for start, end in sentences:
            if spans and not raw[spans[-1][1] : start].strip():
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        text = " ".join(raw[start:end] for start, end in spans)
        return cls(text, raw, tuple(spans))

    @classmethod
    def whole(cls, raw: str) -> ShortenedContext:
        """A passage that is not shortened."""
        return cls(raw, raw, ((0, len(raw)),))

    @property
    def _stretches(self) -> list[_Stretch]:
        """The kept stretches with their positions in both texts."""
        stretches = []
        position = 0
        for start, end in self.spans:
            length = end - start
            stretches.append(_Stretch(position, position + length, start - position))
            position += length + 1
        return stretches

    def to_raw(self, start: int, end: int) -> Span:
        """A span of the shortened text as a span of the passage with the same text.

        A span that crosses a join has no equal in the passage: the longest of its parts is taken, of equals the first.
        A span of nothing but a join becomes an empty one.

        >>> short = ShortenedContext.of("A b. C d. E f.", [(0, 4), (10, 14)])
        >>> short.to_raw(5, 6), short.to_raw(2, 9)
        ((10, 11), (10, 14))
        """
        longest: Span | None = None
        for stretch in self._stretches:
            if start < stretch.end and stretch.start < end:
                part_start = max(start, stretch.start) + stretch.offset
                part_end = min(end, stretch.end) + stretch.offset
                if longest is None or part_end - part_start > longest[1] - longest[0]:
                    longest = (part_start, part_end)
        return longest or (0, 0)

    def to_short(self, start: int, end: int) -> Span | None:
        """A span of the passage in the shortened text; `None` where not all of it was kept."""
        for stretch in self._stretches:
            short_start = start - stretch.offset
            short_end = end - stretch.offset
            if stretch.start <= short_start and short_end <= stretch.end:
                return short_start, short_end
        return None
