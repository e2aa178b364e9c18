"""Connections that bring nothing are closed: uvicorn by itself waits for a request for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["Connections"]

_Base: Any = AutoHTTPProtocol


class Connections(_Base):  # type: ignore[misc]
    """uvicorn's protocol; a request's head has to come within `head_s` of its first byte."""

    head_s: float
    _waits: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, head_s: float) -> type[Connections]:
        """The protocol with so many seconds, also until a new connection's first byte."""
        return type("Connections", (cls,), {"head_s": head_s})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A cycle is a request whose head is here.
        if self.cycle is not None and not self.cycle.response_complete:
            self._end()
        elif self._waits is None:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._waits = asyncio.get_running_loop().call_later(self.head_s, self.transport.close)

    def _end(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None
