"""The options --quiet and --verbose, which every command has."""

from __future__ import annotations

import sys
from copy import copy
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from kdda.errors import KddaError
from kdda.runtime.verbosity import QUIET, VERBOSE, set_verbosity


def _choose_quiet(value: bool) -> bool:
    """Print less, if --quiet is given."""
    return _choose(value, QUIET)


def _choose_verbose(value: bool) -> bool:
    """Print more, if --verbose is given."""
    return _choose(value, VERBOSE)


def _choose(is_given: bool, level: str) -> bool:
    """Set the verbosity, if the option of this level is given; whether it is.

    Raises:
        KddaError: the other option was given, too.
    """
    if is_given:
        other = {QUIET: VERBOSE, VERBOSE: QUIET}[level]
        if f"--{other}" in sys.argv:
            raise KddaError("--quiet and --verbose exclude each other")
        set_verbosity(level)
    return is_given


def _output_options(
    quiet: Annotated[
        bool,
        typer.Option(
            f"--{QUIET}",
            callback=_choose_quiet,
            expose_value=False,
            help="Print results, warnings and errors, without progress.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            f"--{VERBOSE}",
            callback=_choose_verbose,
            expose_value=False,
            help="Print the log, and errors with their traceback.",
        ),
    ] = False,
) -> None:
    """Nothing: its signature says which options typer makes."""


@cache
def _parameters() -> list[Any]:
    """The options of `_output_options` as typer makes them: parameters of click, of which none is --help."""
    application = typer.Typer(add_completion=False)
    application.command()(_output_options)
    return list(typer.main.get_command(application).params)


class CommandWithOutputOptions(TyperCommand):
    """A command that has --quiet and --verbose beside its parameters."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.params.extend(map(copy, _parameters()))  # whose help the Vietnamese command line changes
