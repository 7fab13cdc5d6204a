"""In which precision a device computes well."""

from __future__ import annotations

import torch

from kdda.errors import KddaError, did_you_mean

PRECISIONS = ("fp32", "bf16", "auto")


def in_bfloat16(precision: str) -> bool:
    """Whether to compute in bfloat16: when asked to, or under ``auto`` when the device has the instructions.

    Raises:
        KddaError: no such precision.
    """
    if precision not in PRECISIONS:
        raise KddaError(
            f'precision: found "{precision}"{did_you_mean(precision, PRECISIONS)}; there are {", ".join(PRECISIONS)}'
        )
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
