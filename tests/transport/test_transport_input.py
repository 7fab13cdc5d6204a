"""What cannot be meant is refused in a sentence, with shapes and the row at fault."""

import pytest
import torch

from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.transport.sinkhorn import entropic_transport, sinkhorn_divergence

pytestmark = pytest.mark.usefixtures("without_type_checker")


def batch(rows=2, tokens=3, width=4):
    return torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(0))


def test_the_rank_is_named():
    with pytest.raises(ValueError, match=r"\[batch, tokens, width\]; got x \[3, 4\] and y \[2, 3, 4\]"):
        sinkhorn_divergence(batch()[0], batch())


def test_unequal_widths_are_named_with_a_way_out():
    with pytest.raises(ValueError, match=r"widths differ: 4 for x, 6 for y.*gromov"):
        sinkhorn_divergence(batch(), batch(width=6))


def test_unequal_batches_are_named():
    with pytest.raises(ValueError, match=r"same number of texts; got x \[2, 3, 4\] and y \[5, 3, 4\]"):
        entropic_transport(batch(), batch(rows=5))


def test_an_empty_batch_is_named():
    with pytest.raises(ValueError, match=r"empty; got x \[0, 3, 4\]"):
        sinkhorn_divergence(batch(rows=0), batch(rows=0))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_the_first_token_that_is_not_finite_is_named(bad):
    x = batch()
    x[1, 2, 0] = bad
    with pytest.raises(ValueError, match=r"x \[2, 3, 4\] holds NaN or inf in 1 tokens: first at row 1, token 2"):
        sinkhorn_divergence(x, batch())
    with pytest.raises(ValueError, match=r"y \[2, 3, 4\] holds NaN"):
        sinkhorn_divergence(batch(), x)


def test_an_empty_row_of_a_mask_is_named():
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match=r"y has no real token in row 1 of \[2, 3, 4\]"):
        sinkhorn_divergence(batch(), batch(), y_mask=mask)


def test_a_mask_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"x_mask is \[2, 5\] but x is \[2, 3, 4\]"):
        sinkhorn_divergence(batch(), batch(), x_mask=torch.ones(2, 5, dtype=torch.bool))


def test_an_attention_mask_of_integers_is_refused_with_the_cast_that_it_needs():
    with pytest.raises(
        ValueError, match=r"boolean, or of masses \(floating point\), not torch.int64: pass attention_mask.bool\(\)"
    ):
        sinkhorn_divergence(batch(), batch(), x_mask=torch.ones(2, 3, dtype=torch.long))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_the_first_mass_that_cannot_be_one_is_named(bad):
    masses = torch.ones(2, 3)
    masses[1, 2] = bad
    with pytest.raises(
        ValueError, match="y_mask holds masses that are negative or not finite: first at row 1, token 2"
    ):
        sinkhorn_divergence(batch(), batch(), y_mask=masses)


def test_integer_clouds_are_refused():
    with pytest.raises(ValueError, match=r"floating point; x is torch.int64"):
        sinkhorn_divergence(batch().long(), batch())


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ValueError, match="epsilon must be a positive number"):
        sinkhorn_divergence(batch(), batch(), epsilon=epsilon)


def test_tolerance_and_iterations_must_be_positive():
    with pytest.raises(ValueError, match="tolerance must be a positive number, not 0"):
        sinkhorn_divergence(batch(), batch(), tolerance=0)
    with pytest.raises(ValueError, match="max_iterations must be at least 1, not 0"):
        sinkhorn_divergence(batch(), batch(), max_iterations=0)


def test_an_unknown_scale_is_answered_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown scale 'teachr', expected one of: .* Did you mean 'teacher'"):
        sinkhorn_divergence(batch(), batch(), scale="teachr")


@pytest.mark.parametrize("scale", [0.0, -2.0, float("nan"), float("inf")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="scale must be a positive number or one of teacher, none, cosine, layernorm"):
        sinkhorn_divergence(batch(), batch(), scale=scale)


def test_a_teacher_scale_needs_two_different_tokens():
    with pytest.raises(ValueError, match=r"cannot calibrate a scale on states \[2, 1, 4\]"):
        sinkhorn_divergence(batch(), batch(tokens=1), scale="teacher")


def test_distances_that_overflow_are_refused():
    with pytest.raises(ValueError, match="squared distances overflow"):
        sinkhorn_divergence(1e25 * batch(), batch())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_refuses_a_nan(name):
    x = batch()
    x[0, 0, 0] = torch.nan
    y = batch()
    student = Representations(x, logits=torch.full((2, 3), torch.nan), places=torch.ones(2, x.shape[1], 2))
    teacher = Representations(y, logits=torch.zeros(2, 3), places=torch.ones(2, y.shape[1], 2))
    with pytest.raises(ValueError, match="NaN"):
        OBJECTIVES[name](student, teacher, ObjectiveSettings())


def test_logits_that_are_missing_or_of_other_classes_are_named():
    settings = ObjectiveSettings()
    with pytest.raises(ValueError, match="needs the teacher's logits"):
        OBJECTIVES["kd-logits"](Representations(batch(), logits=torch.zeros(2, 3)), Representations(batch()), settings)
    with pytest.raises(ValueError, match=r"student \[2, 3\] and teacher \[2, 4\]"):
        OBJECTIVES["kd-logits"](
            Representations(batch(), logits=torch.zeros(2, 3)),
            Representations(batch(), logits=torch.zeros(2, 4)),
            settings,
        )
