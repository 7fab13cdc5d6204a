"""Entropic transport and the debiased Sinkhorn divergence of the cost ½‖x − y‖²: the public functions, and their
defaults (ε 0.005, tolerance 1e-4, at most 500 iterations).

Source: Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, "Interpolating between Optimal Transport and MMD using Sinkhorn
Divergences", AISTATS 2019, eq. (3); KDDA takes it between student and teacher hidden states.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad

from kdda.transport.cost import cost_of_centred
from kdda.transport.danskin import self_transport, transport
from kdda.transport.numerics import HalfGradients, full_precision
from kdda.transport.path import relative_log
from kdda.transport.precision import exact_plan, rows_rounded
from kdda.transport.problem import Problem, SolverSettings, make_problem

EPSILON = 0.005

TOLERANCE = 1e-4

MAX_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class SinkhornOutput:
    """What a solve gives back. Only `value` carries a gradient.

    Attributes:
        value: the divergence (or OT_ε) of each text, in units of the scaled cost; differentiable once.
        marginal_error: ‖P1 − a‖₁ + ‖Pᵀ1 − b‖₁ that each text really reached, the worst of the terms solved.
        iterations: evaluations of the plan in the longest solve of the cross term.
        converged: `marginal_error <= tolerance`.
        f: potential of `x` in the cross term, 0 at padding.
        g: potential of `y` in the cross term, 0 at padding.
        y_term: OT_ε(β, β), which depends on `y` alone: pass it as `y_term=` to save its solve. NaN if not solved.
    """

    value: Float[Tensor, " batch"]
    marginal_error: Float[Tensor, " batch"]
    iterations: int
    converged: Bool[Tensor, " batch"]
    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    y_term: Float[Tensor, " batch"]
    _problem: Problem
    _settings: SolverSettings

    def plan(self) -> Float[Tensor, "batch n m"]:
        """The plan of the cross term, rebuilt from the potentials: rows and columns sum to their masses.

        Texts whose costs are so far above ε that float32 rounds the potentials too much are solved again.
        """
        a = self._problem.a
        b = self._problem.b
        n, m = a.shape[1], b.shape[1]
        with torch.no_grad(), full_precision(a.device):
            x, y = self._problem.clouds()
            exponent = cost_of_centred(x, y).neg_().add_(self.g[:, None, :m]).div_(self._settings.epsilon)
            exponent += relative_log(b)[:, None, :]
            plan = exponent.masked_fill_((b == 0)[:, None, :], -torch.inf).softmax(dim=2).mul_(a[:, :, None])
            for _ in range(3):  # float32 rounds the exponents: restore the marginals that the solver certified
                plan.mul_(_ratio(b, plan.sum(dim=1))[:, None, :]).mul_(_ratio(a, plan.sum(dim=2))[:, :, None])
            for row in rows_rounded(x, y, self._settings.epsilon):
                plan[row] = exact_plan(self._problem, row, self._settings)
        return pad(plan, (0, self.g.shape[1] - m, 0, self.f.shape[1] - n))


def _ratio(target: Tensor, current: Tensor) -> Tensor:
    """What `current` is to be multiplied by to become `target`; 0 where it is 0."""
    return torch.where(current > 0, target / current, 0)


class _Call(NamedTuple):
    """The arguments that the public functions share."""

    x: Tensor
    y: Tensor
    x_mask: Tensor | None
    y_mask: Tensor | None
    scale: float | str
    settings: SolverSettings

    def solve(self, *, debiased: bool, y_term: Tensor | None = None) -> SinkhornOutput:
        """S_ε of each text, or OT_ε where it is not `debiased`; the caller's padding is given back with potential 0."""
        half = HalfGradients()
        widened = half.widened(self.x), half.widened(self.y)
        problem, x, y = make_problem(*widened, self.x_mask, self.y_mask, self.scale)
        out = transport(problem, x, y, self.settings, debiased=debiased, y_term=y_term)
        half.watch(out.value)
        f = pad(out.f, (0, self.x.shape[1] - out.f.shape[1]))
        g = pad(out.g, (0, self.y.shape[1] - out.g.shape[1]))
        return SinkhornOutput(
            out.value, out.error, int(out.iterations.amax()), out.error <= self.settings.tolerance, f, g, out.y_term,
            _problem=problem, _settings=self.settings,
        )  # fmt: skip


def sinkhorn_divergence(
    x: Float[Tensor, "batch n d"],
    y: Float[Tensor, "batch m d"],
    *,
    x_mask: Shaped[Tensor, "batch n"] | None = None,
    y_mask: Shaped[Tensor, "batch m"] | None = None,
    epsilon: float = EPSILON,
    scale: float | str = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    y_term: Float[Tensor, " batch"] | None = None,
) -> SinkhornOutput:
    """S_ε(α, β) = OT_ε(α, β) − ½ OT_ε(α, α) − ½ OT_ε(β, β), for α and β over the real tokens of each text.

    Never negative, and 0 only where α = β. It lies between exact transport (ε → 0) and ½‖mean α − mean β‖² (ε → ∞), the
    MMD whose kernel is −C.

    Args:
        x, y: clouds, e.g. student and teacher hidden states; the cost of a pair is ½‖x_i − y_j‖². Padding may hold
            anything, even NaN.
        x_mask, y_mask: true at real tokens, which then have the same mass; or the mass of each, 0 at padding, in any
            unit, since a text's are divided by their sum. All alike if `None`. Each text needs one token at least.
        epsilon: strength of the entropy, in units of the scaled cost: `blur²` in geomloss.
        scale: a number divides the cost ½‖x − y‖²; or a name in `SCALES`.
        tolerance: marginal error (L1) at which a text counts as solved. Below about 1e-6 use float64 clouds.
        max_iterations: evaluations of the plan after which a text is reported as not converged.
        y_term: OT_ε(β, β) of these `y` at this ε and scale, if known; ignored if `y` asks for a gradient.

    Raises:
        ValueError: clouds, masks or settings that make no sense, with their shapes and the first row at fault.

    >>> x = torch.tensor([[[0.0], [1.0]]], requires_grad=True)
    >>> out = sinkhorn_divergence(x, torch.tensor([[[2.0], [3.0]]]), epsilon=0.01)
    >>> out.value.detach().round(decimals=3), out.converged
    (tensor([2.]), tensor([True]))
    >>> out.value.sum().backward()
    >>> x.grad.flatten().round(decimals=3)
    tensor([-1., -1.])
    """
    call = _Call(x, y, x_mask, y_mask, scale, SolverSettings(epsilon, tolerance, max_iterations))
    return call.solve(debiased=True, y_term=y_term)


def entropic_transport(
    x: Float[Tensor, "batch n d"],
    y: Float[Tensor, "batch m d"],
    *,
    x_mask: Shaped[Tensor, "batch n"] | None = None,
    y_mask: Shaped[Tensor, "batch m"] | None = None,
    epsilon: float = EPSILON,
    scale: float | str = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> SinkhornOutput:
    """OT_ε(α, β) = min_{P ∈ U(α, β)} ⟨P, C⟩ + ε·KL(P ‖ α⊗β) with C = ½‖x − y‖²: plain and biased, OT_ε(α, α) is not 0.

    Arguments, errors and output as in `sinkhorn_divergence`. Source: Cuturi, "Sinkhorn Distances", NIPS 2013, with the
    entropy relative to α⊗β.

    >>> x, y = torch.tensor([[[0.0], [4.0]]]), torch.tensor([[[1.0]]])
    >>> entropic_transport(x, y).value
    tensor([2.5000])
    """
    call = _Call(x, y, x_mask, y_mask, scale, SolverSettings(epsilon, tolerance, max_iterations))
    return call.solve(debiased=False)


def self_term(
    y: Float[Tensor, "batch m d"],
    *,
    y_mask: Shaped[Tensor, "batch m"] | None = None,
    epsilon: float = EPSILON,
    scale: float | str = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Float[Tensor, " batch"]:
    """OT_ε(β, β), to be passed to `sinkhorn_divergence` as `y_term` where the same `y` is used many times.

    Arguments and errors as in `sinkhorn_divergence`.

    >>> y = torch.tensor([[[0.0], [1.0]]])
    >>> bool(self_term(y, epsilon=0.1).allclose(entropic_transport(y, y, epsilon=0.1).value, atol=1e-4))
    True
    """
    problem, *_ = make_problem(y, y, y_mask, y_mask, scale)
    return self_transport(problem, SolverSettings(epsilon, tolerance, max_iterations))


class SinkhornDivergence(nn.Module):
    """`sinkhorn_divergence` as a module: settings once, clouds and masks at every call, the value of each text back.

    Args:
        epsilon: strength of the entropy, in units of the scaled cost.
        scale: a number divides the cost ½‖x − y‖²; or a name in `SCALES`.
        tolerance: marginal error (L1) at which a text counts as solved.
        max_iterations: evaluations of the plan after which a text is reported as not converged.

    >>> SinkhornDivergence(epsilon=0.01)(torch.zeros(1, 2, 3), torch.ones(1, 2, 3))
    tensor([1.5000])
    """

    def __init__(
        self,
        *,
        epsilon: float = EPSILON,
        scale: float | str = 1.0,
        tolerance: float = TOLERANCE,
        max_iterations: int = MAX_ITERATIONS,
    ) -> None:
        super().__init__()
        self.settings = SolverSettings(epsilon, tolerance, max_iterations)
        self.scale = scale

    def forward(
        self,
        x: Float[Tensor, "batch n d"],
        y: Float[Tensor, "batch m d"],
        x_mask: Shaped[Tensor, "batch n"] | None = None,
        y_mask: Shaped[Tensor, "batch m"] | None = None,
    ) -> Float[Tensor, " batch"]:
        return _Call(x, y, x_mask, y_mask, self.scale, self.settings).solve(debiased=True).value

    def extra_repr(self) -> str:
        return f"epsilon={self.settings.epsilon}, scale={self.scale}, tolerance={self.settings.tolerance}"
