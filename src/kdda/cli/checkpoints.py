"""Commands that write a checkpoint in another form: from pickle to safetensors, and with a smaller vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from kdda.cli.shared import app, check_model_folder, parse_names, show, warn
from kdda.errors import KddaError


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help="A folder with pytorch_model.bin, or a Hub id.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Convert pickled weights to safetensors, without running what a pickle may hold."""
    check_model_folder("OUT", out)
    from kdda.models.convert import convert as run_conversion

    show(str(run_conversion(model, out)))


@app.command()
def trim(
    model: Annotated[str, typer.Argument(help="A folder, a mini model or a Hub id.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="A file, Hub split or embedded corpus whose texts keep their tokens. May repeat."),
    ] = None,
    languages: Annotated[
        str, typer.Option(help="Languages whose writing systems keep all their tokens, as codes: vi,en.")
    ] = "",
) -> None:
    """Write a smaller checkpoint: only the vocabulary that some texts or languages need, with its embedding rows.

    Single characters always stay, so that every text can be read. On the texts of --data the smaller model has the same
    tokens and computes the same states, which is checked.

    Printed are how many tokens stay, how large the weights were and are, and on how many texts both were compared.
    """
    check_model_folder("OUT", out)
    from kdda.models.trim import trim as run_trim

    texts = list(dict.fromkeys(_texts_of_files(data or [])))
    show(f"{out}: {run_trim(model, out, texts, parse_names(languages))}")


def _texts_of_files(names: list[str]) -> Iterator[str]:
    """Every text in the rows of some sources; of a plain text file, its lines.

    Raises:
        KddaError: a source that cannot be read, or a text with an unpaired surrogate; names the place.
    """
    from kdda.data.fields import BadFieldError, check_surrogates
    from kdda.data.sources import Source, format_of, read_rows
    from kdda.models.trim import texts_of
    from kdda.retrieval.passages import read_documents

    for name in names:
        if format_of(Path(name)) in (".txt", ".md") or Path(name).is_dir():
            for document in read_documents(Path(name), say=warn):
                yield from texts_of(document.text.splitlines())
            continue
        for row in read_rows(Source(name)):
            for text in texts_of([row.values]):
                try:
                    check_surrogates(text)
                except BadFieldError as error:
                    raise KddaError(f"{row.where}: {error}") from None
                yield text
