"""Tag schemes (BIO, BIOES, IO, spans): tags of words to runs of words and back, as seqeval reads them.

A tag is ``O``, or a label behind a prefix: ``B-PER`` begins, ``I-PER`` goes on, ``E-PER`` ends, ``S-PER`` is a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"  # the tag of a word without label

BARE = "SPAN"  # the label of spans whose rows name none, and of tags that are prefixes alone

# Scheme → the prefixes of its tags. In IO a tag is a label, perhaps behind "I-". Rows of "spans" have no tags.
SCHEMES: dict[str, tuple[str, ...]] = {
    "bio": ("B", "I"),
    "bioes": ("B", "I", "E", "S"),
    "io": ("I",),
    "spans": (),
}

PREFIXES = SCHEMES["bioes"]  # all that there are


class BadTagError(ValueError):
    """A tag that is none of its scheme; the message names it and says what is expected."""


class Tag(NamedTuple):
    """A tag in its two parts: a prefix of `PREFIXES` and a label; `OUTSIDE` with an empty label."""

    prefix: str
    label: str


class Run(NamedTuple):
    """A run of words with one label: its first word, and the one after its last."""

    first: int
    stop: int
    label: str


def parse_tags(tags: Sequence[str], scheme: str | None = None, bare: str = BARE) -> list[Tag]:
    """The tags of one text's words in their parts.

    Args:
        scheme: a key of `SCHEMES`; by default IO where no tag has a prefix, else BIOES, of which BIO is a part.
        bare: the label of tags that are prefixes alone, such as ``B``.

    Raises:
        BadTagError: a tag that is none of the scheme, or tags with and without prefixes in one text.

    >>> parse_tags(["B-PER", "I-PER", "O"])
    [Tag(prefix='B', label='PER'), Tag(prefix='I', label='PER'), Tag(prefix='O', label='')]
    """
    chosen = scheme or guess_scheme(tags)
    parsed = []
    for tag in tags:
        parsed.append(_parse(tag, chosen, bare))
    return parsed


def guess_scheme(tags: Sequence[str]) -> str:
    """The scheme that tags of a text are read by: "io" where none has a prefix, else "bioes", of which BIO is a part.

    >>> guess_scheme(["O", "PER"]), guess_scheme(["B-PER", "O"])
    ('io', 'bioes')
    """
    named = [tag for tag in tags if tag != OUTSIDE]
    if named and not any(map(_has_prefix, named)):
        return "io"
    return "bioes"


def _has_prefix(tag: str) -> bool:
    """Whether a tag is a prefix, or begins with one."""
    prefix, _, _ = tag.partition("-")
    return prefix in PREFIXES


def _parse(tag: str, scheme: str, bare: str) -> Tag:
    """One tag in its parts.

    Raises:
        BadTagError: it is none of the scheme.
    """
    if tag == OUTSIDE:
        return Tag(OUTSIDE, "")
    prefix, hyphen, label = tag.partition("-")
    if scheme == "io":
        if prefix == "I" and label:
            return Tag("I", label)
        return Tag("I", tag)
    if prefix in SCHEMES[scheme] and (label or not hyphen):
        return Tag(prefix, label or bare)
    raise BadTagError(_expected(tag, scheme))


def _expected(tag: str, scheme: str) -> str:
    """The message about a tag that is none of its scheme."""
    if scheme == "spans":
        return f'a tag ("{tag}"), but scheme spans reads rows with "spans"'
    forms = ", ".join(f"{prefix}-LABEL" for prefix in SCHEMES[scheme])
    return f'"{tag}" is no tag of a scheme that kdda reads: {scheme} has O, {forms} (io has LABEL alone)'


def runs(tags: Sequence[Tag]) -> list[Run]:
    """The runs of words that tags label, in order, as seqeval finds them.

    A run goes on at a word with ``I`` or ``E`` of the label that the word before has with ``B`` or ``I``; any other
    word with a label begins one. So an ``I`` without its ``B`` begins a run.

    Source: github.com/chakki-works/seqeval, ``get_entities`` in its default mode, whose numbers conlleval's are.

    >>> runs(parse_tags(["I-PER", "I-PER", "B-PER", "O", "I-LOC"]))
    [Run(first=0, stop=2, label='PER'), Run(first=2, stop=3, label='PER'), Run(first=4, stop=5, label='LOC')]
    """
    runs_so_far: list[Run] = []
    before = Tag(OUTSIDE, "")
    for word, tag in enumerate(tags):
        if _goes_on(before, tag):
            runs_so_far[-1] = runs_so_far[-1]._replace(stop=word + 1)
        elif tag.prefix != OUTSIDE:
            runs_so_far.append(Run(word, word + 1, tag.label))
        before = tag
    return runs_so_far


def count_repaired(tags: Sequence[Tag]) -> int:
    """How many tags go on or end (``I``, ``E``) where no run of their label stands open, and are read as its begin."""
    count = 0
    before = Tag(OUTSIDE, "")
    for tag in tags:
        count += tag.prefix in ("I", "E") and not _goes_on(before, tag)
        before = tag
    return count


def _goes_on(before: Tag, tag: Tag) -> bool:
    """Whether a word belongs to the run of the word before it."""
    return before.prefix in ("B", "I") and tag.prefix in ("I", "E") and before.label == tag.label


def bio_tags(count: int, labelled: Sequence[Run]) -> list[str]:
    """The BIO tags of so many words, of which some runs are labelled.

    >>> bio_tags(4, [Run(1, 3, "PER")])
    ['O', 'B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * count
    for first, stop, label in labelled:
        tags[first:stop] = [f"I-{label}"] * (stop - first)
        tags[first] = f"B-{label}"
    return tags


def output_names(labels: Sequence[str]) -> list[str]:
    """The tags that a head of these labels gives, which are always BIO; tags among them count for their labels.

    >>> output_names(["LOC", "PER"]), output_names(["O", "B-PER", "I-PER"])
    (['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER'], ['O', 'B-PER', 'I-PER'])
    """
    names = [OUTSIDE]
    for label in labels_of(labels):
        names += [f"B-{label}", f"I-{label}"]
    return names


def labels_of(names: Sequence[str]) -> list[str]:
    """The labels of tags, each once, in their order; where no name is ``O``, the names are labels already.

    >>> labels_of(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), labels_of(["PER", "LOC"])
    (['PER', 'LOC'], ['PER', 'LOC'])
    """
    if OUTSIDE not in names:
        return list(names)
    labels: dict[str, None] = {}
    for tag in parse_tags(names):
        if tag.label:
            labels[tag.label] = None
    return list(labels)
