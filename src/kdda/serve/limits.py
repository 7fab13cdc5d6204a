"""`Limits` (256 waiting requests, 10 s, 50,000 characters), and what is refused before a route: 401, 408, 413."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from kdda.serve.metrics import Metrics

Scope = MutableMapping[str, Any]

Message = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[Message]]

Send = Callable[[Message], Awaitable[None]]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

WITHOUT_TOKEN = ("/health",)  # for load balancers, which have no token

REFUSED_PATHS = ("/gradio_api/upload",)  # the page takes no files, so that no client can fill the disk

STREAMS = "/gradio_api/heartbeat/"  # an open page keeps one for as long as it is open

BYTES_PER_CHARACTER = 12  # the longest spelling of a character in JSON: \ud83d\ude00

ROOM_FOR_NAMES = 65_536  # bytes of a body beside its texts


@dataclass(frozen=True)
class Limits:
    """How much a server accepts.

    Attributes:
        batch: requests read together.
        queue: requests that may wait for their turn; more are refused (429).
        seconds: from a request's arrival until it is dropped (504), and for its body to arrive (408).
        characters: of a text (422).
        question: characters of a short field, such as a question (422).
        fields: texts of a request.
    """

    batch: int = 32
    queue: int = 256
    seconds: float = 10.0
    characters: int = 50_000
    question: int = 2_000
    fields: int = 2

    @property
    def body_bytes(self) -> int:
        """The largest body of a request (413): all its texts in their longest spelling, and their names."""
        return BYTES_PER_CHARACTER * self.fields * self.characters + ROOM_FOR_NAMES


class HTTPError(Exception):
    """A request that is answered with an error status and a line that says why."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        """Keep the status, the line for the body's `detail`, and further headers."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


class LimitsMiddleware:
    """Passes on requests with the token and a body that is small enough and arrives in time; counts all requests.

    The body is read here, before the application gets the request: a client that stalls holds this one task and nothing
    else, and no more of a body is stored than is allowed.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics, token: str = ""):
        """Wrap an ASGI application; an empty `token` lets everybody in."""
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self.token = token.encode()
        self.streams: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI event: requests pass the limits, the server's start and stop go through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].startswith(STREAMS):
            await self._stream(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    def stop(self) -> None:
        """End the streams, which would not end otherwise."""
        for task in self.streams:
            task.cancel()

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, and record its path, status and duration."""
        started = time.perf_counter()
        status = 500

        async def send_and_note(message: Message) -> None:
            """Send a message of the response, and remember its status."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, send_and_note)
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or answer it with the first error that is met."""
        try:
            self._check_token(scope)
            if scope["path"].startswith(REFUSED_PATHS):
                raise HTTPError(404, "files are not accepted here")
            body = await self._body(scope, receive)
        except HTTPError as error:
            await _send_error(send, error)
            return
        if body is not None:
            await self.app(scope, _replay(body, receive), send)

    def _check_token(self, scope: Scope) -> None:
        """Raise 401 where the token is missing or wrong."""
        if not self.token or scope["path"] in WITHOUT_TOKEN:
            return
        headers = dict(scope["headers"])
        if not _has_token(headers.get(b"authorization", b""), self.token):
            challenge = "Bearer"
            if b"text/html" in headers.get(b"accept", b""):  # a browser, which can ask for a password
                challenge = 'Basic realm="kdda", charset="UTF-8"'
            raise HTTPError(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": challenge})

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """A whole body, or None where the client has gone."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced[:20]) > self.limits.body_bytes:
            raise HTTPError(413, f"the body is larger than {self.limits.body_bytes:,} bytes")
        body = bytearray()
        deadline = time.monotonic() + self.limits.seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                raise HTTPError(408, "the body did not arrive in time", {"Connection": "close"}) from None
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.limits.body_bytes:
                raise HTTPError(413, f"the body is larger than {self.limits.body_bytes:,} bytes")
            if not message.get("more_body", False):
                return bytes(body)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A response without an end, which `stop` ends."""
        try:
            self._check_token(scope)
        except HTTPError as error:
            await _send_error(send, error)
            return
        task = asyncio.ensure_future(self.app(scope, receive, send))
        self.streams.add(task)
        try:
            await task
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.streams.discard(task)


def _has_token(authorization: bytes, token: bytes) -> bool:
    """Whether a header has the token, as Bearer or as the password of Basic, compared in constant time."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            _, _, value = base64.b64decode(value.strip(), validate=True).partition(b":")
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    return hmac.compare_digest(value.strip(), token)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what comes after it."""
    is_sent = False

    async def receive_body() -> Message:
        """The whole body at the first call; at later ones whatever the client sends."""
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body


async def _send_error(send: Send, error: HTTPError) -> None:
    """Answer with an error's status and `{"detail": …}`."""
    body = json.dumps({"detail": error.detail}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
