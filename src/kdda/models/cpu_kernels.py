"""`fast_cpu_kernels`: oneDNN's float32 products and fused attention in float32, on AMD processors with AVX-512.

torch multiplies float32 matrices by Intel's MKL, which runs a slower path on processors of AMD, and differentiates
attention of bfloat16 states by tiles, each a call of oneDNN that costs more than its few numbers. Both are computed by
the library that is faster at it here, in the same precision; last digits differ (docs/performance.md, Training).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.attention import SDPBackend
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

CPU_INFO = Path("/proc/cpuinfo")  # under Linux: begins with the first core's facts, its vendor among them
AMD = "AuthenticAMD"

# Values of `torch.backends.mkldnn.matmul.fp32_precision`. The first lets oneDNN multiply float32 matrices, and round
# them to bfloat16 where the processor has tiles for that (AMX), which those of `is_faster` have not; the second is MKL.
ONEDNN, MKL = "bf16", "ieee"

PROBE_WIDTH = 256  # of the matrices that `_keeps_float32` multiplies: small ones would be left to MKL


@contextmanager
def fast_cpu_kernels(device: torch.device) -> Iterator[None]:
    """In this block, models compute by the faster libraries, if the device is a CPU of which `is_faster` is true.

    Attention is replaced in models that leave it to torch (transformers' ``sdpa``). The setting is the whole process's:
    enter the block from one thread at a time.
    """
    if device.type != "cpu" or not is_faster():
        yield
        return
    with _products_by(ONEDNN):
        if "sdpa" in ALL_ATTENTION_FUNCTIONS._local_mapping:  # replaced already, by an outer block or a user
            yield
            return
        ALL_ATTENTION_FUNCTIONS["sdpa"] = _attention
        try:
            yield
        finally:
            del ALL_ATTENTION_FUNCTIONS["sdpa"]  # the library's function stands again


@lru_cache
def is_faster() -> bool:
    """Whether oneDNN multiplies float32 matrices faster than MKL, and as exactly: on AMD processors with AVX-512."""
    backends: Any = torch.backends
    has_switch = hasattr(getattr(backends.mkldnn, "matmul", None), "fp32_precision")  # since torch 2.9
    if not has_switch or not torch._C.has_mkl:  # other builds multiply by a library that was not measured
        return False
    return _vendor() == AMD and "AVX512" in backends.cpu.get_cpu_capability() and _keeps_float32()


def _vendor() -> str:
    """`AMD` for its processors, empty for others."""
    facts = platform.processor()  # names the vendor under Windows
    if CPU_INFO.is_file():
        with CPU_INFO.open(encoding="utf-8", errors="replace") as lines:
            facts += lines.readline() + lines.readline()  # "processor : 0", "vendor_id : AuthenticAMD"
    return AMD if AMD in facts else ""


def _keeps_float32() -> bool:
    """Whether oneDNN multiplies float32 matrices without rounding their entries to bfloat16."""
    entry = 1 + 2.0**-12  # which bfloat16 rounds to 1
    matrix = torch.full((PROBE_WIDTH, PROBE_WIDTH), entry)
    with _products_by(ONEDNN):
        product = matrix @ matrix
    return bool((product / PROBE_WIDTH - entry**2).abs().max() < 2.0**-18)


@contextmanager
def _products_by(library: str) -> Iterator[None]:
    """Let a library, `ONEDNN` or `MKL`, multiply float32 matrices on the CPU."""
    backends: Any = torch.backends
    backend = backends.mkldnn.matmul
    before = backend.fp32_precision
    backend.fp32_precision = library
    try:
        yield
    finally:
        backend.fp32_precision = before


def _attention(
    module: Any,
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch heads keys width"],
    value: Float[Tensor, "batch heads keys width"],
    attention_mask: Shaped[Tensor, "#batch #heads #queries keys"] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function ``sdpa`` for models like BERT; what differs from theirs goes to the library's.

    Args:
        module: the layer's attention, which may be causal.
        attention_mask: true, or 0, where a query reads a key; false, or -inf, elsewhere.
        dropout: of the weights; the fused kernel has none.
        scaling: factor of the scores; 1/√width by default.
        is_causal: instead of the module's.
        more: what other models pass, such as a bias of positions.

    Returns:
        States ``[batch, queries, heads, width]``, and None for the weights.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    is_like_bert = not causal and more.get("position_bias") is None and more.get("cache") is None
    if attention_mask is not None and attention_mask.requires_grad:  # a learned bias, of which this has no gradient
        is_like_bert = False
    if is_like_bert and key.shape[1] == query.shape[1]:
        dtype = query.dtype
        with torch.autocast(query.device.type, enabled=False):
            states = query.float(), key.float(), value.float()
            bias = _additive(attention_mask)
            choice = torch._fused_sdp_choice(*states, bias, dropout, False, scale=scaling)
            if SDPBackend(choice) == SDPBackend.FLASH_ATTENTION:
                fused: Tensor = _FusedAttention.apply(*states, bias, scaling)  # type: ignore[no-untyped-call]
                return fused.to(dtype).transpose(1, 2).contiguous(), None
    states_of_library: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal, **more
    )
    return states_of_library


def _additive(mask: Tensor | None) -> Tensor | None:
    """A mask as numbers that are added to scores: 0 where a key is read, -inf where not."""
    if mask is None or mask.dtype != torch.bool:
        return mask if mask is None else mask.float()
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)


class _FusedAttention(torch.autograd.Function):
    """torch's fused attention of float32 states on a CPU, forward and backward with products by MKL.

    It multiplies small tiles, of which each call of oneDNN costs 10 µs and each of MKL less.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None
    ) -> Tensor:
        """Softmax((query · key) · scale + bias) · value."""
        with _products_by(MKL):
            states, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, attn_mask=bias, scale=scale
            )
        ctx.save_for_backward(query, key, value, bias, states, log_sums)
        ctx.scale = scale
        return states  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """The gradients of query, key and value."""
        query, key, value, bias, states, log_sums = ctx.saved_tensors
        with _products_by(MKL):
            gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                gradient, query, key, value, states, log_sums, 0.0, False, attn_mask=bias, scale=ctx.scale
            )
        return (*gradients, None, None)
