"""Maximum mean discrepancies, ½⟨α − β, k ∗ (α − β)⟩: no transport, and much cheaper."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    clouds,
    in_full_precision,
    unsolved,
)
from kdda.transport.cost import half_squared_distances


@in_full_precision
def mmd_gaussian(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """½⟨α − β, k ∗ (α − β)⟩ with k = exp(−C/bandwidth), all pairs counted. Reads `scale` and the option
    `bandwidth`, in units of the scaled cost.

    Source: Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", JMLR 13, 2012, eq. (5), halved.
    """
    bandwidth = settings.options["bandwidth"]
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be a positive number, not {bandwidth}.")
    return unsolved(_discrepancy(student, teacher, settings, lambda cost: torch.exp(-cost / bandwidth)))


@in_full_precision
def energy(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """E‖X − Y‖ − ½E‖X − X'‖ − ½E‖Y − Y'‖, the MMD of k = −‖x − y‖: no bandwidth to choose. Reads `scale`.

    Source: Székely, Rizzo, "Energy statistics", J. Statistical Planning and Inference 143(8), 2013, halved.
    """
    return unsolved(_discrepancy(student, teacher, settings, lambda cost: -(2 * cost).clamp(min=1e-12).sqrt()))


def _discrepancy(
    student: Representations, teacher: Representations, settings: ObjectiveSettings, kernel: Callable[[Tensor], Tensor]
) -> Tensor:
    x, y, a, b = clouds(student, teacher, settings.scale)

    def mean(u: Tensor, v: Tensor, weight_u: Tensor, weight_v: Tensor) -> Tensor:
        origin = torch.zeros_like(u[:, :1])
        return torch.einsum("bi,bij,bj->b", weight_u, kernel(half_squared_distances(u, v, origin)), weight_v)

    return 0.5 * mean(x, x, a, a) + 0.5 * mean(y, y, b, b) - mean(x, y, a, b)


MMD_GAUSSIAN = Objective("mmd-gaussian", mmd_gaussian, options={"bandwidth": 1.0})
ENERGY = Objective("energy", energy)
