"""kd-logits: the Kullback–Leibler divergence of predictions at a temperature: labels, words' tags, starts and ends."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, pad

from kdda.losses.representations import (
    Edge,
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    TokenLogits,
    closed_form,
)
from kdda.transport.checks import NotFiniteValueError
from kdda.transport.numerics import at_least_float32, full_precision

# Temperatures above this many times the largest difference of two logits: float32 would round the divergence away.
FLAT_TEMPERATURE = 100.0

LARGE_TEMPERATURE = 1e15  # whose square is no float32, or close to it


def kd_logits(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)) over the classes of each text's logits. Reads `temperature`.

    Where both sides have `token_logits`, it is the mean over the student's places of this divergence from the teacher's
    place that covers their first character; a place that none covers does not count, and a text without any gives 0.
    Where a student's place starts behind the start of the teacher's, the teacher's classes are those of
    `TokenLogits.inside`: B-PER means I-PER there. Where the teacher's have `TokenLogits.edges`, each class is a
    distribution over the places of a text instead, and the value is the mean of the divergences of the classes: the
    teacher's probability of a place goes to the student's place that covers its first or last character, as the edge
    of the class says; what none covers is left out, and the rest adds up to 1.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, §2.

    Raises:
        ValueError: a side has no logits, or their classes differ.
    """
    if student.token_logits is not None or teacher.token_logits is not None:
        return _of_places(student, teacher, settings.temperature)
    ours, theirs = _logits(student, "student"), _logits(teacher, "teacher")
    if ours.shape != theirs.shape:
        raise ValueError(
            f"'kd-logits' compares the same classes: got student {list(ours.shape)} and teacher {list(theirs.shape)}."
        )
    _check_temperature(settings.temperature)
    with full_precision(student.states.device):
        return closed_form(_divergence(ours, theirs, settings.temperature))


def _of_places(student: Representations, teacher: Representations, temperature: float) -> ObjectiveOutput:
    """`kd_logits` of logits at places."""
    ours_at, theirs_at = _token_logits(student, "student"), _token_logits(teacher, "teacher")
    ours, theirs = ours_at.values, theirs_at.values
    if ours.shape[0] != theirs.shape[0] or ours.shape[2] != theirs.shape[2]:
        raise ValueError(
            "'kd-logits' compares the same classes of the same texts: got student "
            f"{list(ours.shape)} and teacher {list(theirs.shape)}, expected [batch, places, classes]."
        )
    _check_temperature(temperature)
    with full_precision(ours.device):
        if theirs_at.edges:
            return closed_form(_of_edges(ours_at, theirs_at, temperature))
        # one more place, at padding, so that a batch in which a teacher has no places has one to gather, too
        theirs = pad(theirs, (0, 0, 0, 1))
        cover = _cover(ours_at.characters, pad(theirs_at.characters, (0, 0, 0, 1)))
        theirs = theirs.gather(1, cover.places[..., None].expand(-1, -1, theirs.shape[2]))
        values = _divergence(ours, theirs, temperature)
        if theirs_at.inside:
            moved = _divergence_inside(ours, theirs, theirs_at.inside, temperature)
            values = torch.where(cover.is_inside, moved, values)
        total = torch.where(cover.is_covered, values, 0).sum(dim=1)
        return closed_form(total / cover.is_covered.sum(dim=1).clamp(min=1))


class _Cover(NamedTuple):
    """Which of a teacher's places covers the first character of each of a student's.

    Attributes:
        places: their numbers; any where none does.
        is_covered: whether one does; false at padding.
        is_inside: whether the student's place starts behind the start of that one.
    """

    places: Int[Tensor, "batch places"]
    is_covered: Bool[Tensor, "batch places"]
    is_inside: Bool[Tensor, "batch places"]


def _cover(student: Int[Tensor, "batch places 2"], teacher: Int[Tensor, "batch other_places 2"]) -> _Cover:
    """The teacher's places that cover the first characters of the student's; arguments as `TokenLogits.characters`."""
    first = student[:, :, None, 0]
    covers = (teacher[:, None, :, 0] <= first) & (first < teacher[:, None, :, 1])
    covers = covers & (student[:, :, None, 1] > first)
    places = covers.int().argmax(dim=2)
    starts = teacher[..., 0].gather(1, places)
    return _Cover(places, covers.any(dim=2), starts < student[..., 0])


def _of_edges(student: TokenLogits, teacher: TokenLogits, temperature: float) -> Float[Tensor, " batch"]:
    """The mean over the classes of T²·KL between their distributions over places; 0 where no place is shared.

    A place before the text (its characters lie below 0) stands for "nowhere in it", as a reader's first token for no
    answer. Where a teacher has none for a text, the student's is left out of its distribution.
    """
    characters = pad(student.characters, (0, 0, 0, 1))  # one more place, at padding, so that there is one
    is_ours = characters[..., 1] > characters[..., 0]
    is_theirs = teacher.characters[..., 1] > teacher.characters[..., 0]
    has_before = (is_theirs & (teacher.characters[..., 0] < 0)).any(dim=1, keepdim=True)
    is_ours = is_ours & (has_before | (characters[..., 0] >= 0))
    dtype = student.values.dtype if student.values.device.type == "mps" else torch.float64
    total = torch.zeros(len(is_ours), dtype=dtype, device=is_ours.device)
    for number, edge in enumerate(teacher.edges):
        ours = _masked(pad(student.values[..., number].to(dtype), (0, 1)) / temperature, is_ours)
        theirs = _masked(teacher.values[..., number].to(dtype) / temperature, is_theirs).softmax(dim=1)
        targets, is_covered = _covering(characters, is_ours, teacher.characters, edge)
        mass = torch.where(is_covered & is_theirs, theirs, 0)
        moved = torch.zeros_like(ours).scatter_add(1, targets, mass)
        moved = moved / moved.sum(dim=1, keepdim=True).clamp(min=torch.finfo(dtype).tiny)
        total = total + temperature**2 * kl_div(log_softmax(ours, dim=1), moved, reduction="none").sum(dim=1)
    return (total / len(teacher.edges)).to(student.values.dtype)


def _masked(logits: Float[Tensor, "batch places"], mask: Bool[Tensor, "batch places"]) -> Float[Tensor, "batch places"]:
    """Logits whose softmax is 0 where the mask is false: a finite number, so that a text without places gives none."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def _covering(
    student: Int[Tensor, "batch places 2"],
    is_ours: Bool[Tensor, "batch places"],
    teacher: Int[Tensor, "batch other_places 2"],
    edge: Edge,
) -> tuple[Int[Tensor, "batch other_places"], Bool[Tensor, "batch other_places"]]:
    """For each of a teacher's places the student's that covers its first or last character, and whether one does.

    Of several tokens that share a character, as bytes of it do, the first is taken for a first character and the last
    for a last one.
    """
    first, end = teacher[..., 0], teacher[..., 1]
    character = (first if edge == "first" else end - 1)[:, :, None]
    covers = (student[:, None, :, 0] <= character) & (character < student[:, None, :, 1]) & is_ours[:, None, :]
    if edge == "first":
        targets = covers.int().argmax(dim=2)
    else:
        targets = covers.shape[2] - 1 - covers.int().flip(2).argmax(dim=2)
    return targets, covers.any(dim=2)


def _divergence_inside(
    ours: Float[Tensor, "batch places classes"],
    theirs: Float[Tensor, "batch places classes"],
    inside: tuple[int, ...],
    temperature: float,
) -> Float[Tensor, "batch places"]:
    """T²·KL where each class of the teacher is taken as the class `inside`: probabilities of two are added up.

    In float64, where a device has it, since the terms of a small divergence cancel.
    """
    dtype = ours.dtype if ours.device.type == "mps" else torch.float64
    log_ours = log_softmax(ours.to(dtype) / temperature, dim=-1)
    probability = (theirs.to(dtype) / temperature).softmax(dim=-1)
    targets = torch.tensor(inside, device=ours.device)
    moved = torch.zeros_like(probability).index_add(-1, targets, probability)
    return (temperature**2 * kl_div(log_ours, moved, reduction="none").sum(dim=-1)).to(ours.dtype)


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
    return _checked(side.logits, name)


def _token_logits(side: Representations, name: str) -> TokenLogits:
    """A side's logits at places, in float32 at least; `ValueError` where there are none, or one is not finite."""
    if side.token_logits is None:
        raise ValueError(f"'kd-logits' needs the {name}'s logits of tokens, and this {name} gives none.")
    return replace(side.token_logits, values=_checked(side.token_logits.values, name))


def _checked(logits: Tensor, name: str) -> Tensor:
    """Logits in float32 at least.

    Args:
        logits: `[batch, classes]`, or `[batch, places, classes]`.
        name: of their side, for the message.

    Raises:
        NotFiniteValueError: one is not finite.
    """
    logits = at_least_float32(logits)
    bad = (~logits.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if bad:
        raise NotFiniteValueError(f"the {name}'s logits {list(logits.shape)} hold NaN or inf: first in row {bad[0]}.")
    return logits


def _check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not positive."""
    if not temperature > 0:
        raise ValueError(f"temperature must be a positive number, not {temperature}.")


KD_LOGITS = Objective("kd-logits", kd_logits, equal_widths=False, needs_logits=True, takes_token_logits=True)
