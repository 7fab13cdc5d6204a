"""Newton's linear system: the semi-dual's Hessian diag(c) − Pᵀ diag(1/a) P with c = Pᵀ1, by a factor up to 384 columns,
by at most 40 conjugate gradients above.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.numerics import are_surely_true

FACTOR_UP_TO = 384  # columns; above, a factorisation costs more than the products that it saves early on the path

UPPER_UP_TO = 160  # columns; up to there LAPACK's upper factors take two thirds of the time of lower ones, above more

SMALL_MATRIX = 2**15  # entries of a plan, below which its product with a vector is a product and a sum

CG_STEPS = 40

CG_ACCURACY = 0.1  # of the right-hand side: a Newton step needs no more, since the next one corrects it

DAMPING = {torch.float32: 1e-5, torch.float64: 1e-11}  # about 100 roundings, relative to the diagonal


def row_sums(plan: Float[Tensor, "batch n m"], v: Float[Tensor, "batch m"]) -> Float[Tensor, "batch n"]:
    """P v. On a CPU a product and a sum are 2 to 3 times faster than a batched product of small matrices and vectors;
    large matrices, which a product would write to memory, are multiplied one problem at a time.
    """
    if plan.device.type != "cpu":
        return torch.bmm(plan, v[..., None]).squeeze(2)
    if plan[0].numel() < SMALL_MATRIX:
        return (plan * v[:, None, :]).sum(dim=2)
    out = plan.new_empty(plan.shape[:2])
    for matrix, vector, target in zip(plan, v, out, strict=True):
        torch.mv(matrix, vector, out=target)
    return out


def column_sums(plan: Float[Tensor, "batch n m"], u: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
    """Pᵀ u."""
    return torch.bmm(u[:, None, :], plan).squeeze(1)


def solve_hessian(
    plan: Float[Tensor, "batch n m"],
    inverse_a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    columns: Float[Tensor, "batch m"],
    right: Float[Tensor, "batch m k"],
    floor: float,
) -> Float[Tensor, "batch m k"]:
    """δ with (diag(c) − Pᵀ diag(1/a) P) δ = right and no part along the constant null direction.

    Args:
        plan: rows sum to `a`.
        inverse_a: 1/a, 0 at padding.
        columns: c, the column sums of `plan`.
        floor: residual, in the L1 norm of the marginals, below which nothing is gained.

    A system that cannot be factored gives NaN, never an exception.
    """
    if plan.shape[2] <= FACTOR_UP_TO:
        return _factored(plan, inverse_a, b, columns, right)
    return _conjugate_gradients(plan, inverse_a, columns, right, floor)


def _factored(plan: Tensor, inverse_a: Tensor, b: Tensor, columns: Tensor, right: Tensor) -> Tensor:
    """`solve_hessian` by Cholesky factors; arguments as there, `b` the masses of the columns (0 at padding)."""
    lift = b[:, :, None] * b[:, None, :]  # lifts the null direction to an eigenvalue of Σb²
    hessian = lift.baddbmm_((plan * -inverse_a[:, :, None]).transpose(1, 2), plan)
    diagonal = torch.add(columns, b, alpha=DAMPING[b.dtype]).add_(b == 0)
    hessian.diagonal(dim1=1, dim2=2).add_(diagonal)
    upper = plan.shape[2] <= UPPER_UP_TO
    factor, failed = torch.linalg.cholesky_ex(hessian, upper=upper)
    if upper:
        factor = factor.mT
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    if are_surely_true(failed == 0):
        return solution
    return torch.where((failed > 0)[:, None, None], torch.nan, solution)


def _conjugate_gradients(plan: Tensor, inverse_a: Tensor, columns: Tensor, right: Tensor, floor: float) -> Tensor:
    """Preconditioned by diag(c); all right-hand sides advance together, and those that are solved no longer move."""
    scale = torch.where(columns > 0, columns.rsqrt(), 0)[..., None]
    solution = torch.zeros_like(right)
    residual = right * scale
    direction = residual.clone()
    norm = residual.square().sum(dim=1)
    goal = (norm * CG_ACCURACY**2).clamp(min=floor**2)
    for _ in range(CG_STEPS):
        unsolved = norm > goal
        if not bool(unsolved.any()):
            break
        image = direction - scale * _smoothed(plan, inverse_a, scale * direction)
        curvature = (direction * image).sum(dim=1)
        length = torch.where(unsolved & (curvature > 0), norm / curvature, 0)
        solution += length[:, None, :] * direction
        residual -= length[:, None, :] * image
        previous = norm
        norm = residual.square().sum(dim=1)
        direction = residual + torch.where(previous > 0, norm / previous, 0)[:, None, :] * direction
    return solution * scale


def _smoothed(plan: Tensor, inverse_a: Tensor, v: Tensor) -> Tensor:
    """Pᵀ diag(1/a) P v for each of the k columns of `v [batch, m, k]`."""
    parts = []
    for column in v.unbind(dim=2):
        image = row_sums(plan, column.contiguous()) * inverse_a
        parts.append(column_sums(plan, image))
    return torch.stack(parts, dim=2)
