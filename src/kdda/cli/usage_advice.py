"""What to say beside typer's refusal of a command line: values that need quotes, options that are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer


def usage_advice(app: typer.Typer, arguments: Sequence[str]) -> str:
    """What would mend the arguments of a command that typer has refused; empty where nothing is known.

    Args:
        arguments: those of the process, the command's name first.
    """
    advice = _braces_advice(arguments)
    commands: Any = typer.main.get_command(app)
    command = commands.commands.get(arguments[0]) if arguments else None
    if command is not None:
        advice = advice or _argument_advice(command, arguments) or _spaces_advice(command, arguments)
    return advice


def _braces_advice(arguments: Sequence[str]) -> str:
    """What to do about a value in braces that the shell has cut at its spaces; empty where there is none.

    >>> _braces_advice(["--set", "limit={train:", "100}"])
    'A value with spaces needs quotes: "limit={train: 100}"'
    """
    for place, argument in enumerate(arguments):
        if argument.count("{") <= argument.count("}"):
            continue
        value = argument
        for part in arguments[place + 1 :]:
            value += f" {part}"
            if value.count("{") == value.count("}"):
                return _in_quotes(value)
    return ""


def _in_quotes(value: str) -> str:
    """The advice to quote a value."""
    return f'A value with spaces needs quotes: "{value}"'


def _argument_advice(command: Any, arguments: Sequence[str]) -> str:
    """What to do about ``--model M`` where the model is an argument of the command; empty without such an option."""
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperOption):
            continue
        names = (f"--{parameter.name}", f"--{parameter.name.removesuffix('s')}")
        for argument in arguments:
            name = argument.partition("=")[0]
            if name in names:
                return f"{name} is no option of this command but an argument: give its value alone, without {name}"
    return ""


def _spaces_advice(command: Any, arguments: Sequence[str]) -> str:
    """What to do about a value without quotes that the shell has cut at its spaces; empty where no word is too many.

    The words too many belong to the value of an option that stands right before them, or else to the last argument.
    """
    most = 0
    for parameter in command.params:
        if not isinstance(parameter, typer.core.TyperOption):
            if parameter.nargs < 0:  # as many as there are
                return ""
            most += parameter.nargs
    words, after_values = _words(command, arguments)
    too_many = len(words) - most
    if too_many <= 0 or (not after_values and most == 0):
        return ""
    first = after_values[0] if after_values else words[most]
    return _in_quotes(" ".join(arguments[first - 1 : first + too_many]))


def cut_value_advice(app: typer.Typer, arguments: Sequence[str], message: str) -> str:
    """The advice to quote a value of an option of which a part was taken for a file; empty of another refusal.

    Args:
        arguments: of the process, for a command that takes any number of files.
        message: the refusal, which has the name of the file in quotes.
    """
    commands: Any = typer.main.get_command(app)
    command = commands.commands.get(arguments[0]) if arguments else None
    if command is None or "did you mean" in message:
        return ""
    _, after_values = _words(command, arguments)
    for place in after_values:
        value, word = arguments[place - 1], arguments[place]
        looks_like_a_file = "." in word or "/" in word
        if "=" in value and f'"{word}"' in message and not looks_like_a_file:
            return _in_quotes(f"{value} {word}")
    return ""


def _words(command: Any, arguments: Sequence[str]) -> tuple[list[int], list[int]]:
    """The places of the words that are neither options nor their values, and those that stand right behind a value.

    None where an option is unknown, which may take a value or not.
    """
    takes_value = {}
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperOption):
            for name in (*parameter.opts, *parameter.secondary_opts):
                takes_value[name] = not parameter.is_flag
    words = []
    after_values = []
    value = -1  # the place of the value that was seen last
    for place in range(1, len(arguments)):
        argument = arguments[place]
        if takes_value.get(arguments[place - 1]):
            value = place
        elif argument.startswith("--"):
            if argument.partition("=")[0] not in takes_value:  # which is the mistake then
                return [], []
            value = place if "=" in argument else value
        else:
            words.append(place)
            if place - 1 == value:
                after_values.append(place)
    return words, after_values
