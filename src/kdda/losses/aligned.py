"""monotone and aligned: tokens matched by their order, or by the characters that they share; no solver, linear time."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
    clouds,
    in_full_precision,
    places_of,
)


@in_full_precision
def monotone(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """Σ_ij P_ij ½‖x_i − y_j‖² over the scale, where P matches both sequences of tokens by their order.

    The masses of a text's tokens, one after another, divide the line from 0 to 1 into an interval a token; P_ij is what
    the intervals of i and j share. P is the exact transport plan of the tokens' places for every convex cost: what
    is left of transport where no token may overtake another. Reads `scale`. Source: Peyré, Cuturi, "Computational
    Optimal Transport", Foundations and Trends in Machine Learning 11(5-6), 2019, §3.4.2 (north-west corner) and
    remark 2.30 (optimality on a line).
    """
    x, y, a, b = clouds(student, teacher, settings.scale)
    overlaps = _overlaps(_mass_intervals(a), _mass_intervals(b), b > 0)
    matched = _matched(y, a, overlaps)
    return closed_form((matched.overlap * _costs(x, matched)).sum(dim=1))


@in_full_precision
def aligned(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """Σ_ij P_ij ½‖x_i − y_j‖² over the scale, where P matches tokens by the characters that they share.

    With o_ij the length that the `places` of i and j have in common, P_ij = a_i·o_ij/Σ_j o_ij. Student tokens that
    share nothing with any teacher token (such as those of a text that the teacher reads truncated) have no mass, and
    the others' masses become 1 together; a text without any such token gives 0. Where both tokenizers are the same, it
    is the squared distance token by token. Reads `scale`. Source: ours.

    Raises:
        ValueError: a side without places.
    """
    student_places, teacher_places = places_of(student, "student"), places_of(teacher, "teacher")
    x, y, a, b = clouds(student, teacher, settings.scale)
    overlaps = _overlaps(student_places[:, : x.shape[1]], teacher_places[:, : y.shape[1]], b > 0)
    matched = _matched(y, a, overlaps)
    mass = a * (matched.overlap > 0)
    mass = mass / mass.sum(dim=1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    return closed_form((mass * _costs(x, matched)).sum(dim=1))


class Overlaps(NamedTuple):
    """All pairs of a student's and a teacher's token of one text whose intervals overlap, in all texts of a batch.

    Attributes:
        student: number of the student's token, counted through the padded batch; in order.
        teacher: number of the teacher's token, counted likewise.
        length: of what both intervals share.
    """

    student: Tensor
    teacher: Tensor
    length: Tensor


class Matched(NamedTuple):
    """The teacher's tokens that each student token overlaps, weighted by the length of the overlap.

    Attributes:
        mean: their mean state, ``[batch, n, width]``.
        spread: their mean ½-squared distance from that mean, ``[batch, n]``.
        overlap: the sum of the lengths, ``[batch, n]``.
    """

    mean: Tensor
    spread: Tensor
    overlap: Tensor


def _mass_intervals(mass: Tensor) -> Tensor:
    """The interval of each token ``[batch, tokens, 2]`` when masses follow one another from 0 to 1."""
    precise = mass if mass.device.type == "mps" else mass.double()  # mps has no float64
    ends = precise.cumsum(dim=1)
    starts = pad(ends, (1, -1))  # each token starts where the one before it ends
    return torch.stack([starts, ends], dim=2)


def _overlaps(x: Tensor, y: Tensor, y_is_real: Tensor) -> Overlaps:
    """The pairs of tokens that overlap: at most n + m − 1 a text, where the intervals of each side are disjoint.

    Args:
        x, y: intervals of the student's and the teacher's tokens, ``[batch, n, 2]`` and ``[batch, m, 2]``.
        y_is_real: ``[batch, m]``; other tokens of the teacher overlap with nothing.
    """
    n, m = x.shape[1], y.shape[1]
    x_starts, x_ends = x.unbind(dim=2)
    y_starts, y_ends = y.to(x).unbind(dim=2)
    # in the order of their starts, teacher's tokens that may overlap with one of the student's follow one another: from
    # the first one that ends behind its start to the last one that starts before its end
    starts, order = y_starts.masked_fill(~y_is_real, torch.inf).sort(dim=1, stable=True)
    reach = y_ends.masked_fill(~y_is_real, -torch.inf).gather(1, order).cummax(dim=1).values
    first = torch.searchsorted(reach, x_starts.contiguous(), right=True).flatten()
    stop = torch.searchsorted(starts, x_ends.contiguous()).flatten()
    count = (stop - first).clamp(min=0)
    student = torch.repeat_interleave(count)  # each number as many times as its count says
    place_in_run = torch.arange(len(student), device=x.device) - (count.cumsum(0) - count)[student]
    first_of_text = student // n * m
    teacher = first_of_text + order.flatten()[first_of_text + first[student] + place_in_run]
    shared_end = torch.minimum(x_ends.flatten()[student], y_ends.flatten()[teacher])
    shared_start = torch.maximum(x_starts.flatten()[student], y_starts.flatten()[teacher])
    length = (shared_end - shared_start).clamp(min=0) * y_is_real.flatten()[teacher]
    return Overlaps(student, teacher, length)


def _matched(y: Tensor, a: Tensor, overlaps: Overlaps) -> Matched:
    """The mean state of the teacher's tokens that each student token overlaps, and how they spread around it.

    Sums of squared distances to several tokens are taken by their mean and spread, so that the gradient of a student's
    state is computed token by token, in the same order at every call.

    Args:
        y: the teacher's states, ``[batch, m, width]``.
        a: the student's masses, whose shape and precision the sums have.
    """
    width = y.shape[2]
    length = overlaps.length.to(a)
    overlap = torch.zeros_like(a).flatten().index_add(0, overlaps.student, length)
    share = length / overlap[overlaps.student].clamp(min=torch.finfo(a.dtype).tiny)
    states = y.flatten(0, 1).index_select(0, overlaps.teacher)
    mean = states.new_zeros(a.numel(), width).index_add(0, overlaps.student, share[:, None] * states)
    distance = 0.5 * (states - mean[overlaps.student]).square().sum(dim=1)
    spread = torch.zeros_like(overlap).index_add(0, overlaps.student, share * distance)
    return Matched(mean.view(*a.shape, width), spread.view_as(a), overlap.view_as(a))


def _costs(x: Tensor, matched: Matched) -> Tensor:
    """The mean ½‖x_i − y_j‖² of each student token over the teacher's tokens that it overlaps, ``[batch, n]``."""
    return 0.5 * (x - matched.mean).square().sum(dim=2) + matched.spread


MONOTONE = Objective("monotone", monotone)
ALIGNED = Objective("aligned", aligned, uses_places=True)
