"""`Limits` (256 waiting requests, 10 s, 50,000 characters), and what is refused before a route: 401, 408, 413."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any

from kdda.errors import KddaError
from kdda.serve.errors import HTTPError
from kdda.serve.hosts import AllowedHosts
from kdda.serve.metrics import Metrics

Scope = MutableMapping[str, Any]

Message = MutableMapping[str, Any]

Receive = Callable[[], Awaitable[Message]]

Send = Callable[[Message], Awaitable[None]]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

WITHOUT_TOKEN = ("/health",)  # for load balancers, which have no token

BYTES_PER_CHARACTER = 12  # the longest spelling of a character in JSON: \ud83d\ude00

ROOM_FOR_NAMES = 65_536  # bytes of a body beside its texts

MAX_SECONDS = 86_400  # of --timeout

# Of the body of a refused request, which is read and thrown away: programs such as Python's urllib send all of it
# before they read the answer, and see none if the server closes the connection meanwhile.
MAX_DISCARDED_BYTES = 256 * 2**20

# Browsers: no guessing of types, no other site's frame or script.
SAFETY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


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

    def __post_init__(self) -> None:
        """Refuse a time that is no number of seconds; nan passes every comparison of a command line."""
        if not 0 < self.seconds <= MAX_SECONDS:
            raise KddaError(f"--timeout: got {self.seconds:g}, expected seconds above 0, at most {MAX_SECONDS:,}")

    @property
    def body_bytes(self) -> int:
        """The largest body of a request (413): all its texts in their longest spelling, and their names."""
        return BYTES_PER_CHARACTER * self.fields * self.characters + ROOM_FOR_NAMES


class LimitsMiddleware:
    """Passes on requests of this origin with the token and a body that is small enough and arrives in time.

    All requests are counted. The body is read here, before the application gets the request: a client that stalls holds
    this one task and nothing else, and no more of a body is stored than is allowed.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics, hosts: AllowedHosts, token: str = ""):
        """Wrap an ASGI application; an empty `token` lets everybody in whom `hosts` allows."""
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self.hosts = hosts
        self.token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI event: requests pass the limits, the server's start and stop go through, nothing else."""
        if scope["type"] == "http":
            await self._count(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, and record its path, status and duration."""
        started = time.perf_counter()
        status = 500

        async def send_and_note(message: Message) -> None:
            """Send a message of the response, and remember its status."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *SAFETY_HEADERS]}
            await send(message)

        try:
            if scope["method"] == "HEAD":
                await self._admit({**scope, "method": "GET"}, receive, _without_body(send_and_note))
            else:
                await self._admit(scope, receive, send_and_note)
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or answer it with the first error that is met."""
        try:
            self.hosts.check(scope["method"], dict(scope["headers"]))
            self._check_token(scope)
            body = await self._body(scope, receive)
        except HTTPError as error:
            discard = None if error.status == 408 else self._discard_body(receive)
            await send_error(send, error, discard)
            return
        if body is not None:
            await self.app(scope, replay(body, receive), send)

    async def _discard_body(self, receive: Receive) -> None:
        """Read the rest of a body and throw it away: `MAX_DISCARDED_BYTES` at most, in no more than the timeout."""
        discarded = 0
        deadline = time.monotonic() + self.limits.seconds
        while discarded <= MAX_DISCARDED_BYTES:
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                return
            discarded += len(message.get("body", b""))
            if not message.get("more_body", False):  # a client that has gone sends no more, either
                return

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


def replay(body: bytes, receive: Receive) -> Receive:
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


def _without_body(send: Send) -> Send:
    """A `send` for the answer to HEAD: the status and headers of GET, and no body."""

    async def send_headers(message: Message) -> None:
        """Send a message of the response with an empty body."""
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_headers


def is_json(scope: Scope) -> bool:
    """Whether a request says that its body is JSON; a page of another origin cannot say so without being asked first.

    Browsers send text/plain and forms to any server, and JSON only where the server allows it (CORS).
    """
    content_type = str(dict(scope["headers"]).get(b"content-type", b""), "latin-1")
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def send_error(send: Send, error: HTTPError, discard: Coroutine[Any, Any, None] | None = None) -> None:
    """Answer with an error's status and `{"detail": …}`.

    Args:
        discard: reads the rest of the request; awaited between the answer's text and its end, after which the server
            may close the connection.
    """
    body = json.dumps({"detail": error.detail}, allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    pairs = []
    for name, value in headers.items():
        pairs.append((name.lower().encode(), value.encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if discard is not None:
        await discard
    await send({"type": "http.response.body", "body": b""})
