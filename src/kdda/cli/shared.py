"""What every command shares: the application, exit codes (1, 2 a mistake, 130 Ctrl-C), options that hold lists."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdda.cli.doc_pages import see_about, see_about_command
from kdda.cli.language import call, tr, tr_message
from kdda.cli.usage_advice import cut_value_advice, usage_advice
from kdda.errors import DiskFullError, InsteadError, Interrupted, KddaError
from kdda.runtime.folders import is_disk_full
from kdda.runtime.memory import tune_garbage_collection
from kdda.runtime.text_files import printable
from kdda.runtime.verbosity import is_quiet, is_verbose

if TYPE_CHECKING:
    from kdda.report.render import Report, Table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

# Exit codes.
FAILED = 1  # something went wrong that is no mistake of the user's: a run failed, the disk is full
MISTAKE = 2  # what the user can correct, as of a wrong option
INTERRUPTED = 130  # Ctrl-C, as of every Unix command

PLUGIN = "A module to import first, which registers a task, an objective or a retriever. May repeat."


def _choose_device(name: str) -> str:
    """Make the command compute on the device of ``--device``, as if `KDDA_DEVICE` named it."""
    if name:
        from kdda.runtime.device import choose_device

        choose_device(name)
    return name


Device = Annotated[
    str,
    typer.Option(callback=_choose_device, help="cpu, cuda, cuda:1, mps, xpu; KDDA_DEVICE, or the best, by default."),
]


def _print_version(wanted: bool) -> bool:
    """Print the installed version and end the command, for ``--version``; typer takes what is returned as its value."""
    if wanted:
        from importlib.metadata import version

        print(f"kdda {version('kdda')}")
        raise typer.Exit
    return wanted


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Distil monolingual teachers into one multilingual student by optimal transport, while it is fine-tuned."""


def is_a_dialogue() -> bool:
    """Whether somebody at a terminal can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def finite(value: float) -> float:
    """A number of an option that is neither nan nor infinite; bounds of options let nan pass."""
    if not isfinite(value):
        raise typer.BadParameter(f"got {value}, expected a finite number")
    return value


def parse_names(text: str) -> list[str]:
    """Names with commas between.

    >>> parse_names("student, student-kdda")
    ['student', 'student-kdda']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_pairs(option: str, text: str) -> dict[str, str]:
    """The ``name=value`` pairs of an option, with commas between.

    >>> parse_pairs("--columns", "premise=sentence1,label=gold")
    {'premise': 'sentence1', 'label': 'gold'}
    """
    pairs = {}
    for part in parse_names(text):
        name, value = _pair(option, part)
        if name in pairs:
            raise KddaError(f'{option}: "{name}" is given twice')
        pairs[name] = value
    return pairs


def _pair(option: str, text: str) -> tuple[str, str]:
    """The name and the value of ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        hint = f' — did you mean "{name.replace(":", "=", 1)}"?' if ":" in name and not equals else ""
        raise KddaError(f'{option}: got "{text}", expected name=value, with commas between{hint}')
    return name.strip(), value.strip()


def parse_columns(text: str, option: str = "--columns") -> dict[str, str | list[str]]:
    """The columns of a file by field of a task: ``field=column``, with commas between, or a mapping as a recipe has it.

    A name without an equals sign is a further column of the field before it.

    >>> parse_columns("premise=sentence1,options=choice1,choice2")
    {'premise': 'sentence1', 'options': ['choice1', 'choice2']}
    >>> parse_columns("{text: 'a, b', options: [x, y]}")
    {'text': 'a, b', 'options': ['x', 'y']}
    """
    if text.lstrip().startswith("{"):
        return _checked_columns(parse_mapping(option, text), option)
    columns: dict[str, list[str]] = {}
    field = ""
    for part in parse_names(text):
        if field and "=" not in part:
            columns[field].append(part)
            continue
        field, column = _pair(option, part)
        if field in columns:
            raise KddaError(f'{option}: "{field}" is given twice')
        columns[field] = [column]
    return _checked_columns(columns, option)


def _checked_columns(columns: Mapping[Any, Any], option: str) -> dict[str, str | list[str]]:
    """Field → its column, or its columns where it has several, of a mapping of names and lists of names."""
    checked: dict[str, str | list[str]] = {}
    for field, value in columns.items():
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(column, str) for column in names):
            raise KddaError(f"{option}: {field}: got {value!r:.80}, expected the name of a column, or a list of names")
        checked[str(field)] = names if len(names) > 1 else names[0]
    return checked


def parse_mapping(option: str, text: str) -> dict[str, Any]:
    """The mapping that an option holds as YAML; empty without a text.

    >>> parse_mapping("--task-options", "{fields: [claim, context]}")
    {'fields': ['claim', 'context']}
    """
    from kdda.recipe.yaml_text import parse_yaml

    if not text.strip():
        return {}
    value, _ = parse_yaml(text, option, has_lines=False)
    if not isinstance(value, dict):
        raise KddaError(f"{option}: got {text!r:.80}, expected a mapping such as {{name: value}}")
    return value


def parse_label_map(option: str, text: str) -> dict[str, str | None]:
    """The ``value=label`` pairs of an option; ``null`` for a label leaves out the rows that have such a value.

    >>> parse_label_map("--labels", "0=entailment,-=null")
    {'0': 'entailment', '-': None}
    """
    labels: dict[str, str | None] = {}
    for value, label in parse_pairs(option, text).items():
        labels[value] = None if label == "null" else label
    return labels


def parse_seeds(text: str) -> list[int]:
    """The numbers of ``--seeds``.

    >>> parse_seeds("1,2,3")
    [1, 2, 3]
    """
    try:
        return [int(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        raise KddaError(f'--seeds: got "{text}", expected numbers such as 1,2,3') from None


def check_model_folder(option: str, folder: Path) -> None:
    """Refuse a folder for models whose name is not UTF-8, which the libraries that write weights cannot open."""
    if printable(folder).encode() != os.fsencode(folder):
        raise KddaError(f"{option} {printable(folder)}: the name is not UTF-8, and no model can be written there")


_FULL = "the disk is full: no output was written in part; make room, and give the same command again"

CONTINUED = ("run", "try")  # the commands that train, and write checkpoints


def _say_interrupted() -> int:
    """Say after Ctrl-C what the command that was given has kept; the exit code."""
    if sys.argv[1:2] and sys.argv[1] in CONTINUED:
        return say("kdda: interrupted; the same command continues from the last checkpoint", INTERRUPTED)
    return say("kdda: interrupted", INTERRUPTED)


def main() -> None:
    """The console script: a mistake of the user is a message and exit code 2, Ctrl-C and SIGTERM are 130."""
    tune_garbage_collection()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        call(app)
    except SystemExit as stop:
        if stop.code == MISTAKE:  # a wrong option or argument, of which the message is printed already
            advice = usage_advice(app, sys.argv[1:])
            if advice:
                say(advice, MISTAKE)
            say(see_about_command(_modules_of_commands()), MISTAKE)
        if stop.code == INTERRUPTED:  # typer makes it of Ctrl-C, without a word
            _say_interrupted()
        raise
    except KeyboardInterrupt:
        sys.exit(_say_interrupted())
    except Exception as error:
        sys.exit(_tell(error))
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM, which `kill` and job schedulers send, as Ctrl-C; also where a shell's `&` ignores that."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)


def _tell(error: Exception) -> int:
    """Print what a command failed of, and the page about it; the exit code.

    Raises:
        Exception: the same, where it is an error of kdda's and not the user's.
    """
    if isinstance(error, Interrupted):
        return say(f"kdda: {error}", INTERRUPTED)  # after a checkpoint was written
    code = MISTAKE
    text = str(error)
    if isinstance(error, DiskFullError):
        code = FAILED
    elif not isinstance(error, KddaError) and is_disk_full(error):
        code = FAILED
        text = f"{_FULL} ({error})"
    elif not isinstance(error, KddaError):
        if not isinstance(error, OSError) or error.filename is None:  # no file to look at
            raise error
        text = f"{error.filename}: {error.strerror}"
    if is_verbose():
        traceback.print_exception(error)
    advice = _same_command(error) or cut_value_advice(app, sys.argv[1:], text)
    lines = [f"kdda: {text}", advice, see_about(error)]
    return say("\n".join(filter(None, lines)), code)


def _same_command(error: Exception) -> str:
    """A line with the command as it was given, but for the name that an error knows a better one of; empty else."""
    if not isinstance(error, InsteadError):
        return ""
    arguments = sys.argv[1:]
    for place, argument in enumerate(arguments):
        if Path(argument) == Path(error.given):  # which does not count a slash at the end
            arguments[place] = error.instead
            command = shlex.join(["kdda", *arguments])
            return tr("Try: {command}").format(command=command)
    return ""


def _modules_of_commands() -> dict[str, str]:
    """Every command's name → the module that defines it."""
    modules = {}
    for command in app.registered_commands:
        if command.callback is not None:
            name = command.name or command.callback.__name__.replace("_", "-")
            modules[name] = command.callback.__module__
    return modules


def note(text: str) -> None:
    """Print a line of progress on standard error, in the command line's language, unless --quiet is given."""
    if not is_quiet():
        print(tr_message(text), file=sys.stderr)


def show(text: str) -> None:
    """Print a result, in the command line's language. What programs read, such as JSON, is printed as it is."""
    print(tr_message(text))


def show_table(table: Table) -> None:
    """Print a table in Markdown below its title, and an empty line."""
    from kdda.report.render import to_markdown

    print(f"{tr_message(table.title)}\n\n{to_markdown(table).rstrip()}\n")


def warn(text: str) -> None:
    """Print a warning or a remark on standard error, in the command line's language."""
    print(tr_message(text), file=sys.stderr)


def print_plan(document: Report) -> None:
    """Print a plan in Markdown."""
    from kdda.report.render import markdown

    sys.stdout.write(markdown(document))


def say(text: str, code: int) -> int:
    """Print a message on standard error, in the command line's language, and return the exit code."""
    print(tr_message(text), file=sys.stderr)
    return code
