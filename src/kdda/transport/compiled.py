"""Texts on a CPU, solved one by one by machine code, where numba is installed (the extra ``compiled``).

torch's operations on the matrices of a text cost more than their arithmetic, some hundred calls an iteration. Loops
over one text have no such calls, and no text waits for another one, so that its result does not depend on the batch.
They follow `solver` and `symmetric`, which are the reference, and are certified by the same error.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport import path, solver
from kdda.transport.newton import DAMPING
from kdda.transport.numerics import stopping_error
from kdda.transport.problem import SolverSettings
from kdda.transport.solver import Solution
from kdda.transport.symmetric import SelfSolution
from kdda.transport.threads import in_threads

# n·m·min(n, m) of the largest problems that are solved here: up to 384 columns, above which `newton` solves torch's
# systems without factors.
LARGEST_PRODUCT = 384**3

# Entries of a batch's costs that are worth another thread, which takes 0.1 ms to start: of a descent, which goes over
# them some ten times with a factorisation each, and of the passes of a self-term.
WORTH_A_THREAD = 2**15
WORTH_A_THREAD_OF_PASSES = 2**18

WORTH_A_PAUSE = 2**17  # entries of a batch's costs whose descent takes longer than torch's threads to start again


@lru_cache
def is_installed() -> bool:
    """Whether the extra ``compiled`` is installed."""
    return all(find_spec(name) is not None for name in ("numba", "threadpoolctl"))


def is_faster(cost: Tensor) -> bool:
    """Whether problems of this cost `[batch, n, m]` are to be solved here."""
    is_float32 = cost.device.type == "cpu" and cost.dtype == torch.float32
    product = cost[0].numel() * min(cost.shape[1:])
    return is_float32 and product <= LARGEST_PRODUCT and is_installed()


def solve(
    cost: Float[Tensor, "batch n m"],
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    settings: SolverSettings,
) -> Solution:
    """`solver.solve`."""
    from kdda.transport import compiled_kernels as kernels

    rules = kernels.Rules(
        start=np.float32(path.START),
        landing=np.float32(path.LANDING),
        reject=np.float32(path.REJECT),
        lowest=np.float32(path.UNDERFLOW),
        drift=np.float32(solver.DRIFT),
        stride=np.float32(solver.STRIDE),
        loose=np.float32(solver.LOOSE),
        trust=np.float32(solver.TRUST),
        damping=np.float32(DAMPING[cost.dtype]),
        newton_steps=solver.NEWTON_STEPS,
    )
    out = Solution.empty(cost)
    iterations = torch.empty(len(cost), dtype=torch.long)
    written = (out.plan, out.f, out.g, out.error, iterations)
    stop = _stop(settings)
    threads = _threads(cost, WORTH_A_THREAD)
    is_long = cost.numel() >= WORTH_A_PAUSE
    in_threads(threads, is_long, kernels.solve_texts, *_arrays(cost, a, b), stop, rules, *_arrays(*written))
    return out._replace(iterations=int(iterations.amax()))


def solve_self(
    cost: Float[Tensor, "batch n n"],
    a: Float[Tensor, "batch n"],
    settings: SolverSettings,
) -> SelfSolution:
    """`symmetric.solve_self`; the plans are written to `cost`."""
    from kdda.transport import compiled_kernels as kernels

    value, error = torch.empty(len(cost)), torch.empty(len(cost))
    iterations = torch.empty(len(cost), dtype=torch.long)
    stop = _stop(settings)
    threads = _threads(cost, WORTH_A_THREAD_OF_PASSES)
    arguments = (*_arrays(cost, a), stop, *_arrays(value, error, iterations))
    in_threads(threads, False, kernels.solve_self_texts, *arguments)
    return SelfSolution(value, cost, error, int(iterations.amax()))


def _stop(settings: SolverSettings) -> Any:
    """`compiled_kernels.Stop` of these settings."""
    from kdda.transport.compiled_kernels import Stop

    goal = stopping_error(settings.tolerance, torch.float32)
    return Stop(np.float32(settings.epsilon), np.float32(goal), settings.max_iterations)


def _arrays(*tensors: Tensor) -> list[Any]:
    """The tensors as arrays of the same memory; small ones that are views of others are copied."""
    return [tensor.contiguous().numpy() for tensor in tensors]


def _threads(cost: Tensor, worth: int) -> int:
    """How many threads to solve problems of this cost in, each with `worth` entries at least; torch's at most."""
    return max(1, min(torch.get_num_threads(), len(cost), cost.numel() // worth))
