"""sinkhorn, entropic, anchored (anchor 10) and sinkhorn-aaai22: entropic transport as objectives, KDDA's divergence and
three relatives.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    clouds,
    places_of,
)
from kdda.transport.numerics import full_precision
from kdda.transport.sinkhorn import SinkhornOutput, entropic_transport, sinkhorn_divergence


def sinkhorn(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """S_ε(α, β) = OT_ε(α, β) − ½OT_ε(α, α) − ½OT_ε(β, β): KDDA's objective. Source: see `sinkhorn_divergence`.

    Reads `epsilon`, `scale`, `tolerance`, `max_iterations`.
    """
    arguments = {**_solver_arguments(student, teacher, settings), "y_term": teacher.self_term}
    return _objective_output(sinkhorn_divergence(student.states, teacher.states, **arguments))


def entropic(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """OT_ε(α, β) = min_P ⟨P, C⟩ + ε·KL(P ‖ α⊗β), biased towards a shrunken student. Source: see `entropic_transport`.

    Reads `epsilon`, `scale`, `tolerance`, `max_iterations`.
    """
    arguments = _solver_arguments(student, teacher, settings)
    return _objective_output(entropic_transport(student.states, teacher.states, **arguments))


def anchored(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """S_ε of the cost ½‖x − y‖²/s + γ·(p − q)², where p and q are the tokens' places in the text, from 0 to 1.

    Transport may move mass between any two tokens, and pays for how far apart they stand. γ is the option `anchor`: 0
    is `sinkhorn`; a large one leaves the plan of `monotone`. A token's place is the middle of its interval in `places`,
    divided by the length of the row's line, which is the largest end on either side. Reads `epsilon`, `scale`,
    `tolerance`, `max_iterations`. Source: ours; Su, Hua, "Order-Preserving Wasserstein Distance for Sequence Matching",
    CVPR 2017, penalise the plan by the places instead.

    Raises:
        ValueError: a side without places.
    """
    anchor = settings.options["anchor"]
    if anchor == 0:
        return sinkhorn(student, teacher, settings)
    student_places, teacher_places = places_of(student, "student"), places_of(teacher, "teacher")
    with full_precision(student.states.device):
        x, y, a, b = clouds(student, teacher, settings.scale)
        p, q = _shares_of_line(student_places.to(x), teacher_places.to(x), a, b)
        factor = math.sqrt(2 * anchor)  # of one more coordinate, whose ½(√(2γ)·p − √(2γ)·q)² is γ·(p − q)²
        x = torch.cat([x, factor * p[..., None]], dim=2)
        y = torch.cat([y, factor * q[..., None]], dim=2)
    arguments = {**_solver_arguments(student, teacher, settings), "x_mask": a, "y_mask": b, "scale": 1.0}
    return _objective_output(sinkhorn_divergence(x, y, **arguments))


def sinkhorn_aaai22(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """The divergence as the predecessor's released code set it up: raw ½‖h − k‖², ε = blur² = 0.05², padding counted.

    Its λ is 0.1. The code ran a fixed schedule of geomloss; this one is solved to `tolerance`. Reads that and
    `max_iterations`. Source: Nguyen, Luu, "Improving Neural Cross-Lingual Abstractive Summarization via Employing
    Optimal Transport Distance for Knowledge Distillation", AAAI 2022.
    """
    theirs = replace(settings, epsilon=0.05**2, scale="none")
    return sinkhorn(replace(student, mask=None), replace(teacher, mask=None, self_term=None), theirs)


def _shares_of_line(x_places: Tensor, y_places: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tokens of both sides stand on their row's line, from 0 to 1; 0 at tokens without mass.

    Args:
        x_places, y_places: the tokens' intervals, whose middles are taken.
        a, b: the tokens' masses; places behind their last columns are padding.
    """
    x_real = x_places[:, : a.shape[1]] * (a > 0)[..., None]
    y_real = y_places[:, : b.shape[1]] * (b > 0)[..., None]
    line = torch.maximum(x_real[..., 1].amax(dim=1), y_real[..., 1].amax(dim=1))
    line = line.clamp(min=torch.finfo(line.dtype).tiny)[:, None]
    return x_real.mean(dim=2) / line, y_real.mean(dim=2) / line


def _solver_arguments(
    student: Representations, teacher: Representations, settings: ObjectiveSettings
) -> dict[str, Any]:
    """Keyword arguments of `sinkhorn_divergence` and `entropic_transport`."""
    return {
        "x_mask": student.mask,
        "y_mask": teacher.mask,
        "epsilon": settings.epsilon,
        "scale": settings.scale,
        "tolerance": settings.tolerance,
        "max_iterations": settings.max_iterations,
    }


def _objective_output(out: SinkhornOutput) -> ObjectiveOutput:
    """The part of a solver's output that every objective has."""
    return ObjectiveOutput(out.value, out.marginal_error, out.iterations)


SINKHORN = Objective("sinkhorn", sinkhorn, uses_self_term=True)
ANCHORED = Objective("anchored", anchored, uses_places=True, options={"anchor": 10.0}, bounds={"anchor": (0.0, 1e6)})
ENTROPIC = Objective("entropic", entropic)
SINKHORN_AAAI22 = Objective("sinkhorn-aaai22", sinkhorn_aaai22, token_masses=False)
