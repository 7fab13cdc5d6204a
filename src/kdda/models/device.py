"""Which floating-point precision a device computes in."""

from __future__ import annotations

import torch

from kdda.errors import KddaError, unknown_choice

PRECISIONS = ("fp32", "bf16", "auto")


def in_bfloat16(precision: str) -> bool:
    """Whether to compute in bfloat16.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bfloat16 if the device has instructions for it.

    Raises:
        KddaError: no such precision.
    """
    if precision not in PRECISIONS:
        raise KddaError(unknown_choice("precision", precision, PRECISIONS))
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
