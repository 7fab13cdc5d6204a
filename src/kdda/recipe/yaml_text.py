"""YAML from outside: a key given twice and any error of the library refused with its line; dates stay text."""

from __future__ import annotations

from typing import Any

import yaml

from kdda.errors import KddaError

DEEPEST = 30  # levels of nesting: a recipe has five

LARGEST = 100_000  # values, with those that aliases repeat

LONGEST_NUMBER = 100  # digits: Python refuses to convert some thousands

YAML = "tag:yaml.org,2002:"  # how the tags of YAML's built-in types begin

PLAIN_TYPES = ("null", "bool", "int", "float", "str", "seq", "map", "merge")  # those of JSON, and the key <<


class RecipeLoader(yaml.SafeLoader):
    """PyYAML's loader of safe types, for which a plain value that looks like a date is a text."""


def _without_dates() -> dict[str, list[Any]]:
    """PyYAML's patterns of plain values by first letter, as (tag, pattern), but for those of dates."""
    resolvers = {}
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items():
        resolvers[letter] = [resolver for resolver in known if resolver[0] != f"{YAML}timestamp"]
    return resolvers


RecipeLoader.yaml_implicit_resolvers = _without_dates()


class _Mistake(Exception):
    """What no recipe can hold, and its line."""

    def __init__(self, node: yaml.Node, reason: str):
        super().__init__(reason)
        self.line = node.start_mark.line + 1


def parse_yaml(text: str, where: str, has_lines: bool = True) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text, and the same as nodes, each of which knows its line.

    Args:
        text: of a file, or the value of an option.
        where: the file or the option, for messages.
        has_lines: whether messages name the line.

    Raises:
        KddaError: it is not YAML, a mapping has a key twice, or it holds what no recipe can.
    """
    try:
        return _parse(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"not YAML: the character U+{error.character:04X} is not allowed"
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = f"not YAML: {error.problem}"
    except _Mistake as mistake:
        line = mistake.line
        reason = str(mistake)
    except RecursionError:
        line = 1
        reason = "nested too deeply"
    except yaml.YAMLError as error:
        line = 1
        reason = f"not YAML: {error}"
    raise KddaError(f"{where}:{line}: {reason}" if has_lines else f"{where}: {reason}")


def _parse(text: str) -> tuple[Any, yaml.Node | None]:
    """The value and the nodes of a text; raises what PyYAML raises, and `_Mistake`."""
    tree = yaml.compose(text, Loader=RecipeLoader)
    if tree is None:
        return None, None
    _count_values(tree, 0, {})
    return RecipeLoader("").construct_document(tree), tree


def _count_values(node: yaml.Node, depth: int, counts: dict[int, int]) -> int:
    """The number of values of a node, those of aliases included, each as often as it is named.

    Args:
        depth: of the node in the tree.
        counts: of nodes that were counted before, by their identity, since aliases name one node many times.

    Raises:
        _Mistake: too many values, or one that no recipe can hold.
    """
    if depth > DEEPEST:
        raise _Mistake(node, f"nested more than {DEEPEST} levels deep")
    if id(node) in counts:
        return counts[id(node)]
    if node.tag not in [f"{YAML}{name}" for name in PLAIN_TYPES]:
        name = node.tag.replace(YAML, "!!")
        raise _Mistake(node, f"a value of the type {name}, expected text, a number, true or false, a list or a mapping")
    count = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        for _, value in node.value:
            count += _count_values(value, depth + 1, counts)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            count += _count_values(item, depth + 1, counts)
    elif isinstance(node, yaml.ScalarNode):
        _check_scalar(node)
    if count > LARGEST:
        raise _Mistake(node, f"more than {LARGEST:,} values, those that aliases repeat included")
    counts[id(node)] = count
    return count


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a mapping that has a key twice, whatever its type, or one that is no plain value."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Mistake(key, "a list or a mapping as a key, expected a name")
        _check_scalar(key)
        if key.value in lines:
            raise _Mistake(key, f'the key "{key.value}" is given twice (first in line {lines[key.value]}): keep one')
        lines[key.value] = key.start_mark.line + 1


def _check_scalar(node: yaml.ScalarNode) -> None:
    """Refuse a value that its type cannot have, such as ``!!int x``, and a text that no file in UTF-8 holds."""
    if node.tag == f"{YAML}int" and len(node.value) > LONGEST_NUMBER:
        raise _Mistake(node, f"a number of {len(node.value):,} digits")
    try:
        if node.tag != f"{YAML}merge":  # the key <<, which is no value
            RecipeLoader("").construct_object(node)
    except Exception:  # PyYAML's functions for its types raise whatever Python's raise
        raise _Mistake(node, f'"{node.value:.80}" is not of the type {node.tag.replace(YAML, "!!")}') from None
    try:
        node.value.encode()
    except UnicodeEncodeError as error:
        raise _Mistake(node, f"an unpaired surrogate ({node.value[error.start]!r})") from None
