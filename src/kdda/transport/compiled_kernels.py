"""The descent of `solver` and the passes of `symmetric` as loops over one text, compiled by numba, in float32.

Importing this file needs numba. Functions have the names of those in `path`, `solver`, `newton` and `symmetric` that
they follow, and write to arrays that they are given. A text has no padding here. Constants come as arguments: numba
keeps machine code on disk, and does not notice when another file changes.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit

F32 = np.float32

Array = Any  # of numpy, float32 unless said otherwise; numba compiles for the arrays that it is called with

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums in any order and fused multiplications, as vectorised sums need; NaN and infinity keep their meaning.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}

LOWEST = F32(-80)  # exponents below count as this one: exp of it is still a normal number

# exp(r) − 1 − r over r², for |r| ≤ ½ log 2, to the last digits of float32: the polynomial of Cephes' expf.
EXPONENTIAL = tuple(F32(c) for c in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665795e-2, 1.6666665e-1, 0.5))
LOG2_E = F32(1.4426950408889634)
LOG_2 = F32(0.693359375), F32(-2.12194440e-4)  # their sum; multiples of the first have no rounding

NO_MASS = F32(1e-7)  # of a row: entries below, which float32 rounds away beside the largest, do not enter the Hessian
SPARSE = 0.1  # share of the entries with mass, below which pairs of them take less time than the whole product


class Rules(NamedTuple):
    """Constants of `path`, `solver` and `newton`, by their names there; `lowest` is `path.UNDERFLOW`."""

    start: np.float32
    landing: np.float32
    reject: np.float32
    lowest: np.float32
    drift: np.float32
    stride: np.float32
    loose: np.float32
    trust: np.float32
    damping: np.float32
    newton_steps: int


class Stop(NamedTuple):
    """Where a text ends: at the target ε with an error of at most `goal`, or after `max_iterations` evaluations."""

    epsilon: np.float32
    goal: np.float32
    max_iterations: int


class Schedule(NamedTuple):
    """Where ε stands: as the fields of `path.Path` of these names."""

    epsilon: Any
    base_epsilon: Any
    base_error: Any
    fall: Any


class Room(NamedTuple):
    """Arrays that the descent of a text of n × m points writes to.

    Attributes:
        plan, mass, columns: as in `path.Point`; `[n, m]`, `[n]` and `[m]`.
        scaled: `[n, m]`, the plan with rows of sum 1.
        hessian: `[m, m]`.
        step, newton, tangent: as in `path.Path`, `[m]`.
        newton_here, tangent_here, drifts: of the present point, `[m]`. `newton_here` becomes the change of g.
        relative: log of each mass over the largest, `[m]`.
        powers: `[m]`, int32; also the places of what a row holds.
    """

    plan: Array
    mass: Array
    columns: Array
    scaled: Array
    hessian: Array
    step: Array
    newton: Array
    tangent: Array
    newton_here: Array
    tangent_here: Array
    drifts: Array
    relative: Array
    powers: Array


def compiled(function: Function) -> Function:
    """The function as machine code, which is kept on disk where numba finds a folder to write to."""
    function = inspect.unwrap(function)  # as written, without the check of its arguments that tests add
    options: dict[str, Any] = {"nogil": True, "fastmath": FAST_MATH}
    try:
        out: Function = njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's can be written to
        out = njit(**options)(function)
    return out


@compiled
def exponentials(x: Array, factor: Any, lowest: Any, powers: Array, out: Array) -> Any:
    """out = exp(max(factor·x, lowest)); returns the sum. `powers` is room for the bits of as many powers of 2."""
    for j in range(len(x)):
        exponent = max(factor * x[j], lowest)
        power = math.floor(exponent * LOG2_E + F32(0.5))
        powers[j] = (np.int32(power) + np.int32(127)) << np.int32(23)
        r = exponent - power * LOG_2[0] - power * LOG_2[1]
        polynomial = EXPONENTIAL[0]
        polynomial = polynomial * r + EXPONENTIAL[1]
        polynomial = polynomial * r + EXPONENTIAL[2]
        polynomial = polynomial * r + EXPONENTIAL[3]
        polynomial = polynomial * r + EXPONENTIAL[4]
        polynomial = polynomial * r + EXPONENTIAL[5]
        out[j] = polynomial * r * r + r + F32(1)
    scale = powers.view(np.float32)
    total = F32(0)
    for j in range(len(x)):
        out[j] *= scale[j]
        total += out[j]
    return total


@compiled
def subtract_from_rows(matrix: Array, row: Array) -> None:
    """Subtract `row` from every row of the matrix."""
    for i in range(matrix.shape[0]):
        entries = matrix[i]
        for j in range(matrix.shape[1]):
            entries[j] -= row[j]


@compiled
def weighted_rows(matrix: Array, weight: Array, out: Array) -> None:
    """out = the sum of the rows, each times its weight."""
    out[:] = F32(0)
    for i in range(matrix.shape[0]):
        entries = matrix[i]
        for j in range(matrix.shape[1]):
            out[j] += weight[i] * entries[j]


@compiled
def start(residual: Array, a: Array, b: Array, target: Any, rules: Rules, g: Array, room: Room) -> Any:
    """The first ε. `residual` is the cost and becomes R; g and `room.relative` are written."""
    n, m = residual.shape
    weighted_rows(residual, a, g)
    mean = F32(0)
    largest = F32(0)
    for j in range(m):
        mean += g[j] * b[j]
        largest = max(largest, b[j])
    for j in range(m):
        g[j] -= mean
        room.relative[j] = math.log(b[j] / largest)
    subtract_from_rows(residual, g)
    variance = F32(0)
    for i in range(n):
        row = residual[i]
        centre = F32(0)
        for j in range(m):
            centre += row[j] * b[j]
        spread = F32(0)
        for j in range(m):
            spread += (row[j] - centre) * (row[j] - centre) * b[j]
        variance += spread * a[i]
    epsilon = max(rules.start * F32(math.sqrt(variance)), target)
    for j in range(m):
        room.step[j] = epsilon * room.relative[j]
        g[j] += room.step[j]
    subtract_from_rows(residual, room.step)
    room.step[:] = F32(0)
    return epsilon


@compiled
def evaluate(residual: Array, a: Array, b: Array, epsilon: Any, lowest: Any, f: Array, room: Room) -> Any:
    """The error of the columns. Plan, row sums before normalisation and columns are written; f absorbs the least R."""
    n, m = residual.shape
    room.columns[:] = F32(0)
    for i in range(n):
        row = residual[i]
        entries = room.plan[i]
        least = row[0]
        for j in range(1, m):
            least = min(least, row[j])
        for j in range(m):
            row[j] -= least
        f[i] += least
        mass = exponentials(row, F32(-1) / epsilon, lowest, room.powers, entries)
        scale = a[i] / mass
        room.mass[i] = mass
        for j in range(m):
            entries[j] *= scale
            room.columns[j] += entries[j]
    error = F32(0)
    for j in range(m):
        error += abs(room.columns[j] - b[j])
    return error


@compiled
def drift(residual: Array, plan: Array, a: Array, epsilon: Any, out: Array) -> Any:
    """The variance of −R/ε under the plan; what a change of ε does to the columns is written to `out`."""
    n, m = residual.shape
    out[:] = F32(0)
    variance = F32(0)
    for i in range(n):
        row = residual[i]
        entries = plan[i]
        first = F32(0)
        second = F32(0)
        for j in range(m):
            moved = entries[j] * row[j]
            first += moved
            second += moved * row[j]
        mean = first / a[i]
        for j in range(m):
            out[j] -= entries[j] * (row[j] - mean) / epsilon
        variance += second - mean * first
    return variance / (epsilon * epsilon)


@compiled
def scale_rows(plan: Array, a: Array, out: Array) -> int:
    """out = the plan with rows of sum 1. Returns how many of its entries carry mass."""
    count = 0
    for i in range(plan.shape[0]):
        entries = plan[i]
        scaled = out[i]
        inverse = F32(1) / a[i]
        for j in range(plan.shape[1]):
            scaled[j] = entries[j] * inverse
            count += scaled[j] > NO_MASS
    return count


@compiled
def sparse_product(scaled: Array, plan: Array, places: Array, out: Array) -> None:
    """Write scaledᵀ·plan on and above the diagonal, from the entries that carry mass.

    Args:
        places: room, `[m]`, int32.
    """
    n, m = plan.shape
    out[:] = F32(0)
    for i in range(n):
        entries = plan[i]
        weights = scaled[i]
        count = 0
        for j in range(m):  # without a branch, which few entries would take
            places[count] = j
            count += weights[j] > NO_MASS
        for first in range(count):
            weight = weights[places[first]]
            row = out[places[first]]
            for second in range(first, count):
                row[places[second]] += weight * entries[places[second]]


@compiled
def factor(a: Array, b: Array, damping: Any, room: Room) -> bool:
    """Write the upper Cholesky factor of Newton's system to `room.hessian`; false where there is none."""
    plan = room.plan
    hessian = room.hessian
    n, m = plan.shape
    if scale_rows(plan, a, room.scaled) < SPARSE * n * m:
        sparse_product(room.scaled, plan, room.powers, hessian)
    else:
        np.dot(room.scaled.T, plan, hessian)
    for i in range(m):
        row = hessian[i]
        mass = b[i]
        for j in range(i, m):
            row[j] = mass * b[j] - row[j]
        row[i] += room.columns[i] + damping * mass
    try:
        lower = np.linalg.cholesky(hessian.T)  # which reads what is below the diagonal of its argument
    except Exception:
        return False
    hessian[:] = lower.T
    return True


@compiled
def solve_factored(upper: Array, right: Array) -> Any:
    """Overwrite `right` by the solution of UᵀU x = right; returns the sum of its entries."""
    m = len(right)
    for k in range(m):
        row = upper[k]
        right[k] /= row[k]
        for j in range(k + 1, m):
            right[j] -= row[j] * right[k]
    total = F32(0)
    for k in range(m - 1, -1, -1):
        row = upper[k]
        known = F32(0)
        for j in range(k + 1, m):
            known += row[j] * right[j]
        right[k] = (right[k] - known) / row[k]
        total += right[k]
    return total


@compiled
def log_ratios(b: Array, columns: Array, out: Array) -> None:
    """out = log(b/c), the step of a Sinkhorn pass in units of ε."""
    for j in range(len(b)):
        out[j] = math.log(b[j]) - math.log(max(columns[j], F32(1e-38)))


@compiled
def newton_step(
    residual: Array, a: Array, b: Array, epsilon: Any, error: Any, falls: bool, rules: Rules, room: Room
) -> Any:
    """The fall of log ε that the point is ready for. Newton's step and the tangent are written to `room`.

    Args:
        falls: whether ε is above the target.
    """
    m = len(b)
    newton = room.newton_here
    tangent = room.tangent_here
    for j in range(m):
        newton[j] = b[j] - room.columns[j]
        tangent[j] = F32(0)
    variance = F32(0)
    if falls:
        variance = drift(residual, room.plan, a, epsilon, room.drifts)
        for j in range(m):
            tangent[j] = room.drifts[j]
    total = F32(np.nan)
    if factor(a, b, rules.damping, room):
        total = solve_factored(room.hessian, newton)
        if falls:
            total += solve_factored(room.hessian, tangent)
    solved = math.isfinite(total)
    if not solved:
        log_ratios(b, room.columns, newton)
        tangent[:] = F32(0)
    lowest = newton[0]
    highest = newton[0]
    for j in range(m):
        lowest = min(lowest, newton[j])
        highest = max(highest, newton[j])
    width = highest - lowest
    length = epsilon * min(F32(1), rules.trust / max(width, F32(1e-38)))
    change = variance
    for j in range(m):
        newton[j] *= length
        change -= room.drifts[j] * tangent[j]
    if falls and solved and error < rules.loose and width <= rules.trust:
        return min(rules.drift / F32(math.sqrt(max(change, F32(1e-12)))), rules.stride)
    return F32(0)


@compiled
def move(at: Schedule, error: Any, next_fall: Any, target: Any, rules: Rules, room: Room) -> Schedule:
    """The next ε. A step that made things worse is undone and repeated, shorter; `newton_here` is the change of g."""
    change = room.newton_here
    newton = room.newton
    base_epsilon = at.base_epsilon
    base_error = at.base_error
    undo = not (error <= max(F32(1.5) * base_error, rules.reject))  # true for NaN too
    if undo:
        shorter = F32(1) if at.fall > F32(0) else F32(0.25)
        fall = at.fall / F32(4) if at.fall > F32(0.1) else F32(0)
        for j in range(len(newton)):
            newton[j] *= shorter
    else:
        fall = next_fall
        base_epsilon = at.epsilon
        base_error = error
        for j in range(len(newton)):
            newton[j] = change[j]
            room.tangent[j] = room.tangent_here[j]
    epsilon = base_epsilon * F32(math.exp(-fall))
    if epsilon < rules.landing * target:
        epsilon = target
    for j in range(len(newton)):
        step = newton[j] + (epsilon - base_epsilon) * room.tangent[j]
        change[j] = step - room.step[j] if undo else step
        room.step[j] = step
    return Schedule(epsilon, base_epsilon, base_error, fall)


@compiled
def sinkhorn_pass(at: Schedule, b: Array, target: Any, room: Room) -> Schedule:
    """The next ε; the change of g by a Sinkhorn pass on the columns is in `newton_here`."""
    log_ratios(b, room.columns, room.newton_here)
    for j in range(len(b)):
        room.newton_here[j] *= at.epsilon
    return Schedule(max(F32(0.8) * at.epsilon, target), at.base_epsilon, at.base_error, at.fall)


@compiled
def potentials(a: Array, b: Array, epsilon: Any, f: Array, g: Array, room: Room) -> Any:
    """The error of the rows. f and g become the potentials, with P = exp((f ⊕ g − C)/ε)·(a ⊗ b)."""
    largest = F32(0)
    for j in range(len(b)):
        largest = max(largest, b[j])
        g[j] -= epsilon * room.relative[j]
    error = F32(0)
    for i in range(len(a)):
        total = F32(0)
        for j in range(len(b)):
            total += room.plan[i, j]
        error += abs(total - a[i])
        f[i] -= epsilon * F32(math.log(room.mass[i] * largest))
    return error


@compiled
def solve_text(residual: Array, a: Array, b: Array, stop: Stop, rules: Rules, f: Array, g: Array, room: Room) -> Any:
    """Solve one text: its marginal error, and the number of evaluations. Potentials and `room.plan` are written.

    `residual` is the cost, and is overwritten.
    """
    f[:] = F32(0)
    for j in range(len(b)):
        room.step[j] = room.newton[j] = room.tangent[j] = room.drifts[j] = F32(0)
    epsilon = start(residual, a, b, stop.epsilon, rules, g, room)
    at = Schedule(epsilon, epsilon, F32(2), F32(0))
    iteration = 0
    while True:
        iteration += 1
        if iteration == stop.max_iterations:
            at = Schedule(stop.epsilon, at.base_epsilon, at.base_error, at.fall)
        error = evaluate(residual, a, b, at.epsilon, rules.lowest, f, room)
        falls = at.epsilon > stop.epsilon
        if iteration == stop.max_iterations or (not falls and error <= stop.goal):
            break
        if iteration > rules.newton_steps:
            at = sinkhorn_pass(at, b, stop.epsilon, room)
        else:
            fall = newton_step(residual, a, b, at.epsilon, error, falls, rules, room)
            at = move(at, error, fall, stop.epsilon, rules, room)
        for j in range(len(b)):
            g[j] += room.newton_here[j]
        subtract_from_rows(residual, room.newton_here)
    return error + potentials(a, b, at.epsilon, f, g, room), iteration


@compiled
def solve_self_text(kernel: Array, a: Array, stop: Stop, powers: Array, u: Array, mass: Array, sums: Array) -> Any:
    """OT_ε(α, α) of one text, its marginal error, and the number of passes; `kernel` is the cost and becomes the plan.

    Args:
        powers, u, mass, sums: room, `[n]`; the first in int32.
    """
    n = len(a)
    for i in range(n):
        exponentials(kernel[i], F32(-1) / stop.epsilon, LOWEST, powers, kernel[i])
    weighted_rows(kernel, a, sums)
    for i in range(n):
        u[i] = F32(1) / F32(math.sqrt(sums[i]))
    iteration = 0
    while True:
        iteration += 1
        for i in range(n):
            mass[i] = a[i] * u[i]
        weighted_rows(kernel, mass, sums)
        error = F32(0)
        total = F32(0)
        for i in range(n):
            moved = mass[i] * sums[i]
            total += moved
            error += F32(2) * abs(moved - a[i])
        if iteration == stop.max_iterations or error <= stop.goal:
            break
        for i in range(n):
            u[i] = math.exp((math.log(u[i]) - 2 * math.log(sums[i])) / 3)
    value = stop.epsilon * (F32(1) - total)
    for i in range(n):
        value += F32(2) * stop.epsilon * a[i] * F32(math.log(u[i]))
        for j in range(n):
            kernel[i, j] *= mass[i] * mass[j]
    return value, error, iteration


@compiled
def real_points(weight: Array, places: Array, out: Array) -> int:
    """How many points have mass; their places (int64) and masses are written."""
    count = 0
    for i in range(len(weight)):
        if weight[i] > 0:
            places[count] = i
            out[count] = weight[i]
            count += 1
    return count


@compiled
def gather(whole: Array, rows: Array, columns: Array, out: Array) -> None:
    """out = whole[rows, columns] of the rows and columns that out has."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = whole[rows[i], columns[j]]


@compiled
def scatter(part: Array, rows: Array, columns: Array, whole: Array) -> None:
    """whole[rows, columns] = part, and 0 elsewhere."""
    whole[:] = F32(0)
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            whole[rows[i], columns[j]] = part[i, j]


@compiled
def solve_texts(
    cost: Array, a: Array, b: Array, stop: Stop, rules: Rules, plans: Array, fs: Array, gs: Array, errors: Array,
    iterations: Array, first: int, stride: int,
) -> None:  # fmt: skip
    """Solve text `first` and every `stride`-th after it, and write what `Solution` has of each."""
    texts, n, m = cost.shape
    rows, columns = np.empty(n, np.int64), np.empty(m, np.int64)
    weights, others = np.empty(n, F32), np.empty(m, F32)
    f, g = np.empty(n, F32), np.empty(m, F32)
    for text in range(first, texts, stride):
        height = real_points(a[text], rows, weights)
        width = real_points(b[text], columns, others)
        residual = np.empty((height, width), F32)
        numbers = np.empty((7, width), F32)
        room = Room(
            np.empty((height, width), F32), np.empty(height, F32), numbers[0], np.empty((height, width), F32),
            np.empty((width, width), F32), numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],
            np.empty(width, F32), np.empty(width, np.int32),
        )  # fmt: skip
        gather(cost[text], rows, columns, residual)
        errors[text], iterations[text] = solve_text(
            residual, weights[:height], others[:width], stop, rules, f[:height], g[:width], room
        )
        scatter(room.plan, rows, columns, plans[text])
        fs[text] = F32(0)
        gs[text] = F32(0)
        for i in range(height):
            fs[text, rows[i]] = f[i]
        for j in range(width):
            gs[text, columns[j]] = g[j]


@compiled
def solve_self_texts(
    cost: Array, a: Array, stop: Stop, values: Array, errors: Array, iterations: Array, first: int, stride: int
) -> None:
    """Likewise the self-terms; the plans are written to `cost`."""
    texts, n = a.shape
    places = np.empty(n, np.int64)
    weights, u, mass, sums = np.empty(n, F32), np.empty(n, F32), np.empty(n, F32), np.empty(n, F32)
    powers = np.empty(n, np.int32)
    for text in range(first, texts, stride):
        count = real_points(a[text], places, weights)
        kernel = np.empty((count, count), F32)
        gather(cost[text], places, places, kernel)
        values[text], errors[text], iterations[text] = solve_self_text(
            kernel, weights[:count], stop, powers[:count], u[:count], mass[:count], sums[:count]
        )
        scatter(kernel, places, places, cost[text])
