"""The catalogue of translations, `vi.po`: read, and looked up for a whole text or for a message made of a template."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

CATALOGUE = Path(__file__).with_name("vi.po")

# Where a message that is no template as a whole may be made of two: `rows.csv:3: "label" is empty; leave it out`.
JOINTS = (": ", "; ", " — ", ". ", ", ", " (")

EDGES = " \n;:,.—"  # around a part of a message

# Stands before an entry of the context "label": a text that is translated where it is all of a text, such as the title
# of a column, and stays in the place of a message, where it may be somebody's name for something.
LABEL = "label\x04"

# Letters of a template that tell it from any sentence. One with fewer, such as `{name} is {what}`, fits most sentences,
# so that no English words may be left in its places.
TELLING = 12

# A template of two places with this many letters or fewer, such as `{first} of {second}`, fits far too much: only
# numbers and what is translated in turn may stand in them.
TINY = 6

WORDS = re.compile(r"\b[a-z]{2,},? [a-z]{2,}\b")  # English, and not a name or a number

# What stands in a place, by its name. A number or a language is one word: without that, `{language} teacher` fits all
# of "2 runs and 1 teacher", whose parts then come out in another order.
ONE_WORD = {"count": r"[\d,.]*?", "language": r"\S*?"}

ANYTHING = ".*?"

LOWER_CASE = re.compile(r"[a-z]{2}")

# The section of a recipe before a message about a field of it: `distill.options: …`
SECTION = re.compile(r"(distill|training|training\.arguments)\.(?=\w+: )")


def read_catalogue(path: Path = CATALOGUE) -> dict[str, str]:
    """Texts and templates → their translations, of a .po file; entries without a translation are left out.

    Texts of entries with a context have it before them, as `LABEL` is.
    """
    entries: dict[str, str] = {}
    parts = {"msgctxt": "", "msgid": "", "msgstr": ""}
    kind = ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        keyword, _, quoted = line.partition(" ")
        begins = keyword == "msgctxt" or (keyword == "msgid" and kind != "msgctxt")
        if begins:
            if parts["msgid"] and parts["msgstr"]:  # the entry before it is complete; the file's header has no msgid
                context = f"{parts['msgctxt']}\x04" if parts["msgctxt"] else ""
                entries[context + parts["msgid"]] = parts["msgstr"]
            parts = {"msgctxt": "", "msgid": "", "msgstr": ""}
        if keyword in parts:
            kind, line = keyword, quoted
        if line.startswith('"'):
            parts[kind] += literal_eval(line)
    return entries


ASSIGNMENT = re.compile(r"\S+ = \S+")  # names, such as `question = question`, which stay as they are


@dataclass(frozen=True)
class Template:
    """A message with places, such as ``no file "{name}"``, as a pattern that reads what stands in them.

    Attributes:
        text: the message, for `str.format`.
        translation: the same in translation, with the same names of places.
    """

    text: str
    translation: str

    @cached_property
    def weight(self) -> int:
        """Letters of the text outside its places: of two templates that fit, the one with more says more."""
        return sum(len(literal) for literal in self.literals)

    @cached_property
    def literals(self) -> list[str]:
        """What stands between the places, the longest first, which the fewest messages have; one at least."""
        parts = [literal for literal, *_ in Formatter().parse(self.text) if literal]
        return sorted(parts, key=len, reverse=True) or [""]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The text as a regular expression with a group a place."""
        expression = ""
        for literal, name, *_ in Formatter().parse(self.text):
            expression += re.escape(literal)
            if name:
                kind = ONE_WORD.get(name.rstrip("0123456789"), ANYTHING)
                expression += f"(?P<{name}>{kind})"
        return re.compile(expression, re.S)

    def match(self, message: str) -> dict[str, str] | None:
        """What stands in each place of a message that was made of this template; None of another message."""
        for literal in self.literals:
            if literal not in message:
                return None
        match = self.pattern.fullmatch(message)
        return None if match is None else match.groupdict()

    def swallows_a_place(self, values: Mapping[str, str]) -> bool:
        """Whether the first value, at the begin of a message, holds the place of the message, too: `a.yaml:3: "x"`."""
        if not self.text.startswith("{"):
            return False
        first = next(iter(values.values()), "")  # groups are in the order of the text
        return JOINTS[0] in first


class Translator:
    """Translations of texts that are known beforehand, and of messages that were made of a template.

    A message is recognised by the template that it fits, so that the code which raises it stays as it is. What stands
    in its places is translated in turn where it is known, and stays as it is where it is not, as names and numbers do.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.entries = entries
        self.templates: list[Template] = []
        for text, translation in entries.items():
            if "!r}" not in text and LABEL not in text:  # texts with !r are translated before their places are filled
                self.templates.append(Template(text.removesuffix("."), translation.removesuffix(".")))
        # Of two that fit alike, the longer one first, then the one whose places hold numbers.
        self.templates.sort(key=lambda template: (template.weight, "{count}" in template.text), reverse=True)
        self._longest_literals = [template.literals[0] for template in self.templates]
        self._translated: dict[str, tuple[int, str]] = {}

    def text(self, text: str) -> str:
        """The translation of a text as it stands in the catalogue; the text itself without one."""
        return self.entries.get(text, text)

    def message(self, message: str) -> str:
        """A message or a label in translation, line by line; lines that are not known stay as they are."""
        if LABEL + message in self.entries:
            return self.entries[LABEL + message]
        translated = []
        for line in message.split("\n"):
            is_row = line.startswith("| ")  # of a table in Markdown, whose cells were translated before it was aligned
            translated.append(line if is_row else self._phrase(line)[1])
        return "\n".join(translated)

    def _phrase(self, phrase: str) -> tuple[int, str]:
        """How many letters of a message or of a part of one were translated, and the translation."""
        core = phrase.strip(EDGES)
        if not re.search(r"[A-Za-z]{2}", core):
            return 0, phrase
        if core not in self._translated:
            self._translated[core] = self._best(core)
        count, translation = self._translated[core]
        start = phrase.index(core)
        return count, phrase[:start] + translation + phrase[start + len(core) :]

    def _best(self, core: str) -> tuple[int, str]:
        """Of all readings of a phrase, as one template or as two parts, the one with most letters translated."""
        if ASSIGNMENT.fullmatch(core):
            return len(core), core
        best = (0, core)
        # A place before a colon stays before it, whatever template the whole fits, too.
        for reading in [*self._parts(core, JOINTS[:1]), *self._whole(core), *self._parts(core, JOINTS[1:])]:
            if reading[0] > best[0]:
                best = reading
        return best

    def _whole(self, core: str) -> Iterator[tuple[int, str]]:
        """The phrase as each of the templates that it fits."""
        for template, literal in zip(self.templates, self._longest_literals, strict=True):
            if literal not in core:  # which `match` would find, too: nearly all templates end here
                continue
            values = template.match(core)
            if values is None or template.swallows_a_place(values):
                continue
            total = template.weight
            unknown = LOWER_CASE if total <= TINY and len(values) > 1 else WORDS
            is_known = True
            for name, value in values.items():
                count, values[name] = self._phrase(value)
                total += count
                is_known = is_known and (count > 0 or not unknown.search(value))
            if is_known or template.weight >= TELLING:
                yield total, template.translation.format(**values)

    def _parts(self, core: str, joints: Sequence[str]) -> Iterator[tuple[int, str]]:
        """The phrase as two parts, at the first of each kind of joint, or after the name of a section."""
        if core.endswith(")") and "(" not in core:
            count, translation = self._phrase(core[:-1])
            yield count, translation + ")"
        section = SECTION.match(core)
        if section is not None:
            count, translation = self._phrase(core[section.end() :])
            yield count, section[0] + translation
        for joint in joints:
            first, _, second = core.partition(joint)
            if second:
                before, after = self._phrase(first), self._phrase(second)
                yield before[0] + after[0], before[1] + joint + after[1]
