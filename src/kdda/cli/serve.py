"""The command `serve`, with the limits that its options set: batch 32, queue 256, 10 s, 50,000 characters a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.predict import PRECISION
from kdda.cli.shared import PLUGIN, Device, app

if TYPE_CHECKING:
    from kdda.inference.predictor import Predictor
    from kdda.retrieval.pipeline import Corpus


@app.command()
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Folders or Hub ids: at most one model of a task; none for the page alone."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="What to listen on; other than this machine needs --token-env.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name by which browsers reach the server, such as a proxy's. May repeat."),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token_env: Annotated[str, typer.Option(help="The environment variable that holds the clients' token.")] = "",
    runs: Annotated[list[Path] | None, typer.Option(help="Run folders that the page shows. May repeat.")] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Other models for the page's Transport: a folder, a Hub id. May repeat.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="A folder of kdda index, for the page's Ask the corpus.")] = None,
    experiments: Annotated[
        Path | None, typer.Option(help="A folder, with your recipes in it, where the page may start experiments.")
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The page at /.")] = True,
    batch: Annotated[int, typer.Option(help="Requests that are read together.", min=1)] = 32,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more get 429.", min=1)] = 256,
    timeout: Annotated[float, typer.Option(help="Seconds until a request gets 504.", min=0.1)] = 10.0,
    characters: Annotated[int, typer.Option(help="Of a text at most; more get 422.", min=1, max=1_000_000)] = 50_000,
    precision: Annotated[str, typer.Option(help=PRECISION)] = "auto",
    plugin: Annotated[list[str] | None, typer.Option(help=PLUGIN)] = None,
    device: Device = "",
) -> None:
    """Serve models over HTTP, with a page at /. Ctrl-C or SIGTERM finishes the accepted requests, then stops."""
    from kdda.serve.packages import check_packages

    check_packages("kdda serve")  # before what imports them
    from kdda.runtime.plugins import import_plugins
    from kdda.serve.limits import Limits
    from kdda.serve.site import Site, run_site

    import_plugins(plugin or ())
    limits = Limits(batch=batch, queue=queue, seconds=timeout, characters=characters)
    corpus = _corpus_opener(index) if index else None
    shown = (runs or (), compare or (), page, precision, corpus)
    run_site(Site(models or (), limits, host, port, token_env, *shown, allow_host or (), experiments))


def _corpus_opener(index: Path) -> Callable[[Predictor], Corpus]:
    """A function that opens an index for the model that reads it; a missing index is refused at once."""
    from kdda.baselines.vireader import reader_of
    from kdda.retrieval.index import Index
    from kdda.retrieval.pipeline import Corpus

    Index.open(index)
    return lambda predictor: Corpus.open(index, reader_of(predictor))
