"""Mistakes of a recipe in words: the place of a field, what was read there, what is expected, the keys it may have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kdda.errors import InsteadError, KddaError, did_you_mean
from kdda.recipe.schema import (
    Arm,
    ArmTraining,
    Data,
    Distill,
    Recipe,
    Sentences,
    StudentSpec,
    System,
    TeacherSpec,
    Training,
    TrainingChanges,
)
from kdda.runtime.text_files import printable

SUFFIXES = (".yaml", ".yml")  # of recipes' files

NAMED_RECIPES = 5  # of those that may be meant, in a message


@dataclass(frozen=True)
class Place:
    """Where a recipe's fields were written: a file's lines, or the command line.

    Attributes:
        path: the recipe's file.
        tree: its fields as YAML nodes, each of which knows its line; None of an empty file.
        overrides: the ``key.path=value`` of ``--set``.
    """

    path: Path
    tree: yaml.Node | None
    overrides: Sequence[str]

    def of(self, keys: Sequence[str]) -> str:
        """A field's place for a message, ``recipe.yaml:12`` or ``--set training.epochs``, by its keys from the top."""
        field = ".".join(keys)
        for override in self.overrides:
            name = override.partition("=")[0]
            if f"{field}.".startswith(f"{name}."):  # the field, or the section that holds it
                return f"--set {name}"
        return f"{self.path}:{_line(self.tree, keys)}"


def _line(tree: yaml.Node | None, keys: Sequence[str]) -> int:
    """The line, from 1, of the deepest key of a path that the file holds; a list's items go by their numbers."""
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
    """A key of a mapping and its value, as nodes; None where the mapping lacks the key."""
    for key_node, value_node in node.value:
        if key_node.value == key:
            return key_node, value_node
    return None


def no_recipe(name: str, built_in: Sequence[str], beside: Path | None = None) -> KddaError:
    """The refusal of a name that is no recipe's: where it was looked for, and which recipes may be meant.

    Args:
        name: as the user wrote it.
        built_in: names of the built-in recipes.
        beside: the folder of a recipe that names this one, which was looked at, too.
    """
    if not name.strip():
        return KddaError("the name of the recipe is empty: give a built-in one (kdda recipes lists them) or a file")
    path = Path(name)
    if path.is_dir():
        return _recipe_in_folder(name, path)
    places = [path.absolute()]
    if beside is not None and beside.absolute() / name != places[0]:
        places.insert(0, beside.absolute() / name)
    meant = _recipes_meant(name, built_in, [place.parent for place in places])
    hint = ";"
    if len(meant) == 1:
        hint = f' — did you mean "{meant[0]}"?'
    elif meant:
        hint = f" — did you mean one of: {', '.join(meant)}?"
    files = ", ".join(map(printable, places))
    message = (
        f'no recipe "{name}"{hint} looked for a built-in one (kdda recipes lists all {len(built_in)}) and for the file '
        f"{files}"
    )
    return InsteadError(message, name, meant[0]) if meant else KddaError(message)


def not_a_recipe(path: Path, value: Any) -> KddaError:
    """The refusal of a file whose YAML is no mapping: empty, comments alone, or rows of data.

    Args:
        value: the file's, as YAML has it; None of a file without any.
    """
    name = printable(path)
    if value is None:
        what = "is empty" if not path.stat().st_size else "holds only blank lines or comments"
        return KddaError(
            f"{name}: the recipe {what}, expected fields: student, data, …; kdda new FILES writes one for files of "
            "rows, and kdda recipes --show NAME prints a built-in one"
        )
    message = f"{name}: got {type(value).__name__}, expected a mapping of fields: student, data, …"
    return KddaError(message + rows_advice(path, holds_rows=isinstance(value, list)))


def rows_advice(path: Path, holds_rows: bool = False) -> str:
    """What a refusal of a recipe's file ends with where it may hold rows, by its name or by what it holds; else ""."""
    if path.suffix in SUFFIXES and not holds_rows:
        return ""
    return f"; if it holds rows of data, kdda new {printable(path)} writes a recipe for them"


def _recipe_in_folder(name: str, folder: Path) -> KddaError:
    """The refusal of a folder in the place of a recipe; names the recipes in it."""
    files = []
    for suffix in SUFFIXES:
        files += sorted(folder.glob(f"*{suffix}"))
    if not files:
        return KddaError(
            f'"{name}" is a folder, expected a recipe: a built-in one (kdda recipes lists them) or a file; no file in '
            f"the folder ends in {', '.join(SUFFIXES)}; kdda new {name} writes a recipe for the rows in it"
        )
    names = ", ".join(map(printable, files[:NAMED_RECIPES]))
    if len(files) > NAMED_RECIPES:
        names += f" and {len(files) - NAMED_RECIPES:,} more"
    return InsteadError(f'"{name}" is a folder, expected a recipe: name one of {names}', name, str(files[0]))


def _recipes_meant(name: str, built_in: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The recipes that a name may mean: its file with an extension, built-in ones that end so, or one similar name.

    Args:
        folders: in which a file of this name was looked for.
    """
    path = Path(name)
    files = []
    for folder in folders:
        for suffix in SUFFIXES:
            files += sorted(folder.glob(f"*{suffix}"))
    names: dict[str, str] = {}  # to compare with → as a user would write it; without the extension, which is alike
    for file in files:
        names[file.stem] = str(path.with_name(file.name))
    if path.name in names:
        return [names[path.name]]
    endings = [known for known in built_in if known.endswith((f"/{name}", f"-{name}"))]
    if endings:
        return endings[:NAMED_RECIPES]
    for known in built_in:
        names[known] = known
    word = path.stem if path.suffix in SUFFIXES else name
    return [names[similar] for similar in get_close_matches(word, names, n=1)]


def refusal(error: ValidationError, place: Place, section: tuple[str, ...] = ()) -> KddaError:
    """All mistakes that pydantic has seen in a recipe, a line each.

    Args:
        error: of the recipe, or of a section of it.
        place: where the fields were written.
        section: the keys from the recipe's top to that section.
    """
    lines = []
    mistakes = error.errors()
    wrong_keys = {mistake["loc"][:-1] for mistake in mistakes if mistake["loc"][-1:] == (KEY,)}
    for mistake in mistakes:
        if mistake["loc"] in wrong_keys:  # the value of a key that is refused itself
            continue
        keys = [*section]
        for part in mistake["loc"]:  # the keys below the section, with the tags of unions between them
            if not _is_union_tag(part):
                keys.append(str(part))
        lines.append(_explain(mistake, keys, place.of(keys)))
    return KddaError("\n".join(lines))


KEY = "[key]"  # ends pydantic's path of a key that a mapping may not have


def _space_advice(key: str) -> str:
    """How to write a key that holds its value, as that of ``{train:100}`` does; empty of any other."""
    name, _, value = key.partition(":")
    return f'; YAML needs a space after the colon: "{name}: {value}"' if value else ""


def _explain(mistake: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    """One line about one of pydantic's mistakes.

    Args:
        mistake: an item of `ValidationError.errors()`.
        keys: of the field, from the recipe's top.
        place: the field's.
    """
    field = ".".join(keys)
    if keys[-1] == KEY:
        wanted = _expectation(mistake)
        return f'{place}: {".".join(keys[:-2])}: got the key "{keys[-2]}", expected: {wanted}{_space_advice(keys[-2])}'
    if mistake["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        hint = _space_advice(keys[-1]) or did_you_mean(keys[-1], known)
        return f'{place}: unknown key "{field}"{hint} (known here: {", ".join(known)})'
    if mistake["type"] == "missing":
        return f'{place}: "{field}" is missing'
    expected = _expectation(mistake)
    if expected == "dictionary":
        expected = _mapping_in_words(keys[-1], mistake["input"])
    return f"{place}: {field}: got {mistake['input']!r}, expected: {expected}"


# What a field that is a mapping may hold, for a user who gave it one value.
MAPPINGS = {
    "data": "{vi: {train: train.csv}}",
    "holdout": "{dev: 0.1}",
    "limit": "{train: 100}",
    "select": "{language: vi}",
    "columns": "{premise: sentence1}",
    "labels": '{"0": entailment}',
    "teachers": "{vi: mini/vietnamese}",
    "arms": "{student: {train: target}}",
    "task_options": "{fields: [claim, context]}",
}


def _mapping_in_words(key: str, value: Any) -> str:
    """What a field that is a mapping expects, with an example; of numbers by split the user's number in it."""
    example = MAPPINGS.get(key, "{name: value}")
    if key in ("holdout", "limit") and isinstance(value, int | float) and not isinstance(value, bool):
        split = example[1:].partition(":")[0]
        example = f"{{{split}: {value}}}"
    return f"a mapping such as {example}"


def _expectation(mistake: Mapping[str, Any]) -> str:
    """What pydantic expected, without its first words: "integer" of "Input should be a valid integer"."""
    message = str(mistake["msg"])
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message.removeprefix("a valid ").split(", unable to")[0]


def _is_union_tag(part: Any) -> bool:
    """Whether a step of pydantic's path is no key but the name of the member of a union that it tried."""
    tags = ("function-", "literal[", "list[", "dict[", "constrained-", "bool", "float", "nullable[")
    return isinstance(part, str) and (part.startswith(tags) or part in ("str", "int"))


# What a section of the recipe is checked against, by its key: ``training``.
SECTIONS: dict[str, type[BaseModel]] = {"student": StudentSpec, "training": Training, "distill": Distill}

# What each entry of a section of named entries is checked against: ``data.vi``, ``arms.student``.
ENTRIES: dict[str, type[BaseModel]] = {"data": Data, "teachers": TeacherSpec, "arms": Arm, "systems": System}

# What a section of such an entry is checked against, by its key: ``arms.student.distill``, ``teachers.vi.training``.
ENTRY_SECTIONS: dict[str, type[BaseModel]] = {
    "training": TrainingChanges,
    "sentences": Sentences,
    "distill": Distill,
    "teachers": TeacherSpec,
    "student": StudentSpec,
}


def _known_keys(keys: Sequence[str]) -> list[str]:
    """The keys that a place of the recipe may hold; numbers of a list's items are passed over."""
    keys = list(itertools.filterfalse(str.isdigit, keys))
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
    """The keys of a model's fields as recipes write them, such as ``lambda``."""
    return [field.alias or name for name, field in model.model_fields.items()]
