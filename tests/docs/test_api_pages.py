"""The API pages have every public name, and every public docstring its arguments."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

import kdda
import kdda.retrieval
import kdda.transport
from kdda.losses.registry import OBJECTIVES
from tests.docs.pages import DOCS, ROOT
from tests.test_house import FLOORS

API = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md")))
MODULES = (kdda, kdda.transport, kdda.retrieval)
# Their arguments are described elsewhere: fields of TrainingArguments by transformers.
NOT_LISTED = {"self", "cls", "args", "kwargs", "options", "arguments"}


def public(module: ModuleType) -> list[str]:
    return sorted(module.__all__)


def is_documented(name: str) -> bool:
    return bool(re.search(rf"^\.\. (?:py:)?(?:auto\w+|data):: (?:kdda\.\w+\.)?(?:\w+\.)*{name}\b", API, re.M))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_its_place(module: ModuleType) -> None:
    missing = [name for name in public(module) if not is_documented(name)]
    assert not missing


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_has_its_place(name: str) -> None:
    assert is_documented(name.replace("-", "_"))
    assert f"| `{name}` |" in (DOCS / "choose-objective.md").read_text(encoding="utf-8")


def arguments(value: Any) -> set[str]:
    """Parameters of a function or of a class's constructor; of a configuration, those that it adds to its base."""
    if isinstance(value, type) and hasattr(value, "__dataclass_fields__"):
        inherited = {name for base in value.__mro__[1:] for name in getattr(base, "__dataclass_fields__", ())}
        return {name for name in value.__dataclass_fields__ if not name.startswith("_")} - inherited
    return set(inspect.signature(value).parameters) - NOT_LISTED


@pytest.mark.parametrize("name", public(kdda))
def test_every_argument_of_the_public_api_is_described(name: str) -> None:
    value = getattr(kdda, name)
    described = inspect.getdoc(value) or ""
    missing = {argument for argument in arguments(value) if not re.search(rf"\b{argument}\b", described)}
    assert not missing, f"kdda.{name} does not describe {missing}"


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_floors_are_those_that_the_house_has(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for floor, rooms in FLOORS.items():
        for room in rooms:
            if page == "README.md":
                together = [line for line in text.splitlines() if set(rooms) <= {*line.split(), "__main__", "errors"}]
                assert together or floor == 0, f"{page}: no line with {rooms}"
            elif room != "__main__":
                assert f"| {floor} | `{room}` |" in text, f"{page}: {room} is not on floor {floor}"
