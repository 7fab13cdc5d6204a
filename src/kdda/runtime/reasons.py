"""Rows and files that are left out or bad, grouped by reason, a line each: 5 places (`NAMED_PLACES`) and a count."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAMED_PLACES = 5  # of each reason; the others are counted

NAMED_REASONS = 5  # lines about bad rows in a message

# A row's place, as readers write it: `rows.csv:12` or `rows.xlsx, row 12`.
LINE = re.compile(r"(?P<file>.*):(?P<number>\d+)", re.S)
ROW = re.compile(r"(?P<file>.*), row (?P<number>\d+)", re.S)


@dataclass
class Group:
    """Places with one reason: the first of them, and how many there are."""

    places: list[str] = field(default_factory=list)
    count: int = 0

    def listed(self, more: str = "more") -> str:
        """The places, the last one after "and": ``3, 7 and 9``, or the number of those that are not named."""
        *others, last = self.places
        if self.count > len(self.places):
            others = self.places
            last = f"{self.count - len(self.places):,} {more}"
        if not others:
            return last
        return f"{', '.join(others)} and {last}"


class Reasons:
    """Why rows or files cannot be used, gathered one after another; in memory are the first places of each reason.

    >>> bad = Reasons()
    >>> for number in (3, 7, 9):
    ...     bad.add(f"rows.csv:{number}", '"label" is empty')
    >>> bad.lines()
    ['rows.csv: lines 3, 7 and 9: "label" is empty']
    """

    def __init__(self) -> None:
        """Start without any; `count` is the number of places."""
        self.count = 0
        self._groups: dict[tuple[str, str, str], Group] = {}

    def add(self, place: str, reason: str) -> None:
        """Add a row's place, or the name of a file, with its reason."""
        self.count += 1
        file, unit, name = "", "", place
        for kind, pattern in (("line", LINE), ("row", ROW)):
            match = pattern.fullmatch(place)
            if match is not None:
                file, unit, name = match["file"], kind, match["number"]
                break
        key = (file, unit, reason)
        if key not in self._groups and len(self._groups) > 10 * NAMED_REASONS:  # a reason a row: no more are kept
            return
        group = self._groups.setdefault(key, Group())
        group.count += 1
        if len(group.places) < NAMED_PLACES:
            group.places.append(name)

    def lines(self, most: int = 0) -> list[str]:
        """A line a reason, in the order in which they were seen.

        Args:
            most: lines at most; one more says how many rows or files the other reasons have. 0 for all.
        """
        lines: list[str] = []
        shown = 0
        for (file, unit, reason), group in self._groups.items():
            if most and len(lines) == most:
                break
            lines.append(f"{_place(file, unit, group)}: {reason}")
            shown += group.count
        if shown < self.count:
            lines.append(f"… and {self.count - shown:,} more")
        return lines


def _place(file: str, unit: str, group: Group) -> str:
    """The places of a group in words, after the file that they are in."""
    if not unit:
        return group.listed("more files")
    if group.count == 1:
        return f"{file}:{group.places[0]}" if unit == "line" else f"{file}, row {group.places[0]}"
    if unit == "line":
        return f"{file}: lines {group.listed()}"
    return f"{file}: rows {group.listed()}"
