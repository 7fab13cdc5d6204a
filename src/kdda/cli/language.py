"""The language of the command line: Vietnamese under `KDDA_LANG=vi` or a Vietnamese locale, else English."""

from __future__ import annotations

import locale
import os
import sys
from functools import cache
from typing import Any

import typer
import typer.core

from kdda.cli.catalogue import Translator, read_catalogue
from kdda.cli.output_options import CommandWithOutputOptions
from kdda.errors import KddaError, unknown_choice
from kdda.runtime.wording import translated_by

LANGUAGES = ("en", "vi")

VARIABLE = "KDDA_LANG"


def is_vietnamese() -> bool:
    """Whether the command line speaks Vietnamese: by `KDDA_LANG`, or by the locale where that is not set."""
    for variable in (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG"):  # the order of gettext
        name = os.environ.get(variable)
        if name:
            return name.lower().startswith("vi")
    name, _ = locale.getlocale()  # on Windows, which has none of these variables: Vietnamese_Vietnam
    return (name or "").lower().startswith("vi")


def check_language() -> None:
    """Refuse a `KDDA_LANG` that names neither English nor Vietnamese.

    Raises:
        KddaError: the variable's value and the two that it may have.
    """
    name = os.environ.get(VARIABLE)
    if name and name.lower()[:2] not in LANGUAGES:
        raise KddaError(unknown_choice(VARIABLE, name, LANGUAGES))


@cache
def _vietnamese() -> Translator:
    return Translator(read_catalogue())


def tr(text: str) -> str:
    """A text of the command line, such as a question to the user, in its language; `vi.po` has all such texts."""
    return _vietnamese().text(text) if is_vietnamese() else text


def tr_message(message: str) -> str:
    """A message that was made of a template of the code, such as a refusal, in the command line's language."""
    return _vietnamese().message(message) if is_vietnamese() else message


def call(app: typer.Typer) -> None:
    """Run the command that the arguments name; help and refusals of its options are in the command line's language."""
    check_language()
    if not is_vietnamese():
        app()
        return
    # The words that typer adds to help, such as "required", go through this function.
    words = vars(typer.core)["_"]
    group_class = app.info.cls
    command_classes = [info.cls for info in app.registered_commands]
    try:
        vars(typer.core)["_"] = tr
        app.info.cls = _Group
        for info in app.registered_commands:
            info.cls = _Command
        with translated_by(tr_message, "vi"):
            _translated(typer.main.get_command(app))()
    finally:  # a process that calls once more may do so in another language
        vars(typer.core)["_"] = words
        app.info.cls = group_class
        for info, command_class in zip(app.registered_commands, command_classes, strict=True):
            info.cls = command_class


def _translated(group: Any) -> Any:
    """All commands of click, with their help in the command line's language."""
    for command in [group, *group.commands.values()]:
        command.help = tr(command.help or "")
        command.short_help = tr(command.short_help or "")
        for parameter in command.params:
            if getattr(parameter, "help", None):
                parameter.help = tr(parameter.help)
    return group


class _Translated:
    """The parts of a command's help whose English stands in typer's code."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        pieces = " ".join(self.collect_usage_pieces(ctx))  # type: ignore[attr-defined]
        for english in ("OPTIONS", "COMMAND", "ARGS"):
            pieces = pieces.replace(english, tr(english))
        formatter.write_usage(ctx.command_path, pieces, prefix=tr("Usage: "))

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = tr(option.help)
        return option


class _Command(_Translated, CommandWithOutputOptions):
    """A command whose help is Vietnamese."""


class _Group(_Translated, typer.core.TyperGroup):
    """All commands; what typer refuses is said in Vietnamese."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False  # typer raises what it would print
        try:
            result = super().main(*args, **kwargs)
        except typer.Abort:
            print(tr("Aborted!"), file=sys.stderr)
            sys.exit(1)
        except Exception as error:
            if not hasattr(error, "format_message"):  # not an error of typer's
                raise
            _show(error)
            sys.exit(error.exit_code)  # type: ignore[attr-defined]
        sys.exit(result)  # an exit code, or None of a command that has ended


def _show(error: Any) -> None:
    """Print an error of typer's, after how the command is used."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        error.show()
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        hint = tr("Try '{command} {option}' for help.")
        print(context.get_usage(), file=sys.stderr)
        print(hint.format(command=context.command_path, option="--help"), end="\n\n", file=sys.stderr)
    print(tr("Error: ") + tr_message(error.format_message()), file=sys.stderr)
