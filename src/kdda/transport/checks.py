"""Checks of shapes, masks, masses, finite values and settings (ε, tolerance, iterations) before any arithmetic."""

import difflib
import math
from collections.abc import Iterable

import torch
from torch import Tensor


class NotFiniteValueError(ValueError):
    """Clouds that hold NaN or inf, or whose distances overflow."""


def check_clouds(x: Tensor, y: Tensor, *, equal_widths: bool = True) -> None:
    """Raise `ValueError` unless `x` is `[batch, n, width]` and `y` is `[batch, m, width]`."""
    shapes = f"got x {list(x.shape)} and y {list(y.shape)}"
    if x.ndim != 3 or y.ndim != 3:
        raise ValueError(f"clouds must be [batch, tokens, width]; {shapes}. Add the missing axis, e.g. x[None].")
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"x and y must hold the same number of texts; {shapes}.")
    if 0 in (*x.shape, *y.shape):
        raise ValueError(f"nothing to transport: a batch, a text or the width is empty; {shapes}.")
    if equal_widths and x.shape[2] != y.shape[2]:
        raise ValueError(
            f"widths differ: {x.shape[2]} for x, {y.shape[2]} for y ({shapes}). "
            "Project one side to the other's width, or take the objective 'gromov', which needs no common space."
        )
    if not (x.is_floating_point() and y.is_floating_point()):
        raise ValueError(f"clouds must be floating point; x is {x.dtype}, y is {y.dtype}.")
    if x.device != y.device:
        raise ValueError(f"x is on {x.device} and y on {y.device}: move one of them.")


def check_mask(mask: Tensor | None, cloud: Tensor, name: str) -> Tensor:
    """The mask or masses `[batch, tokens]` of `cloud`, all true when it is `None`; `ValueError` if they do not fit."""
    if mask is None:
        mask = torch.ones(cloud.shape[:2], dtype=torch.bool, device=cloud.device)
    if mask.shape != cloud.shape[:2]:
        raise ValueError(f"{name}_mask is {list(mask.shape)} but {name} is {list(cloud.shape)}: one flag a token.")
    if mask.is_floating_point():
        bad = (~(mask.isfinite() & (mask >= 0))).nonzero().tolist()
        if bad:
            raise ValueError(
                f"{name}_mask holds masses that are negative or not finite: first at row {bad[0][0]}, "
                f"token {bad[0][1]}."
            )
    elif mask.dtype != torch.bool:
        raise ValueError(
            f"{name}_mask must be boolean, or of masses (floating point), not {mask.dtype}: pass attention_mask.bool()."
        )
    is_empty = ~(mask > 0).any(dim=1)
    if bool(is_empty.any()):
        empty = is_empty.nonzero().flatten().tolist()
        raise ValueError(
            f"{name} has no real token in row {_row_numbers(empty)} of {list(cloud.shape)}: "
            "drop empty texts from the batch."
        )
    return mask


def check_finite(cloud: Tensor, name: str) -> None:
    """Raise `ValueError` naming the first token of `cloud` that is NaN or infinite (padding already filled)."""
    if bool(torch.isfinite(cloud.detach().sum())):
        return
    bad = (~torch.isfinite(cloud.detach())).any(dim=2).nonzero().tolist()
    if bad:
        row, token = bad[0]
        raise NotFiniteValueError(
            f"{name} {list(cloud.shape)} holds NaN or inf in {len(bad)} tokens: first at row {row}, token {token}."
        )


def check_settings(epsilon: float, tolerance: float, max_iterations: int) -> None:
    """Raise `ValueError` unless all three are positive and finite."""
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be a positive number, not {epsilon}; for ε = 0 take 'emd'.")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance must be a positive number, not {tolerance}.")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, not {max_iterations}.")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a dict of choices, with the most similar name that is.

    >>> unknown_name("scale", "cosin", ["cosine", "none"])
    ValueError("unknown scale 'cosin', expected one of: cosine, none. Did you mean 'cosine'?")
    """
    names = sorted(known)
    message = f"unknown {kind} '{name}', expected one of: {', '.join(names)}."
    similar = difflib.get_close_matches(name, names, n=1)
    if similar:
        message += f" Did you mean '{similar[0]}'?"
    return ValueError(message)


def _row_numbers(rows: list[int]) -> str:
    """The first five rows, for a message, and how many more there are.

    >>> _row_numbers([0, 1, 2, 3, 4, 5])
    '0, 1, 2, 3, 4 and 1 more'
    """
    text = ", ".join(map(str, rows[:5]))
    if len(rows) > 5:
        text += f" and {len(rows) - 5} more"
    return text
