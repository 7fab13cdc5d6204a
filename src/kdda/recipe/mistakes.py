"""Mistakes of a recipe in words: the place of a field, what was read there, what is expected, the keys it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kdda.errors import KddaError, did_you_mean
from kdda.recipe.schema import (
    Arm,
    ArmTraining,
    Data,
    Distill,
    ModelSpec,
    Recipe,
    Sentences,
    System,
    TeacherSpec,
    Training,
    TrainingChanges,
)


@dataclass(frozen=True)
class Place:
    """Where a recipe's fields were written: a file's lines, or the command line."""

    path: Path
    tree: yaml.Node | None
    overrides: Sequence[str]

    def of(self, keys: Sequence[str]) -> str:
        """A field's place, for a message."""
        field = ".".join(keys)
        for override in self.overrides:
            if override.partition("=")[0] == field:
                return f"--set {field}"
        return f"{self.path}:{_line(self.tree, keys)}"


def _line(tree: yaml.Node | None, keys: Sequence[str]) -> int:
    """The line of the deepest key of a path that the file holds."""
    node, line = tree, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = _pair(node, key)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line


def _pair(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """A key of a mapping and its value, as nodes."""
    for key_node, value_node in node.value:
        if key_node.value == key:
            return key_node, value_node
    return None


def refusal(error: ValidationError, place: Place, section: tuple[str, ...] = ()) -> KddaError:
    """All mistakes of a section of the recipe, a line each."""
    lines = []
    for mistake in error.errors():
        keys = [*section]
        for part in mistake["loc"]:
            if not _is_union_tag(part):
                keys.append(str(part))
        lines.append(_explain(mistake, keys, place.of(keys)))
    return KddaError("\n".join(lines))


def _explain(mistake: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    field = ".".join(keys)
    if mistake["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        return f'{place}: unknown key "{field}"{did_you_mean(keys[-1], known)} (known here: {", ".join(known)})'
    if mistake["type"] == "missing":
        return f'{place}: "{field}" is missing'
    return f"{place}: {field}: got {mistake['input']!r}, expected: {_expectation(mistake)}"


def _expectation(mistake: Mapping[str, Any]) -> str:
    message = str(mistake["msg"])
    return message.removeprefix("Input should be ").removeprefix("a valid ").split(", unable to")[0]


def _is_union_tag(part: Any) -> bool:
    """pydantic names the member of a union that it tried as one more step of the path."""
    tags = ("function-before", "literal[", "list[", "dict[", "constrained-", "bool", "float", "nullable[")
    return isinstance(part, str) and (part.startswith(tags) or part in ("str", "int"))


SECTIONS: dict[str, type[BaseModel]] = {"student": ModelSpec, "training": Training, "distill": Distill}

ENTRIES: dict[str, type[BaseModel]] = {"data": Data, "teachers": TeacherSpec, "arms": Arm, "systems": System}

ENTRY_SECTIONS: dict[str, type[BaseModel]] = {
    "training": TrainingChanges,
    "sentences": Sentences,
    "distill": Distill,
    "teachers": TeacherSpec,
    "student": ModelSpec,
}


def _known_keys(keys: Sequence[str]) -> list[str]:
    """The keys that a place of the recipe may hold."""
    if not keys:
        return _names(Recipe)
    if keys[0] not in ENTRIES:
        return _names(SECTIONS.get(keys[0], Recipe))
    if len(keys) < 3:
        return _names(ENTRIES[keys[0]])
    if keys[0] == "arms" and keys[2] == "training":
        return _names(ArmTraining)
    return _names(ENTRY_SECTIONS.get(keys[2], ENTRIES[keys[0]]))


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
