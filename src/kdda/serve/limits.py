"""What one client may ask of a server: how much, how fast, and by whom. Plain ASGI, around the whole application."""

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

OPEN = ("/health",)  # what a load balancer asks, who has no token

CLOSED = ("/gradio_api/upload",)  # the page takes no files, so no one fills the disk

STREAMS = "/gradio_api/heartbeat/"  # an open page holds one for as long as it is open


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        batch: requests read together.
        queue: requests that may wait for their turn; more are told to come again (429).
        seconds: from a request's arrival until it is given up (504), and for its body to arrive (408).
        characters: of a text (422).
        question: characters of a question (422).
    """

    batch: int = 32
    queue: int = 256
    seconds: float = 10.0
    characters: int = 50_000
    question: int = 2_000

    @property
    def body(self) -> int:
        """Bytes of a request (413): two texts, each character in its longest spelling in JSON, and room for names."""
        return 12 * 2 * self.characters + 65_536


class HTTPError(Exception):
    """A request that is answered by its status alone."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class LimitsMiddleware:
    """Lets in who holds the token, with a body that is small enough and arrives in time; counts everyone.

    The body is read here, before the application sees the request: a client that hangs holds this one task and nothing
    else, and no more of a body is kept than is allowed.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics, token: str = ""):
        self.app, self.limits, self.metrics = app, limits, metrics
        self.token = token.encode()
        self.streams: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].startswith(STREAMS):
            await self._stream(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    def stop(self) -> None:
        """End what would never end by itself."""
        for task in self.streams:
            task.cancel()

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admitted(scope, receive, watched)
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - started)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_token(scope)
            if scope["path"].startswith(CLOSED):
                raise HTTPError(404, "files are not taken here")
            body = await self._body(scope, receive)
        except HTTPError as refused:
            await _answer(send, refused)
            return
        if body is not None:
            await self.app(scope, _replayed(body, receive), send)

    def _check_token(self, scope: Scope) -> None:
        if not self.token or scope["path"] in OPEN:
            return
        headers = dict(scope["headers"])
        if not _holds(headers.get(b"authorization", b""), self.token):
            browser = b"text/html" in headers.get(b"accept", b"")
            challenge = 'Basic realm="kdda", charset="UTF-8"' if browser else "Bearer"
            raise HTTPError(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": challenge})

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of a body, or None of a client that has gone."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced[:20]) > self.limits.body:
            raise HTTPError(413, f"the body is larger than {self.limits.body:,} bytes")
        body, deadline = bytearray(), time.monotonic() + self.limits.seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                raise HTTPError(408, "the body did not arrive in time", {"Connection": "close"}) from None
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.limits.body:
                raise HTTPError(413, f"the body is larger than {self.limits.body:,} bytes")
            if not message.get("more_body", False):
                return bytes(body)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A response without end, which a stopping server ends."""
        try:
            self._check_token(scope)
        except HTTPError as refused:
            await _answer(send, refused)
            return
        task = asyncio.ensure_future(self.app(scope, receive, send))
        self.streams.add(task)
        try:
            await task
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.streams.discard(task)


def _holds(authorization: bytes, token: bytes) -> bool:
    """Whether a header names the token, as Bearer or as the password of Basic; in time that tells nothing of it."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            _, _, value = base64.b64decode(value.strip(), validate=True).partition(b":")
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    return hmac.compare_digest(value.strip(), token)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Send, refused: HTTPError) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refused.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
