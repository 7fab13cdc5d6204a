"""Stalled connections: the time within which a request must have arrived whole, or it is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE = 2.0  # seconds beyond the request's timeout, in which the limits answer with 408


def timeout_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, with a time within which a request must have arrived whole, from its first byte on."""

    class TimeoutProtocol(H11Protocol):
        """One connection with its timer, which runs while a request arrives."""

        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Start the timer: a client that connects and sends nothing is closed, too."""
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            """Pass bytes on to the parser, then look whether the request is whole."""
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the timer with its connection."""
            self._stop_timer()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Start the timer with a request's first byte; stop it when the request is whole."""
            is_incomplete = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
            if is_incomplete and self.timer is None:
                self.timer = self.loop.call_later(seconds + GRACE, self.transport.close)
            elif not is_incomplete:
                self._stop_timer()

        def _stop_timer(self) -> None:
            """Cancel the timer, if it runs."""
            if self.timer is not None:
                self.timer.cancel()
            self.timer = None

    return TimeoutProtocol
