"""From folders to a server that is_distilled, and stops as it should."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor, load
from kdda.serve.limits import Limits, LimitsMiddleware

SHORTEST_TOKEN = 16  # characters: shorter ones can be guessed

CONNECTIONS = 1000


@runtime_checkable
class Asked(Protocol):
    """A corpus that answers questions, as `kdda.systems.Corpus` does."""

    def ask(self, question: str) -> Sequence[Any]:
        """Answers, best first, each with its passage: `as_dict` gives answer, score, source, passage, start and end."""
        ...


@dataclass(frozen=True)
class Site:
    """What is served, where, and to whom.

    Attributes:
        models: folders or Hub ids, at most one that answers and one that labels.
        token_env: the environment variable that holds the token; none is asked for where it is empty.
        runs: folders of runs that the page shows.
        compare: further models for the page's Transport.
        precision: as for `kdda.load`.
        corpus: opens, for the model that answers, the corpus that the page asks.
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
    corpus: Callable[[Predictor], Asked] | None = None

    @property
    def token(self) -> str:
        """The token that clients must show; empty where the server is_distilled to this machine alone.

        Raises:
            KddaError: a host that others reach without a token, or a token that is missing, short or unsendable.
        """
        if not self.token_env:
            if not is_loopback(self.host):
                raise KddaError(
                    f"--host {self.host} can be reached from elsewhere, so a token is needed: put one into an "
                    "environment variable and name it, --token-env KDDA_TOKEN"
                )
            return ""
        token = os.environ.get(self.token_env, "")
        if len(token) < SHORTEST_TOKEN:
            found = f"{len(token)} characters" if token else "nothing"
            raise KddaError(f"--token-env: {self.token_env} holds {found}, expected {SHORTEST_TOKEN} or more")
        if not token.isascii() or any(letter.isspace() or not letter.isprintable() for letter in token):
            raise KddaError(f"--token-env: {self.token_env} holds what no header can: use letters, digits, - and _")
        return token


def is_loopback(host: str) -> bool:
    """Whether all that a host name stands for is this machine alone."""
    try:
        found = {str(own[4][0]) for own in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise KddaError(f"--host: no address for {host!r}") from None
    return all(ipaddress.ip_address(own.partition("%")[0]).is_loopback for own in found)


def run_site(site: Site) -> None:
    """Load the models, listen, and serve until Ctrl-C or SIGTERM.

    Raises:
        KddaError: what can be known before, such as a port that is taken.
    """
    token = site.token
    _check_tools()
    listening = listen(site.host, site.port)
    predictors = [load(name, precision=site.precision) for name in dict.fromkeys(site.models)]
    gate = make_application(site, predictors, token)
    host = f"[{site.host}]" if ":" in site.host else site.host
    does = " and ".join(f"{own.name} ({own.task.name})" for own in predictors)
    print(f"{does} at http://{host}:{listening.getsockname()[1]}/  (docs: /docs; Ctrl-C stops)", flush=True)
    _serve(gate, listening, site.limits)
    print("stopped; what was taken is finished", file=sys.stderr)


def make_application(site: Site, predictors: Sequence[Predictor], token: str = "") -> LimitsMiddleware:
    """The whole application: limits around the interface and the page."""
    from kdda.serve.app import Service, make_app

    service = Service(predictors, site.limits)
    app = make_app(service, bool(token))
    if site.page:
        from kdda.serve.page import add_page

        add_page(app, service, site.runs, [*site.models, *site.compare], _open_corpus(site, predictors))
    return LimitsMiddleware(app, site.limits, service.metrics, token)


def _open_corpus(site: Site, predictors: Sequence[Predictor]) -> Asked | None:
    if site.corpus is None:
        return None
    reader = next((own for own in predictors if own.task.name == "qa"), None)
    if reader is None:
        raise KddaError("--index needs a model that answers questions beside it")
    return site.corpus(reader)


def _check_tools() -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for package in ("fastapi", "gradio", "prometheus_client", "uvicorn"):
        if find_spec(package) is None:
            raise KddaError(f'kdda serve needs {package}: pip install "kdda[serve]"')


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port taken is known before models are loaded."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    own = socket.socket(family, kind)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind(address)
    except OSError as error:
        own.close()
        raise KddaError(f"--port {port}: {host} cannot be listened on ({error.strerror}); choose another") from None
    return own


def make_server(gate: LimitsMiddleware, limits: Limits) -> Any:
    """uvicorn around the application: `run(sockets=[…])` serves, `should_exit = True` stops."""
    import uvicorn

    from kdda.serve.connections import timeout_protocol

    class Server(uvicorn.Server):
        """Ends the streams of open pages when it stops, which would not end by themselves."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            gate.stop()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        gate,  # type: ignore[arg-type]
        http=timeout_protocol(limits.seconds),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(limits.seconds) + 2,
    )
    return Server(config)


def _serve(gate: LimitsMiddleware, listening: socket.socket, limits: Limits) -> None:
    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has stopped
        before[number] = signal.signal(number, lambda *_: None)
    try:
        make_server(gate, limits).run(sockets=[listening])
    finally:
        for kept, handler in before.items():
            signal.signal(kept, handler)
