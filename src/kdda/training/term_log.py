"""`TermLog`: the terms of the loss since the last log, by language; means over parts of batches, batches, processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch

from kdda.runtime import distributed

DIVERGENCE = "transport"  # name of the distillation term; `transport_1` and so on are those of single teachers
MARGINAL_ERROR = "marginal_error"  # the term of which the largest value is logged, and not the mean


class BatchPart(NamedTuple):
    """Some rows of a batch: their share of it, and the means of the loss's terms over them."""

    share: float
    terms: Mapping[str, Any]


class TermLog:
    """Collects the terms of each batch, which may be computed in parts, until they are logged."""

    def __init__(self) -> None:
        self._parts: list[BatchPart] = []  # of the present batch
        self._terms: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def start_batch(self) -> None:
        """Forget the parts of a batch that was not completed, such as one that did not fit into memory."""
        self._parts = []

    def add_part(self, share: float, terms: Mapping[str, Any]) -> None:
        """Add the means of the terms over some rows of the present batch, of which they are this share."""
        self._parts.append(BatchPart(share, terms))

    def end_batch(self, language: str) -> None:
        """Keep the terms of the present batch, which is whole: means over its parts, of marginal errors the largest."""
        for name in self._parts[0].terms:
            value: Any = 0
            for part in self._parts:
                if name == MARGINAL_ERROR:
                    value = max(value, part.terms[name])
                else:
                    value = value + part.share * part.terms[name]
            self._terms[language][name].append(value)

    def means(self) -> dict[str, dict[str, float]]:
        """Language → term → its mean over the batches since the last log."""
        means = {}
        for language, terms in self._terms.items():
            means[language] = _means(terms)
        return means

    def mean_divergence(self) -> dict[str, float]:
        """The mean of the distillation term over the batches of all languages; empty where none was distilled."""
        values: list[Any] = []
        for terms in self._terms.values():
            values += terms.get(DIVERGENCE, ())
        return _means({DIVERGENCE: values})

    def clear(self) -> None:
        """Begin anew after a log."""
        self._terms.clear()


def _means(terms: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Term → its mean over its values in all processes; of marginal errors the largest. Terms may be empty."""
    here = {}
    for name, values in terms.items():
        if not values:
            continue
        here[name] = float(max(values)) if name == MARGINAL_ERROR else float(torch.tensor(values).mean())
    everywhere = distributed.all_gather(here)
    means = {}
    for name in here:
        values = [process[name] for process in everywhere]
        means[name] = max(values) if name == MARGINAL_ERROR else fmean(values)
    return means
