"""Arithmetic that mixed precision must not touch, float16 gradients above 65504, when rounding lets a solver stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and reduced-precision matrix products (TF32, bf16) off, and put both back afterwards.

    At ε = 0.005 a relative error of 1e-3 in a cost near 1 changes an entry of the plan by a fifth, so neither bf16 nor
    TF32 may enter a cost or a kernel.
    """
    with torch.autocast(device_type=device.type, enabled=False), _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    backends: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    if not all(hasattr(backend, "fp32_precision") for backend in backends):  # before torch 2.9
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
        return
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if that is what it came in.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    if x.dtype == torch.float64:
        return x
    return x.float()


def are_surely_true(flags: Tensor) -> bool:
    """Whether all flags are true, where that is known without waiting for an accelerator; False there."""
    return flags.device.type == "cpu" and bool(flags.all())


class HalfGradients:
    """Refusal of gradients that float16 cannot hold, which a backward pass would turn into inf without a word.

    A factor above 1 that comes from the loss, such as that of a loss scaler, does not count: a scaler waits for inf.
    """

    def __init__(self) -> None:
        self._upstream = 1.0  # the largest gradient of the value, 1 at least
        self._is_needed = False

    def widened(self, states: Tensor) -> Tensor:
        """States of float16 in float32, with a check of their gradient; any others as they are."""
        if states.dtype != torch.float16 or not states.requires_grad:
            return states
        self._is_needed = True
        states = states.float()
        states.register_hook(self._check)  # type: ignore[no-untyped-call]
        return states

    def watch(self, value: Tensor) -> None:
        """Take the gradient of this value, which is computed of the states, as what comes from the loss."""
        if self._is_needed and value.requires_grad:
            value.register_hook(self._remember)  # type: ignore[no-untyped-call]

    def _remember(self, upstream: Tensor) -> None:
        self._upstream = max(1.0, float(upstream.abs().amax()))

    def _check(self, gradient: Tensor) -> None:
        largest = float(gradient.abs().amax())
        limit = torch.finfo(torch.float16).max
        if limit * self._upstream < largest < float("inf"):
            raise ValueError(
                f"a gradient of {largest:.4g} does not fit float16, which ends at {limit:.0f}: pass states in float32, "
                "or a larger scale."
            )


def stopping_error(tolerance: float, dtype: torch.dtype) -> float:
    """The error to stop at: a tenth of the tolerance, where rounding allows it.

    The last steps divide the error by far more than ten, and values and gradients gain what the marginals do.
    """
    return min(0.9 * tolerance, max(0.1 * tolerance, 80 * torch.finfo(dtype).eps))
