"""The compiled solver gives what the torch solver gives, text by text, whatever the batch and the threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from threadpoolctl import ThreadpoolController

from kdda.transport import compiled
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.problem import SolverSettings
from kdda.transport.sinkhorn import entropic_transport, self_term, sinkhorn_divergence
from kdda.transport.threads import in_threads, pause_threads_of_torch

TASKS = Path("/proc/self/task")


def hidden_states(batch=6, n=23, m=17, width=12, seed=0):
    """Clouds of unlike sizes in clusters, and masks of unlike lengths with a hole."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(batch, 5, width, generator=generator)
    x = centres[:, torch.randint(0, 5, (n,), generator=generator)] + torch.randn(batch, n, width, generator=generator)
    y = centres[:, torch.randint(0, 5, (m,), generator=generator)] + torch.randn(batch, m, width, generator=generator)
    x_mask = torch.arange(n) < torch.randint(2, n + 1, (batch, 1), generator=generator)
    y_mask = torch.arange(m) < torch.randint(1, m + 1, (batch, 1), generator=generator)
    x_mask[0] = True
    x_mask[0, 3] = False
    y_mask[1] = False
    y_mask[1, 4] = True  # one token, behind padding
    return x, y, x_mask, y_mask


def near_the_end(x, y, x_mask, y_mask):
    """The states of `x` moved most of the way to where the plan sends them, for which plans are hard."""
    plan = entropic_transport(x, y, epsilon=0.02, scale=mean_pairwise_cost(y, y_mask), x_mask=x_mask, y_mask=y_mask)
    target = plan.plan() @ y / plan.plan().sum(dim=2, keepdim=True).clamp(min=1e-9)
    return 0.1 * x + 0.9 * target, y, x_mask, y_mask


def solved(monkeypatch, installed, clouds, **options):
    """The divergence and the gradients of both clouds."""
    monkeypatch.setattr(compiled, "is_installed", lambda: installed)
    x, y, x_mask, y_mask = clouds
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    out = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask, **options)
    out.value.sum().backward()
    return out, x.grad, y.grad


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.005])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("sizes", [(23, 17), (9, 21), (90, 70)])
def test_values_gradients_and_plans_are_those_of_the_torch_solver(monkeypatch, epsilon, hard, sizes):
    clouds = hidden_states(n=sizes[0], m=sizes[1])
    if hard:
        clouds = near_the_end(*clouds)
    options = {"epsilon": epsilon, "scale": mean_pairwise_cost(clouds[1], clouds[3])}
    ours, x_grad, y_grad = solved(monkeypatch, True, clouds, **options)
    theirs, x_wanted, y_wanted = solved(monkeypatch, False, clouds, **options)
    assert ours.converged.all()
    assert theirs.converged.all()
    assert torch.allclose(ours.value, theirs.value, rtol=1e-5, atol=1e-6)
    assert (x_grad - x_wanted).norm() <= 1e-3 * x_wanted.norm()
    assert (y_grad - y_wanted).norm() <= 1e-3 * y_wanted.norm()
    assert torch.allclose(ours.plan(), theirs.plan(), atol=1e-4)
    assert not ours.f[~clouds[2]].any()
    assert not ours.g[~clouds[3]].any()


def test_masses_of_tokens_are_those_that_are_given(monkeypatch):
    x, y, x_mask, y_mask = hidden_states(seed=1)
    generator = torch.Generator().manual_seed(2)
    masses = x_mask * (0.05 + torch.rand(x_mask.shape, generator=generator)), y_mask * 1.0
    ours, x_grad, _ = solved(monkeypatch, True, (x, y, *masses), epsilon=0.05, scale=4.0)
    theirs, x_wanted, _ = solved(monkeypatch, False, (x, y, *masses), epsilon=0.05, scale=4.0)
    assert torch.allclose(ours.value, theirs.value, rtol=1e-5)
    assert torch.allclose(x_grad, x_wanted, atol=1e-5)
    assert torch.allclose(ours.plan().sum(dim=2), masses[0] / masses[0].sum(dim=1, keepdim=True), atol=1e-5)


def test_a_text_has_the_same_result_to_the_last_bit_in_every_batch_and_with_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(compiled, "WORTH_A_THREAD_OF_PASSES", 1)
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(7, 12, 6, generator=generator), torch.randn(7, 10, 6, generator=generator)
    cost = 0.5 * torch.cdist(x, y).square()
    own_cost = 0.5 * torch.cdist(x, x).square()
    a, b = torch.full((7, 12), 1 / 12), torch.full((7, 10), 1 / 10)
    settings = SolverSettings(epsilon=0.05, tolerance=1e-4, max_iterations=200)

    def results(rows):
        cross = compiled.solve(cost[rows].clone(), a[rows], b[rows], settings)
        own = compiled.solve_self(own_cost[rows].clone(), a[rows], settings)
        return cross.f, cross.g, cross.plan, cross.error, own.value, own.plan, own.error

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        together = results(slice(0, 7))
        torch.set_num_threads(1)
        alone = [results(slice(row, row + 1)) for row in range(7)]
    finally:
        torch.set_num_threads(before)
    for number, whole in enumerate(together):
        assert torch.equal(whole, torch.cat([one[number] for one in alone]))


def test_a_text_that_is_given_up_is_finite_and_reported(monkeypatch):
    out, x_grad, _ = solved(monkeypatch, True, near_the_end(*hidden_states()), epsilon=0.005, max_iterations=3)
    assert not out.converged.all()
    assert out.value.isfinite().all()
    assert x_grad.isfinite().all()
    assert (out.marginal_error[~out.converged] > 1e-4).all()


def test_self_terms_are_those_of_the_torch_solver(monkeypatch):
    _, y, _, y_mask = hidden_states(seed=4)
    values = {}
    for installed in (True, False):
        monkeypatch.setattr(compiled, "is_installed", lambda installed=installed: installed)
        values[installed] = self_term(y, y_mask=y_mask, epsilon=0.05, scale=4.0)
    assert torch.allclose(values[True], values[False], rtol=1e-5, atol=1e-6)


def test_a_text_whose_plan_is_sparse_ends_where_the_torch_solver_does(monkeypatch):
    """Near copies of the same points: at the end each row has mass in one or two columns of 120."""
    generator = torch.Generator().manual_seed(5)
    y = torch.randn(2, 120, 16, generator=generator)
    x = y[:, :110] + 0.3 * torch.randn(2, 110, 16, generator=generator)
    clouds = x, y, torch.ones(2, 110, dtype=torch.bool), torch.ones(2, 120, dtype=torch.bool)
    ours, x_grad, _ = solved(monkeypatch, True, clouds, epsilon=0.005, scale=16.0)
    theirs, x_wanted, _ = solved(monkeypatch, False, clouds, epsilon=0.005, scale=16.0)
    assert (ours.plan() > 1e-7 / 110).float().mean() < 0.05
    assert ours.converged.all()
    assert abs(ours.iterations - theirs.iterations) <= 1
    assert torch.allclose(ours.value, theirs.value, rtol=1e-5)
    assert (x_grad - x_wanted).norm() <= 1e-3 * x_wanted.norm()


def test_threads_of_torch_and_of_blas_are_as_before_after_a_long_solve(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_A_PAUSE", 1)
    blas = ThreadpoolController().select(user_api="blas")
    x, y = torch.randn(4, 70, 8, generator=torch.Generator().manual_seed(6)).split(35, dim=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        counts = [library.num_threads for library in blas.lib_controllers]
        with ThreadPoolExecutor(2) as both:  # solves that overlap
            runs = [both.submit(sinkhorn_divergence, x, y, scale=8.0, epsilon=0.05) for _ in range(2)]
        values = [run.result().value for run in runs]
        assert torch.get_num_threads() == 2
        assert [library.num_threads for library in blas.lib_controllers] == counts
    finally:
        torch.set_num_threads(before)
    assert torch.equal(values[0], values[1])
    assert (torch.ones(1000, 1000) @ torch.ones(1000, 2) == 1000).all()  # torch computes on


def test_machine_code_has_one_thread_of_blas_for_each_of_its_own():
    blas = ThreadpoolController().select(user_api="blas")
    inside: list[int] = []
    with blas.limit(limits=2):
        in_threads(1, False, lambda *_: inside.extend(library.num_threads for library in blas.lib_controllers))
        assert inside
        assert set(inside) == {1}
        assert {library.num_threads for library in blas.lib_controllers} == {2}


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted under Linux")
def test_threads_of_torch_end_before_a_long_solve_and_start_again():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        wanted = torch.ones(1000, 1000).add(1)
        started = len(list(TASKS.iterdir()))
        pause_threads_of_torch()
        assert len(list(TASKS.iterdir())) < started
        assert torch.equal(torch.ones(1000, 1000).add(1), wanted)
        assert len(list(TASKS.iterdir())) == started
    finally:
        torch.set_num_threads(before)


def test_float64_long_texts_and_machines_without_numba_keep_the_torch_solver(monkeypatch):
    assert compiled.is_faster(torch.zeros(2, 48, 40))
    assert not compiled.is_faster(torch.zeros(2, 48, 40, dtype=torch.float64))
    assert compiled.is_faster(torch.zeros(2, 384, 384))
    assert not compiled.is_faster(torch.zeros(2, 400, 400))
    assert not compiled.is_faster(torch.zeros(2, 48, 40, device="meta"))
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    assert not compiled.is_faster(torch.zeros(2, 48, 40))
