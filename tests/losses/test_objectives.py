"""Every objective: one signature, masked, batched, differentiable, and equal to its formula where that is short."""

import sys
from dataclasses import replace

import ot
import pytest
import torch

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.transport.cost import half_squared_distances
from kdda.transport.sinkhorn import entropic_transport, sinkhorn_divergence

RAW = ObjectiveSettings(epsilon=0.05, scale="none", options={"projections": 500})
FREE_WIDTHS = ("gromov", "cka")


def places(mask, ends):
    """Tokens without gaps between them that end there, 0 and 0 at padding."""
    starts = torch.tensor([0.0, *ends[:-1]])
    return torch.stack([starts, torch.tensor(ends)], dim=1) * mask[..., None]


def sides(dtype=torch.float64, batch=3):
    generator = torch.Generator().manual_seed(0)
    student = Representations(
        torch.randn(batch, 7, 4, generator=generator, dtype=dtype),
        torch.arange(7) < torch.tensor([7, 4, 1])[:batch, None],
        torch.randn(batch, 3, generator=generator, dtype=dtype),
    )
    student = replace(student, places=places(student.mask, [1.0, 3.0, 4.0, 7.0, 8.0, 9.0, 12.0]))
    teacher = Representations(
        torch.randn(batch, 5, 4, generator=generator, dtype=dtype) + 0.5,
        torch.arange(5) < torch.tensor([5, 2, 3])[:batch, None],
        torch.randn(batch, 3, generator=generator, dtype=dtype),
    )
    return student, replace(teacher, places=places(teacher.mask, [1.0, 5.0, 7.0, 10.0, 12.0]))


def real(side, row):
    return side.states[row, side.mask[row]]


def alone(side, row):
    return Representations(real(side, row)[None], places=side.places[row, side.mask[row]][None])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_gives_one_finite_value_a_text_and_a_gradient(name):
    student, teacher = sides(torch.float32)
    states, logits = student.states.requires_grad_(), student.logits.requires_grad_()
    out = OBJECTIVES[name](student, teacher, ObjectiveSettings())
    assert out.value.shape == out.marginal_error.shape == (3,)
    assert (out.marginal_error <= 1e-4).all()
    out.value.sum().backward()
    grad = logits.grad if name == "kd-logits" else states.grad
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"kd-logits", "sinkhorn-aaai22", "sliced"}))
def test_a_token_of_twice_the_mass_is_two_tokens(name):
    student, teacher = sides()
    masses = 0.1 * student.mask * torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    copies = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5, 6])
    heavy = OBJECTIVES[name](replace(student, mask=masses), teacher, RAW).value
    many = Representations(student.states[:, copies], student.mask[:, copies], places=student.places[:, copies])
    many = OBJECTIVES[name](many, teacher, RAW).value
    assert torch.allclose(heavy, many, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(heavy[:2], OBJECTIVES[name](student, teacher, RAW).value[:2], rtol=1e-2)


def test_sliced_refuses_masses():
    student, teacher = sides()
    with pytest.raises(ValueError, match="'sliced' takes all tokens of a text alike, and the student's have masses"):
        OBJECTIVES["sliced"](replace(student, mask=student.mask.double()), teacher, RAW)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"kd-logits", "sinkhorn-aaai22"}))
def test_padding_has_no_mass(name):
    student, teacher = sides()
    dirty = student.states.masked_fill(~student.mask[..., None], torch.nan).requires_grad_()
    want = OBJECTIVES[name](student, teacher, RAW).value
    out = OBJECTIVES[name](replace(student, states=dirty), teacher, RAW)
    assert torch.equal(out.value, want)
    out.value.sum().backward()
    assert dirty.grad[~student.mask].eq(0).all()


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"kd-logits", "sinkhorn-aaai22", "cka"}))
def test_a_text_has_the_value_it_has_alone(name):
    student, teacher = sides()
    out = OBJECTIVES[name](student, teacher, RAW).value
    for row in range(3):
        value = OBJECTIVES[name](alone(student, row), alone(teacher, row), RAW).value
        assert torch.allclose(value[0], out[row], rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    "name", sorted(set(OBJECTIVES) - {"sinkhorn", "entropic", "kd-logits", "sinkhorn-aaai22", "emd"})
)
def test_gradcheck_holds(name):
    student, teacher = sides(batch=2)
    options = {"projections": 9, "anchor": 1.0}
    settings = ObjectiveSettings(epsilon=1.0, scale=2.0, tolerance=1e-10, options=options)

    def value(states):
        return OBJECTIVES[name](replace(student, states=states), teacher, settings).value

    if name == "gromov":  # its plan is a local minimum only to `SETTLED`, so its gradient is checked by direction
        states = student.states.clone().requires_grad_()
        (grad,) = torch.autograd.grad(value(states).sum(), states)
        assert value(student.states - 1e-3 * grad).sum() < value(student.states).sum()
    else:
        assert torch.autograd.gradcheck(value, (student.states.requires_grad_(),))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"entropic", "kd-logits", "gromov", "sinkhorn-aaai22"}))
def test_the_same_states_on_both_sides_cost_nothing(name):
    student, _ = sides()
    out = OBJECTIVES[name](student, replace(student, states=student.states.clone()), RAW)
    assert out.value.abs().max() < 1e-6


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"kd-logits"}))
def test_mixed_precision_does_not_touch_an_objective(name):
    student, teacher = sides(torch.float32)
    want = OBJECTIVES[name](student, teacher, RAW).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(OBJECTIVES[name](student, teacher, RAW).value, want)


def test_sinkhorn_and_entropic_are_the_public_functions():
    student, teacher = sides()
    arguments = {"x_mask": student.mask, "y_mask": teacher.mask, "epsilon": 0.05, "scale": "none"}
    for name, function in (("sinkhorn", sinkhorn_divergence), ("entropic", entropic_transport)):
        out = function(student.states, teacher.states, **arguments)
        assert torch.equal(OBJECTIVES[name](student, teacher, RAW).value, out.value)


def test_emd_is_pots_and_the_limit_of_entropic_transport():
    student, teacher = sides()
    out = OBJECTIVES["emd"](student, teacher, RAW)
    for row in range(3):
        cost = half_squared_distances(real(student, row)[None], real(teacher, row)[None])[0]
        assert out.value[row] == pytest.approx(ot.emd2([], [], cost.numpy()))
    near = OBJECTIVES["entropic"](student, teacher, ObjectiveSettings(epsilon=1e-4, scale="none"))
    assert torch.allclose(near.value, out.value, atol=2e-3)


def test_emd_without_pot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match="pip install pot"):
        OBJECTIVES["emd"](*sides(), RAW)


def test_sliced_is_exact_in_one_dimension():
    student, teacher = sides()
    student = Representations(student.states[..., :1].contiguous(), student.mask)
    teacher = Representations(teacher.states[..., :1].contiguous(), teacher.mask)
    want = OBJECTIVES["emd"](student, teacher, RAW).value
    assert torch.allclose(OBJECTIVES["sliced"](student, teacher, RAW).value, want)


def test_sliced_gives_single_points_their_cost_and_the_same_directions_at_every_call():
    settings = ObjectiveSettings(scale="none", options={"projections": 20_000})
    x, y = Representations(torch.zeros(1, 1, 3)), Representations(torch.tensor([[[1.0, 2.0, 2.0]]]))
    out = OBJECTIVES["sliced"](x, y, settings).value
    assert out.item() == pytest.approx(4.5, rel=0.02)
    assert torch.equal(OBJECTIVES["sliced"](x, y, settings).value, out)


def test_energy_and_mmd_are_their_formulas():
    student, teacher = sides()
    energy = OBJECTIVES["energy"](student, teacher, RAW).value
    mmd = OBJECTIVES["mmd-gaussian"](
        student, teacher, ObjectiveSettings(scale="none", options={"bandwidth": 2.0})
    ).value
    for row in range(3):
        u, v = real(student, row), real(teacher, row)
        xy, xx, yy = torch.cdist(u, v), torch.cdist(u, u), torch.cdist(v, v)
        assert torch.allclose(energy[row], xy.mean() - 0.5 * xx.mean() - 0.5 * yy.mean(), atol=1e-5)
        k_xy, k_xx, k_yy = (torch.exp(-(d**2) / 4).mean() for d in (xy, xx, yy))
        assert torch.allclose(mmd[row], 0.5 * k_xx + 0.5 * k_yy - k_xy)


def test_mse_pooled_is_the_divergence_at_a_large_epsilon():
    student, teacher = sides()
    blurred = OBJECTIVES["sinkhorn"](student, teacher, ObjectiveSettings(epsilon=1e5, scale="none", tolerance=1e-9))
    assert torch.allclose(OBJECTIVES["mse-pooled"](student, teacher, RAW).value, blurred.value, rtol=1e-3)


def test_pooled_objectives_are_their_formulas():
    student, teacher = sides()
    means = [torch.stack([real(side, row).mean(0) for row in range(3)]) for side in (student, teacher)]
    cosine = OBJECTIVES["cosine-pooled"](student, teacher, RAW).value
    assert torch.allclose(cosine, 1 - torch.nn.functional.cosine_similarity(*means))
    x, y = (mean - mean.mean(0) for mean in means)
    similarity = (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert torch.allclose(OBJECTIVES["cka"](student, teacher, RAW).value, (1 - similarity).expand(3))


def test_cka_of_one_text_has_nothing_to_compare():
    student, teacher = sides(batch=1)
    student.states.requires_grad_()
    out = OBJECTIVES["cka"](student, teacher, RAW).value
    out.sum().backward()
    assert out.item() == 1
    assert student.states.grad.eq(0).all()


@pytest.mark.parametrize("name", FREE_WIDTHS)
@pytest.mark.usefixtures("without_type_checker")
def test_widths_may_differ_where_no_common_space_is_needed(name):
    student, teacher = sides()
    wide = Representations(torch.cat([teacher.states, teacher.states], dim=2), teacher.mask)
    assert OBJECTIVES[name](student, wide, RAW).value.isfinite().all()
    with pytest.raises(ValueError, match="widths differ: 4 for x, 8 for y"):
        OBJECTIVES["sinkhorn"](student, wide, RAW)


def test_gromov_does_not_see_rotations_and_finds_the_same_cloud():
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).double()
    turned = x.flip(1) @ torch.linalg.qr(torch.randn(3, 3, dtype=x.dtype)).Q + 5
    out = OBJECTIVES["gromov"](
        Representations(x), Representations(turned), ObjectiveSettings(epsilon=0.01, scale="teacher")
    )
    assert out.value.max() < 1e-2


def test_gromov_finds_what_pot_finds_and_leaves_the_saddle_where_pot_stays():
    student, teacher = sides()
    out = OBJECTIVES["gromov"](student, teacher, ObjectiveSettings(epsilon=0.5, scale="none", tolerance=1e-8))
    values = []
    for row in (0, 1):
        costs = [half_squared_distances(real(side, row)[None], real(side, row)[None])[0] for side in (student, teacher)]
        values.append(ot.gromov.entropic_gromov_wasserstein2(*(cost.numpy() for cost in costs), epsilon=0.5, tol=1e-9))
    assert out.value[0] == pytest.approx(float(values[0]), rel=0.02)
    assert out.value[1] < 0.5 * values[1]  # its teacher side has two tokens


def test_kd_logits_is_hintons_divergence_with_its_gradient_scale():
    student, teacher = sides()
    for temperature in (1.0, 4.0):
        out = OBJECTIVES["kd-logits"](student, teacher, ObjectiveSettings(temperature=temperature)).value
        p, q = ((side.logits / temperature).softmax(-1) for side in (teacher, student))
        assert torch.allclose(out, temperature**2 * (p * (p / q).log()).sum(-1))


def test_the_predecessors_form_counts_padding_and_uses_the_raw_cost():
    student, teacher = sides()
    out = OBJECTIVES["sinkhorn-aaai22"](student, teacher, ObjectiveSettings())
    want = sinkhorn_divergence(student.states, teacher.states, epsilon=0.0025, scale="none")
    assert torch.equal(out.value, want.value)
