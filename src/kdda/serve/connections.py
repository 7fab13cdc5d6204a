"""Connections: parsers of HTTP (httptools, or h11), and the time within which a request must have arrived whole."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

GRACE = 2.0  # seconds beyond the request's timeout, in which the limits answer with 408

MAX_HEADER_BYTES = 65_536  # of a request's line and headers under httptools, which has no limit; h11 has this one


class Watched:
    """A connection of uvicorn's with a timer, which runs while a request arrives: the mixin of both parsers' classes.

    Attributes:
        seconds: that a request may take from its first byte on.
    """

    seconds: float
    timer: Any = None
    loop: Any
    transport: Any

    def connection_made(self, transport: Any) -> None:
        """Start the timer: a client that connects and sends nothing is closed, too."""
        super().connection_made(transport)  # type: ignore[misc]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on to the parser, then look whether the request is whole."""
        super().data_received(data)  # type: ignore[misc]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with its connection."""
        self._stop_timer()
        super().connection_lost(exc)  # type: ignore[misc]

    def is_incomplete(self) -> bool:
        """Whether more of a request must come, a first one included."""
        raise NotImplementedError

    def _watch(self) -> None:
        """Start the timer with a request's first byte; stop it when the request is whole."""
        is_incomplete = self.is_incomplete()
        if is_incomplete and self.timer is None:
            self.timer = self.loop.call_later(self.seconds + GRACE, self.transport.close)
        elif not is_incomplete:
            self._stop_timer()

    def _stop_timer(self) -> None:
        """Cancel the timer, if it runs."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None


class WatchedByEvents(Watched):
    """The mixin of a connection whose parser calls the methods named `on_…` while it reads, as httptools does."""

    is_whole = False
    is_in_headers = True
    header_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Close a connection whose headers never end; else as in the base."""
        if self.is_in_headers:
            self.header_bytes += len(data)
        super().data_received(data)
        if self.is_in_headers and self.header_bytes > MAX_HEADER_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        self.is_whole = False
        self.is_in_headers = True
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        """The empty line after the headers has come."""
        self.is_in_headers = False
        self.header_bytes = 0
        super().on_headers_complete()  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """The last byte of the body has come; the next bytes are the headers of another request."""
        self.is_whole = True
        self.is_in_headers = True
        super().on_message_complete()  # type: ignore[misc]

    def is_incomplete(self) -> bool:
        """By what was called last."""
        return not self.is_whole


def timeout_protocol(seconds: float) -> type[Any]:
    """uvicorn's protocol, with a time within which a request must have arrived whole, from its first byte on.

    httptools, a parser in C, takes half of the time of h11; it is not there on every platform.
    """
    base = _with_httptools() if find_spec("httptools") is not None else _with_h11()
    return type("TimeoutProtocol", (base,), {"seconds": seconds})


def _with_h11() -> type[Any]:
    """The protocol whose parser is h11, which is written in Python."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class WatchedH11(Watched, H11Protocol):
        """One connection that h11 reads."""

        def is_incomplete(self) -> bool:
            """By the state in which h11 has the client."""
            return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    return WatchedH11


def _with_httptools() -> type[Any]:
    """The protocol whose parser is httptools."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class WatchedHttpTools(WatchedByEvents, HttpToolsProtocol):
        """One connection that httptools reads."""

    return WatchedHttpTools
