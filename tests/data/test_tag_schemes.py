"""Tags of every scheme as seqeval reads them, whose counts of entities are recorded here."""

from __future__ import annotations

import random

import pytest

from kdda.data.tag_schemes import BadTagError, Run, bio_tags, count_repaired, labels_of, output_names, parse_tags, runs
from kdda.metrics.entities import SpanCounts, f1_standard_error, total

TAGS = {
    "bio": ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "bioes": ["O", "O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "E-LOC"],
    "io": ["O", "I-PER", "I-LOC"],
}

# What seqeval 1.2.2 computes of `golds` and `noisy`: precision, recall and F1 of all entities and of each label.
SEQEVAL = {
    "bio": {
        "": (0.8235294117647058, 0.802547770700637, 0.8129032258064517),
        "LOC": (0.7875, 0.8076923076923077, 0.7974683544303798),
        "PER": (0.863013698630137, 0.7974683544303798, 0.8289473684210525),
    },
    "bioes": {
        "": (0.8216216216216217, 0.8306010928961749, 0.8260869565217392),
        "LOC": (0.7586206896551724, 0.7857142857142857, 0.7719298245614034),
        "PER": (0.8503937007874016, 0.8503937007874016, 0.8503937007874016),
    },
    "io": {
        "": (0.7841726618705036, 0.7414965986394558, 0.7622377622377622),
        "LOC": (0.821917808219178, 0.75, 0.7843137254901962),
        "PER": (0.7424242424242424, 0.7313432835820896, 0.736842105263158),
    },
}


def golds(scheme: str) -> list[list[str]]:
    """Forty texts of random tags, most of which are no valid sequence."""
    chance = random.Random(f"{scheme}/1")
    return [[chance.choice(TAGS[scheme]) for _ in range(chance.randint(1, 12))] for _ in range(40)]


def noisy(scheme: str) -> list[list[str]]:
    """The same with a fifth of the tags drawn anew."""
    chance = random.Random(f"{scheme}/noise")
    return [[tag if chance.random() < 0.8 else chance.choice(TAGS[scheme]) for tag in row] for row in golds(scheme)]


def entities(tags: list[str], label: str) -> list[Run]:
    return [run for run in runs(parse_tags(tags)) if label in ("", run.label)]


@pytest.mark.parametrize("label", ["", "LOC", "PER"])
@pytest.mark.parametrize("scheme", TAGS)
def test_scores_are_those_of_seqeval(scheme: str, label: str) -> None:
    pairs = zip(noisy(scheme), golds(scheme), strict=True)
    counts = [SpanCounts.of(entities(predicted, label), entities(gold, label)) for predicted, gold in pairs]
    whole = total(counts)
    expected = [100 * score for score in SEQEVAL[scheme][label]]
    assert [whole.precision, whole.recall, whole.f1] == pytest.approx(expected)
    assert 0 < f1_standard_error(counts) < 10


def test_scores_of_nothing_are_0() -> None:
    nothing = SpanCounts.of([], [])
    assert (nothing.precision, nothing.recall, nothing.f1, f1_standard_error([nothing])) == (0, 0, 0, 0)


def test_an_inside_without_a_begin_begins_a_span_and_is_counted() -> None:
    tags = parse_tags(["I-PER", "I-PER", "O", "E-LOC", "B-PER", "I-LOC"])
    assert runs(tags) == [Run(0, 2, "PER"), Run(3, 4, "LOC"), Run(4, 5, "PER"), Run(5, 6, "LOC")]
    assert count_repaired(tags) == 3


def test_tags_without_prefix_are_io_and_prefixes_alone_have_the_label_that_is_given() -> None:
    assert runs(parse_tags(["PER", "PER", "O", "LOC"])) == [Run(0, 2, "PER"), Run(3, 4, "LOC")]
    assert runs(parse_tags(["B", "I", "O", "B"], bare="HATE")) == [Run(0, 2, "HATE"), Run(3, 4, "HATE")]
    assert runs(parse_tags(["B-cell", "O"], "io")) == [Run(0, 1, "B-cell")]


@pytest.mark.parametrize("tags", [["B-PER", "PER"], ["B-PER", "X-PER"], ["B-", "O"], ["B-PER", ""]])
def test_an_unknown_scheme_is_refused(tags: list[str]) -> None:
    with pytest.raises(BadTagError, match="no tag of a scheme that kdda reads"):
        parse_tags(tags)


def test_a_scheme_that_is_named_is_the_only_one() -> None:
    with pytest.raises(BadTagError, match='"E-PER" is no tag of a scheme that kdda reads: bio has O, B-LABEL, I-LABEL'):
        parse_tags(["B-PER", "E-PER"], "bio")


def test_bio_tags_and_their_runs_are_inverse() -> None:
    for scheme in TAGS:
        for row in golds(scheme):
            found = runs(parse_tags(row))
            assert runs(parse_tags(bio_tags(len(row), found))) == found


def test_a_head_has_two_tags_a_label() -> None:
    names = output_names(["LOC", "PER"])
    assert names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"] and labels_of(names) == ["LOC", "PER"]
    assert output_names(names) == names
