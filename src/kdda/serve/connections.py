"""Connections of clients that hang: closed, where uvicorn alone would keep them for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACE = 2.0  # seconds beyond the request's own time-out, in which the gate says 408


def timeout_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, with a time within which a request must have arrived whole, from its first byte on."""

    class Patient(H11Protocol):
        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Count from the first byte that a request lacks the rest of; stop when it is whole."""
            waits = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
            if waits and self.late is None:
                self.late = self.loop.call_later(seconds + GRACE, self.transport.close)
            elif not waits:
                self._stop()

        def _stop(self) -> None:
            if self.late is not None:
                self.late.cancel()
            self.late = None

    return Patient
