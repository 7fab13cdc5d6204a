"""Arithmetic that mixed precision must not touch, and when rounding lets a solver stop."""

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


def stopping_error(tolerance: float, dtype: torch.dtype) -> float:
    """The error to stop at: a tenth of the tolerance, where rounding allows it.

    The last steps divide the error by far more than ten, and values and gradients gain what the marginals do.
    """
    return min(0.9 * tolerance, max(0.1 * tolerance, 80 * torch.finfo(dtype).eps))
