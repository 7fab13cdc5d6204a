"""What every command shares: the application, exit codes, lists in options, and how a mistake is told."""

from __future__ import annotations

import sys

import typer

from kdda.errors import Interrupted, KddaError
from kdda.runtime.memory import tune_garbage_collection

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # exit codes


@app.callback()
def about() -> None:
    """Distil monolingual teachers into one multilingual student by optimal transport, while it is fine-tuned."""


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def pairs_of(option: str, text: str) -> dict[str, str]:
    pairs = [name.partition("=") for name in names(text)]
    if wrong := [left for left, equals, right in pairs if not equals or not right]:
        raise KddaError(f'{option}: found "{wrong[0]}", expected name=value, with commas between')
    return {left.strip(): right.strip() for left, _, right in pairs}


def numbers_of(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise KddaError(f'--seeds: found "{text}", expected numbers such as 1,2,3') from None


def main() -> None:
    """The console script: a user's mistake is one message and exit code 2, Ctrl-C is 130."""
    tune_garbage_collection()
    try:
        app()
    except Interrupted as stopped:
        sys.exit(say(f"kdda: {stopped}", INTERRUPTED))
    except KddaError as mistake:
        sys.exit(say(f"kdda: {mistake}", MISTAKE))
    except KeyboardInterrupt:
        sys.exit(say("kdda: interrupted; the same command goes on from the last checkpoint", INTERRUPTED))


def say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
