"""The kernels of `tile.py`, in Triton: a program solves one text, whose cost and plan it holds as tiles on the chip.

The algorithms and their names are those of `solver.py`, `path.py`, `newton.py` and `symmetric.py`, for one problem
instead of a batch; systems are solved by conjugate gradients alone, whose products a tile needs no memory for. Tiles
are wider than the text, up to powers of 2: what is added has no mass.

Every loop has a bound. Features are those of Triton 3.0, which came with torch 2.4.
"""

# mypy: ignore-errors
# Triton compiles these functions itself: their arguments are its tensors and pointers, which mypy does not know.

from types import SimpleNamespace

from kdda.transport import newton, path, solver

try:
    import triton.language as tl
    from triton import jit
except ImportError:  # this system has no Triton, and `tile.py` calls nothing of what follows

    def jit(function=None, **_):
        """The function as it is; with options the decorator."""
        return function or jit

    tl = SimpleNamespace(constexpr=lambda value: value)

START = tl.constexpr(path.START)
LANDING = tl.constexpr(path.LANDING)
REJECT = tl.constexpr(path.REJECT)
UNDERFLOW = tl.constexpr(path.UNDERFLOW)
DRIFT = tl.constexpr(solver.DRIFT)
STRIDE = tl.constexpr(solver.STRIDE)
LOOSE = tl.constexpr(solver.LOOSE)
TRUST = tl.constexpr(solver.TRUST)
CG_STEPS = tl.constexpr(newton.CG_STEPS)
CG_ACCURACY = tl.constexpr(newton.CG_ACCURACY)
INFINITY = tl.constexpr(float("inf"))
NUMBERS = ("n", "m", "max_iterations", "newton_steps")  # Triton would compile them anew for multiples of 16, and for 1
TINY = tl.constexpr(2.0**-126)  # the least normal number of float32


@jit
def _load(cost_ptr, a_ptr, b_ptr, n, m, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):
    """The cost and the masses of this program's text, 0 beyond it."""
    text = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M)
    a = tl.load(a_ptr + text * n + rows, mask=rows < n, other=0.0)
    b = tl.load(b_ptr + text * m + columns, mask=columns < m, other=0.0)
    inside = (rows < n)[:, None] & (columns < m)[None, :]
    places = rows[:, None] * m + columns[None, :]
    return tl.load(cost_ptr + text * n * m + places, mask=inside, other=0.0), a, b


@jit
def _store_plan(plan_ptr, plan, n, m, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):
    """Write the plan of this program's text."""
    text = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M)
    inside = (rows < n)[:, None] & (columns < m)[None, :]
    places = rows[:, None] * m + columns[None, :]
    tl.store(plan_ptr + text * n * m + places, plan, mask=inside)


@jit
def _start(cost, a, b, target):
    """R, g and ε to begin with, and the logarithm of b over its largest mass."""
    g = tl.sum(cost * a[:, None], axis=0)
    g = tl.where(b > 0, g - tl.sum(g * b, axis=0), 0.0)
    residual = cost - g[None, :]
    deviation = residual - tl.sum(residual * b[None, :], axis=1)[:, None]
    variance = tl.sum(tl.sum(deviation * deviation * a[:, None], axis=0) * b, axis=0)
    epsilon = tl.maximum(START * tl.sqrt(variance), target)
    log_b = tl.log(tl.where(b > 0, b / tl.max(b, axis=0), 1.0))
    return residual - epsilon * log_b[None, :], g + epsilon * log_b, epsilon, log_b


@jit
def _evaluate(residual, f, a, b, epsilon):
    """R and f after a pass on the rows, the plan, its row sums before they are made exact, its columns, the error."""
    shift = tl.min(tl.where((b > 0)[None, :], residual, INFINITY), axis=1)
    residual = residual - shift[:, None]
    plan = tl.exp(tl.where((b > 0)[None, :], tl.maximum(residual * (-1 / epsilon), UNDERFLOW), -INFINITY))
    mass = tl.sum(plan, axis=1)
    plan = plan * (a / mass)[:, None]
    columns = tl.sum(plan, axis=0)
    return residual, f + shift, plan, mass, columns, tl.sum(tl.abs(columns - b), axis=0)


@jit
def _solve_hessian(plan, inverse_a, columns, right, floor):
    """δ with (diag(c) − Pᵀ diag(1/a) P) δ = right, by conjugate gradients, preconditioned by diag(c)."""
    scale = tl.where(columns > 0, 1 / tl.sqrt(tl.maximum(columns, TINY)), 0.0)
    residual = right * scale
    direction = residual
    solution = tl.zeros_like(residual)
    norm = tl.sum(residual * residual, axis=0)
    goal = tl.maximum(norm * (CG_ACCURACY * CG_ACCURACY), floor * floor)
    steps = 0
    while (norm > goal) & (steps < CG_STEPS):
        image = tl.sum(plan * (scale * direction)[None, :], axis=1) * inverse_a
        image = direction - scale * tl.sum(plan * image[:, None], axis=0)
        curvature = tl.sum(direction * image, axis=0)
        length = tl.where(curvature > 0, norm / curvature, 0.0)
        solution = solution + length * direction
        residual = residual - length * image
        previous = norm
        norm = tl.sum(residual * residual, axis=0)
        direction = residual + (norm / previous) * direction
        steps = tl.where(curvature > 0, steps + 1, CG_STEPS)  # without curvature no step brings anything
    return solution * scale


@jit
def _log_ratio(b, columns):
    """log(b/c), the step of a Sinkhorn pass in units of ε; 0 at padding, and where c is NaN."""
    log_columns = tl.log(tl.maximum(tl.where(columns < INFINITY, columns, TINY), TINY))
    return tl.where(b > 0, tl.log(tl.maximum(b, TINY)) - log_columns, 0.0)


@jit
def _drift(plan, residual, a, inverse_a, epsilon):
    """What a change of ε does to the columns, and the variance of z = −R/ε under the plan."""
    scores = residual * (-1 / epsilon)
    mean = tl.sum(plan * scores, axis=1) * inverse_a
    drift = tl.sum(plan * (scores - mean[:, None]), axis=0)
    second = tl.sum(tl.sum(plan * scores * scores, axis=0), axis=0)
    return drift, second - tl.sum(a * mean * mean, axis=0)


@jit
def _newton_step(plan, residual, a, b, columns, error, epsilon, target, floor):
    """The Newton step, the tangent dg/dε, and the fall of log ε."""
    inverse_a = tl.where(a > 0, 1 / tl.maximum(a, TINY), 0.0)
    drift, spread = _drift(plan, residual, a, inverse_a, epsilon)
    drift = tl.where(epsilon > target, drift, 0.0)
    newton = _solve_hessian(plan, inverse_a, columns, b - columns, floor)
    tangent = _solve_hessian(plan, inverse_a, columns, drift, floor)
    solved = (error < INFINITY) & (tl.sum(tl.abs(newton) + tl.abs(tangent), axis=0) < INFINITY)
    newton = tl.where(solved, newton, _log_ratio(b, columns))
    tangent = tl.where(solved, tangent, 0.0)
    width = tl.max(newton, axis=0) - tl.min(newton, axis=0)
    change = tl.sqrt(tl.maximum(spread - tl.sum(drift * tangent, axis=0), 1e-12))
    ready = solved & (epsilon > target) & (error < LOOSE) & (width <= TRUST)
    fall = tl.where(ready, tl.minimum(DRIFT / change, STRIDE), 0.0)
    return newton * (epsilon * tl.minimum(TRUST / tl.maximum(width, TINY), 1.0)), tangent, fall


@jit(do_not_specialize=NUMBERS)
def solve_kernel(
    cost_ptr, a_ptr, b_ptr, f_ptr, g_ptr, plan_ptr, iterations_ptr,
    n, m, target, goal, floor, max_iterations, newton_steps, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """`solver.solve` of one text. Potentials, plan and the number of evaluations are written; the cost is only read."""
    cost, a, b = _load(cost_ptr, a_ptr, b_ptr, n, m, BLOCK_N, BLOCK_M)
    residual, g, epsilon, log_b = _start(cost, a, b, target)
    epsilon = tl.where(max_iterations > 1, epsilon, target)  # unsolved texts are reported at the target ε
    residual, f, plan, mass, columns, error = _evaluate(residual, tl.zeros_like(a), a, b, epsilon)
    step, newton, tangent = tl.zeros_like(b), tl.zeros_like(b), tl.zeros_like(b)
    fall, base_epsilon, base_error = epsilon * 0.0, epsilon, epsilon * 0.0 + 2.0
    iteration = 1
    while (iteration < max_iterations) & (tl.where(error <= goal, epsilon, INFINITY) > target):
        before = step
        if iteration <= newton_steps:
            kept = error <= tl.maximum(1.5 * base_error, REJECT)  # else the last step is undone, and made shorter
            before = tl.where(kept, 0.0, step)
            base_epsilon, base_error = tl.where(kept, epsilon, base_epsilon), tl.where(kept, error, base_error)
            again, tangent_again = tl.where(fall > 0, 1.0, 0.25) * newton, tangent
            fall_again = tl.where(fall > 0.1, fall / 4, 0.0)
            newton, tangent, fall = _newton_step(plan, residual, a, b, columns, error, epsilon, target, floor)
            newton, tangent = tl.where(kept, newton, again), tl.where(kept, tangent, tangent_again)
            fall = tl.where(kept, fall, fall_again)
            epsilon = base_epsilon * tl.exp(-fall)
            epsilon = tl.where(epsilon < LANDING * target, target, epsilon)
            step = newton + (epsilon - base_epsilon) * tangent
        else:
            before = tl.zeros_like(step)
            step = epsilon * _log_ratio(b, columns)
            epsilon = tl.maximum(0.8 * epsilon, target)
        g = g + (step - before)
        residual = residual - (step - before)[None, :]
        iteration += 1
        epsilon = tl.where(iteration < max_iterations, epsilon, target)
        residual, f, plan, mass, columns, error = _evaluate(residual, f, a, b, epsilon)
    _store_plan(plan_ptr, plan, n, m, BLOCK_N, BLOCK_M)
    text = tl.program_id(0).to(tl.int64)
    rows, places = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M)
    f = tl.where(a > 0, f - epsilon * tl.log(mass * tl.max(b, axis=0)), 0.0)
    tl.store(f_ptr + text * n + rows, f, mask=rows < n)
    tl.store(g_ptr + text * m + places, tl.where(b > 0, g - epsilon * log_b, 0.0), mask=places < m)
    tl.store(iterations_ptr + text, iteration)


@jit
def _symmetric_pass(kernel, a, log_u):
    """a∘u, what the kernel makes of it, and the marginal error."""
    mass = tl.where(a > 0, a * tl.exp(log_u), 0.0)
    sums = tl.sum(kernel * mass[:, None], axis=0)
    return mass, sums, 2 * tl.sum(tl.abs(mass * sums - a), axis=0)


@jit(do_not_specialize=NUMBERS)
def solve_self_kernel(
    cost_ptr, a_ptr, f_ptr, plan_ptr, iterations_ptr,
    n, epsilon, goal, max_iterations, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """`symmetric.solve_self` of one text. Potential, plan and the number of passes are written."""
    cost, a, _ = _load(cost_ptr, a_ptr, a_ptr, n, n, BLOCK_N, BLOCK_M)
    kernel = tl.exp(cost * (-1 / epsilon))
    log_u = -0.5 * tl.log(tl.maximum(tl.sum(kernel * a[:, None], axis=0), TINY))
    mass, sums, error = _symmetric_pass(kernel, a, log_u)
    iteration = 1
    while (iteration < max_iterations) & (error > goal):
        log_u = (log_u - 2 * tl.log(tl.maximum(sums, TINY))) * (1 / 3)
        mass, sums, error = _symmetric_pass(kernel, a, log_u)
        iteration += 1
    _store_plan(plan_ptr, kernel * mass[:, None] * mass[None, :], n, n, BLOCK_N, BLOCK_M)
    text, places = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK_N)
    tl.store(f_ptr + text * n + places, tl.where(a > 0, epsilon * log_u, 0.0), mask=places < n)
    tl.store(iterations_ptr + text, iteration)
