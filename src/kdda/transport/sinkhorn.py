"""Entropic transport and the debiased Sinkhorn divergence between two batches of point clouds.

Source: Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, "Interpolating between Optimal Transport and MMD using Sinkhorn
Divergences", AISTATS 2019, eq. (3); KDDA takes it between student and teacher hidden states.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from .danskin import transport
from .numerics import full_precision
from .problem import Problem, Settings, make_problem

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
        y_term: OT_ε(β, β), which depends on `y` alone: hand it back as `y_term=` to save its solve. NaN if not solved.
    """

    value: Float[Tensor, " batch"]
    marginal_error: Float[Tensor, " batch"]
    iterations: int
    converged: Bool[Tensor, " batch"]
    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    y_term: Float[Tensor, " batch"]
    _problem: Problem
    _epsilon: float

    def plan(self) -> Float[Tensor, "batch n m"]:
        """The plan of the cross term, rebuilt from the potentials: rows sum to 1/n, columns to 1/m, 0 at padding."""
        problem = self._problem
        n, m = problem.a.shape[1], problem.b.shape[1]
        with torch.no_grad(), full_precision(self.f.device):
            reduced = (self.f[:, :n, None] + self.g[:, None, :m]) - problem.cost()
            plan = reduced.div_(self._epsilon).exp_() * problem.a[:, :, None] * problem.b[:, None, :]
            for _ in range(3):  # float32 rounds the exponents: restore the marginals that the solver certified
                plan *= _ratio(problem.b, plan.sum(dim=1))[:, None, :]
                plan *= _ratio(problem.a, plan.sum(dim=2))[:, :, None]
        return pad(plan, (0, self.g.shape[1] - m, 0, self.f.shape[1] - n))


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    return torch.where(wanted > 0, wanted / found, 0)


def _solve(problem: Problem, settings: Settings, debiased: bool, y_term: Tensor | None = None) -> SinkhornOutput:
    out = transport(problem, settings, debiased=debiased, y_term=y_term)
    n, m = problem.lengths
    f, g = pad(out.f, (0, n - out.f.shape[1])), pad(out.g, (0, m - out.g.shape[1]))
    converged = out.error <= settings.tolerance
    frozen = replace(problem, x=problem.x.detach(), y=problem.y.detach())
    return SinkhornOutput(
        out.value, out.error, int(out.iterations.amax()), converged, f, g, out.y_term, _problem=frozen, _epsilon=settings.epsilon
    )


def sinkhorn_divergence(
    x: Float[Tensor, "batch n d"],
    y: Float[Tensor, "batch m d"],
    *,
    x_mask: Bool[Tensor, "batch n"] | None = None,
    y_mask: Bool[Tensor, "batch m"] | None = None,
    epsilon: float = EPSILON,
    scale: float | str = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    y_term: Float[Tensor, " batch"] | None = None,
) -> SinkhornOutput:
    """S_ε(α, β) = OT_ε(α, β) − ½ OT_ε(α, α) − ½ OT_ε(β, β), for α and β uniform over the real tokens of each text.

    Zero if and only if both clouds are the same points; in between the energy-like MMD (ε → ∞) and exact transport (ε → 0).

    Args:
        x, y: clouds, e.g. student and teacher hidden states. Padding may hold anything, even NaN.
        x_mask, y_mask: true at real tokens; all of them if `None`. Each text needs one at least.
        epsilon: strength of the entropy, in units of the scaled cost: `blur²` in geomloss.
        scale: a number divides the cost ½‖x − y‖²; or a name in `SCALES`.
        tolerance: marginal error (L1) at which a text counts as solved. Below about 1e-6 use float64 clouds.
        max_iterations: after which a text is given up and reported as not converged.
        y_term: OT_ε(β, β) of these `y` at this ε and scale, if known; ignored if `y` asks for a gradient.

    Raises:
        ValueError: clouds, masks or settings that cannot be meant, with their shapes and the first row at fault.

    >>> x = torch.tensor([[[0.0], [1.0]]], requires_grad=True)
    >>> out = sinkhorn_divergence(x, torch.tensor([[[2.0], [3.0]]]), epsilon=0.01)
    >>> out.value, out.converged
    (tensor([2.0000], grad_fn=<_TransportBackward>), tensor([True]))
    >>> out.value.sum().backward()
    >>> x.grad.flatten()
    tensor([-1., -1.])
    """
    settings = Settings(epsilon, tolerance, max_iterations)
    return _solve(make_problem(x, y, x_mask, y_mask, scale), settings, debiased=True, y_term=y_term)


def entropic_transport(
    x: Float[Tensor, "batch n d"],
    y: Float[Tensor, "batch m d"],
    *,
    x_mask: Bool[Tensor, "batch n"] | None = None,
    y_mask: Bool[Tensor, "batch m"] | None = None,
    epsilon: float = EPSILON,
    scale: float | str = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> SinkhornOutput:
    """OT_ε(α, β) = min_{P ∈ U(α, β)} ⟨P, C⟩ + ε·KL(P ‖ α⊗β): plain and biased, OT_ε(α, α) is not 0.

    Arguments, errors and output as in `sinkhorn_divergence`. Source: Cuturi, "Sinkhorn Distances", NIPS 2013, with the
    entropy relative to α⊗β.

    >>> x, y = torch.tensor([[[0.0], [4.0]]]), torch.tensor([[[1.0]]])
    >>> entropic_transport(x, y).value
    tensor([2.5000])
    """
    settings = Settings(epsilon, tolerance, max_iterations)
    return _solve(make_problem(x, y, x_mask, y_mask, scale), settings, debiased=False)


class SinkhornDivergence(nn.Module):
    """`sinkhorn_divergence` as a module: settings once, clouds and masks at every call, the value of each text back.

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
        self.settings = Settings(epsilon, tolerance, max_iterations)
        self.scale = scale

    def forward(
        self,
        x: Float[Tensor, "batch n d"],
        y: Float[Tensor, "batch m d"],
        x_mask: Bool[Tensor, "batch n"] | None = None,
        y_mask: Bool[Tensor, "batch m"] | None = None,
    ) -> Float[Tensor, " batch"]:
        return _solve(make_problem(x, y, x_mask, y_mask, self.scale), self.settings, debiased=True).value

    def extra_repr(self) -> str:
        return f"epsilon={self.settings.epsilon}, scale={self.scale}, tolerance={self.settings.tolerance}"
