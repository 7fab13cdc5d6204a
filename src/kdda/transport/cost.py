"""The ground cost ½‖x − y‖² and the scales (`SCALES`) that it is divided by.

Hidden states have a few outlier dimensions and raw squared distances run to the hundreds, where ε = 0.005 is inert. A
scale brings costs near 1, so that ε and λ mean the same for every pair of models (docs/method.md, 7).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdda.transport.checks import unknown_name
from kdda.transport.numerics import at_least_float32, full_precision

SMALLEST_SCALE = 1e-25  # below it, and above its inverse, float32 squares over- and underflow

FAR = 1e6  # squared distance of a text from the origin, in squared spreads: above, float32 rounds its mean too much

SMALLEST_LENGTH = 1e-10  # of a vector that is divided by its length as it is, and the inverse of the largest

LARGEST_COORDINATE = 1e15  # that layer norm squares as it is


class Scaled(NamedTuple):
    """Both clouds as they enter ½‖x − y‖², and the number their costs are divided by."""

    x: Tensor
    y: Tensor
    divisor: float


ScaleFn = Callable[[Tensor, Tensor, Tensor], Scaled]

"""`(x [batch, n, d], y [batch, m, d], y_mask [batch, m]) -> Scaled`."""


def half_squared_distances(
    x: Float[Tensor, "batch n d"], y: Float[Tensor, "batch m d"], centre: Float[Tensor, "batch 1 d"] | None = None
) -> Float[Tensor, "batch n m"]:
    """½‖x_i − y_j‖² for every pair of a batch, in float32 at least, never below 0.

    Both clouds are first moved by one common vector (`centre`; the mean of `y` if not given), which changes no distance
    and keeps the digits that ½‖x‖² + ½‖y‖² − ⟨x, y⟩ loses when clouds lie far from the origin.

    >>> half_squared_distances(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    tensor([[[12.5000,  0.0000]]])
    """
    with full_precision(x.device):
        dtype = torch.promote_types(at_least_float32(x).dtype, at_least_float32(y).dtype)
        x, y = x.to(dtype), y.to(dtype)
        if centre is None:
            centre = y.detach().mean(dim=1, keepdim=True)
        centre = centre.to(dtype)
        return cost_of_centred(x - centre, y - centre)


def half_norms(cloud: Float[Tensor, "batch n d"]) -> Float[Tensor, "batch n"]:
    """½‖x_i‖² of every point."""
    return cloud.square().sum(dim=2).mul_(0.5)


def cost_of_centred(x: Tensor, y: Tensor, norms_x: Tensor | None = None, norms_y: Tensor | None = None) -> Tensor:
    """½‖x_i − y_j‖² `[batch, n, m]` of clouds that lie around the origin already, in the precision that they have.

    By ½‖x‖² + ½‖y‖² − ⟨x, y⟩: one matrix product, which loses digits where clouds lie far from the origin.

    Args:
        norms_x, norms_y: `half_norms` of the clouds, where they are known.
    """
    if norms_x is None:
        norms_x = half_norms(x)
    if norms_y is None:
        norms_y = norms_x
        if y is not x:
            norms_y = half_norms(y)
    cost = torch.baddbmm(norms_y[:, None, :], x, y.transpose(1, 2), alpha=-1)
    return cost.add_(norms_x[:, :, None]).clamp_(min=0)


def mean_pairwise_cost(states: Float[Tensor, "batch m d"], mask: Bool[Tensor, "batch m"] | None = None) -> float:
    """The teacher's scale s: mean ½‖k_i − k_j‖² over pairs i ≠ j of real tokens of one text, averaged over texts.

    Closed form, with no pairwise matrix: over m real tokens the mean over i ≠ j is m/(m − 1) times the summed variance
    of the coordinates. Texts of one token have no pair and do not count.

    Raises:
        ValueError: no text has two tokens, or all tokens coincide: s would be undefined or 0.

    >>> round(mean_pairwise_cost(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])), 6)
    12.5
    """
    with torch.no_grad(), full_precision(states.device):
        states = at_least_float32(states)
        if mask is None:
            mask = torch.ones_like(states[..., 0], dtype=torch.bool)
        states = torch.where(mask[..., None], states, 0)
        scale, offset = _mean_spread(states, mask)
        if not (SMALLEST_SCALE < scale < 1 / SMALLEST_SCALE and offset < FAR * scale):
            states, unit = _near_one(states)
            scale = _mean_spread(states, mask)[0] * unit * unit
    if math.isinf(scale):
        raise ValueError(f"cannot calibrate a scale on states {list(states.shape)}: their squared distances overflow.")
    if not scale > 0:
        raise ValueError(
            f"cannot calibrate a scale on states {list(states.shape)}: no text has two different real tokens. "
            "Pass the scale as a number, calibrated on more text."
        )
    return scale


def _mean_spread(states: Tensor, mask: Tensor) -> tuple[float, float]:
    """The mean over texts of the summed variance of the coordinates (0 where no text has two tokens), and the largest
    squared norm of a text's mean. `states` are 0 at padding.
    """
    weight = mask[..., None].to(states)
    count = weight.sum(dim=(1, 2))  # real tokens of each text
    mean = states.sum(dim=1, keepdim=True) / count.clamp(min=1)[:, None, None]
    spread = ((states - mean).square() * weight).sum(dim=(1, 2)) / (count - 1).clamp(min=1)
    usable = count > 1  # texts that have a pair
    scale = 0.0
    if bool(usable.any()):
        scale = float(spread[usable].mean())
    return scale, float(mean.square().sum(dim=2).amax())


def _near_one(states: Tensor) -> tuple[Tensor, float]:
    """States in float64 (on the CPU where the device lacks it) divided by a power of 2 near the largest; that power."""
    if states.device.type == "mps":
        states = states.cpu()
    states = states.double()
    exponent = math.frexp(float(states.abs().amax()))[1]  # largest = fraction · 2^exponent, fraction from ½ to 1
    unit = math.ldexp(1.0, min(max(exponent, -500), 500))
    return states / unit, unit


def _teacher(x: Tensor, y: Tensor, y_mask: Tensor) -> Scaled:
    """Divide by the mean pairwise cost of `y`, calibrated on this batch. (A training loss holds a fixed number.)"""
    return Scaled(x, y, mean_pairwise_cost(y.detach(), y_mask))


def _none(x: Tensor, y: Tensor, y_mask: Tensor) -> Scaled:
    """The raw cost ½‖x − y‖²."""
    return Scaled(x, y, 1.0)


def _cosine(x: Tensor, y: Tensor, y_mask: Tensor) -> Scaled:
    """Vectors of length 1, so that the cost is 1 − cos(x, y), between 0 and 2."""
    return Scaled(_unit(x), _unit(y), 1.0)


def _layernorm(x: Tensor, y: Tensor, y_mask: Tensor) -> Scaled:
    """Each vector standardised over its coordinates, as a layer norm without gain and bias; the cost ÷ the width."""
    width = x.shape[-1]
    return Scaled(_standard(x), _standard(y), float(width))


def _is_far(x: Tensor, x_mask: Tensor, y: Tensor, y_mask: Tensor) -> bool:
    """Whether some text lies more than a thousand times as far from the origin as its points from each other."""
    if x.dtype == torch.float64 and y.dtype == torch.float64:
        return False
    with torch.no_grad():
        points = torch.cat([at_least_float32(x), at_least_float32(y)], dim=1)
        real = torch.cat([x_mask, y_mask], dim=1)[..., None]
        size = torch.linalg.vector_norm(torch.where(real, points, 0), ord=torch.inf).clamp(min=1e-30)
        points = torch.where(real, points / size, 0)
        centre = points.sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        spread = torch.where(real, points - centre, 0).square().sum(dim=(1, 2))
        away = points.square().sum(dim=(1, 2))
        return bool(((away > FAR * spread) & (spread > 0)).any())


def _unit(x: Tensor) -> Tensor:
    """Each vector divided by its length; 0 stays 0."""
    x = at_least_float32(x)
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if not bool(((length > SMALLEST_LENGTH) & (length < 1 / SMALLEST_LENGTH)).all()):
        x = x / largest_powers(x)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(1e-12)


def largest_powers(x: Tensor) -> Tensor:
    """A power of 2 near the largest coordinate of each vector, with a last axis of 1; 1/2 of vectors that are 0."""
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    exponent = torch.frexp(largest).exponent - 1
    return torch.ldexp(torch.ones_like(largest), exponent)


def _standard(x: Tensor) -> Tensor:
    """Each vector with mean 0 and variance 1 over its coordinates; as torch's layer norm, which adds 1e-5 to the
    variance, so that much smaller vectors become shorter.
    """
    x = at_least_float32(x)
    if float(torch.linalg.vector_norm(x.detach(), ord=torch.inf)) > LARGEST_COORDINATE:
        # Such a variance is far above 1e-5, so that a common factor of the coordinates does not change the outcome.
        powers = largest_powers(x)
        x = torch.where(powers > LARGEST_COORDINATE / 4, x / powers * (LARGEST_COORDINATE / 4), x)
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


SCALES: dict[str, ScaleFn] = {
    "teacher": _teacher,
    "none": _none,
    "cosine": _cosine,
    "layernorm": _layernorm,
}

"""Scales by name. `teacher`: ÷ the mean pairwise cost of the real tokens of `y`. `none`: the raw cost. `cosine`: 1 −
cos. `layernorm`: vectors standardised, cost a coordinate."""


DIRECTIONS = ("cosine", "layernorm")  # scales that change each vector, so that no move of both clouds comes first


def apply_scale(x: Tensor, x_mask: Tensor, y: Tensor, y_mask: Tensor, scale: float | str) -> Scaled:
    """The clouds and the divisor of their costs under a named scale, or under a number (a calibrated teacher scale).

    Clouds that lie so far from the origin that float32 would round away how their directions differ become float64.

    Args:
        x_mask, y_mask: true at real tokens.
    """
    if isinstance(scale, str):
        if scale not in SCALES:
            raise unknown_name("scale", scale, SCALES)
        if scale in DIRECTIONS and _is_far(x, x_mask, y, y_mask):
            if x.device.type == "mps":
                raise ValueError(f"clouds so far from the origin need float64 for scale '{scale}', which mps lacks.")
            x, y = x.double(), y.double()
        return SCALES[scale](x, y, y_mask)
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be a positive number or one of {', '.join(SCALES)}; got {scale}.")
    return Scaled(x, y, float(scale))
