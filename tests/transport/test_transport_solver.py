"""The solver is certified on what is hard, and honest about what it gives up."""

import pytest
import torch

from kdda.transport import newton, path, solver, symmetric
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport, self_term, sinkhorn_divergence

from .conftest import plain_self_term, plain_sinkhorn

pytestmark = pytest.mark.usefixtures("each_solver")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near_permutation(noise):
    y = random(4, 20, 16)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    return y[:, order] + noise * random(4, 20, 16, seed=2), y


def clusters_of_unequal_mass():
    centres = 10 * random(4, 4, 8)
    which = torch.randint(0, 4, (4, 40), generator=torch.Generator().manual_seed(3))
    x = centres.gather(1, which[..., None].expand(-1, -1, 8)) + 0.1 * random(4, 40, 8, seed=4)
    return x, centres.repeat(1, 12, 1) + 0.1 * random(4, 48, 8, seed=5)


def with_outlier_dimension():
    x, y = random(4, 24, 32), random(4, 20, 32, seed=1)
    x[..., 7] *= 100
    y[..., 7] *= 100
    return x, y


def lattice():
    points = torch.randint(0, 3, (4, 60, 3), generator=torch.Generator().manual_seed(0)).float()
    return points[:, :30], points[:, 30:]


HARD = {
    "nearly a permutation": near_permutation(0.01),
    "all but a permutation": near_permutation(0.001),
    "a blurred permutation": near_permutation(0.5),
    "one dominant outlier dimension": with_outlier_dimension(),
    "clusters of unequal mass": clusters_of_unequal_mass(),
    "a lattice full of ties": lattice(),
    "one point against many": (random(4, 1, 8), random(4, 30, 8, seed=1)),
    "three points against many": (random(4, 3, 8), random(4, 64, 8, seed=1)),
    "many against two": (random(4, 64, 8), random(4, 2, 8, seed=1)),
    "all points the same": (torch.ones(2, 5, 3), torch.ones(2, 4, 3)),
    "one dimension": (random(4, 30, 1), random(4, 25, 1, seed=1) + 5),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_clouds_are_certified_and_right_in_float32(name):
    x, y = HARD[name]
    truth = x.double().requires_grad_()
    want = sinkhorn_divergence(truth, y.double(), tolerance=1e-9)
    want.value.sum().backward()
    x = x.clone().requires_grad_()
    out = sinkhorn_divergence(x, y)
    out.value.sum().backward()
    assert out.converged.all()
    assert torch.allclose(out.value.double(), want.value, rtol=1e-4, atol=1e-12)
    missed = (x.grad.double() - truth.grad).flatten(1).norm(dim=1)
    assert (missed <= 1e-3 * truth.grad.flatten(1).norm(dim=1) + 1e-12).all()


def test_a_self_term_that_is_handed_in_is_used_and_left_alone():
    x, y = HARD["nearly a permutation"]  # close enough to be solved again in float64
    known = self_term(y) + 1e-4
    kept = known.clone()
    out = sinkhorn_divergence(x, y, y_term=known)
    assert torch.equal(known, kept)
    assert torch.allclose(out.value, sinkhorn_divergence(x, y).value, rtol=1e-6)
    far = sinkhorn_divergence(x + 1, y, y_term=known).value - sinkhorn_divergence(x + 1, y).value
    assert torch.allclose(far, torch.full_like(far, -0.5e-4), atol=1e-5)


@pytest.mark.parametrize("name", ["a blurred permutation", "three points against many", "one dimension"])
def test_the_float64_solution_is_the_plain_loops(name):
    x, y = HARD[name]
    x, y, epsilon = x[:1].double(), y[:1].double(), 0.1
    out = entropic_transport(x, y, epsilon=epsilon, tolerance=1e-10)
    want = plain_sinkhorn(0.5 * torch.cdist(x[0], y[0]).square(), epsilon, tolerance=1e-11)
    assert out.converged.all()
    assert torch.allclose(out.value[0], want, atol=1e-7)


def test_a_batch_of_easy_and_hard_texts_is_certified_text_by_text():
    length = max(cloud.shape[1] for pair in HARD.values() for cloud in pair)
    x, y = torch.zeros(len(HARD), length, 32), torch.zeros(len(HARD), length, 32)
    x_mask, y_mask = (torch.zeros(len(HARD), length, dtype=torch.bool) for _ in range(2))
    for row, (u, v) in enumerate(HARD.values()):
        x[row, : u.shape[1], : u.shape[2]], x_mask[row, : u.shape[1]] = u[0], True
        y[row, : v.shape[1], : v.shape[2]], y_mask[row, : v.shape[1]] = v[0], True
    out = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask)
    assert out.converged.all()
    for row, (u, v) in enumerate(HARD.values()):
        alone = sinkhorn_divergence(u[:1], v[:1])
        assert torch.allclose(out.value[row], alone.value[0], rtol=1e-4, atol=1e-3)


def test_unscaled_states_with_costs_in_the_hundreds_are_certified():
    x, y = 4 * random(4, 30, 32), 4 * random(4, 26, 32, seed=1)
    assert mean_pairwise_cost(y) > 400
    assert sinkhorn_divergence(x, y, scale="none").converged.all()


def test_conjugate_gradients_and_factors_lead_to_one_plan(monkeypatch):
    x, y = random(3, 30, 16), random(3, 26, 16, seed=1)
    factored = entropic_transport(x, y, epsilon=0.1).plan()
    monkeypatch.setattr(newton, "FACTOR_UP_TO", 0)
    iterated = entropic_transport(x, y, epsilon=0.1)
    assert iterated.converged.all()
    assert (iterated.plan() - factored).abs().sum(dim=(1, 2)).max() < 1e-3


def test_sinkhorn_passes_take_over_where_newton_is_not_allowed(monkeypatch):
    x, y = random(3, 12, 8), random(3, 9, 8, seed=1)
    want = entropic_transport(x, y, epsilon=0.2)
    monkeypatch.setattr(solver, "NEWTON_STEPS", 0)
    out = entropic_transport(x, y, epsilon=0.2, max_iterations=5000)
    assert out.converged.all()
    assert out.iterations > want.iterations
    assert torch.allclose(out.value, want.value, rtol=1e-5)


def test_a_system_that_cannot_be_factored_falls_back_to_sinkhorns_step(monkeypatch):
    x, y = random(3, 12, 8), random(3, 9, 8, seed=1)
    want = entropic_transport(x, y, epsilon=1.0)

    def broken(plan, inverse_a, b, columns, right, floor):
        return torch.full_like(right, torch.nan)

    monkeypatch.setattr(solver, "solve_hessian", broken)
    monkeypatch.setattr(solver, "NEWTON_STEPS", 40)
    out = entropic_transport(x, y, epsilon=1.0, max_iterations=5000)
    assert out.converged.all()
    assert torch.allclose(out.value, want.value, rtol=1e-5)


def test_a_step_that_made_things_worse_is_undone():
    cost = random(1, 6, 5).square()
    weights = torch.full((1, 6), 1 / 6), torch.full((1, 5), 1 / 5)
    here = path.start(cost.clone(), *weights, 0.01)
    before, point = here.g.clone(), path.evaluate(here)
    leap = 1e3 * random(1, 5, seed=1)
    path.move(here, point, leap, torch.zeros_like(leap), torch.zeros(1), 0.01)
    assert not torch.allclose(here.g, before)
    worse = path.evaluate(here)
    assert worse.error > 0.5
    here.base_error = torch.tensor([0.01])
    path.move(here, worse, leap, torch.zeros_like(leap), torch.zeros(1), 0.01)
    assert torch.allclose(here.g, before + leap / 4, rtol=1e-4)


def test_what_is_given_up_says_so_and_stays_finite():
    x, y = with_outlier_dimension()
    out = sinkhorn_divergence(x, y, max_iterations=2)
    assert not out.converged.any()
    assert (out.marginal_error > 1e-4).all()
    assert out.value.isfinite().all()
    assert out.plan().isfinite().all()


def test_large_batches_are_solved_in_parts_with_the_same_result(monkeypatch):
    x, y = random(5, 12, 8), random(5, 9, 8, seed=1)
    whole = sinkhorn_divergence(x, y)
    monkeypatch.setattr("kdda.transport.danskin.CHUNK_ENTRIES", {"cpu": 2 * 12 * 12})
    parts = sinkhorn_divergence(x, y)
    assert torch.allclose(parts.value, whole.value, rtol=1e-5)
    assert parts.f.shape == whole.f.shape


def test_the_self_term_is_solved_to_the_plain_loops_value():
    x = random(2, 12, 3).double()
    cost = 0.5 * torch.cdist(x, x).square()
    weight = torch.full((2, 12), 1 / 12, dtype=x.dtype)
    out = symmetric.solve_self(cost.clone(), weight, epsilon=0.1, tolerance=1e-11, max_iterations=200)
    want = torch.stack([plain_self_term(one, 0.1) for one in cost])
    assert torch.allclose(out.value, want, atol=1e-8)
    assert torch.allclose(out.plan, out.plan.transpose(1, 2))
    assert torch.allclose(out.plan.sum(dim=2), weight)
    assert out.iterations < 40


@pytest.fixture
def waits(monkeypatch):
    """How often the host has read a number of a tensor, as if the CPU were an accelerator that it had to wait for."""
    seen = []

    def counted(read):
        def reading(*args, **kwargs):
            seen.append(read.__name__)
            return read(*args, **kwargs)

        return reading

    for name in ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    monkeypatch.setattr(solver, "are_surely_true", lambda flags: False)
    monkeypatch.setattr(newton, "are_surely_true", lambda flags: False)
    monkeypatch.setattr(symmetric, "passes_to_look", lambda ratio, device: 12)
    return seen


def test_an_iteration_waits_once_for_an_accelerator_and_a_solve_few_times_more(waits, torch_solver):
    x, y = random(6, 30, 16), random(6, 26, 16, seed=1)
    for epsilon in (1.0, 0.05):
        waits.clear()
        iterations = entropic_transport(x, y, epsilon=epsilon).iterations
        assert iterations > 2
        assert len(waits) - iterations == 9
    waits.clear()
    divergence = sinkhorn_divergence(x, y, epsilon=0.05)
    assert divergence.converged.all()
    assert len(waits) <= divergence.iterations + 15


def test_an_accelerator_is_asked_after_as_many_symmetric_passes_as_reach_the_goal():
    elsewhere = torch.device("meta")
    assert symmetric.passes_to_look(3.0**5, elsewhere) == 5
    assert symmetric.passes_to_look(1.5, elsewhere) == 1
    assert symmetric.passes_to_look(float("nan"), elsewhere) == 1
    assert symmetric.passes_to_look(3.0**5, torch.device("cpu")) == 1


def test_texts_of_unlike_lengths_are_solved_in_parts_with_the_result_of_each_alone(monkeypatch):
    monkeypatch.setattr("kdda.transport.danskin.WORTH_A_CHUNK", {"cpu": 0})
    x, y = random(5, 12, 8).requires_grad_(), random(5, 9, 8, seed=1).requires_grad_()
    lengths = ((12, 9), (3, 2), (7, 9), (12, 1), (3, 3))
    masks = torch.zeros(5, 12, dtype=torch.bool), torch.zeros(5, 9, dtype=torch.bool)
    for row, (n, m) in enumerate(lengths):
        masks[0][row, :n] = True
        masks[1][row, :m] = True
    parts = sinkhorn_divergence(x, y, x_mask=masks[0], y_mask=masks[1])
    gradients = torch.autograd.grad(parts.value.sum(), (x, y))
    known = self_term(y.detach(), y_mask=masks[1])
    assert torch.allclose(known, parts.y_term)
    for row, (n, m) in enumerate(lengths):
        one_x, one_y = x[row : row + 1, :n].detach().requires_grad_(), y[row : row + 1, :m].detach().requires_grad_()
        alone = sinkhorn_divergence(one_x, one_y)
        alone.value.sum().backward()
        assert torch.allclose(parts.value[row], alone.value[0], rtol=1e-5)
        assert torch.allclose(parts.f[row, :n], alone.f[0], atol=1e-3)
        assert torch.allclose(gradients[0][row, :n], one_x.grad[0], atol=1e-5)
        assert torch.allclose(gradients[1][row, :m], one_y.grad[0], atol=1e-5)
        assert not gradients[0][row, n:].any()
        assert not gradients[1][row, m:].any()
