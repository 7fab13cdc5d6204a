"""The distillation loss: what it adds to a task's loss, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES, register_objective
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.transport.cost import mean_pairwise_cost


def side(tokens: int, seed: int, grad: bool = False) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(3, tokens, 8, generator=generator)
    mask = torch.arange(tokens) < torch.tensor([[tokens], [tokens - 1], [2]])
    return Representations(states.requires_grad_(grad), mask, torch.randn(3, 3, generator=generator))


def test_a_student_equal_to_its_teacher_has_no_divergence() -> None:
    both = side(6, 0)
    scale = mean_pairwise_cost(both.states, both.mask)
    assert float(DistillationLoss().divergence([both], [both], scales=[scale]).mean) == pytest.approx(0, abs=1e-5)


def test_a_calibrated_scale_takes_the_place_of_the_batchs() -> None:
    student, teacher = side(6, 0), side(5, 1)
    once = DistillationLoss(epsilon=0.01).divergence([student], [teacher], scales=[8.0])
    twice = DistillationLoss(epsilon=0.005).divergence([student], [teacher], scales=[16.0])
    assert float(once.mean) == pytest.approx(2 * float(twice.mean), rel=1e-3)


def test_the_gradient_moves_the_student_towards_its_teacher_and_leaves_the_teacher_alone() -> None:
    student, teacher = side(6, 0, grad=True), side(5, 1)
    loss = DistillationLoss(scale=8.0)
    before = loss.divergence([student], [teacher])
    before.mean.backward()
    assert student.states.grad is not None and teacher.states.grad is None
    moved = Representations((student.states - 4.0 * student.states.grad).detach(), student.mask)
    assert loss.divergence([moved], [teacher]).mean < before.mean
    assert not student.states.grad[~student.mask].any()  # padding has no mass


def test_the_marginal_error_is_reported_and_small() -> None:
    output = DistillationLoss(scale=8.0)(torch.tensor(1.0), side(6, 0), side(5, 1))
    assert 0 <= float(output.marginal_error) <= 1e-4


def test_the_terms_are_summed_or_interpolated() -> None:
    task, divergence = torch.tensor(4.0), torch.tensor(8.0)
    assert DistillationLoss(weight=0.25).total(task, divergence) == 6.0
    assert DistillationLoss(weight=0.25, combine="interpolate").total(task, divergence) == 5.0


def test_the_loss_is_the_tasks_and_the_weighted_divergence() -> None:
    student, teacher = side(6, 0, grad=True), side(5, 1)
    output = DistillationLoss(weight=0.5, scale=8.0)(torch.tensor(4.0), student, teacher)
    assert output.loss.item() == pytest.approx(4.0 + 0.5 * float(output.divergence.detach()))
    output.loss.backward()
    assert student.states.grad is not None and student.states.grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_is_named_by_its_name(name: str) -> None:
    student, teacher = side(6, 0, grad=True), side(5, 1)
    student, teacher = replace(student, places=places(student)), replace(teacher, places=places(teacher))
    term = DistillationLoss(name, scale=8.0).divergence([student], [teacher])
    assert torch.isfinite(term.mean)


def places(side: Representations) -> torch.Tensor:
    """Tokens of three characters each."""
    starts = 3.0 * torch.arange(side.states.shape[1]).expand(side.states.shape[:2])
    return torch.stack([starts, starts + 3], dim=2)


def mean_gap(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> torch.Tensor:
    gap = student.states.mean(dim=1) - teacher.states.mean(dim=1)
    return gap.abs().pow(settings.options.get("power", 1)).sum(dim=1)


def test_a_function_is_an_objective() -> None:
    student, teacher = side(6, 0), side(5, 1)
    term = DistillationLoss(mean_gap).divergence([student], [teacher])
    gap = student.states.mean(dim=1) - teacher.states.mean(dim=1)
    assert float(term.mean) == pytest.approx(float(gap.abs().sum(dim=1).mean()))
    assert float(term.marginal_error) == 0


def test_a_registered_function_has_a_name_and_options_of_its_own() -> None:
    register_objective("mean-gap", mean_gap, options={"power": 1})
    register_objective("mean-gap", mean_gap, options={"power": 1})  # as when a module is imported twice
    try:
        with pytest.raises(KddaError, match='an objective named "sinkhorn" is registered already'):
            register_objective("sinkhorn", mean_gap)
        square = DistillationLoss("mean-gap", options={"power": 2}).divergence([side(6, 0)], [side(5, 1)])
        plain = DistillationLoss("mean-gap").divergence([side(6, 0)], [side(5, 1)])
        assert square.mean != plain.mean
        with pytest.raises(KddaError, match='did you mean "power"'):
            DistillationLoss("mean-gap", options={"pwer": 2})
    finally:
        del OBJECTIVES["mean-gap"]


def test_options_reach_the_objective() -> None:
    narrow = DistillationLoss("mmd-gaussian", scale=8.0, options={"bandwidth": 0.1})
    wide = DistillationLoss("mmd-gaussian", scale=8.0, options={"bandwidth": 10.0})
    assert narrow.divergence([side(6, 0)], [side(5, 1)]).mean > wide.divergence([side(6, 0)], [side(5, 1)]).mean


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"objective": "sinkhron"}, 'did you mean "sinkhorn"'),
        ({"combine": "convex"}, "expected one of: sum, interpolate"),
        ({"schedule": "falling"}, "expected one of: constant, linear_decay, linear_warmup"),
        ({"example_weighting": "gate"}, "expected one of: none, teacher_correct, teacher_confidence"),
        ({"options": {"bandwidth": 1}}, 'objective "sinkhorn" has none'),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(KddaError, match=reason):
        DistillationLoss(**arguments)
