"""Every objective that a recipe can name, with one signature: `OBJECTIVES[name](student, teacher, settings)`."""

from dataclasses import replace

from kdda.transport.exact import emd, sliced
from kdda.transport.gromov import gromov
from kdda.transport.kernels import energy, mmd_gaussian
from kdda.transport.pooled import cka, cosine_pooled, kd_logits, mse_pooled
from kdda.transport.sides import Objective, ObjectiveOutput, ObjectiveSettings, Side
from kdda.transport.sinkhorn import SinkhornOutput, entropic_transport, sinkhorn_divergence


def sinkhorn(student: Side, teacher: Side, settings: ObjectiveSettings) -> ObjectiveOutput:
    """S_ε(α, β) = OT_ε(α, β) − ½OT_ε(α, α) − ½OT_ε(β, β): KDDA's objective. Source: see `sinkhorn_divergence`.

    Reads `epsilon`, `scale`, `tolerance`, `max_iterations`.
    """
    arguments = {**_arguments(student, teacher, settings), "y_term": teacher.self_term}
    return _brief(sinkhorn_divergence(student.states, teacher.states, **arguments))  # type: ignore[arg-type]


def entropic(student: Side, teacher: Side, settings: ObjectiveSettings) -> ObjectiveOutput:
    """OT_ε(α, β) = min_P ⟨P, C⟩ + ε·KL(P ‖ α⊗β), biased towards a shrunken student. Source: see `entropic_transport`.

    Reads `epsilon`, `scale`, `tolerance`, `max_iterations`.
    """
    return _brief(entropic_transport(student.states, teacher.states, **_arguments(student, teacher, settings)))  # type: ignore[arg-type]


def sinkhorn_aaai22(student: Side, teacher: Side, settings: ObjectiveSettings) -> ObjectiveOutput:
    """The divergence as the predecessor's released code set it up: raw ½‖h − k‖², ε = blur² = 0.05², padding counted.

    Its λ is 0.1. The code ran a fixed schedule of geomloss; this one is solved to `tolerance`. Reads that and
    `max_iterations`. Source: Nguyen, Luu, "Improving Neural Cross-Lingual Abstractive Summarization via Employing
    Optimal Transport Distance for Knowledge Distillation", AAAI 2022.
    """
    theirs = replace(settings, epsilon=0.05**2, scale="none")
    return sinkhorn(replace(student, mask=None), replace(teacher, mask=None, self_term=None), theirs)


def _arguments(student: Side, teacher: Side, settings: ObjectiveSettings) -> dict[str, object]:
    return {
        "x_mask": student.mask,
        "y_mask": teacher.mask,
        "epsilon": settings.epsilon,
        "scale": settings.scale,
        "tolerance": settings.tolerance,
        "max_iterations": settings.max_iterations,
    }


def _brief(out: SinkhornOutput) -> ObjectiveOutput:
    return ObjectiveOutput(out.value, out.marginal_error, out.iterations)


OBJECTIVES: dict[str, Objective] = {
    "sinkhorn": sinkhorn,
    "entropic": entropic,
    "emd": emd,
    "sliced": sliced,
    "mmd-gaussian": mmd_gaussian,
    "energy": energy,
    "gromov": gromov,
    "cka": cka,
    "mse-pooled": mse_pooled,
    "cosine-pooled": cosine_pooled,
    "kd-logits": kd_logits,
    "sinkhorn-aaai22": sinkhorn_aaai22,
}
