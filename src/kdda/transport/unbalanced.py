"""Unbalanced transport, whose marginals are relaxed by KL with strength ρ: Newton steps along falling ε; step limits.

min_P ⟨P, C⟩ + ε·KL(P ‖ a⊗b) + ρ·KL(P1 ‖ a) + ρ·KL(Pᵀ1 ‖ b), with KL(p ‖ q) = Σ p log(p/q) − p + q, is solved by
P = exp((f ⊕ g − C)/ε)·(a⊗b) whose marginals are P1 = a·exp(−f/ρ) and Pᵀ1 = b·exp(−g/ρ): a token whose transport costs
much keeps its mass. Sinkhorn's passes are damped by κ = ρ/(ρ + ε) here: quick while ε is not below ρ, slow at a smaller
ε. So a problem whose costs differ by more than ρ starts at ε = ρ with such passes, any other one near the balanced
solution, and from there on the path of `solver` is followed, with two changes:

- a number added to g and taken from f changes neither the shape of the plan nor that of the marginals, and the best
  one has a closed form. So plan and marginals have the mass 1 throughout; that of the plan, m, is computed at the end,
  where the minimum is (2ρ + ε)(1 − m);
- f is eliminated with its damping, and Newton's matrix is that of the balanced problem with κ/(P1) for 1/a and with
  (ε/ρ)·Pᵀ1 on its diagonal.

Sources: Chizat, Peyré, Schmitzer, Vialard (2018) for the damped passes; Séjourné, Feydy, Vialard, Trouvé, Peyré (2019)
for the divergence; Séjourné, Vialard, Peyré (2022) for the translation. The Newton steps are ours.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kdda.transport.flat import FLAT, PASSES, flat_potential
from kdda.transport.newton import column_sums, row_sums, solve_hessian
from kdda.transport.numerics import stopping_error
from kdda.transport.path import Path, Point, change_g, kernel, move, relative_log, start
from kdda.transport.solver import DRIFT, LOOSE, NEWTON_STEPS, STRIDE, TRUST, BatchDescent, Counts
from kdda.transport.symmetric import passes_to_look

FIRST_PASSES = 3  # Sinkhorn passes at the first ε, at least

MOST_PASSES = 60  # at the first ε, where it is ρ, so that each divides the error of g by 4 or more

SMALL_MASS = 1e-3  # of a plan, up to which the error is measured relative to it

NO_MASS = 1e-12  # of a column, below which no system says what its potential should be

MANY = 10.0  # ρ that a balanced g may span to be near the unbalanced one

ROUNDINGS = 8  # of a potential, which the error cannot fall below

SELF_STEP = 1.5  # 1/(SELF_STEP + ε/ρ) of a logarithmic error is the best symmetric step


class UnbalancedSolution(NamedTuple):
    """A solved batch.

    Attributes:
        value: the minimum.
        plan: P, whose mass is between 0 and 1.
        error: the residual of the conditions on its marginals, ‖P1 − a·exp(−f/ρ)‖₁ + ‖Pᵀ1 − b·exp(−g/ρ)‖₁.
    """

    value: Float[Tensor, " batch"]
    plan: Float[Tensor, "batch n m"]
    error: Float[Tensor, " batch"]
    iterations: int


class _Wanted(NamedTuple):
    """What the potentials f and g ask of the plan: its rows and columns, 1 together each, and its mass."""

    f: Tensor
    g: Tensor
    rows: Tensor
    columns: Tensor
    log_columns: Tensor
    log_mass: Tensor


def solve_unbalanced(
    cost: Float[Tensor, "batch n m"],
    a: Float[Tensor, "batch n"],
    b: Float[Tensor, "batch m"],
    *,
    epsilon: float,
    relaxation: float,
    tolerance: float,
    max_iterations: int,
) -> UnbalancedSolution:
    """Solve each problem of a batch. Cost is overwritten.

    Args:
        cost: non-negative and finite, padding included.
        a, b: masses of the points, 1 together; 0 at padding.
        epsilon: strength of the entropy.
        relaxation: ρ, strength of the marginals; a plan moves no mass where that costs much more than 2ρ.
        tolerance: residual of the marginals at which a problem counts as solved.
        max_iterations: after which a problem is reported as it is.
    """
    if epsilon > FLAT * float(cost.amax()):
        return _solve_flat(cost, a, b, epsilon, relaxation)
    zero = torch.zeros_like(a[:, 0])
    out = UnbalancedSolution(zero, torch.empty_like(cost), zero.clone(), 0)
    path = _start(cost, a, b, epsilon, relaxation)
    descent = _UnbalancedDescent(path, epsilon, tolerance, relaxation, out)
    return out._replace(iterations=descent.run(max_iterations))


class _UnbalancedDescent(BatchDescent):
    """Unbalanced problems; `out` is the output."""

    def __init__(self, path: Path, target: float, tolerance: float, relaxation: float, out: UnbalancedSolution) -> None:
        super().__init__(path, target, tolerance)
        self.relaxation = relaxation
        self.out = out

    def evaluate(self) -> Tensor:
        """The plan whose rows f asks for, and the error to stop at."""
        self.point, self.wanted = _evaluate(self.path, self.relaxation)
        return _accepted(self.wanted, self.relaxation, self.tolerance)

    def store(self) -> None:
        """Write value, plan and error."""
        mass = self.wanted.log_mass.exp()
        value = -(2 * self.relaxation + self.path.epsilon) * self.wanted.log_mass.expm1()
        plan = self.point.plan * mass[:, None, None]
        error = self.point.error + (self.point.plan.sum(dim=2) - self.wanted.rows).abs().sum(dim=1)
        for whole, part in ((self.out.value, value), (self.out.plan, plan), (self.out.error, error * mass)):
            whole.index_copy_(0, self.path.rows, part)

    def keep(self, rows: Tensor) -> None:
        """Go on with these problems of the batch alone."""
        super().keep(rows)
        self.wanted = _Wanted(*(part.index_select(0, rows) for part in self.wanted))

    def flagged(self) -> Tensor:
        """Problems that Sinkhorn passes at the first ε, which is not below ρ, have not settled yet."""
        return (self.path.epsilon >= self.relaxation) & ~(self.point.error < LOOSE)

    def step(self, iteration: int, counts: Counts) -> None:
        """Sinkhorn passes at the first ε, where they are fast; then Newton steps; and passes again after too many."""
        first = iteration <= FIRST_PASSES or self.target >= self.relaxation
        if first or (iteration <= MOST_PASSES and counts.flagged):
            change_g(self.path, _sinkhorn_step(self.path, self.point, self.wanted, self.relaxation))
        elif iteration <= MOST_PASSES + NEWTON_STEPS:
            _newton_step(self, counts)
        else:
            step = _sinkhorn_step(self.path, self.point, self.wanted, self.relaxation)
            self.path.epsilon = (0.8 * self.path.epsilon).clamp(min=self.target)
            change_g(self.path, step)


def solve_unbalanced_self(
    cost: Float[Tensor, "batch n n"],
    a: Float[Tensor, "batch n"],
    *,
    epsilon: float,
    relaxation: float,
    tolerance: float,
    max_iterations: int,
) -> UnbalancedSolution:
    """Solve the problems of clouds with themselves, where f = g, by damped symmetric passes; arguments as above.

    With u = exp(f/ε), t = log u and the kernel K = exp(−C/ε), the condition is t·(1 + ε/ρ) + log K(a∘u) = 0. As in
    `symmetric.solve_self`, K is positive semi-definite, so that the derivative of the left side has its spectrum in
    [1 + ε/ρ, 2 + ε/ρ], and the step by −1/(3/2 + ε/ρ) of it contracts by 1/3 or less.

    Args:
        cost: 0 on the diagonal.
    """
    if epsilon > FLAT * float(cost.amax()):
        return _solve_flat(cost, a, a, epsilon, relaxation)
    inner = cost.mul_(-1 / epsilon).exp_()
    real = a > 0
    ratio = epsilon / relaxation
    goal = stopping_error(tolerance, cost.dtype)
    log_u = torch.where(real, -column_sums(inner, a).clamp(min=torch.finfo(a.dtype).tiny).log() / (2 + ratio), 0)
    iteration = 0
    look = 1  # the next iteration after which the error is read
    while True:
        u = log_u.exp()
        log_row = torch.where(real, (1 + ratio) * log_u + column_sums(inner, a * u).log(), 0)
        wanted = a * (-ratio * log_u).exp()
        error = 2 * (wanted * log_row.expm1()).abs().sum(dim=1)
        iteration += 1
        if iteration >= max_iterations:
            break
        if iteration == look:
            above = float(error.amax()) / goal
            if above <= 1:
                break
            look += passes_to_look(above, cost.device)
        log_u = log_u - log_row / (SELF_STEP + ratio)
    plan = inner.mul_((a * u)[:, :, None]).mul_((a * u)[:, None, :])
    destroyed = -2 * relaxation * (a * (-ratio * log_u).expm1()).sum(dim=1)  # and created: both sides of the dual
    value = destroyed - epsilon * (plan.sum(dim=(1, 2)) - 1)
    return UnbalancedSolution(value, plan, error, iteration)


def _start(cost: Tensor, a: Tensor, b: Tensor, epsilon: float, relaxation: float) -> Path:
    """Where the balanced problem starts, with an ε that is not above ρ, and not below it where g spans many ρ."""
    path = start(cost, a, b, epsilon)
    change_g(path, -path.epsilon[:, None] * relative_log(b))  # the ratios of masses, which g would absorb, stay apart
    width = path.g.amax(dim=1) - path.g.amin(dim=1)
    first = torch.where(width > MANY * relaxation, path.epsilon.clamp(min=relaxation), path.epsilon)
    path.epsilon = first.clamp(max=max(epsilon, relaxation))
    return path


def _accepted(wanted: _Wanted, relaxation: float, tolerance: float) -> Tensor:
    """The error to stop at, of marginals that are 1 together: as small as the tolerance and rounding allow."""
    dtype = wanted.f.dtype
    size = (wanted.rows * wanted.f.abs()).sum(dim=1) + (wanted.columns * wanted.g.abs()).sum(dim=1)
    rounding = ROUNDINGS * torch.finfo(dtype).eps * size / relaxation  # of exponents f/ρ
    goal = rounding.clamp(min=stopping_error(tolerance, dtype), max=0.9 * tolerance)
    return goal * (SMALL_MASS / wanted.log_mass.exp()).clamp(min=1)


def _evaluate(path: Path, relaxation: float) -> tuple[Point, _Wanted]:
    """The plan at the path's g and ε with the rows that f asks for, of mass 1; and what both potentials ask of it."""
    plan = kernel(path).mul_(path.b[:, None, :])
    mass = plan.sum(dim=2)
    epsilon = path.epsilon[:, None]
    f = relaxation / (relaxation + epsilon) * (path.f - epsilon * mass.log())
    wanted = _wanted(f, path.g, path.a, path.b, path.epsilon, relaxation)
    plan *= (wanted.rows / mass)[:, :, None]
    columns = plan.sum(dim=1)
    _centre(path, wanted)
    return Point(plan, mass, columns, (columns - wanted.columns).abs().sum(dim=1)), wanted


def _centre(path: Path, wanted: _Wanted) -> None:
    """Move a number from g to f, so that both are small where there is mass, and g/ρ keeps its digits."""
    centre = (wanted.columns * wanted.g).sum(dim=1, keepdim=True)
    path.f = path.f + centre
    path.g = path.g - centre * (path.b > 0)


def _wanted(f: Tensor, g: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, relaxation: float) -> _Wanted:
    """The marginals a·exp(−f/ρ) and b·exp(−g/ρ), divided by their sums, and their mass at the best translation.

    Adding δ to g takes κδ from f; both sums are equal where δ·(1/(ρ + ε) + 1/ρ) is the logarithm of their ratio.

    Args:
        f: the best one at this g.
    """
    of_rows, of_columns = -f / relaxation, -g / relaxation
    weighted = (relaxation + epsilon) * _log_mean_exp(a, of_rows) + relaxation * _log_mean_exp(b, of_columns)
    rows = (a.log() + of_rows).softmax(dim=1)
    log_columns = (b.log() + of_columns).log_softmax(dim=1)
    return _Wanted(f, g, rows, log_columns.exp(), log_columns, weighted / (2 * relaxation + epsilon))


def _log_mean_exp(weight: Tensor, exponent: Tensor) -> Tensor:
    """log Σ_i weight_i exp(exponent_i), where the weights are 1 together; right to the last digits near 0."""
    mean = (weight * exponent).sum(dim=1, keepdim=True)
    above = torch.where(weight > 0, exponent - mean, 0)
    near = mean[:, 0] + (weight * above.clamp(max=2).expm1()).sum(dim=1).log1p()
    return torch.where(above.amax(dim=1) < 1, near, (weight.log() + exponent).logsumexp(dim=1))


def _sinkhorn_step(path: Path, point: Point, wanted: _Wanted, relaxation: float) -> Tensor:
    """The change of g by one log-domain pass on the columns."""
    damped = path.epsilon * relaxation / (relaxation + path.epsilon)
    return damped[:, None] * _log_ratio(path, point, wanted)


def _log_ratio(path: Path, point: Point, wanted: _Wanted) -> Tensor:
    """log of the columns that are wanted over those that are reached; 0 at padding."""
    log_reached = point.columns.nan_to_num().clamp(min=torch.finfo(path.b.dtype).tiny).log()
    return torch.where(path.b > 0, wanted.log_columns - log_reached, 0)


def _newton_step(descent: _UnbalancedDescent, counts: Counts) -> None:
    """Move g by a Newton step and, where the problem is ready, ε towards `target` along dg/dε; see `solver`.

    `constant` is Newton's matrix times 1: lifted by its square, the matrix has no null direction however large ρ is,
    and a solution has no part along it. Columns without mass, which the system says nothing of, take Sinkhorn steps.
    """
    path, point, wanted = descent.path, descent.point, descent.wanted
    ratio = (path.epsilon / descent.relaxation)[:, None]
    damping = 1 / (1 + ratio)  # κ
    inverse_rows = torch.where(wanted.rows > torch.finfo(ratio.dtype).tiny, 1 / wanted.rows, 0)
    diagonal = point.columns + ratio * wanted.columns
    constant = ratio * damping * point.columns + ratio * wanted.columns
    lift = constant / constant.sum(dim=1, keepdim=True)
    has_mass = lift > NO_MASS
    lift = torch.where(has_mass, lift, 0)
    drift = _drift(path, point, wanted, inverse_rows, ratio)
    right = torch.stack([wanted.columns - point.columns, drift.right], dim=2)
    both = solve_hessian(point.plan, damping * inverse_rows, lift, diagonal, right, floor=0.1 * descent.tolerance)
    solved = both.sum(dim=(1, 2)).isfinite()
    follows = solved[:, None] & has_mass
    tangent = torch.where(follows, both[..., 1], 0)
    newton = torch.where(follows, both[..., 0], damping * _log_ratio(path, point, wanted))
    trust = TRUST * damping[:, 0]
    moving = torch.where(has_mass, newton, 0)
    width = moving.amax(dim=1) - moving.amin(dim=1)
    newton = newton * (path.epsilon * (trust / width).clamp(max=1))[:, None]
    ready = (point.error < LOOSE) & (width <= trust) & solved & (path.epsilon > descent.target)
    fall = torch.where(ready, (DRIFT / drift.change(tangent)).clamp(max=STRIDE), 0)
    move(path, point, newton, tangent, fall, descent.target, any_worse=counts.worse > 0)


class _Drift(NamedTuple):
    """What a fall of ε does to a plan at the same g.

    Attributes:
        right: to the difference of wanted and reached columns: the right side of the system for dg/dε.
        within: its part from inside the rows, Σ_i P_ij (z_ij − z̄_i) with z = −R/ε; `spread`: the variance of that z.
    """

    right: Tensor
    within: Tensor
    spread: Tensor
    point: Point
    wanted: _Wanted
    inverse_rows: Tensor
    ratio: Tensor

    def change(self, tangent: Tensor) -> Tensor:
        """The standard deviation of log P and of its columns' log for a fall of log ε along a tangent dg/dε."""
        mean = row_sums(self.point.plan, tangent) * self.inverse_rows
        moved = (self.point.columns * tangent.square()).sum(dim=1) - (self.wanted.rows * mean.square()).sum(dim=1)
        inside = self.spread - 2 * (self.within * tangent).sum(dim=1) + moved
        columns = self.ratio * tangent
        columns = columns - (self.wanted.columns * columns).sum(dim=1, keepdim=True)
        return (inside + (self.wanted.columns * columns.square()).sum(dim=1)).clamp(min=1e-12).sqrt()


def _drift(path: Path, point: Point, wanted: _Wanted, inverse_rows: Tensor, ratio: Tensor) -> _Drift:
    """The drift of these problems; `ratio` is ε/ρ."""
    inverse = 1 / path.epsilon[:, None]
    weighted = point.plan * path.residual
    mean = -inverse * weighted.sum(dim=2) * inverse_rows  # z̄
    within = -inverse * weighted.sum(dim=1) - column_sums(point.plan, mean)
    second = torch.linalg.vecdot(weighted.flatten(1), path.residual.flatten(1)) * inverse[:, 0].square()
    spread = second - (wanted.rows * mean.square()).sum(dim=1)
    change_of_f = (mean + inverse * (wanted.f - path.f)) / (1 + ratio)
    by_rows = ratio * column_sums(point.plan, change_of_f)  # wanted rows change with f, and columns with them
    by_rows = by_rows - point.columns * by_rows.sum(dim=1, keepdim=True)
    return _Drift(within + by_rows, within, spread, point, wanted, inverse_rows, ratio)


def _solve_flat(cost: Tensor, a: Tensor, b: Tensor, epsilon: float, relaxation: float) -> UnbalancedSolution:
    """Solve problems whose ε is far above every cost, as `flat.solve_flat` does the balanced ones."""
    damping = relaxation / (relaxation + epsilon)
    g = torch.zeros_like(b)
    f = damping * flat_potential(g, cost.transpose(1, 2), b, epsilon)
    for _ in range(PASSES):
        g = damping * flat_potential(f, cost, a, epsilon)
        f = damping * flat_potential(g, cost.transpose(1, 2), b, epsilon)
    wanted = _wanted(f, g, a, b, torch.full_like(a[:, 0], epsilon), relaxation)
    plan = ((g[:, None, :] - cost) / epsilon).exp() * b[:, None, :]
    plan = plan * (wanted.rows / plan.sum(dim=2))[:, :, None]
    mass = wanted.log_mass.exp()
    error = (plan.sum(dim=1) - wanted.columns).abs().sum(dim=1)
    value = -(2 * relaxation + epsilon) * wanted.log_mass.expm1()
    return UnbalancedSolution(value, plan * mass[:, None, None], error * mass, PASSES)
