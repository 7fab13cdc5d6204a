"""Words in place of tokens: means of the tokens that lie in them, the same on both sides."""

from dataclasses import replace

import pytest
import torch

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.losses.words import as_words

WORDS = torch.tensor([[[0.0, 2.0], [3.0, 7.0], [8.0, 9.0]], [[0.0, 4.0], [5.0, 6.0], [0.0, 0.0]]])


def side(states, places, mask=None, words=None):
    return Representations(states, mask, places=torch.tensor(places), words=words)


@pytest.fixture
def student():
    """Two texts of three tokens and two; the second token of the first text has a part of two words."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    places = [[[0.0, 2.0], [3.0, 5.0], [5.0, 9.0]], [[0.0, 4.0], [5.0, 6.0], [0.0, 0.0]]]
    return side(states, places, torch.tensor([[True, True, True], [True, True, False]]), WORDS)


@pytest.fixture
def teacher():
    """One token over the first two words, which are all that it reads of the first text."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
    places = [[[0.0, 7.0], [0.0, 0.0]], [[0.0, 4.0], [5.0, 6.0]]]
    return side(states, places, torch.tensor([[True, False], [True, True]]))


def test_a_words_state_is_the_mean_of_its_tokens_by_shared_characters(student, teacher):
    ours, theirs = as_words(student, teacher)
    x, y = student.states, teacher.states
    assert torch.allclose(ours.states[0], torch.stack([x[0, 0], (x[0, 1] + x[0, 2]) / 2, x[0, 2]]))
    assert torch.allclose(theirs.states[0, :2], y[0, 0].expand(2, 4))  # as of PhoBERT's words of two syllables
    assert torch.equal(ours.places, WORDS) and torch.equal(theirs.places, WORDS)


def test_a_word_that_a_side_does_not_read_has_no_mass_there(student, teacher):
    ours, theirs = as_words(student, teacher)
    assert ours.mask.tolist() == [[True, True, True], [True, True, False]]
    assert theirs.mask.tolist() == [[True, True, False], [True, True, False]]


def test_a_token_divides_its_mass_among_its_words(student, teacher):
    masses = torch.tensor([[0.2, 0.3, 0.5], [0.4, 0.6, 0.0]], dtype=torch.float64)
    ours, _ = as_words(replace(student, mask=masses), teacher)
    # of the third token, which lies from 5 to 9, two characters are the second word's and one the third's
    expected = [[0.2, 0.3 + 0.5 * 2 / 3, 0.5 / 3], [0.4, 0.6, 0.0]]
    assert torch.allclose(ours.mask, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("objective", ["aligned", "monotone", "sinkhorn", "mse-pooled"])
def test_every_objective_compares_words_and_reaches_the_tokens(student, teacher, objective):
    x = student.states.requires_grad_()
    dirty = replace(student, states=torch.where(student.mask[..., None], x, torch.nan))
    loss = DistillationLoss(objective, scale=4.0, points="words")
    loss.divergence([dirty], [replace(teacher, self_term=torch.full((2,), 1e6))]).mean.backward()
    assert x.grad.isfinite().all() and (x.grad.abs().sum(dim=2) > 0).equal(student.mask)


def test_words_of_one_token_each_are_the_tokens(student):
    whole = side(student.states[1:, :2], student.places[1:, :2].tolist(), words=WORDS[1:, :2])
    other = replace(whole, states=whole.states.flip(1))
    for objective in ("aligned", "sinkhorn", "energy"):
        tokens, words = (DistillationLoss(objective, scale=4.0, points=points) for points in ("tokens", "words"))
        assert torch.equal(tokens.divergence([whole], [other]).mean, words.divergence([whole], [other]).mean)


def test_the_gradient_through_words_is_right(student, teacher):
    def value(states):
        loss = DistillationLoss("aligned", scale=2.0, points="words")
        return loss.divergence([replace(student, states=states)], [teacher]).mean

    assert torch.autograd.gradcheck(value, (student.states.requires_grad_(),))


def test_points_that_do_not_exist_and_words_that_are_missing_are_refused(student, teacher):
    with pytest.raises(KddaError, match=r'points.*did you mean "words"'):
        DistillationLoss(points="word")
    with pytest.raises(ValueError, match="points: words needs the words of each text"):
        DistillationLoss(points="words").divergence([replace(student, words=None)], [teacher])
