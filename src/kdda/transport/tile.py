"""The solvers for accelerators: by a Triton kernel, one program a text, where a text fits on the chip; else by torch.

The torch path launches about a hundred kernels an iteration, and the host waits for each iteration. Here a text is
solved by one program of `tile_kernels.py`, and the host waits once, for the certificate.

The kernel was tested in Triton's interpreter and compiled for several accelerators; it has run on none. So what it
gives is not believed: torch computes the marginal error from the plan, and looks whether plan, potentials and cost
agree at this ε. A text that fails either is solved again by torch, and so are all texts where the kernel cannot be
compiled, after one warning.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport import solver, symmetric
from kdda.transport.numerics import stopping_error
from kdda.transport.problem import SolverSettings
from kdda.transport.solver import Solution
from kdda.transport.symmetric import SelfSolution

DEVICES = ("cuda",)  # types of devices whose texts the kernel solves, ROCm's among them; none: torch solves all

# Entries of a tile, whose sides are powers of 2. R and the plan stay in registers: at this size they take 32 of the 64
# that each of 1024 threads can have, and a few more are spilled; the next size would spill a tile.
LARGEST_TILE = 128 * 128

SMALLEST_SIDE = 16

ENTRIES_PER_THREAD = 16  # of a tile; with 32 every tile spills

ROUNDINGS = 8  # of the largest cost, by which the plan that potentials give may differ in log P from the kernel's

_failed: set[str] = set()  # types of devices on which the kernel could not be compiled or started


def solve(
    cost: Float[Tensor, "batch n m"],
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    settings: SolverSettings,
) -> Solution:
    """`solver.solve`, by the kernel where texts fit. Cost may be overwritten."""
    tiled = _solve_on_tiles(cost, a, b, settings) if _fits(cost) else None
    if tiled is None:
        return solver.solve(cost, a, b, **vars(settings))
    out, rows = tiled
    if rows:
        index = torch.tensor(rows, device=cost.device)
        again = solver.solve(cost[index], a[index], b[index], **vars(settings))
        out = Solution(*_overwritten(out, index, again))
    return out


def solve_self(
    cost: Float[Tensor, "batch n n"],
    a: Float[Tensor, "batch n"],
    settings: SolverSettings,
) -> SelfSolution:
    """`symmetric.solve_self`, by the kernel where texts fit. Cost may be overwritten."""
    tiled = _solve_self_on_tiles(cost, a, settings) if _fits(cost) else None
    if tiled is None:
        return symmetric.solve_self(cost, a, **vars(settings))
    out, rows = tiled
    if rows:
        index = torch.tensor(rows, device=cost.device)
        again = symmetric.solve_self(cost[index], a[index], **vars(settings))
        out = SelfSolution(*_overwritten(out, index, again))
    return out


def _overwritten(out: Iterable[Any], index: Tensor, again: Iterable[Any]) -> Iterator[Any]:
    """The fields of a solution, these rows of its tensors replaced by those of `again`; of numbers the larger."""
    for whole, part in zip(out, again, strict=True):
        if isinstance(whole, Tensor):
            yield whole.index_copy_(0, index, part)
        else:
            yield max(whole, part)


def _fits(cost: Tensor) -> bool:
    """Whether the kernel is to solve these problems."""
    kind = cost.device.type
    if kind not in DEVICES or kind in _failed or cost.dtype != torch.float32:
        return False
    return side(cost.shape[1]) * side(cost.shape[2]) <= LARGEST_TILE and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton is installed: torch for CUDA brings it under Linux, and not under Windows."""
    return find_spec("triton") is not None


def _launch(name: str, cost: Tensor, *arguments: Tensor | float | int, **sides: int) -> bool:
    """Start a kernel, a program for each text; False, and a warning, where it cannot be compiled or started."""
    options = {"num_warps": warps(math.prod(sides.values())), "enable_fp_fusion": True}
    try:
        kernel = getattr(import_module("kdda.transport.tile_kernels"), name)
        with torch.cuda.device_of(cost):  # type: ignore[no-untyped-call]
            kernel[(len(cost),)](cost, *arguments, **sides, **options)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # of Triton, its compilers, the driver, or no Triton at all: of many classes
        _failed.add(cost.device.type)
        warnings.warn(
            f"The Triton kernel of kdda's Sinkhorn solver does not start on {cost.device} "
            f"({type(error).__name__}: {str(error)[:200]}). Texts are solved by torch instead, to the same tolerance.",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _solve_on_tiles(cost: Tensor, a: Tensor, b: Tensor, settings: SolverSettings) -> tuple[Solution, list[int]] | None:
    """Cross terms by the kernel, and the rows that its certificate refuses; None where it does not start."""
    cost, (_, n, m) = cost.contiguous(), cost.shape
    out = Solution.empty(cost)
    iterations = torch.empty(len(cost), dtype=torch.int32, device=cost.device)
    started = _launch(
        "solve_kernel", cost, a.contiguous(), b.contiguous(), out.f, out.g, out.plan, iterations, n, m,
        settings.epsilon, stopping_error(settings.tolerance, cost.dtype), 0.1 * settings.tolerance,
        settings.max_iterations, solver.NEWTON_STEPS, BLOCK_N=side(n), BLOCK_M=side(m),
    )  # fmt: skip
    if not started:
        return None
    error, missed = _certificate(cost, a, b, out.f, out.g, out.plan, settings)
    most, rows = read_certificate(iterations, missed)
    return out._replace(error=error, iterations=most), rows


def _solve_self_on_tiles(cost: Tensor, a: Tensor, settings: SolverSettings) -> tuple[SelfSolution, list[int]] | None:
    """Self-terms by the kernel, and the rows that its certificate refuses; None where it does not start."""
    cost, n = cost.contiguous(), cost.shape[1]
    f, plan = torch.empty_like(a), torch.empty_like(cost)
    iterations = torch.empty(len(cost), dtype=torch.int32, device=cost.device)
    started = _launch(
        "solve_self_kernel", cost, a.contiguous(), f, plan, iterations, n, settings.epsilon,
        stopping_error(settings.tolerance, cost.dtype), settings.max_iterations, BLOCK_N=side(n), BLOCK_M=side(n),
    )  # fmt: skip
    if not started:
        return None
    error, missed = _certificate(cost, a, a, f, f, plan, settings)
    value = 2 * (a * f).sum(dim=1) - settings.epsilon * (plan.sum(dim=(1, 2)) - 1)
    most, rows = read_certificate(iterations, missed)
    return SelfSolution(value, plan, error, most), rows


def _certificate(
    cost: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, plan: Tensor, settings: SolverSettings
) -> tuple[Tensor, Tensor]:
    """The marginal error of each plan, and whether the text is to be solved again.

    It is where that is above the tolerance, and where the plan is not that of its potentials at this ε: where
    Σ P |log P − log P_fg|, which is about ‖P − P_fg‖₁, is more than rounding leaves.
    """
    error = (plan.sum(dim=2) - a).abs().sum(dim=1) + (plan.sum(dim=1) - b).abs().sum(dim=1)
    limits = torch.finfo(cost.dtype)
    ratio = plan / (a[:, :, None] * b[:, None, :]).clamp(min=limits.tiny)
    exponent = (f[:, :, None] + g[:, None, :] - cost) * (1 / settings.epsilon)
    mismatch = (plan * (ratio.clamp(min=limits.tiny).log() - exponent).abs()).sum(dim=(1, 2))
    rounding = ROUNDINGS * limits.eps / settings.epsilon * cost.amax(dim=(1, 2))
    return error, ~((error <= settings.tolerance) & (mismatch <= settings.tolerance + rounding))


def read_certificate(iterations: Tensor, missed: Tensor) -> tuple[int, list[int]]:
    """The most iterations of what is not missed, and the rows that are: the only wait for a device in a solve."""
    counts, flags = torch.stack([iterations, missed.to(iterations)]).tolist()
    rows = []
    most = 0
    for row, (count, flag) in enumerate(zip(counts, flags, strict=True)):
        if flag:
            rows.append(row)
        else:
            most = max(most, count)
    return most, rows


def side(points: int) -> int:
    """The side of a tile for so many points.

    >>> side(5), side(40), side(128)
    (16, 64, 128)
    """
    return max(SMALLEST_SIDE, 1 << (points - 1).bit_length())


def warps(entries: int) -> int:
    """Of a program with so large a tile.

    >>> warps(16 * 16), warps(64 * 64), warps(128 * 128)
    (1, 8, 32)
    """
    threads = 64 if torch.version.hip else 32  # of a warp
    return max(1, entries // (ENTRIES_PER_THREAD * threads))
