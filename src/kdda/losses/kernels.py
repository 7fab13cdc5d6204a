"""mmd-gaussian (bandwidth 1.0) and energy: maximum mean discrepancies ½⟨α − β, k ∗ (α − β)⟩ of kernels of the cost
C = ½‖x − y‖²; no transport, and much cheaper.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from kdda.losses.representations import (
    Clouds,
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
    clouds,
    in_full_precision,
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
    measured = clouds(student, teacher, settings.scale)
    return closed_form(_discrepancy(measured, lambda cost: torch.exp(-cost / bandwidth)))


@partial(in_full_precision, cancelled=1e-3)  # roots of costs
def energy(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> ObjectiveOutput:
    """E‖X − Y‖ − ½E‖X − X'‖ − ½E‖Y − Y'‖, the MMD of k = −‖x − y‖: no bandwidth to choose. Reads `scale`.

    Source: Székely, Rizzo, "Energy statistics", J. Statistical Planning and Inference 143(8), 2013, halved.
    """
    measured = clouds(student, teacher, settings.scale)
    largest = max(float(measured.x.detach().abs().amax()), float(measured.y.detach().abs().amax()))
    # 2·cost = ‖x − y‖². The root has no finite gradient at 0, so distances below 1e-6 are constant; of clouds that are
    # themselves below 1e-3, those below a thousandth of that.
    floor = max(1e-12 * min(1.0, 1e6 * largest**2), torch.finfo(measured.x.dtype).tiny)
    return closed_form(_discrepancy(measured, lambda cost: -(2 * cost).clamp(min=floor).sqrt()))


def _discrepancy(measured: Clouds, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """½⟨α − β, k ∗ (α − β)⟩ of each text; `kernel` maps costs ½‖x − y‖² `[batch, n, m]` to k, entry by entry."""
    x, y, a, b = measured

    def mean(u: Tensor, v: Tensor, weight_u: Tensor, weight_v: Tensor) -> Tensor:
        """E k(U, V) for U and V drawn from two weighted clouds; they lie around 0 already."""
        origin = torch.zeros_like(u[:, :1])
        return torch.einsum("bi,bij,bj->b", weight_u, kernel(half_squared_distances(u, v, origin)), weight_v)

    return 0.5 * mean(x, x, a, a) + 0.5 * mean(y, y, b, b) - mean(x, y, a, b)


MMD_GAUSSIAN = Objective(
    "mmd-gaussian", mmd_gaussian, options={"bandwidth": 1.0}, bounds={"bandwidth": (1e-300, 1e300)}
)
ENERGY = Objective("energy", energy)
