"""kd-logits: the Kullback–Leibler divergence of both models' predictions at a temperature."""

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from kdda.losses.representations import (
    Objective,
    ObjectiveOutput,
    ObjectiveSettings,
    Representations,
    closed_form,
    in_full_precision,
)
from kdda.transport.numerics import at_least_float32


@in_full_precision
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
    ours, theirs = (log_softmax(logits / settings.temperature, dim=-1) for logits in (ours, theirs))
    return closed_form(settings.temperature**2 * kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1))


def _logits(side: Representations, name: str) -> Tensor:
    """A side's logits in float32 at least; `ValueError` where there are none, or one is not finite."""
    if side.logits is None:
        raise ValueError(f"'kd-logits' needs the {name}'s logits, and this {name} gives none.")
    logits = at_least_float32(side.logits)
    bad = (~logits.isfinite()).any(dim=-1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"the {name}'s logits {list(logits.shape)} hold NaN or inf: first in row {bad[0]}.")
    return logits


KD_LOGITS = Objective("kd-logits", kd_logits, equal_widths=False, needs_logits=True)
