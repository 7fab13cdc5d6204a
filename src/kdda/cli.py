"""The command line. `kdda --help` must answer at once, so nothing here imports torch before it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kdda.errors import Interrupted, KddaError

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

MISTAKE, INTERRUPTED = 2, 130  # exit codes


@app.callback()
def about() -> None:
    """Distil monolingual teachers into one multilingual student by optimal transport, while it is fine-tuned."""


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe's name (see `kdda recipes`) or a YAML file.")],
    arms: Annotated[str, typer.Option(help="Some of the recipe's arms: a,b. All by default.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds instead of the recipe's: 1,2,3.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: teachers.vi=vinai/phobert-base. May repeat.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run folders go: OUT/<task>/<arm>/seed-<n>.")] = Path("runs"),
) -> None:
    """Fine-tune the teachers, train every arm of a recipe at every seed, and print the table.

    Finished runs are kept and unfinished ones continued, so the same command goes on after Ctrl-C.
    """
    from kdda.recipe import load_recipe

    chosen = load_recipe(recipe, set_ or [])
    numbers = _numbers(seeds)
    from kdda.experiment import Experiment

    names = [name.strip() for name in arms.split(",") if name.strip()]
    print(Experiment(chosen, out, names or None, numbers or None).run())


@app.command()
def recipes() -> None:
    """List the built-in recipes."""
    from kdda.recipe import built_in, load_recipe

    for name in built_in():
        print(f"{name:20} {load_recipe(name).note}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise KddaError(f'--seeds: found "{text}", expected numbers such as 1,2,3') from None


def main() -> None:
    """The console script: a user's mistake is one message and exit code 2, Ctrl-C is 130."""
    try:
        app()
    except Interrupted as stopped:
        sys.exit(_say(f"kdda: {stopped}", INTERRUPTED))
    except KddaError as mistake:
        sys.exit(_say(f"kdda: {mistake}", MISTAKE))
    except KeyboardInterrupt:
        sys.exit(_say("kdda: interrupted; the same command goes on from the last checkpoint", INTERRUPTED))


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
