"""What an example registers is gone after its test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from kdda.losses.registry import OBJECTIVES
from kdda.retrieval.registry import RETRIEVERS
from kdda.tasks.registry import TASKS


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    registries = (OBJECTIVES, RETRIEVERS, TASKS)
    before = [dict(registry) for registry in registries]
    modules = set(sys.modules)
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()  # type: ignore[attr-defined]
        registry.update(entries)  # type: ignore[attr-defined]
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]
