"""From model folders to a running server, and its shutdown."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor, load
from kdda.report.collect import check_folders
from kdda.runtime.network import stay_offline
from kdda.runtime.wording import worded
from kdda.serve.experiments import Experiments
from kdda.serve.hosts import AllowedHosts, is_loopback
from kdda.serve.limits import Limits, LimitsMiddleware
from kdda.visualize.transport_plan import StateReader, without_exports

SHORTEST_TOKEN = 16  # characters: shorter ones can be guessed

MAX_CONNECTIONS = 1000  # open at once; a request on a further one is answered 503


@runtime_checkable
class AnsweringCorpus(Protocol):
    """A corpus that answers questions, as `kdda.retrieval.pipeline.Corpus` does."""

    def ask(self, question: str) -> Sequence[Any]:
        """Answers, best first: `as_dict` gives answer, score and source, `around` the passage before and behind it."""
        ...

    def score_in_words(self, language: str) -> str:
        """What the scores of answers are, in a sentence in the page's language, en or vi."""
        ...


@dataclass(frozen=True)
class Site:
    """What is served, where, and to whom.

    Attributes:
        models: folders or Hub ids, at most one a task; none where the page alone is served.
        token_env: the environment variable that holds the token; no token is needed where it is empty.
        runs: folders of runs that the page shows.
        compare: further models for the page's Transport tab.
        precision: as for `kdda.load`.
        corpus: opens the corpus of the page, for the model that answers questions.
        allow_host: further names by which the server may be called (`kdda.serve.hosts.AllowedHosts`).
        experiments: the folder in which the page may run experiments; it runs none without one.
        watch: the page has the Training tab alone, which is renewed by itself.
    """

    models: Sequence[str]
    limits: Limits
    host: str = "127.0.0.1"
    port: int = 8000
    token_env: str = ""
    runs: Sequence[Path] = ()
    compare: Sequence[str] = ()
    page: bool = True
    precision: str = "auto"
    corpus: Callable[[Predictor], AnsweringCorpus] | None = None
    allow_host: Sequence[str] = ()
    experiments: Path | None = None
    watch: bool = False

    @property
    def token(self) -> str:
        """The token that clients must send; empty where the server can be reached from this machine alone.

        Raises:
            KddaError: a host that others reach without a token, or a token that is missing, short or unsendable.
        """
        if not self.token_env:
            if not is_loopback(self.host):
                raise KddaError(
                    f"--host {self.host} can be reached from elsewhere, so a token is needed: put one into an "
                    "environment variable and name it, --token-env KDDA_TOKEN"
                )
            if self.experiments is not None and self.allow_host:
                raise KddaError(
                    "--experiments: whoever reaches the page can start processes, and --allow-host lets others in, so "
                    "a token is needed: put one into an environment variable and name it, --token-env KDDA_TOKEN"
                )
            return ""
        token = os.environ.get(self.token_env, "")
        if len(token) < SHORTEST_TOKEN:
            length = f"{len(token)} characters" if token else "nothing"
            raise KddaError(f"--token-env: {self.token_env} holds {length}, expected {SHORTEST_TOKEN} or more")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise KddaError(f"--token-env: {self.token_env} holds what no header can: use letters, digits, - and _")
        return token


def run_site(site: Site) -> None:
    """Load the models and serve them until Ctrl-C or SIGTERM.

    Raises:
        KddaError: what can be known before, such as a port that is taken.
    """
    token = site.token
    _check_anything(site)
    AllowedHosts.of(site.host, site.allow_host)  # refused before models are loaded
    listening = listen(site.host, site.port)
    predictors = []
    for name in site.models:
        predictors.append(load(name, precision=site.precision))
    if site.page:
        _check_compared(site.compare)
    experiments = _open_experiments(site)
    application = make_application(site, predictors, token, experiments)
    stay_offline()  # or a request that chooses a model of the Hub on the page would make the server ask the Hub
    host = f"[{site.host}]" if ":" in site.host else site.host
    address = f"http://{host}:{listening.getsockname()[1]}/"
    print(worded(f"{_served(predictors)} at {address}  (docs: /docs; Ctrl-C stops)"), flush=True)
    try:
        _serve(application, listening, site.limits)
    finally:
        if experiments is not None:
            experiments.close()
    print(worded("stopped; all accepted requests are finished"), file=sys.stderr)


def _check_anything(site: Site) -> None:
    """Refuse a server without a model that would show nothing either."""
    if site.experiments is not None and not site.page:
        raise KddaError("--experiments: the page runs them, and --no-page leaves it out")
    if not site.models and not (site.page and (site.runs or site.compare or site.experiments)):
        raise KddaError(
            "nothing to serve: name a model's folder; or for the page alone --runs FOLDER, --experiments FOLDER or "
            "--compare MODEL"
        )
    check_folders(site.runs, "--runs")
    _check_each_once(site.models)


def _check_each_once(models: Sequence[str]) -> None:
    """Refuse a model that is named twice, before any is loaded.

    Raises:
        KddaError: it names both places.
    """
    places: dict[Path, int] = {}  # of each folder or Hub id; the paths ./m and m are one
    for place, name in enumerate(models, start=1):
        first = places.setdefault(Path(name).resolve(), place)
        if first != place:
            raise KddaError(
                f'arguments {first} and {place} are one model, "{name}": name each model once, at most one of a task'
            )


def _served(predictors: Sequence[Predictor]) -> str:
    """The served models with their tasks, as the line of the start names them."""
    names = []
    for predictor in predictors:
        names.append(f"{predictor.name} ({predictor.task.name})")
    return " and ".join(names) or "the page"


def _check_compared(models: Sequence[str]) -> None:
    """Open the models of --compare once: one that does not exist is refused, one of the Hub is in its cache then."""
    for name in dict.fromkeys(without_exports(models)):
        StateReader.open(name)


def _open_experiments(site: Site) -> Experiments | None:
    """The experiments of a site's folder; their processes get the environment as it is now, without the token."""
    if site.experiments is None:
        return None
    return Experiments(site.experiments, without=[site.token_env])


def make_application(
    site: Site, predictors: Sequence[Predictor], token: str = "", experiments: Experiments | None = None
) -> LimitsMiddleware:
    """The whole application: limits around the interface and the page, which runs `experiments`."""
    from kdda.serve.app import Service, make_app, refuse_other_paths

    fields = site.limits.fields
    for predictor in predictors:
        fields = max(fields, len(predictor.task.fields))
    limits = replace(site.limits, fields=fields)
    service = Service(predictors, limits)
    app = make_app(service, bool(token))
    if site.page:
        _disable_telemetry()
        from kdda.serve.page import Page, add_page
        from kdda.serve.students import Students

        students = Students(experiments, site.precision) if experiments is not None else None
        compared = [*site.models, *site.compare]
        add_page(app, Page(service, site.runs, compared, _open_corpus(site, predictors), students, site.watch))
    elif site.corpus is not None:
        raise KddaError("--index is searched on the page alone: leave out --no-page")
    else:
        refuse_other_paths(app, service)
    hosts = AllowedHosts.of(site.host, site.allow_host)
    return LimitsMiddleware(app, limits, service.metrics, hosts, token)


def _open_corpus(site: Site, predictors: Sequence[Predictor]) -> AnsweringCorpus | None:
    """The page's corpus, read by the served model that answers questions."""
    if site.corpus is None:
        return None
    for predictor in predictors:
        if "answer" in predictor.task.methods:
            return site.corpus(predictor)
    raise KddaError("--index needs a model that answers questions (task qa) beside it")


def _disable_telemetry() -> None:
    """Turn off what gradio sends to its makers; it reads these when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket that is bound, so that a port that is taken is refused before models are loaded.

    Args:
        option: that names the port.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise KddaError(f"{option} {port}: {host} cannot be bound ({error.strerror}); choose another") from None
    return listening


def make_server(application: LimitsMiddleware, limits: Limits) -> Any:
    """uvicorn around the application: `run(sockets=[…])` serves, `should_exit = True` stops."""
    import uvicorn

    from kdda.serve.connections import timeout_protocol

    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        http=timeout_protocol(limits.seconds),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(limits.seconds) + 2,
    )
    return uvicorn.Server(config)


def _serve(application: LimitsMiddleware, listening: socket.socket, limits: Limits) -> None:
    """Run until a signal stops the server; the handlers of the process are as before afterwards."""
    handlers: dict[signal.Signals, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has stopped
        handlers[number] = signal.signal(number, lambda *_: None)
    try:
        make_server(application, limits).run(sockets=[listening])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
