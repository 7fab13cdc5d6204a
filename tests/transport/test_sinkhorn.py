"""The divergence is held to its identities, not to stored numbers."""

import geomloss
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdda.transport.sinkhorn import SinkhornDivergence, entropic_transport, sinkhorn_divergence

from .conftest import plain_divergence, plain_sinkhorn

TIGHT = {"epsilon": 0.05, "scale": 3.0, "tolerance": 1e-9}


def masks(batch, length, seed=1):
    """Masks with padding at the end and one hole, at least one real token in each row."""
    lengths = torch.randint(1, length + 1, (batch,), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(length) < lengths[:, None]
    mask[0] = True
    mask[0, length // 2] = length == 1
    return mask


def test_a_cloud_is_at_distance_zero_from_itself(clouds):
    x, _ = clouds()
    out = sinkhorn_divergence(x, x.clone(), **TIGHT)
    assert out.converged.all()
    assert out.value.abs().max() < 1e-9


def test_two_texts_of_the_same_points_in_another_order_are_at_distance_zero(clouds):
    x, _ = clouds(dtype=torch.float32)
    out = sinkhorn_divergence(x, x.flip(1), scale="teacher")
    assert out.converged.all()
    assert out.value.abs().max() < 1e-6


def test_the_divergence_is_not_negative_and_grows_as_clouds_part(clouds):
    x, y = clouds()
    near, far = (sinkhorn_divergence(x, y + shift, **TIGHT).value for shift in (0.0, 2.0))
    assert (near > 0).all()
    assert (far > near).all()


def test_the_divergence_is_symmetric(clouds):
    x, y = clouds()
    there, back = sinkhorn_divergence(x, y, **TIGHT), sinkhorn_divergence(y, x, **TIGHT)
    assert torch.allclose(there.value, back.value, atol=1e-9)
    assert torch.allclose(there.plan(), back.plan().transpose(1, 2), atol=1e-9)


def test_the_order_of_tokens_does_not_matter(clouds):
    x, y = clouds()
    shuffled = sinkhorn_divergence(x[:, torch.randperm(7)], y[:, torch.randperm(5)], **TIGHT)
    assert torch.allclose(shuffled.value, sinkhorn_divergence(x, y, **TIGHT).value, atol=1e-9)


def test_moving_both_clouds_together_changes_nothing(clouds):
    x, y = clouds(dtype=torch.float32)
    shift = 30 * torch.randn(3, 1, 6)
    moved = sinkhorn_divergence(x + shift, y + shift, epsilon=0.05)
    assert torch.allclose(moved.value, sinkhorn_divergence(x, y, epsilon=0.05).value, rtol=1e-4)


def test_the_divergence_of_a_moved_cloud_is_half_the_squared_distance(clouds):
    x, _ = clouds()
    shift = torch.randn(3, 1, 6, dtype=x.dtype)
    out = sinkhorn_divergence(x, x + shift, epsilon=0.1, tolerance=1e-9)
    assert torch.allclose(out.value, 0.5 * shift.square().sum(dim=(1, 2)), atol=1e-7)


def test_the_three_terms_recompose(clouds):
    x, y = clouds()
    xy, xx, yy = (entropic_transport(*pair, **TIGHT).value for pair in ((x, y), (x, x), (y, y)))
    out = sinkhorn_divergence(x, y, **TIGHT)
    assert torch.allclose(out.value, xy - 0.5 * xx - 0.5 * yy, atol=1e-9)
    assert torch.allclose(out.y_term, yy, atol=1e-9)


def test_a_known_term_of_y_is_reused(clouds):
    x, y = clouds()
    first = sinkhorn_divergence(x, y, **TIGHT)
    assert torch.equal(sinkhorn_divergence(x, y, y_term=first.y_term, **TIGHT).value, first.value)
    shifted = sinkhorn_divergence(x, y, y_term=first.y_term + 1, **TIGHT)
    assert torch.allclose(shifted.value, first.value - 0.5)


def test_padding_changes_nothing_whatever_it_holds(clouds):
    x, y = clouds(dtype=torch.float32)
    x_mask, y_mask = masks(3, 7), masks(3, 5, seed=2)
    want = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask)
    for filler in (0.0, 1e4, torch.nan, torch.inf):
        dirty_x, dirty_y = x.masked_fill(~x_mask[..., None], filler), y.masked_fill(~y_mask[..., None], filler)
        longer = torch.cat([dirty_x, torch.full((3, 4, 6), filler)], dim=1)
        longer_mask = torch.cat([x_mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1)
        out = sinkhorn_divergence(longer, dirty_y, x_mask=longer_mask, y_mask=y_mask)
        assert torch.equal(out.value, want.value)
        assert out.f.shape == (3, 11)
        assert torch.equal(out.plan()[:, :7], want.plan())
        assert out.plan()[:, 7:].eq(0).all()


def test_a_padded_text_counts_as_the_text_alone(clouds):
    x, y = clouds()
    x_mask, y_mask = masks(3, 7), masks(3, 5, seed=2)
    out = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask, **TIGHT)
    for row in range(3):
        alone = sinkhorn_divergence(x[row, x_mask[row]][None], y[row, y_mask[row]][None], **TIGHT)
        assert torch.allclose(out.value[row], alone.value[0], atol=1e-9)


def test_the_plan_has_the_marginals_that_are_certified(clouds):
    x, y = clouds(batch=4, n=9, m=6, dtype=torch.float32)
    x_mask, y_mask = masks(4, 9), masks(4, 6, seed=2)
    out = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask)
    plan, a, b = out.plan(), x_mask / x_mask.sum(1, keepdim=True), y_mask / y_mask.sum(1, keepdim=True)
    error = (plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1)
    assert out.converged.all()
    assert (error <= 1e-4).all()
    assert plan[~x_mask].eq(0).all()
    assert plan.transpose(1, 2)[~y_mask].eq(0).all()


def test_potentials_and_plan_obey_the_primal_dual_relation(clouds):
    x, y = clouds()
    out = entropic_transport(x, y, epsilon=0.3, tolerance=1e-11)
    cost = 0.5 * torch.cdist(x, y).square()
    plan = torch.exp((out.f[:, :, None] + out.g[:, None, :] - cost) / 0.3) / 35
    assert torch.allclose(plan, out.plan(), atol=1e-10)
    primal = (plan * cost).sum((1, 2)) + 0.3 * (plan * (plan * 35).log()).sum((1, 2))
    assert torch.allclose(primal, out.value, atol=1e-8)


@pytest.mark.parametrize("epsilon", [0.03, 0.3, 3.0])
def test_values_agree_with_the_plainest_loop_in_float64(clouds, epsilon):
    x, y = clouds(batch=2, n=5, m=4, dtype=torch.float32)
    out = sinkhorn_divergence(x, y, epsilon=epsilon)
    want = torch.stack([plain_divergence(u, v, epsilon) for u, v in zip(x, y, strict=True)])
    assert torch.allclose(out.value.double(), want, rtol=1e-4)


def test_values_agree_with_pot_where_it_converges(clouds):
    x, y = clouds()
    out = entropic_transport(x, y, epsilon=1.0, tolerance=1e-10)
    for row in range(3):
        cost = 0.5 * ot.dist(x[row].numpy(), y[row].numpy())
        plan = ot.sinkhorn([], [], cost, 1.0, method="sinkhorn_log", numItermax=20_000, stopThr=1e-13)
        assert torch.allclose(out.plan()[row], torch.from_numpy(plan), atol=1e-8)


def test_plans_between_masses_agree_with_pot(clouds):
    x, y = clouds()
    masses = [
        torch.rand(3, length, dtype=x.dtype, generator=torch.Generator().manual_seed(length)) for length in (7, 5)
    ]
    out = entropic_transport(x, y, x_mask=masses[0], y_mask=masses[1], epsilon=1.0, tolerance=1e-10)
    for row in range(3):
        cost = 0.5 * ot.dist(x[row].numpy(), y[row].numpy())
        a, b = ((own[row] / own[row].sum()).numpy() for own in masses)
        plan = ot.sinkhorn(a, b, cost, 1.0, method="sinkhorn_log", numItermax=20_000, stopThr=1e-13)
        assert torch.allclose(out.plan()[row], torch.from_numpy(plan), atol=1e-8)
        entropy = (plan * np.log(plan / (a[:, None] * b))).sum()
        assert float(out.value[row]) == pytest.approx((plan * cost).sum() + entropy, abs=1e-8)


def test_masses_that_are_all_alike_are_a_mask(clouds):
    x, y = clouds(dtype=torch.float32)
    x_mask, y_mask = masks(3, 7), masks(3, 5)
    want = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask, scale="teacher")
    out = sinkhorn_divergence(x, y, x_mask=x_mask.float(), y_mask=3 * y_mask.float(), scale="teacher")
    assert torch.allclose(out.value, want.value, rtol=1e-5)
    assert torch.allclose(out.plan(), want.plan(), atol=1e-6)


def test_values_agree_with_geomloss_where_it_converges(clouds):
    x, y = clouds(width=2)
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=1.0, scaling=0.99, backend="tensorized")
    assert torch.allclose(sinkhorn_divergence(x, y, epsilon=1.0, tolerance=1e-9).value, loss(x, y), rtol=1e-3)


def test_a_large_epsilon_gives_the_distance_of_the_means(clouds):
    x, y = clouds()
    out = sinkhorn_divergence(x, y, epsilon=1e5, tolerance=1e-9)
    assert torch.allclose(out.value, 0.5 * (x.mean(1) - y.mean(1)).square().sum(1), rtol=1e-3)


def test_a_small_epsilon_gives_exact_transport(clouds):
    x, y = clouds()
    out = entropic_transport(x, y, epsilon=1e-4, tolerance=1e-8)
    want = [ot.emd2([], [], 0.5 * ot.dist(u.numpy(), v.numpy())) for u, v in zip(x, y, strict=True)]
    assert torch.allclose(out.value, torch.tensor(want, dtype=x.dtype), atol=1e-3)


def test_epsilon_is_in_units_of_the_scaled_cost(clouds):
    x, y = clouds()
    scaled = sinkhorn_divergence(x, y, epsilon=0.05, scale=4.0, tolerance=1e-9)
    raw = sinkhorn_divergence(x, y, epsilon=0.2, scale="none", tolerance=1e-9)
    assert torch.allclose(4 * scaled.value, raw.value, atol=1e-9)


def test_under_autocast_the_result_is_float32s(clouds):
    x, y = clouds(dtype=torch.float32)
    want = sinkhorn_divergence(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sinkhorn_divergence(x, y).value, want.value)
        assert torch.equal(sinkhorn_divergence(x, y).plan(), want.plan())


def test_low_precision_clouds_are_solved_in_float32(clouds):
    x, y = (cloud.bfloat16() for cloud in clouds(dtype=torch.float32))
    out = sinkhorn_divergence(x, y)
    assert out.value.dtype == torch.float32
    assert torch.equal(out.value, sinkhorn_divergence(x.float(), y.float()).value)


def test_reduced_precision_products_are_switched_off_and_put_back(clouds):
    x, y = clouds(dtype=torch.float32, width=64)
    want = sinkhorn_divergence(x, y).value
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(sinkhorn_divergence(x, y).value, want)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9 has one switch for all")
def test_precision_set_per_backend_is_respected_too(clouds):
    x, y = clouds(dtype=torch.float32, width=64)
    want = sinkhorn_divergence(x, y).value
    backend = torch.backends.mkldnn.matmul
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        assert torch.equal(sinkhorn_divergence(x, y).value, want)
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before


def test_the_module_gives_the_functions_value(clouds):
    x, y = clouds()
    module = SinkhornDivergence(**TIGHT)
    assert torch.equal(module(x, y), sinkhorn_divergence(x, y, **TIGHT).value)
    assert "epsilon=0.05" in repr(module)


def test_the_result_is_the_same_at_every_run(clouds):
    x, y = clouds(dtype=torch.float32)
    assert torch.equal(sinkhorn_divergence(x, y).value, sinkhorn_divergence(x, y).value)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4), n=st.integers(1, 9), m=st.integers(1, 9), width=st.integers(1, 5),
    epsilon=st.sampled_from([0.005, 0.05, 1.0]), spread=st.sampled_from([0.01, 1.0, 10.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_ragged_batch_is_certified_and_equals_its_texts_one_by_one(batch, n, m, width, epsilon, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = (spread * torch.randn(batch, length, width, generator=generator) for length in (n, m))
    x_mask, y_mask = masks(batch, n, seed), masks(batch, m, seed + 1)
    out = sinkhorn_divergence(x, y, x_mask=x_mask, y_mask=y_mask, epsilon=epsilon)
    assert out.converged.all(), (out.marginal_error, out.iterations)
    assert out.value.isfinite().all()
    assert (out.value > -1e-5 * (1 + spread**2)).all()
    row = seed % batch
    alone = sinkhorn_divergence(x[row, x_mask[row]][None], y[row, y_mask[row]][None], epsilon=epsilon)
    assert torch.allclose(out.value[row], alone.value[0], rtol=1e-4, atol=1e-5 * (1 + spread**2))


def test_the_plain_oracle_knows_a_case_by_heart():
    assert torch.allclose(plain_sinkhorn(torch.tensor([[0.5], [8.0]]), 0.1), torch.tensor(4.25, dtype=torch.float64))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    m=st.integers(1, 40),
    epsilon=st.sampled_from([0.5, 0.05, 0.005]),
    steepness=st.sampled_from([1.0, 4.0, 9.0]),
    seed=st.integers(0, 99),
)
def test_masses_of_any_steepness_are_certified_and_right(n, m, epsilon, steepness, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, 8, generator=generator), torch.randn(2, m, 8, generator=generator)
    a, b = ((steepness * -torch.rand(2, length, generator=generator)).exp() for length in (n, m))
    out = sinkhorn_divergence(x, y, x_mask=a, y_mask=b, epsilon=epsilon, scale=8.0)
    assert out.converged.all()
    plan = out.plan()
    assert torch.allclose(plan.sum(dim=2), a / a.sum(dim=1, keepdim=True), atol=1e-4)
    assert torch.allclose(plan.sum(dim=1), b / b.sum(dim=1, keepdim=True), atol=1e-4)
    want = sinkhorn_divergence(
        x.double(), y.double(), x_mask=a.double(), y_mask=b.double(), epsilon=epsilon, scale=8.0, tolerance=1e-9
    )
    assert torch.allclose(out.value.double(), want.value, rtol=1e-3, atol=1e-5)
