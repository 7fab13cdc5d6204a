"""kd-logits: the Kullback–Leibler divergence of both models' predictions at a temperature."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
)
from kdda.transport.checks import NotFiniteValueError
from kdda.transport.numerics import at_least_float32, full_precision

# Temperatures above this many times the largest difference of two logits: float32 would round the divergence away.
FLAT_TEMPERATURE = 100.0

LARGE_TEMPERATURE = 1e15  # whose square is no float32, or close to it


def kd_logits(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)) over the classes of each text's logits. Reads `temperature`.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, §2.

    Raises:
        ValueError: a side has no logits, or their shapes differ.
    """
    ours, theirs = _logits(student, "student"), _logits(teacher, "teacher")
    if ours.shape != theirs.shape:
        raise ValueError(
            f"'kd-logits' compares the same classes: got student {list(ours.shape)} and teacher {list(theirs.shape)}."
        )
    if not settings.temperature > 0:
        raise ValueError(f"temperature must be a positive number, not {settings.temperature}.")
    with full_precision(student.states.device):
        return closed_form(_divergence(ours, theirs, settings.temperature))


def _divergence(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """T²·KL of logits `[batch, classes]`, in float64 where a row's logits differ by far less than the temperature."""
    if temperature > LARGE_TEMPERATURE and ours.dtype != torch.float64:
        return _divergence(ours.double(), theirs.double(), temperature).to(ours.dtype)
    log_ours = log_softmax(ours / temperature, dim=-1)
    log_theirs = log_softmax(theirs / temperature, dim=-1)
    value = temperature**2 * kl_div(log_ours, log_theirs, reduction="none", log_target=True).sum(dim=-1)
    flat = temperature > FLAT_TEMPERATURE * (theirs - ours).detach().abs().amax(dim=-1)
    flat = flat | (value.detach() < 0)
    if not bool(flat.any()) or ours.device.type == "mps":
        return value
    return torch.where(flat, _flat_divergence(ours.double(), theirs.double(), temperature).to(value.dtype), value)


def _flat_divergence(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """`kd_logits` where the sides differ by far less than the temperature, in float64, as a sum of small terms.

    With p = softmax(ours/T) and d = (theirs − ours)/T less its mean under p, the teacher's probabilities are p·eᵈ/Z,
    Z = 1 + Σ p (eᵈ − 1 − d), and KL = Σ p d (eᵈ − 1)/Z − log Z.
    """
    probability = (ours / temperature).softmax(dim=-1)
    d = (theirs - ours) / temperature
    d = d - (probability * d).sum(dim=-1, keepdim=True)
    rest = torch.where(d.abs() < 1e-2, d.square() * (0.5 + d * (1 / 6 + d * (1 / 24 + d / 120))), torch.expm1(d) - d)
    surplus = (probability * rest).sum(dim=-1)
    divergence = (probability * d * torch.expm1(d)).sum(dim=-1) / (1 + surplus) - torch.log1p(surplus)
    return temperature * (temperature * divergence)


def _logits(side: Representations, name: str) -> Tensor:
    """A side's logits in float32 at least; `ValueError` where there are none, or one is not finite."""
    if side.logits is None:
        raise ValueError(f"'kd-logits' needs the {name}'s logits, and this {name} gives none.")
    logits = at_least_float32(side.logits)
    bad = (~logits.isfinite()).any(dim=-1).nonzero().flatten().tolist()
    if bad:
        raise NotFiniteValueError(f"the {name}'s logits {list(logits.shape)} hold NaN or inf: first in row {bad[0]}.")
    return logits


KD_LOGITS = Objective("kd-logits", kd_logits, equal_widths=False, needs_logits=True)
