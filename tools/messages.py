"""What the command line can say, read from the sources: help texts, and the templates of refusals, by room.

`python tools/messages.py` prints, in the form of src/kdda/cli/vi.po, the entries that the catalogue lacks.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter

from kdda.cli.catalogue import LABEL, read_catalogue

PACKAGE = Path(__file__).parents[1] / "src" / "kdda"
# Every room: its refusals are translated, all of them.
ROOMS = sorted(path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py")
# What makes a message or prints one, beside classes that end in Error.
MAKERS: tuple[str, ...] = ("unknown_choice", "Interrupted", "BadParameter", "say", "show", "note", "warn", "print_line")
MAKERS += ("tr_message", "worded", "tell", "tell_stage", "tell_count", "Table", "Report", "Figure")
# Files of which every text that is no docstring is printed for people, in tables, lists and reports; where functions
# are named, theirs alone.
PRINTED: dict[str, tuple[str, ...]] = {
    "report/*.py": (),
    "runs/cleaning.py": (),
    "runs/listing.py": (),
    "experiment/doctor.py": (),
    "experiment/estimate.py": (),
    "experiment/few_steps.py": (),
    "experiment/languages.py": (),
    "experiment/model_doctor.py": (),
    "experiment/plan.py": (),
    "experiment/run.py": ("_describe", "shown_labels", "table", "_show_teacher_check", "_teacher_scores"),
    "experiment/specs.py": ("__str__",),
    "experiment/splits.py": ("_warnings", "_counts"),
    "draft/draft.py": (),
    "draft/labels.py": (),
    "draft/models.py": (),
    "draft/recognise.py": (),
    "draft/sources.py": (),
    "draft/writing.py": ("summary", "_unread", "_columns_in_words"),
    "hub/licences.py": (),
    "hub/push.py": ("push",),
    "inference/evaluate.py": ("_warnings",),
    "inference/files.py": ("notes", "bad_row_lines", "predict_file", "print_predictions"),
    "inference/onnx.py": ("__str__",),
    "inference/predictor.py": ("warnings",),
    "models/convert.py": ("__str__", "_opens_as"),
    "models/trim.py": ("__str__", "_write"),
    "retrieval/writer.py": ("__str__",),
    "runtime/progress.py": (),
    "training/fine_tune.py": ("describe", "_shares", "lacking", "_size", "_storage"),
    "training/teacher_leads.py": ("describe", "_verdict", "never_stopped"),
}
# Of these: what draws, and what writes the forms of a report.
NOT_PRINTED = ("canvas.py", "figures.py", "render.py")
# Whose texts are looked up even if they are single words, such as the titles of a table's columns.
LABELS = ("Table", "worded", "tell_stage", "tell_count")
# Errors that the command line never prints: answers to HTTP requests, and what Python expects of an object.
OTHER_READERS = ("HTTPError", "AttributeError", "IndexError")
# What stands around a part of a message, and is no word of it.
EDGES = " \n;:,.—"


@cache
def templates(room: str) -> dict[str, str]:
    """Templates of a room's messages, such as ``no file "{name}"`` → the file where each stands."""
    listed: dict[str, str] = {}
    top = PACKAGE / room
    for path in [top.with_suffix(".py")] if top.with_suffix(".py").is_file() else sorted(top.rglob("*.py")):
        for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            for line in text.split("\n"):
                template = line.strip(EDGES)
                if is_prose(template):
                    listed.setdefault(template, path.relative_to(PACKAGE).as_posix())
    return listed


@cache
def printed_texts() -> dict[str, str]:
    """Templates of the texts in the files `PRINTED` → the file where each stands."""
    listed: dict[str, str] = {}
    for pattern, functions in PRINTED.items():
        for path in sorted(PACKAGE.glob(pattern)):
            if path.name in NOT_PRINTED:
                continue
            tree = _without_docstrings(path)
            for part in _functions(tree, functions) if functions else [tree]:
                for text in _literals(part):
                    for line in text.split("\n"):
                        if is_prose(line.strip(EDGES)):
                            listed.setdefault(line.strip(EDGES), path.relative_to(PACKAGE).as_posix())
    return listed


def counted_reasons() -> dict[str, str]:
    """The reasons by which rows are counted that were skipped, repaired or truncated → the file where each stands."""
    listed: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Subscript):
                continue
            counter = getattr(node.value, "id", getattr(node.value, "attr", ""))
            if counter in ("skipped", "repaired", "counts"):
                for text in _literals(node.slice):
                    if is_prose(text):
                        listed.setdefault(text, path.relative_to(PACKAGE).as_posix())
    return listed


def _functions(tree: ast.Module, names: tuple[str, ...]) -> Iterator[ast.AST]:
    """The functions of a module, and the methods of its classes, that have these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            yield node


def nouns() -> dict[str, str]:
    """What `count_of` makes of the nouns that it gets, as templates → the file where each stands."""
    listed: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if _name(node) != "count_of":
                continue
            given: list[str] = []
            for argument in node.args[1:]:  # type: ignore[attr-defined]
                given.extend(_literals(argument))
            if given:
                singular, plural = given[0], given[-1] if len(given) > 1 else given[0] + "s"
                for noun in (singular, plural):
                    if "{" in noun:  # a noun after a name, such as "dev rows"
                        continue
                    listed.setdefault("{count} " + noun, path.relative_to(PACKAGE).as_posix())
    return listed


@cache
def labels() -> dict[str, str]:
    """Single words that are looked up as a whole, such as the titles of columns → the file where each stands."""
    listed: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = _without_docstrings(path)
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            for node in ast.walk(scope):
                if _name(node) not in LABELS:
                    continue
                # the rows of a table hold names and numbers
                for argument in node.args[1:2] if _name(node) == "Table" else node.args:  # type: ignore[attr-defined]
                    for text in _reached(argument, scope, tree, {}, set()):
                        if re.fullmatch(r"[A-Za-z-]*[a-z]{2,}[A-Za-z-]*", text):
                            listed.setdefault(text, path.relative_to(PACKAGE).as_posix())
    return listed


def _without_docstrings(path: Path) -> ast.Module:
    """A file as a tree that has neither its docstrings nor the texts of types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def shape(template: str) -> str:
    """A template without the names of its places, so that a renamed variable leaves the catalogue as it is."""
    return re.sub(r"(?<!\{)\{[a-z_]\w*\}", "{}", template)


def is_prose(template: str) -> bool:
    """Whether a text has English words to translate: two in a row, or one beside a place."""
    if "<" in template or re.search("[À-ỹ]", template):  # HTML; an example in Vietnamese
        return False
    text = re.sub(r"(?<!\{)\{\w*\}", "§", template)
    return bool(re.search(r"[a-z]{2,}['s]*,? [a-zA-Z]{2,}|\b[a-z]{2,} [\"'(]?§|§[\"')]? [a-z]{2,}", text))


def fixed_texts() -> Iterator[str]:
    """Texts that are looked up as they stand: the help of commands and of their parameters, and what `tr` gets."""
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value
    import typer

    from kdda.cli.shared import app

    group = typer.main.get_command(app)
    yield from _help_of(group)
    for command in group.commands.values():  # type: ignore[attr-defined]
        yield from _help_of(command)


def texts_of_recipes() -> Iterator[str]:
    """What `kdda recipes` says of each built-in recipe, and the notes that runs and reports print of them."""
    from kdda.recipe.load import built_in, description, load_recipe

    for name in built_in():
        yield description(name)
        note = load_recipe(name).note
        if note:
            yield note


def _help_of(command: object) -> Iterator[str]:
    for text in [command.help, command.short_help, *(getattr(param, "help", None) for param in command.params)]:  # type: ignore[attr-defined]
        if text:
            yield text


def _texts(tree: ast.Module) -> Iterator[str]:
    """The texts of a module that reach a message: in it, in variables and constants that it names, in its helpers."""
    functions: dict[str, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = node
        if isinstance(node, ast.Call):
            _drop_what_is_no_text(node)
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            _name_calls_of_init(node)
    for function in [tree, *functions.values()]:
        for node in ast.walk(function):
            if (isinstance(node, ast.Raise) and _name(node.exc) not in OTHER_READERS) or _makes_message(node):
                yield from _reached(node, function, tree, functions, set())


def _drop_what_is_no_text(call: ast.Call) -> None:
    """Remove arguments that are no part of a message: names of choices, and what a text is cut at."""
    if _name(call) == "unknown_choice":
        del call.args[1:]
    if _name(call) in ("removeprefix", "split"):
        call.args.clear()


def _name_calls_of_init(error: ast.ClassDef) -> None:
    """Give `super().__init__(message)` in a class of errors the name of the class, as of what makes a message."""
    for node in ast.walk(error):
        if isinstance(node, ast.Call) and _name(node) == "__init__":
            node.func = ast.Name(error.name)


def _makes_message(node: ast.AST) -> bool:
    name = _name(node)
    return (name.endswith("Error") and name not in OTHER_READERS) or name in MAKERS


def _name(node: ast.AST | None) -> str:
    """The name of what a call calls, without what it is an attribute of; empty of anything else."""
    function = getattr(node, "func", None)
    return str(getattr(function, "id", getattr(function, "attr", "")))


def _reached(
    node: ast.AST, function: ast.AST, tree: ast.Module, functions: dict[str, ast.AST], seen: set[str]
) -> Iterator[str]:
    yield from _literals(node)
    for part in ast.walk(node):
        name = getattr(part, "id", "")
        if not name or name in seen:
            continue
        seen = {*seen, name}
        for assigned in [*_assigned(function)[name], *_assigned(tree, deep=False)[name]]:
            yield from _reached(assigned, function, tree, functions, seen)
        if name in functions:
            for inner in ast.walk(functions[name]):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from _reached(inner.value, functions[name], tree, functions, seen)


@cache
def _assigned(scope: ast.AST, deep: bool = True) -> Mapping[str, list[ast.AST]]:
    """Name → the values that a scope assigns or appends to it, at its top alone with deep=False."""
    values: dict[str, list[ast.AST]] = defaultdict(list)
    for node in ast.walk(scope) if deep else ast.iter_child_nodes(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                values[getattr(target, "id", "")].append(node.value)
        if isinstance(node, ast.Call) and _name(node) == "append":
            values[getattr(getattr(node.func, "value", None), "id", "")].extend(node.args)
    return values


def _literals(node: ast.AST) -> Iterator[str]:
    """The templates of the strings in a tree; a string in a place of a template is one of its own.

    What `tr` gets is no part of a message: it is looked up as it stands (`fixed_texts`).
    """
    if _name(node) == "tr":
        return
    if isinstance(node, ast.JoinedStr):
        yield _template(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _literals(part.value)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value.replace("{", "{{").replace("}", "}}")
    for child in ast.iter_child_nodes(node):
        yield from _literals(child)


def _template(text: ast.JoinedStr) -> str:
    """An f-string as a text for `str.format`, whose places have the names that the expressions end in."""
    written = ""
    names: list[str] = []
    for part in text.values:
        if isinstance(part, ast.Constant):
            written += str(part.value).replace("{", "{{").replace("}", "}}")
        elif isinstance(part, ast.FormattedValue):
            words = re.findall(r"[a-zA-Z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "", ast.unparse(part.value)))
            name = (words[-1] if words else "value").strip("_").lower() or "value"
            while name in names:
                name += "2"
            names.append(name)
            written += "{" + name + "}"
    return written


def missing(catalogue: dict[str, str]) -> dict[str, str]:
    """What the catalogue has no translation of → where it stands.

    Args:
        catalogue: texts and templates → their translations.
    """
    known = set()
    for text in catalogue:
        known.add(shape(text))
    lacking: dict[str, str] = {}
    for text in fixed_texts():
        if text not in catalogue:
            lacking.setdefault(text, "help")
    for text in texts_of_recipes():
        if text.rstrip(".") not in catalogue and text not in catalogue:
            lacking.setdefault(text, "recipes")
    for listed in [*map(templates, ROOMS), printed_texts(), counted_reasons(), nouns()]:
        for template, place in listed.items():
            if shape(template) not in known:
                lacking.setdefault(template, place)
    for text, place in labels().items():
        if LABEL + text not in catalogue and text not in catalogue:
            lacking.setdefault(LABEL + text, place)
    return lacking


def entry(text: str, place: str, translation: str = "") -> str:
    """An entry of a .po file."""
    context = ""
    if text.startswith(LABEL):
        context = 'msgctxt "label"\n'
    return f"#: {place}\n{context}msgid {_quoted(text.removeprefix(LABEL))}\nmsgstr {_quoted(translation)}\n"


def _quoted(text: str) -> str:
    lines = re.findall(r"[^\n]*\n|[^\n]+", text) or [""]
    quoted = []
    for line in lines:
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        quoted.append(f'"{escaped}"')
    return "\n".join(quoted) if len(quoted) == 1 else '""\n' + "\n".join(quoted)


def places_of(template: str) -> set[str]:
    """The names of a template's places."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


if __name__ == "__main__":
    for text, place in missing(read_catalogue()).items():
        sys.stdout.write(entry(text, place) + "\n")
