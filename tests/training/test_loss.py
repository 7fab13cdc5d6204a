"""The transport term of the training loss, through the loss that training uses."""

import pytest
import torch

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import Representations
from kdda.recipe.schema import Distill
from kdda.transport.cost import mean_pairwise_cost


def side(tokens: int, seed: int, grad: bool = False) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(3, tokens, 8, generator=generator)
    mask = torch.arange(tokens) < torch.tensor([[tokens], [tokens - 1], [2]])
    return Representations(states.requires_grad_(grad), mask, torch.randn(3, 3, generator=generator))


def test_a_student_that_says_what_its_teacher_says_has_no_transport_loss() -> None:
    both = side(6, 0)
    loss = DistillationLoss(Distill(), {"vi": [mean_pairwise_cost(both.states, both.mask)]})
    assert float(loss.transport("vi", [both], [both]).mean) == pytest.approx(0, abs=1e-5)


def test_the_yardstick_is_the_calibrated_one_and_not_the_batchs() -> None:
    student, teacher = side(6, 0), side(5, 1)
    once, twice = (DistillationLoss(Distill(epsilon=e), {"vi": [s]}) for e, s in ((0.01, 8.0), (0.005, 16.0)))
    a, b = (float(loss.transport("vi", [student], [teacher]).mean) for loss in (once, twice))
    assert a == pytest.approx(2 * b, rel=1e-3)


def test_the_gradient_pulls_the_student_to_its_teacher_and_leaves_the_teacher_alone() -> None:
    student, teacher = side(6, 0, grad=True), side(5, 1)
    loss = DistillationLoss(Distill(), {"vi": [8.0]})
    before = loss.transport("vi", [student], [teacher])
    before.mean.backward()
    assert student.states.grad is not None and teacher.states.grad is None
    moved = Representations((student.states - 4.0 * student.states.grad).detach(), student.mask)
    assert loss.transport("vi", [moved], [teacher]).mean < before.mean
    assert not student.states.grad[~student.mask].any()  # padding has no mass


def test_the_marginal_error_is_reported_and_small() -> None:
    found = DistillationLoss(Distill(), {"vi": [8.0]}).transport("vi", [side(6, 0)], [side(5, 1)])
    assert 0 <= float(found.marginal_error) <= 1e-4


def test_the_terms_are_summed_or_interpolated() -> None:
    task, transport = torch.tensor(4.0), torch.tensor(8.0)
    assert DistillationLoss(Distill(weight=0.25), {}).total(task, transport) == 6.0
    assert DistillationLoss(Distill(weight=0.25, combine="interpolate"), {}).total(task, transport) == 5.0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_recipe_may_name_every_objective(name: str) -> None:
    student = side(6, 0, grad=True)
    loss = DistillationLoss(Distill(objective=name), {"vi": [8.0]})
    found = loss.transport("vi", [Representations(student.states, student.mask, student.logits)], [side(5, 1)]).mean
    assert torch.isfinite(found)


def test_an_unknown_objective_is_answered_with_the_nearest() -> None:
    with pytest.raises(KddaError, match='did you mean "sinkhorn"'):
        DistillationLoss(Distill(objective="sinkhron"), {})
