"""Tokens matched by their order, by their characters, and by transport that pays for the way between their places."""

from dataclasses import replace

import pytest
import torch

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations

RAW = ObjectiveSettings(epsilon=0.05, scale="none")


def lying(*ends):
    """Intervals without gaps, a text: 0 to the first end, from there to the second, and so on."""
    ends = torch.tensor(ends)
    return torch.stack([torch.cat([torch.zeros(1), ends[:-1]]), ends], dim=1)[None]


def side(tokens, seed, batch=3, width=4, dtype=torch.float64):
    """Texts of `tokens`, 2 and 3 real tokens, that take three characters each."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(batch, tokens, width, generator=generator, dtype=dtype)
    mask = torch.arange(tokens) < torch.tensor([tokens, 2, 3])[:batch, None]
    places = 3.0 * torch.stack([torch.arange(tokens), torch.arange(tokens) + 1], dim=1) * mask[..., None]
    return Representations(states, mask, places=places)


def value(name, student, teacher, settings=RAW):
    return OBJECTIVES[name](student, teacher, settings).value


def plan(name, student, teacher):
    """The plan of an objective Σ P_ij ½‖x_i − y_j‖², from its gradient where x = 0 and y is a basis."""
    m = teacher.states.shape[1]
    basis = torch.eye(m, dtype=torch.float64).expand(len(teacher.states), m, m)
    x = torch.zeros(*student.states.shape[:2], m, dtype=torch.float64, requires_grad=True)
    value(name, replace(student, states=x), replace(teacher, states=basis)).sum().backward()
    return -x.grad


@pytest.mark.parametrize("name", ["aligned", "monotone"])
@pytest.mark.parametrize("masses", [False, True])
def test_where_the_tokens_are_the_same_each_is_compared_with_its_counterpart(name, masses):
    student, teacher = side(7, 0), side(7, 1)
    if masses:
        mass = torch.rand(3, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * student.mask
        student, teacher = replace(student, mask=mass), replace(teacher, mask=mass)
    weight = student.mask.double() / student.mask.sum(dim=1, keepdim=True)
    distance = 0.5 * (student.states - teacher.states).square().sum(dim=2)
    assert torch.allclose(value(name, student, teacher), (weight * distance).sum(dim=1), rtol=1e-12)
    assert torch.allclose(value("aligned", student, teacher), value("monotone", student, teacher), rtol=1e-12)


@pytest.mark.parametrize("name", ["aligned", "monotone", "anchored"])
def test_a_batch_in_another_order_has_the_same_values(name):
    student, teacher = side(7, 0), side(5, 1)
    order = torch.tensor([2, 0, 1])

    def turned(of):
        return Representations(of.states[order], of.mask[order], places=of.places[order])

    expected = value(name, student, teacher)[order]
    assert torch.allclose(value(name, turned(student), turned(teacher)), expected, rtol=1e-9)


def test_the_monotone_plan_carries_all_masses_and_never_crosses():
    student, teacher = side(7, 0), side(5, 1)
    mass = torch.rand(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * teacher.mask
    moved = plan("monotone", student, replace(teacher, mask=mass))
    assert torch.allclose(moved.sum(dim=2), student.mask.double() / student.mask.sum(dim=1, keepdim=True))
    assert torch.allclose(moved.sum(dim=1), mass / mass.sum(dim=1, keepdim=True))
    steps = (moved[0] > 1e-12).nonzero()
    assert (steps.diff(dim=0)[:, 1] >= 0).all() and len(steps) <= 7 + 5 - 1


def test_mass_of_a_token_goes_to_the_tokens_that_share_its_characters_in_proportion():
    student = Representations(torch.zeros(1, 3, 2, dtype=torch.float64), places=lying(2.0, 6.0, 9.0))
    teacher = Representations(torch.zeros(1, 4, 2, dtype=torch.float64), places=lying(2.0, 3.0, 7.0, 9.0))
    third = 1 / 3
    expected = [[third, 0, 0, 0], [0, third / 4, third * 3 / 4, 0], [0, 0, third / 3, third * 2 / 3]]
    assert torch.allclose(plan("aligned", student, teacher)[0], torch.tensor(expected, dtype=torch.float64))


def test_tokens_may_overlap_each_other_and_stand_in_any_order():
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(0, 20, (2, 13), generator=generator).float()
    places = torch.stack([starts, starts + torch.randint(0, 9, (2, 13), generator=generator)], dim=2)
    student = Representations(torch.zeros(2, 6, 1), places=places[:, :6])
    teacher = Representations(torch.zeros(2, 7, 1), torch.rand(2, 7) > 0.2, places=places[:, 6:])
    moved = plan("aligned", student, teacher)
    for row in range(2):
        shared = torch.zeros(6, 7, dtype=torch.float64)
        for i, (start, end) in enumerate(student.places[row].tolist()):
            for j, (other_start, other_end) in enumerate(teacher.places[row].tolist()):
                if teacher.mask[row, j]:
                    shared[i, j] = max(0.0, min(end, other_end) - max(start, other_start))
        matched = shared.sum(dim=1) > 0
        expected = shared[matched] / shared[matched].sum(dim=1, keepdim=True) / matched.sum()
        assert torch.allclose(moved[row, matched], expected)
        assert moved[row, ~matched].eq(0).all()


def test_tokens_that_the_teacher_does_not_read_have_no_mass_and_the_others_have_all():
    student, teacher = side(7, 0, batch=1), side(7, 1, batch=1)
    short = Representations(teacher.states[:, :4], places=teacher.places[:, :4])
    moved = plan("aligned", student, short)[0]
    assert torch.allclose(moved[:4], torch.eye(4, dtype=torch.float64) / 4)
    assert moved[4:].eq(0).all()


def test_a_text_with_nothing_in_common_costs_nothing_and_moves_nothing():
    student, teacher = side(7, 0), side(5, 1)
    places = teacher.places.clone()
    places[1] += 100
    states = student.states.requires_grad_()
    out = value("aligned", student, replace(teacher, places=places))
    out.sum().backward()
    assert out[1] == 0 and states.grad[1].eq(0).all()
    assert out[0] > 0 and states.grad[0].abs().sum() > 0


def test_an_anchor_of_0_is_the_sinkhorn_divergence():
    student, teacher = side(7, 0, dtype=torch.float32), side(5, 1, dtype=torch.float32)
    settings = replace(RAW, scale=4.0, options={"anchor": 0.0})
    x = student.states.requires_grad_()
    gradients = []
    for name in ("anchored", "sinkhorn"):
        out = OBJECTIVES[name](student, teacher, settings)
        gradients.append(torch.autograd.grad(out.value.sum(), x)[0])
    assert torch.equal(out.value, value("anchored", student, teacher, settings))
    assert torch.equal(*gradients)


def test_a_large_anchor_leaves_the_monotone_plan():
    student, teacher = side(7, 0), side(5, 1)
    teacher = replace(teacher, places=teacher.places * torch.tensor([1.4, 1.0, 1.0])[:, None, None])
    anchor = 1e5
    settings = ObjectiveSettings(epsilon=1e-3, scale="none", options={"anchor": anchor})
    x = student.states.requires_grad_()
    out = OBJECTIVES["anchored"](student, teacher, settings)
    line = torch.maximum(student.places.amax(dim=(1, 2)), teacher.places.amax(dim=(1, 2)))[:, None, None]
    places = [of.places.double().mean(dim=2, keepdim=True) / line * (2 * anchor) ** 0.5 for of in (student, teacher)]
    # what the places alone cost, which no student can change
    of_places = value("monotone", replace(student, states=places[0]), replace(teacher, states=places[1]))
    expected = value("monotone", student, teacher)
    assert (out.marginal_error <= 1e-4).all()
    assert torch.allclose(out.value - of_places, expected, atol=0.02)
    gradient = torch.autograd.grad(out.value.sum(), x)[0]
    assert torch.allclose(gradient, torch.autograd.grad(expected.sum(), x)[0], atol=0.02)


@pytest.mark.parametrize("anchor", [1e-6, 1.0, 1e3, 1e6])
def test_every_anchor_is_solved_in_float32(anchor):
    student, teacher = side(24, 0, dtype=torch.float32), side(20, 1, dtype=torch.float32)
    teacher = replace(teacher, places=teacher.places * 1.2)
    x = student.states.requires_grad_()
    out = OBJECTIVES["anchored"](student, teacher, ObjectiveSettings(scale=4.0, options={"anchor": anchor}))
    out.value.sum().backward()
    assert out.value.isfinite().all() and x.grad.isfinite().all()
    assert (out.marginal_error <= 1e-4).all()


@pytest.mark.parametrize("name", ["aligned", "anchored"])
@pytest.mark.usefixtures("without_type_checker")
def test_tokens_without_places_are_refused_by_the_side_that_lacks_them(name):
    student, teacher = side(7, 0), side(5, 1)
    with pytest.raises(ValueError, match="the teacher's tokens have no places"):
        value(name, student, replace(teacher, places=None))
    with pytest.raises(ValueError, match=r"places of the student are \[3, 5, 2\], expected \[3, 7, 2\]"):
        value(name, replace(student, places=teacher.places), teacher)
