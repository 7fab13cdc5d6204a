"""Every objective that a recipe or `DistillationLoss` can name (`OBJECTIVES`), and how a user's is registered."""

from __future__ import annotations

from typing import Any

from kdda.errors import KddaError, unknown_choice
from kdda.losses.aligned import ALIGNED, MONOTONE
from kdda.losses.exact import EMD, SLICED
from kdda.losses.gromov import GROMOV
from kdda.losses.kernels import ENERGY, MMD_GAUSSIAN
from kdda.losses.logits import KD_LOGITS
from kdda.losses.pooled import CKA, COSINE_POOLED, MSE_POOLED
from kdda.losses.representations import Objective, ObjectiveFunction
from kdda.losses.sinkhorn import ANCHORED, ENTROPIC, SINKHORN, SINKHORN_AAAI22
from kdda.losses.unbalanced import UNBALANCED

OBJECTIVES: dict[str, Objective] = {}


def register_objective(name: str, function: ObjectiveFunction, **capabilities: Any) -> Objective:
    """Add an objective, which recipes and `DistillationLoss` can name from then on.

    Args:
        name: letters, digits and ``-``.
        function: `(student, teacher, settings) -> ObjectiveOutput`, or a tensor ``[batch]`` of values, differentiable
            in the student's states.
        capabilities: the other fields of `Objective`, such as ``equal_widths=False`` or ``options={"power": 2}``.

    Raises:
        KddaError: another objective has this name.

    >>> mean_gap = lambda student, teacher, settings: (student.states.mean(1) - teacher.states.mean(1)).norm(dim=1)
    >>> register_objective("mean-gap", mean_gap).equal_widths
    True
    >>> del OBJECTIVES["mean-gap"]
    """
    return _add_objective(Objective(name, function, **capabilities))


def objective_named(name: str, where: str = "objective") -> Objective:
    """The objective of a name.

    Args:
        where: the field or option that names it, for the message.

    Raises:
        KddaError: there is none.
    """
    if name not in OBJECTIVES:
        raise KddaError(unknown_choice(where, name, OBJECTIVES))
    return OBJECTIVES[name]


def _add_objective(objective: Objective) -> Objective:
    """Put an objective into `OBJECTIVES`; `KddaError` if one that is defined elsewhere has its name."""
    known = OBJECTIVES.get(objective.name)
    same_place = known is not None and _definition_site(known) == _definition_site(
        objective
    )  # a module that is imported a second time
    if known is not None and not same_place:
        raise KddaError(f'an objective named "{objective.name}" is registered already')
    OBJECTIVES[objective.name] = objective
    return objective


def _definition_site(objective: Objective) -> tuple[str, str]:
    """Module and qualified name of an objective's function."""
    function = objective.function
    return function.__module__, function.__qualname__


for _objective in (
    SINKHORN,
    ANCHORED,
    ALIGNED,
    MONOTONE,
    ENTROPIC,
    EMD,
    SLICED,
    MMD_GAUSSIAN,
    ENERGY,
    GROMOV,
    CKA,
    MSE_POOLED,
    COSINE_POOLED,
    KD_LOGITS,
    SINKHORN_AAAI22,
    UNBALANCED,
):
    _add_objective(_objective)
