"""Reading a recipe: built-in or a file, overrides, and every mistake with its path, line and field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from kdda.errors import KddaError, did_you_mean
from kdda.recipe.renamed import old_names
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
    model_shorthand,
)
from kdda.runtime.plugins import import_plugins

BUILT_IN = Path(__file__).parents[1] / "recipes"

SpecT = TypeVar("SpecT", bound=ModelSpec)


def built_in() -> list[str]:
    """Names of the recipes that ship with kdda."""
    return sorted(p.relative_to(BUILT_IN).with_suffix("").as_posix() for p in BUILT_IN.rglob("*.yaml"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by built-in name or from a file, with ``key.path=value`` overrides.

    Raises:
        KddaError: with path, line, field, what was found and what was expected, for every mistake at once.
    """
    path = find(name)
    values, tree = _read(path)
    values = {"name": _name(path), **_extended(values, path)}
    for override in overrides:
        _set(values, override)
    recipe = _validate(values, path, tree, overrides)
    import_plugins(recipe.plugins)
    _check_names(recipe, path)
    # nobody keeps rows inside the installed package
    return _absolute(recipe, Path.cwd() if path.is_relative_to(BUILT_IN) else path.parent)


def _read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """A file's fields, and the nodes that know their lines."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise KddaError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise KddaError(f"{path}:{line}: not YAML: {error.problem}") from None
    if not isinstance(values, dict):
        raise KddaError(f"{path}: found {type(values).__name__}, expected a mapping of fields such as student, data")
    return values, tree


def _name(path: Path) -> str:
    own = path.relative_to(BUILT_IN) if path.is_relative_to(BUILT_IN) else Path(path.name)
    return own.with_suffix("").as_posix()


def _extended(values: dict[str, Any], path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's fields over those of the recipe that it extends, if it does."""
    own = dict(values)
    base = own.pop("extends", None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise KddaError(f"{path}: extends: found {base!r}, expected a recipe's name or file")
    beside = path.parent / base
    there = beside if beside.is_file() else find(base)
    if there.resolve() in (seen := (*below, path.resolve())):
        raise KddaError(f"{path}: extends: {base} extends this recipe in turn")
    return merged(_extended(_read(there)[0], there, seen), own)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged field by field; `arms` are one list, so that they are replaced as a whole.

    >>> merged({"training": {"epochs": 2, "stride": 64}}, {"training": {"epochs": 3}})
    {'training': {'epochs': 3, 'stride': 64}}
    """
    out = dict(base)
    for key, value in own.items():
        both = isinstance(out.get(key), Mapping) and isinstance(value, Mapping) and key != "arms"
        out[key] = merged(out[key], value) if both else value
    return out


def find(name: str) -> Path:
    """The file of a recipe, built in or the user's own."""
    own = BUILT_IN / f"{name}.yaml"
    if name in built_in():
        return own
    path = Path(name)
    if path.is_file():
        return path
    hint = did_you_mean(name, built_in())
    raise KddaError(f'no recipe "{name}"{hint}; it is neither a file nor one of {", ".join(built_in())}')


def _set(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise KddaError(f'--set {override}: expected key.path=value, such as "training.epochs=3"')
    *parents, last = path.split(".")
    at = values
    for key in parents:
        inner = at.get(key)
        at[key] = dict(inner) if isinstance(inner, dict) else model_shorthand(inner) if inner else {}
        at = at[key]
    try:
        at[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise KddaError(f"--set {override}: the value is not YAML") from None


def _refuse_old_names(values: Any, path: Path, tree: yaml.Node | None, overrides: Sequence[str]) -> None:
    lines = []
    for old in old_names(values):
        field = ".".join(old.path)
        is_override = any(override.partition("=")[0] == field for override in overrides)
        where = f"--set {field}" if is_override else f"{path}:{_line(tree, old.path)}"
        lines.append(f"{where}: {old.message}")
    if lines:
        raise KddaError("\n".join(lines))


def _validate(values: dict[str, Any], path: Path, tree: yaml.Node | None, overrides: Sequence[str]) -> Recipe:
    _refuse_old_names(values, path, tree, overrides)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise KddaError("\n".join(_explain(e, path, tree, overrides) for e in error.errors())) from None
    for name in recipe.arms:
        for field, resolve in (("distill", recipe.distillation), ("teachers", recipe.teachers_of)):
            try:
                resolve(name)
            except ValidationError as error:
                found = [{**e, "loc": ("arms", name, field, *e["loc"])} for e in error.errors()]
                raise KddaError("\n".join(_explain(e, path, tree, overrides) for e in found)) from None
    return recipe


def _explain(error: Mapping[str, Any], path: Path, tree: yaml.Node | None, overrides: Sequence[str]) -> str:
    keys = [str(part) for part in error["loc"] if not _is_union_tag(part)]
    field = ".".join(keys)
    where = f"{path}:{_line(tree, keys)}"
    if any(override.partition("=")[0] == field for override in overrides):
        where = f"--set {field}"
    if error["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        return f'{where}: unknown key "{field}"{did_you_mean(keys[-1], known)} (known here: {", ".join(known)})'
    if error["type"] == "missing":
        return f'{where}: "{field}" is missing'
    return f"{where}: {field}: found {error['input']!r}, expected: {_expectation(error)}"


def _expectation(error: Mapping[str, Any]) -> str:
    message = str(error["msg"])
    return message.removeprefix("Input should be ").removeprefix("a valid ").split(", unable to")[0]


def _is_union_tag(part: Any) -> bool:
    """pydantic names the member of a union that it tried as one more step of the path."""
    tags = ("function-before", "literal[", "list[", "dict[", "constrained-", "bool", "float", "nullable[")
    return isinstance(part, str) and (part.startswith(tags) or part in ("str", "int"))


def _known_keys(keys: Sequence[str]) -> list[str]:
    """The keys that a place of the recipe may hold."""
    places: dict[str, type[BaseModel]] = {"data": Data, "teachers": TeacherSpec, "arms": Arm, "systems": System}
    if not keys:
        return _names(Recipe)
    if keys[0] in places:
        inner = places[keys[0]]
        deeper: dict[str, type[BaseModel]] = {
            "training": ArmTraining if keys[0] == "arms" else TrainingChanges,
            "sentences": Sentences,
            "distill": Distill,
            "teachers": TeacherSpec,
            "student": ModelSpec,
        }
        return _names(deeper.get(keys[2], inner) if len(keys) > 2 else inner)
    sections: dict[str, type[BaseModel]] = {"student": ModelSpec, "training": Training, "distill": Distill}
    return _names(sections.get(keys[0], Recipe))


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _line(tree: yaml.Node | None, keys: Sequence[str]) -> int:
    """The line of the deepest key of a path that the file holds."""
    node, line = tree, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == key), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line


def _check_names(recipe: Recipe, path: Path) -> None:
    """Names must fit together: the target has data, arms train on data and listen to teachers that there are."""
    if recipe.target not in recipe.data:
        raise KddaError(f'{path}: target: found "{recipe.target}", expected one of data\'s {", ".join(recipe.data)}')
    for arm in recipe.arms:
        if not re.fullmatch(r"\w[\w.+-]*", arm):
            raise KddaError(f'{path}: arms: found "{arm}", expected letters, digits and "-": it is a folder\'s name')
        _check_languages(recipe, arm, path)
    _check_systems(recipe, path)


def _check_systems(recipe: Recipe, path: Path) -> None:
    """Systems are readers of the recipe's own arms."""
    for name, system in recipe.systems.items():
        if system.arm not in recipe.arms:
            raise KddaError(
                f'{path}: systems.{name}.arm: found "{system.arm}"{did_you_mean(system.arm, recipe.arms)}; there are '
                f"{', '.join(recipe.arms)}"
            )
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise KddaError(f'{path}: systems: found "{name}", expected letters, digits and "-": it names a folder')


def _check_languages(recipe: Recipe, arm: str, path: Path) -> None:
    languages, changed, spoken = recipe.languages(arm), recipe.arms[arm].teachers, recipe.teachers_of(arm)
    asked = {"train": languages, "teachers": changed, "rows": recipe.arms[arm].rows}
    for field, language in ((field, language) for field, own in asked.items() for language in own):
        if language not in recipe.data:
            raise KddaError(f'{path}: arms.{arm}.{field}: language "{language}" has no entry under data')
    if recipe.distillation(arm) is None:
        return
    for language in languages:
        if language not in spoken and language not in changed:
            raise KddaError(
                f'{path}: language "{language}" has data but no teacher, and arm "{arm}" distils; '
                f"add teachers.{language}, or say that none speaks: arms.{arm}.teachers: {{{language}: null}}"
            )
    if not spoken:
        raise KddaError(f'{path}: arm "{arm}" distils, but no teacher speaks to it')


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    """Paths are read from the recipe's own folder when they are not found from here."""

    def resolve(name: str | None) -> str | None:
        if name is None or name.startswith(("hub:", "embedded:")):
            return name
        return str(Path(name).resolve() if Path(name).exists() else (folder / name).resolve())

    def folder_of(spec: SpecT) -> SpecT:
        near = [place for place in (Path(spec.model), folder / spec.model) if place.is_dir()]
        return spec.model_copy(update={"model": str(near[0].resolve())}) if near else spec

    data = {
        language: own.model_copy(update={split: resolve(getattr(own, split)) for split in ("train", "dev", "test")})
        for language, own in recipe.data.items()
    }

    def arm_of(arm: Arm) -> Arm:
        own = {
            language: {**changes, "model": folder_of(ModelSpec(model=changes["model"])).model}
            if changes and "model" in changes
            else changes
            for language, changes in arm.teachers.items()
        }
        changes: dict[str, Any] = {"teachers": own, "student": arm.student and folder_of(arm.student)}
        if arm.sentences and arm.sentences.model:
            model = folder_of(ModelSpec(model=arm.sentences.model)).model
            changes["sentences"] = arm.sentences.model_copy(update={"model": model})
        return arm.model_copy(update=changes)

    return recipe.model_copy(
        update={
            "data": data,
            "teachers": {language: folder_of(teacher) for language, teacher in recipe.teachers.items()},
            "student": folder_of(recipe.student),
            "arms": {name: arm_of(arm) for name, arm in recipe.arms.items()},
        }
    )
