"""Reading a recipe: a built-in one or a file, `extends`, `--set` overrides, names that fit together, absolute paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from kdda.errors import KddaError, did_you_mean, unknown_choice
from kdda.recipe.mistakes import Place, no_recipe, not_a_recipe, refusal, rows_advice
from kdda.recipe.renamed import old_names
from kdda.recipe.schema import Arm, ModelSpec, Recipe, TeacherSpec, model_shorthand
from kdda.recipe.yaml_text import parse_yaml
from kdda.runtime.plugins import import_plugins
from kdda.runtime.text_files import printable, read_text

BUILT_IN = Path(__file__).parents[1] / "recipes"  # kdda/recipes, with a folder of ablations

SpecT = TypeVar("SpecT", bound=ModelSpec)


def built_in() -> list[str]:
    """Names of the recipes that ship with kdda."""
    return sorted(p.relative_to(BUILT_IN).with_suffix("").as_posix() for p in BUILT_IN.rglob("*.yaml"))


def description(name: str) -> str:
    """What a built-in recipe is for: the first sentence of the comment that its file begins with.

    >>> description("mini-tag")
    'Named entities with mini models and the embedded corpus: everything comes with pip.'
    """
    comment = ""
    for line in read_text(find(name)).splitlines():
        if not line.startswith("# "):
            break
        comment += line.removeprefix("#")
    sentence = re.match(r".*?[.?](?=\s|$)", comment)
    return sentence[0].strip() if sentence else comment.strip()


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its built-in name or from a file; the plugins that it names are imported.

    Args:
        name: of a built-in recipe, or a path.
        overrides: changes, as ``key.path=value``.

    Raises:
        KddaError: with path, line, field, the value and what was expected, for every mistake at once.
    """
    path = find(name)
    values, tree = _read_yaml(path)
    values = {"name": _recipe_name(path), **_with_base(values, path)}
    for override in overrides:
        _apply_override(values, override)
    place = Place(path, tree, overrides)
    recipe = _validate(values, place)
    import_plugins(recipe.plugins)
    _check_names(recipe, path)
    # nobody keeps rows inside the installed package
    folder = Path.cwd() if path.is_relative_to(BUILT_IN) else path.parent
    return _with_paths(recipe, folder)


def _read_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """A file's fields, and the same fields as YAML nodes, which know their lines."""
    try:
        values, tree = parse_yaml(read_text(path), printable(path))
    except KddaError as error:
        raise KddaError(f"{error}{rows_advice(path)}") from None
    if not isinstance(values, dict):
        raise not_a_recipe(path, values)
    return values, tree


def _recipe_name(path: Path) -> str:
    """The name of a recipe that gives none: a built-in recipe's, or the file's without its suffix."""
    if path.is_relative_to(BUILT_IN):
        return path.relative_to(BUILT_IN).with_suffix("").as_posix()
    return path.stem


def _with_base(values: dict[str, Any], path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's fields over those of the recipe that its field `extends` names; the fields alone without one.

    Args:
        values: the recipe's fields.
        path: the recipe's file, beside which a base is looked for first.
        extending: the recipes that extend this one, none of which may be its base.
    """
    fields = dict(values)
    base = fields.pop("extends", None)
    if base is None:
        return fields
    if not isinstance(base, str):
        raise KddaError(f"{path}: extends: got {base!r}, expected a recipe's name or file")
    try:
        base_path = find(base, path.parent)
    except KddaError as error:
        _, tree = _read_yaml(path)
        raise KddaError(f"{Place(path, tree, ()).of(['extends'])}: extends: {error}") from None
    extending = (*extending, path.resolve())
    if base_path.resolve() in extending:
        raise KddaError(f"{path}: extends: {base} extends this recipe in turn")
    base_values, _ = _read_yaml(base_path)
    return merged(_with_base(base_values, base_path, extending), fields)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes over a base. Sections are merged field by field; `arms` are one list, and are replaced as a whole.

    A student has one source: where changes say `from_teacher` or `model`, the base's other one is gone.

    >>> merged({"training": {"epochs": 2, "stride": 64}}, {"training": {"epochs": 3}})
    {'training': {'epochs': 3, 'stride': 64}}
    >>> merged({"student": {"model": "a", "layers": 6}}, {"student": {"from_teacher": "vi"}})
    {'student': {'layers': 6, 'from_teacher': 'vi'}}
    """
    fields = dict(base)
    for source, other in (("from_teacher", "model"), ("model", "from_teacher")):
        if source in changes and other not in changes:
            fields.pop(other, None)
    for key, value in changes.items():
        old = fields.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key != "arms":
            fields[key] = merged(old, value)
        else:
            fields[key] = value
    return fields


def find(name: str, beside: Path | None = None) -> Path:
    """The file of a recipe, built in or the user's.

    Args:
        name: of a built-in recipe, or a path.
        beside: the folder of a recipe that names this one, where a file of this name comes first.

    Raises:
        KddaError: no such recipe.
    """
    if beside is not None and (beside / name).is_file():
        return beside / name
    if name in built_in():
        return BUILT_IN / f"{name}.yaml"
    path = Path(name)
    if path.is_file():
        return path
    raise no_recipe(name, built_in(), beside)


def _apply_override(values: dict[str, Any], override: str) -> None:
    """Change one field of a recipe in place, as ``--set key.path=value`` says; the value is YAML."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise KddaError(f'--set {override}: expected key.path=value, such as "training.epochs=3"')
    *sections, field = path.split(".")
    section: Any = values
    for key in sections:
        section = _open_section(section, key, override)
    if isinstance(section, list):
        raise KddaError(f'--set {override}: "{field}" is an item of a list; name a field of it, or set the whole list')
    section[field], _ = parse_yaml(text, f"--set {override:.80}", has_lines=False)


def _open_section(section: Any, key: str, override: str) -> Any:
    """The section under a key, as a copy that takes its place and may be changed.

    Args:
        section: a mapping; or a list, whose items go by their numbers from 0.
        override: for the message.

    Raises:
        KddaError: no such item, or a value without fields.
    """
    place: Any = key
    if isinstance(section, list):
        if not key.isdigit() or int(key) >= len(section):
            raise KddaError(f'--set {override}: got "{key}", expected an item\'s number from 0 to {len(section) - 1}')
        place = int(key)
        value = section[place]
    else:
        value = section.get(key)
    inner = list(value) if isinstance(value, list) else _as_section(value)
    if not isinstance(inner, dict | list):
        raise KddaError(f'--set {override}: "{key}" is {inner!r:.80}, which has no fields')
    section[place] = inner
    return inner


def _as_section(value: Any) -> Any:
    """A section as a dict that may be changed: a copy, ``{"model": name}`` of a model's name, {} of nothing."""
    if isinstance(value, dict):
        return dict(value)
    return model_shorthand(value) if value else {}


def _validate(values: dict[str, Any], place: Place) -> Recipe:
    """The recipe that checked fields make, its arms' settings of `distill` and `teachers` included.

    Raises:
        KddaError: all mistakes, a line each.
    """
    _refuse_old_names(values, place)
    if values.get("labels") == []:
        raise KddaError(f"{place.of(['labels'])}: labels: got [], expected two labels or more, or no such field")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise refusal(error, place) from None
    for arm in recipe.arms:
        # an arm's changes are free mappings, which are checked where they are put over the recipe's settings
        merged_settings = (
            ("distill", recipe.distillation),
            ("teachers", recipe.teachers_of),
            ("training", recipe.training_of),
        )
        for field, settings_of in merged_settings:
            try:
                settings_of(arm)
            except ValidationError as error:
                raise refusal(error, place, ("arms", arm, field)) from None
    return recipe


def _refuse_old_names(values: Any, place: Place) -> None:
    """Refuse fields and values that have other names now, all at once."""
    lines = [f"{place.of(old.path)}: {old.message}" for old in old_names(values)]
    if lines:
        raise KddaError("\n".join(lines))


def _check_names(recipe: Recipe, path: Path) -> None:
    """Names must fit together: targets have data, arms train on data and distil from teachers of the recipe."""
    for target in recipe.targets:
        _check_target(recipe, target, path)
    for language in recipe.teachers:
        if language not in recipe.data:
            hint = did_you_mean(language, recipe.data)
            raise KddaError(f'{path}: teachers: language "{language}" has no entry under data{hint}')
    for language in recipe.data:
        _check_data(recipe, language, path)
    for arm in recipe.arms:
        _check_folder_name("arms", arm, path)
        _check_languages(recipe, arm, path)
        _check_student(recipe, arm, path)
        _check_teachers(recipe, arm, path)
    _check_systems(recipe, path)


def _check_target(recipe: Recipe, target: str, path: Path) -> None:
    """Refuse a target language without data, or without the rows that select models and make the table."""
    if target not in recipe.data:
        raise KddaError(f'{path}: target: got "{target}", expected one of data\'s {", ".join(recipe.data)}')
    needs: dict[Literal["test", "dev"], str] = {
        "test": "test rows make the table",
        "dev": "development rows select models",
    }
    for split, reason in needs.items():
        if not recipe.data[target].has(split):
            raise KddaError(f"{path}: data.{target}.{split} is missing: the target language's {reason}")


def _check_data(recipe: Recipe, language: str, path: Path) -> None:
    """Refuse a language that no arm can use: without rows, or with neither labels nor a teacher."""
    data = recipe.data[language]
    if data.train is None and data.dev is None and data.test is None:
        raise KddaError(f"{path}: data.{language}: no rows; name train, to train on, or test, to score")
    if data.has_labels and not data.has("dev"):
        raise KddaError(
            f'{path}: "data.{language}.dev" is missing: development rows select models, teachers among them'
        )
    if not data.is_unlabelled:
        return
    for arm in recipe.arms:
        for taught, _ in recipe.teachers_of(arm):
            if taught == language:
                return
    raise KddaError(
        f'{path}: data.{language}: labels: none, and no arm is distilled from a teacher of "{language}": there is '
        f"nothing to learn from; add teachers.{language} and an arm with distill: true, or leave data.{language}.train "
        "out"
    )


def _check_folder_name(field: str, name: str, path: Path) -> None:
    """Refuse an arm's or system's name that cannot name its folder of runs.

    Args:
        field: ``arms`` or ``systems``.
        name: what is checked.
        path: the recipe's file, for the message.
    """
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise KddaError(f'{path}: {field}: got "{name}", expected letters, digits and "-": it is a folder\'s name')


def _check_systems(recipe: Recipe, path: Path) -> None:
    """Refuse open-domain systems of several targets, or whose reader is not one of the recipe's arms."""
    if recipe.systems and len(recipe.targets) > 1:
        raise KddaError(
            f"{path}: systems search the passages of one language, and target names {', '.join(recipe.targets)}; "
            "a recipe for each of them, which extends this one, can have its systems"
        )
    for name, system in recipe.systems.items():
        if system.arm not in recipe.arms:
            raise KddaError(f"{path}: {unknown_choice(f'systems.{name}.arm', system.arm, recipe.arms)}")
        _check_folder_name("systems", name, path)


def _check_languages(recipe: Recipe, arm: str, path: Path) -> None:
    """Refuse an arm that names a language without data, to train on, for a teacher, or for a number of rows."""
    settings = recipe.arms[arm]
    languages = {"train": recipe.languages(arm), "teachers": settings.teachers, "rows": settings.rows}
    for field, names in languages.items():
        for language in names:
            if language not in recipe.data:
                raise KddaError(f'{path}: arms.{arm}.{field}: language "{language}" has no entry under data')
            if field != "teachers" and recipe.data[language].train is None:
                raise KddaError(f'{path}: arms.{arm}.{field}: language "{language}" has no data.{language}.train')
    if not languages["train"]:
        raise KddaError(
            f"{path}: arms.{arm}: there are no labelled rows to train on, and no teacher of unlabelled ones; name "
            f"other languages, such as arms.{arm}.train: all"
        )


def _check_student(recipe: Recipe, arm: str, path: Path) -> None:
    """Refuse a student that starts as a teacher that is not there, or with layers that both of them choose."""
    student = recipe.arms[arm].student or recipe.student
    if student.from_teacher is None:
        return
    if student.from_teacher not in recipe.teachers:
        choice = unknown_choice("student.from_teacher", student.from_teacher, recipe.teachers)
        raise KddaError(f"{path}: {choice}")
    for language, teacher in recipe.source_of(arm).items():
        if student.layers and teacher.layers:
            raise KddaError(
                f"{path}: student.layers and teachers.{language}.layers both choose layers of {teacher.model}; the "
                "student starts as that teacher, with its layers: name them in one of the two places"
            )


def _check_teachers(recipe: Recipe, arm: str, path: Path) -> None:
    """Refuse an arm that distils without a teacher, an unlabelled language without one, and teachers without rows."""
    teachers = recipe.teachers_of(arm)
    taught = dict(teachers)  # language → one of its teachers
    for language in recipe.languages(arm):
        if recipe.data[language].is_unlabelled and language not in taught:
            raise KddaError(
                f'{path}: arms.{arm}.train: language "{language}" has no labels, and the arm is distilled from no '
                "teacher of it: there is nothing to learn from"
            )
    if recipe.distillation(arm) is not None and not teachers:
        raise KddaError(
            f'{path}: arm "{arm}" distils, but its languages have no teacher, or all its teachers are disabled'
        )
    for language, teacher in [*teachers, *recipe.source_of(arm).items()]:
        _check_rows_of_teacher(recipe, language, teacher, path)


def _check_rows_of_teacher(recipe: Recipe, language: str, teacher: TeacherSpec, path: Path) -> None:
    """Refuse a teacher that is to be fine-tuned and has no labelled rows, or one that needs none and names some.

    Args:
        language: the teacher's.
    """
    field = f"{path}: teachers.{language}"
    if teacher.finetuned or teacher.random:
        if teacher.train:
            raise KddaError(f"{field}.train: got {teacher.train}, but this teacher is not fine-tuned here")
        return
    source = teacher.train or language
    if source not in recipe.data:
        raise KddaError(f"{field}.train: {unknown_choice('language', source, recipe.data)}")
    if recipe.data[source].has_labels:
        return
    others = [name for name, data in recipe.data.items() if data.has_labels]
    raise KddaError(
        f'{field}: "{teacher.model}" is to be fine-tuned, and "{source}" has no labelled training rows; say '
        f"finetuned: true of a teacher that is fine-tuned already, or train: LANGUAGE, whose rows it is fine-tuned on "
        f"({', '.join(others) or 'none has any'})"
    )


def _with_paths(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with absolute paths: those that are not below the working folder are below the recipe's folder."""
    data = {}
    for language, sources in recipe.data.items():
        paths = {split: _source_paths(getattr(sources, split), split, folder) for split in ("train", "dev", "test")}
        data[language] = sources.model_copy(update=paths)
    return recipe.model_copy(
        update={
            "data": data,
            "teachers": _teachers_with_paths(recipe, folder),
            "student": _with_path(recipe.student, folder),
            "arms": {name: _arm(arm, folder) for name, arm in recipe.arms.items()},
        }
    )


def _source_paths(source: str | list[str] | None, split: str, folder: Path) -> str | list[str] | None:
    """A split's source, or each of several, with its absolute path; None where the split has none."""
    if isinstance(source, list):
        return [_source_path(name, split, folder) for name in source]
    return source and _source_path(source, split, folder)


def _source_path(name: str, split: str, folder: Path) -> str:
    """The absolute path of a file of rows, or ``folder:split``; sources that are no paths (``hub:…``) as they are.

    Args:
        split: the split that a folder's name alone stands for.
        folder: the recipe's.
    """
    if name.startswith(("hub:", "embedded:")):
        return name
    path, colon, named_split = name.rpartition(":")
    for place in (Path(), folder):
        if _is_folder(place / name):
            return f"{(place / name).resolve()}:{split}"
        if colon and _is_folder(place / path):
            return f"{(place / path).resolve()}:{named_split}"
        if _is_file(place / name):
            return str((place / name).resolve())
    return str((folder / name).resolve())


def _is_folder(path: Path) -> bool:
    """Whether a folder is there; a name that the system refuses, such as one of 300 letters, is none."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _is_file(path: Path) -> bool:
    """Whether something is there, whatever it is; see `_is_folder`."""
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def _with_path(spec: SpecT, folder: Path) -> SpecT:
    """A model with its absolute path if it is a folder, below the working folder or the recipe's; else unchanged."""
    for place in (Path(spec.model), folder / spec.model):
        if spec.model and _is_folder(place):
            return spec.model_copy(update={"model": str(place.resolve())})
    return spec


def _model_name(name: str, folder: Path) -> str:
    """A model's name, or the absolute path of the folder that it names."""
    return _with_path(ModelSpec(model=name), folder).model


def _teachers_with_paths(recipe: Recipe, folder: Path) -> dict[str, TeacherSpec | list[TeacherSpec]]:
    """A recipe's teachers with absolute paths where they are folders."""
    teachers: dict[str, TeacherSpec | list[TeacherSpec]] = {}
    for language, value in recipe.teachers.items():
        if isinstance(value, list):
            teachers[language] = [_with_path(teacher, folder) for teacher in value]
        else:
            teachers[language] = _with_path(value, folder)
    return teachers


def _changes_with_path(changes: Any, folder: Path) -> Any:
    """An arm's changes of a language's teachers, with an absolute path where they name a model's folder."""
    if isinstance(changes, list):
        return [_changes_with_path(values, folder) for values in changes]
    if changes and "model" in changes:
        return {**changes, "model": _model_name(changes["model"], folder)}
    return changes


def _arm(arm: Arm, folder: Path) -> Arm:
    """An arm whose teachers, student and sentence selector have absolute paths where they are folders."""
    teachers = {}
    for language, teacher_changes in arm.teachers.items():
        teachers[language] = _changes_with_path(teacher_changes, folder)
    changes: dict[str, Any] = {"teachers": teachers}
    if arm.student:
        changes["student"] = _with_path(arm.student, folder)
    if arm.sentences and arm.sentences.model:
        model = _model_name(arm.sentences.model, folder)
        changes["sentences"] = arm.sentences.model_copy(update={"model": model})
    return arm.model_copy(update=changes)
