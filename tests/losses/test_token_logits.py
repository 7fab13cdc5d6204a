"""kd-logits of tokens: which places of two models are compared, what a later word of a span is, and its gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations, TokenLogits

KD = OBJECTIVES["kd-logits"]
BEGIN, INSIDE = 1, 2  # of the classes O, B, I
O_B_I = (0, INSIDE, INSIDE)
SETTINGS = ObjectiveSettings(temperature=2.0)
STUDENT = [[(0, 2), (3, 6), (7, 9)], [(0, 2), (0, 0), (0, 0)]]
TEACHER = [[(0, 6), (7, 9)], [(0, 1), (1, 2)]]


def side(
    characters: list[list[tuple[int, int]]], seed: int, inside: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
) -> Representations:
    """Random logits of three classes at places."""
    places = torch.tensor(characters)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*places.shape[:2], 3, generator=generator, dtype=dtype)
    states = torch.randn(len(places), 2, 4, generator=generator, dtype=dtype)
    return Representations(states, token_logits=TokenLogits(values, places, inside))


def divergence(ours: torch.Tensor, theirs: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """T²·KL of one pair of logits, by its formula; theirs may be probabilities of 0."""
    return (
        temperature**2 * torch.special.entr(theirs).neg().sum()
        - temperature**2 * (theirs * (ours / temperature).log_softmax(-1)).sum()
    )


def test_each_word_is_compared_with_the_teachers_word_that_covers_its_first_character() -> None:
    student, teacher = side(STUDENT, 0), side(TEACHER, 1)
    ours, theirs = student.token_logits.values, (teacher.token_logits.values / 2).softmax(-1)
    pairs = [divergence(ours[0, 0], theirs[0, 0]), divergence(ours[0, 1], theirs[0, 0])]
    pairs.append(divergence(ours[0, 2], theirs[0, 1]))
    want = torch.stack([sum(pairs) / 3, divergence(ours[1, 0], theirs[1, 0])])
    assert torch.allclose(KD(student, teacher, SETTINGS).value, want)


def test_the_begin_of_a_span_is_its_inside_where_the_students_word_starts_in_the_middle() -> None:
    student, teacher = side(STUDENT, 0), side(TEACHER, 1, O_B_I)
    ours, theirs = student.token_logits.values, (teacher.token_logits.values / 2).softmax(-1)
    moved = torch.stack([theirs[0, 0, 0], torch.tensor(0.0, dtype=torch.float64), theirs[0, 0, 1] + theirs[0, 0, 2]])
    pairs = [divergence(ours[0, 0], theirs[0, 0]), divergence(ours[0, 1], moved), divergence(ours[0, 2], theirs[0, 1])]
    value = KD(student, teacher, SETTINGS).value
    assert torch.allclose(value[0], sum(pairs) / 3)
    assert torch.allclose(value[1], KD(student, side(TEACHER, 1), SETTINGS).value[1])


def test_equal_logits_at_equal_places_give_nothing_and_words_without_a_counterpart_do_not_count() -> None:
    for dtype in (torch.float32, torch.float64):
        one = side(STUDENT, 0, O_B_I, dtype)
        assert KD(one, one, SETTINGS).value.abs().max() < 1e-6
    logits = side(STUDENT, 0).token_logits
    cut = replace(side(STUDENT, 0), token_logits=TokenLogits(logits.values[:, :1], logits.characters[:, :1]))
    other = side(STUDENT, 1)
    theirs = (other.token_logits.values / 2).softmax(-1)
    value = KD(
        side(STUDENT, 0),
        replace(
            other, token_logits=TokenLogits(other.token_logits.values[:, :1], other.token_logits.characters[:, :1])
        ),
        SETTINGS,
    ).value
    assert torch.allclose(value[0], divergence(logits.values[0, 0], theirs[0, 0]))
    assert torch.allclose(KD(cut, other, SETTINGS).value, value)


def test_a_batch_without_common_words_is_zero_with_gradient_zero() -> None:
    for places in ([[(20, 24)], [(20, 24)]], [[], []]):
        student = side(STUDENT, 0)
        student.token_logits.values.requires_grad_()
        characters = torch.tensor(places, dtype=torch.int64).reshape(2, -1, 2)
        values = torch.zeros(2, characters.shape[1], 3, dtype=torch.float64)
        teacher = replace(side(TEACHER, 1), token_logits=TokenLogits(values, characters, O_B_I))
        value = KD(student, teacher, SETTINGS).value
        value.sum().backward()
        assert value.tolist() == [0, 0] and student.token_logits.values.grad.abs().max() == 0
        assert KD(teacher, student, SETTINGS).value.tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [0.5, 2.0, 1e9])
def test_its_gradient_is_that_of_its_values(temperature: float) -> None:
    student, teacher = side(STUDENT, 0), side(TEACHER, 1, O_B_I if temperature < 1e9 else ())
    settings = ObjectiveSettings(temperature=temperature)

    def value(logits: torch.Tensor) -> torch.Tensor:
        ours = TokenLogits(logits, student.token_logits.characters)
        return KD(replace(student, token_logits=ours), teacher, settings).value

    assert torch.autograd.gradcheck(value, student.token_logits.values.requires_grad_())


def test_it_is_added_to_an_objective_of_states() -> None:
    student, teacher = side(STUDENT, 0), side(TEACHER, 1, O_B_I)
    both = DistillationLoss("mse-pooled", logit_weight=0.5).divergence([student], [teacher]).mean
    states = DistillationLoss("mse-pooled").divergence([student], [teacher]).mean
    logits = DistillationLoss("kd-logits").divergence([student], [teacher]).mean
    assert torch.allclose(both, states + 0.5 * logits)


def test_other_classes_and_values_that_are_not_finite_are_refused() -> None:
    student, teacher = side(STUDENT, 0), side(TEACHER, 1)
    fewer = replace(teacher, token_logits=replace(teacher.token_logits, values=teacher.token_logits.values[..., :2]))
    with pytest.raises(
        ValueError, match=r"same classes of the same texts: got student \[2, 3, 3\] and teacher \[2, 2, 2\]"
    ):
        KD(student, fewer, SETTINGS)
    student.token_logits.values[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"the student's logits .* hold NaN or inf: first in row 1"):
        KD(student, teacher, SETTINGS)
    with pytest.raises(ValueError, match="this teacher gives none"):
        KD(side(STUDENT, 0), replace(teacher, token_logits=None), SETTINGS)


NOWHERE = (-1, 0)  # before the text: a reader's first token
EDGES = ("first", "last")
# a student's syllables, and a teacher's words: two syllables, half a syllable, half a syllable and the rest
READER = [[NOWHERE, (0, 2), (3, 6), (7, 9)], [NOWHERE, (0, 2), (0, 0), (0, 0)]]
WORDS = [[NOWHERE, (0, 6), (7, 8), (8, 9)], [NOWHERE, (0, 1), (1, 2), (0, 0)]]


def reader(characters: list[list[tuple[int, int]]], seed: int, dtype: torch.dtype = torch.float64) -> Representations:
    """Random logits of start and end at places."""
    places = torch.tensor(characters, dtype=torch.int64).reshape(len(characters), -1, 2)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*places.shape[:2], 2, generator=generator, dtype=dtype)
    states = torch.zeros(len(characters), 2, 4, dtype=dtype)
    return Representations(states, token_logits=TokenLogits(values, places, edges=EDGES))


def test_a_probability_of_a_start_goes_to_the_token_of_its_first_character_and_of_an_end_to_that_of_its_last() -> None:
    student, teacher = reader(READER, 0), reader(WORDS, 1)
    ours, theirs = student.token_logits.values, teacher.token_logits.values / 2
    start, end = theirs[0].softmax(0).unbind(-1)
    zero = torch.zeros((), dtype=torch.float64)
    moved_start = torch.stack([start[0], start[1], zero, start[2] + start[3]])
    moved_end = torch.stack([end[0], zero, end[1], end[2] + end[3]])
    want = (divergence(ours[0, :, 0], moved_start) + divergence(ours[0, :, 1], moved_end)) / 2
    start, end = theirs[1, :3].softmax(0).unbind(-1)
    want_second = divergence(ours[1, :2, 0], torch.stack([start[0], start[1] + start[2]]))
    want_second = want_second + divergence(ours[1, :2, 1], torch.stack([end[0], end[1] + end[2]]))
    value = KD(student, teacher, SETTINGS).value
    assert torch.allclose(value, torch.stack([want, want_second / 2]))


def test_what_a_reader_has_not_in_its_window_is_left_out_and_the_rest_adds_up_to_one() -> None:
    student = reader([[NOWHERE, (3, 6), (7, 9)]], 0)
    teacher = reader([[NOWHERE, (0, 2), (3, 6), (7, 9)]], 1)
    start, end = (teacher.token_logits.values[0, [0, 2, 3]] / 2).softmax(0).unbind(-1)
    ours = student.token_logits.values[0]
    want = (divergence(ours[:, 0], start) + divergence(ours[:, 1], end)) / 2
    assert torch.allclose(KD(student, teacher, SETTINGS).value, want[None])


def test_a_teacher_that_says_nothing_of_no_answer_leaves_the_students_as_it_is() -> None:
    student = reader([[NOWHERE, (0, 2), (3, 6)]], 0)
    logits = student.token_logits
    alone = replace(
        student, token_logits=replace(logits, values=logits.values[:, 1:], characters=logits.characters[:, 1:])
    )
    teacher = reader([[(0, 2), (3, 6)]], 1)
    assert torch.allclose(KD(student, teacher, SETTINGS).value, KD(alone, teacher, SETTINGS).value)


def test_bytes_of_one_character_give_its_start_to_the_first_and_its_end_to_the_last() -> None:
    student = reader([[NOWHERE, (0, 1), (0, 1), (1, 2)]], 0)
    teacher = reader([[NOWHERE, (0, 1), (1, 2)]], 1)
    start, end = (teacher.token_logits.values[0] / 2).softmax(0).unbind(-1)
    zero = torch.zeros((), dtype=torch.float64)
    ours = student.token_logits.values[0]
    want = divergence(ours[:, 0], torch.stack([start[0], start[1], zero, start[2]]))
    want = want + divergence(ours[:, 1], torch.stack([end[0], zero, end[1], end[2]]))
    assert torch.allclose(KD(student, teacher, SETTINGS).value, want[None] / 2)


def test_readers_that_agree_give_nothing_and_texts_without_common_places_give_no_gradient() -> None:
    for dtype in (torch.float32, torch.float64):
        one = reader(READER, 0, dtype)
        assert KD(one, one, SETTINGS).value.abs().max() < 1e-6
    student = reader(READER, 0)
    student.token_logits.values.requires_grad_()
    for characters in ([[(20, 22)], [(20, 22)]], [[(0, 0)], [(0, 0)]], [[], []]):
        value = KD(student, reader(characters, 1), SETTINGS).value
        value.sum().backward()
        assert value.tolist() == [0, 0] and student.token_logits.values.grad.abs().max() == 0
        assert KD(reader(characters, 1), student, SETTINGS).value.tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_readers_gradient_is_that_of_its_values(temperature: float) -> None:
    student, teacher = reader(READER, 0), reader(WORDS, 1)

    def value(logits: torch.Tensor) -> torch.Tensor:
        ours = replace(student.token_logits, values=logits)
        return KD(replace(student, token_logits=ours), teacher, ObjectiveSettings(temperature=temperature)).value

    assert torch.autograd.gradcheck(value, student.token_logits.values.requires_grad_())


def test_classes_without_an_edge_are_refused() -> None:
    logits = side(STUDENT, 0).token_logits
    with pytest.raises(ValueError, match="edges: got 2, expected one for each of the 3 classes"):
        replace(logits, edges=EDGES)
