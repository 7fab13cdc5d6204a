"""Optimal transport between batches of small point clouds: masked, certified, differentiable. Needs torch alone."""

from kdda.transport.cost import SCALES, half_squared_distances, mean_pairwise_cost
from kdda.transport.sinkhorn import (
    SinkhornDivergence,
    SinkhornOutput,
    entropic_transport,
    self_term,
    sinkhorn_divergence,
)

__all__ = [
    "SCALES",
    "SinkhornDivergence",
    "SinkhornOutput",
    "entropic_transport",
    "half_squared_distances",
    "mean_pairwise_cost",
    "self_term",
    "sinkhorn_divergence",
]
