"""Value and gradient of entropic transport and of its debiased divergence (Danskin), chunk by chunk, without a recorded
solve.

By Danskin's theorem the gradient of OT_ε is that of ⟨P, C(x, y)⟩ with the optimal plan P held fixed. For C = ½‖x − y‖²
this is ∂/∂x_i = Σ_j P_ij (x_i − y_j), computed while P is in memory, so that only a gradient of the size of `x` is
saved for the backward pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdda.transport.numerics import full_precision
from kdda.transport.precision import self_terms, solve_texts
from kdda.transport.problem import Problem, SolverSettings
from kdda.transport.terms import Gradients, Outcome

# Entries of the cost matrices that are solved together; on a CPU about what the cache of a core holds.
CHUNK_ENTRIES = {"cpu": 2**20}

CHUNK_ENTRIES_ELSEWHERE = 2**26

# Entries of padding that a chunk of its own must save to be worth its calls; no padding is saved elsewhere.
WORTH_A_CHUNK = {"cpu": 2**16}


class Chunk(NamedTuple):
    """Texts that are solved together: their rows in the batch, and how long the longest of each side is."""

    rows: slice | Tensor
    n: int
    m: int


def transport(
    problem: Problem, x: Tensor, y: Tensor, settings: SolverSettings, *, debiased: bool, y_term: Tensor | None = None
) -> Outcome:
    """OT_ε of each text, or S_ε. `value` is differentiable in `x` and `y`, the clouds behind `problem`."""
    return Outcome(*_TransportFunction.apply(x, y, problem, settings, debiased, y_term))  # type: ignore[no-untyped-call]


def self_transport(problem: Problem, settings: SolverSettings) -> Tensor:
    """OT_ε(β, β) of the second cloud of each text, without a gradient."""
    values = problem.b.new_empty(len(problem.b))
    with torch.no_grad(), full_precision(problem.y.device):
        for chunk in _chunks(problem):
            values[chunk.rows] = self_terms(problem.part(*chunk), settings)
    return values


class _TransportFunction(torch.autograd.Function):
    """Solves in the forward pass, and keeps the gradient for the backward pass (see the head of the file)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        problem: Problem,
        settings: SolverSettings,
        debiased: bool,
        y_term: Tensor | None,
    ) -> Outcome:
        """The values; the gradients are computed here, too, and kept for `backward`."""
        x_needs_grad, y_needs_grad = ctx.needs_input_grad[:2]
        grads = Gradients(None, None)
        if x_needs_grad:
            grads = grads._replace(x=_empty_gradient(x, problem))
        if y_needs_grad:
            grads = grads._replace(y=_empty_gradient(y, problem))
            y_term = None
        with full_precision(x.device):
            outcome = _solve_all(problem, settings, debiased, y_term, grads)
        ctx.unit = problem.unit
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(*outcome[1:])
        return outcome

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that `forward` has kept, times that of each value."""
        factor = ctx.unit * upstream[:, None, None]
        grads: list[Tensor | None] = [None] * 6
        for i, grad in enumerate(ctx.saved_tensors):
            if grad is not None:
                grads[i] = factor * grad
        return tuple(grads)


def _empty_gradient(cloud: Tensor, problem: Problem) -> Tensor:
    """Room for the gradient of a cloud, in the precision that the problem is solved in."""
    return torch.empty_like(cloud, dtype=problem.a.dtype)


def _solve_all(
    problem: Problem, settings: SolverSettings, debiased: bool, y_term: Tensor | None, grads: Gradients
) -> Outcome:
    """All texts, a chunk at a time.

    Args:
        y_term: OT_ε(β, β) of each text if it is known already, so that it is not solved again.
        grads: gradients are written into these tensors, of which `part` gives views.
    """
    outcome = Outcome.empty(problem)
    for chunk in _chunks(problem):
        known = None
        if y_term is not None:
            known = y_term[chunk.rows]
        room = grads.room(*chunk)
        part = solve_texts(problem.part(*chunk), settings, debiased, known, room)
        for whole, values in zip(outcome, part, strict=True):
            if whole.ndim == 1:
                whole[chunk.rows] = values
            else:
                whole[chunk.rows, : values.shape[1]] = values
        grads.write(chunk.rows, room)
    return outcome


def _chunks(problem: Problem) -> list[Chunk]:
    """Chunks whose cost matrices hold at most `CHUNK_ENTRIES` together, one text at least, by the length of the texts
    where that saves enough padding.
    """
    batch, n, m = len(problem.a), problem.x.shape[1], problem.y.shape[1]
    device = problem.x.device.type
    most = CHUNK_ENTRIES.get(device, CHUNK_ENTRIES_ELSEWHERE)
    worth = WORTH_A_CHUNK.get(device, most)
    entries = batch * max(n, m) ** 2
    if entries <= min(most, 2 * worth):
        return [Chunk(slice(0, batch), n, m)]
    lengths = torch.stack([_lengths(problem.a), _lengths(problem.b)], dim=1).tolist()
    chunks = []
    for rows in rows_by_length([max(pair) for pair in lengths], most, worth):
        longest_x = max(lengths[row][0] for row in rows)
        longest_y = max(lengths[row][1] for row in rows)
        chunks.append(Chunk(_as_slice(rows, problem.a.device), longest_x, longest_y))
    return chunks


def _lengths(weights: Tensor) -> Tensor:
    """The number of columns up to the last one with mass, of each row."""
    places = torch.arange(1, weights.shape[1] + 1, device=weights.device)
    return (places * (weights > 0)).amax(dim=1)


def rows_by_length(lengths: list[int], most: int, worth: int) -> list[list[int]]:
    """Rows of a batch in groups, the longest first, whose `longest² · rows` is at most `most`, one row at least.

    Groups are divided further where that saves more than `worth` entries of padding.

    >>> rows_by_length([9, 2, 9, 2], most=1000, worth=100)
    [[0, 2], [1, 3]]
    >>> rows_by_length([9, 8, 9, 8], most=200, worth=100)
    [[0, 2], [1, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    groups = []
    while order:
        size = max(1, most // lengths[order[0]] ** 2)
        pending = [order[:size]]
        order = order[size:]
        while pending:
            group = pending.pop()
            cut = _best_cut([lengths[row] for row in group], worth)
            if cut:
                pending += [group[cut:], group[:cut]]
            else:
                groups.append(sorted(group))
    return groups


def _best_cut(lengths: list[int], worth: int) -> int:
    """How many of the texts, the longest first, are to be divided from the others; 0 where that saves too little."""
    cut = 0
    for first in range(1, len(lengths)):
        saved = (len(lengths) - first) * (lengths[0] ** 2 - lengths[first] ** 2)
        if saved > worth:
            cut = first
            worth = saved
    return cut


def _as_slice(rows: list[int], device: torch.device) -> slice | Tensor:
    """Rising rows as a slice, which gives views, where there are no gaps between them."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)
