"""sinkhorn, entropic and sinkhorn-aaai22: entropic transport as objectives, KDDA's divergence and two relatives."""

from dataclasses import replace
from typing import Any

from kdda.losses.representations import Objective, ObjectiveOutput, ObjectiveSettings, Representations
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


def sinkhorn_aaai22(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """The divergence as the predecessor's released code set it up: raw ½‖h − k‖², ε = blur² = 0.05², padding counted.

    Its λ is 0.1. The code ran a fixed schedule of geomloss; this one is solved to `tolerance`. Reads that and
    `max_iterations`. Source: Nguyen, Luu, "Improving Neural Cross-Lingual Abstractive Summarization via Employing
    Optimal Transport Distance for Knowledge Distillation", AAAI 2022.
    """
    theirs = replace(settings, epsilon=0.05**2, scale="none")
    return sinkhorn(replace(student, mask=None), replace(teacher, mask=None, self_term=None), theirs)


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
ENTROPIC = Objective("entropic", entropic)
SINKHORN_AAAI22 = Objective("sinkhorn-aaai22", sinkhorn_aaai22, token_masses=False)
