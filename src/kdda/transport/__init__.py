"""Optimal transport between batches of small point clouds: masked, certified, differentiable. Needs torch alone."""

from .cost import SCALES, half_squared_distances, mean_pairwise_cost
from .sinkhorn import SinkhornDivergence, SinkhornOutput, entropic_transport, sinkhorn_divergence

__all__ = [
    "SCALES",
    "SinkhornDivergence",
    "SinkhornOutput",
    "entropic_transport",
    "half_squared_distances",
    "mean_pairwise_cost",
    "sinkhorn_divergence",
]
