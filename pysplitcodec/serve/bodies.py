"""Bodies of requests: refused before they are read where they are too long or of another kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.room import Room

__all__ = ["Bodies", "check_headers"]

_CONTENT_TYPES = ("application/json", "application/octet-stream")
_CLOSE = {"Connection": "close"}


def check_headers(request: Request) -> None:
    """Refuse bodies in a form that nothing here reads."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusalError(415, f"Content-Encoding is {shown(encoding)}: expected none")
    given = request.headers.get("content-type", "application/json")
    if given.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise RefusalError(
            415, f"Content-Type is {shown(given)}: expected {' or '.join(_CONTENT_TYPES)}"
        )


class Bodies:
    """Reads bodies, no more of them at a time than there is room for.

    body_s: how long one may take.
    """

    def __init__(self, room: Room, body_s: float) -> None:
        self._room, self._body_s = room, body_s

    @asynccontextmanager
    async def read(self, request: Request, max_body: int) -> AsyncIterator[bytes]:
        """A request's body, which has its room until the statement is left.

        Refused as soon as it is known to be too long (413), where there is no room (503), and if it
        is not there in time (408).
        """
        check_headers(request)
        body = _Body(self._room, max_body)
        try:
            yield await self._whole(body, request)
        finally:
            self._room.leave(body.held)

    async def _whole(self, body: _Body, request: Request) -> bytes:
        try:
            return await asyncio.wait_for(body.read(request), self._body_s)
        except asyncio.TimeoutError:
            why = f"the request body did not come within {self._body_s:g} s"
            raise RefusalError(408, why, _CLOSE) from None
        except ClientDisconnect:
            raise RefusalError(400, "the client left before its request was complete") from None


class _Body:
    def __init__(self, room: Room, max_body: int) -> None:
        self._room, self._max_body = room, max_body
        self.held = 0

    async def read(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "0")
        # Compared by its length first: a number of any length takes any time to read.
        self._hold(int(declared) if declared.isdecimal() and len(declared) < 19 else 1 << 62)
        body = bytearray()
        async for chunk in request.stream():
            self._hold(len(body) + len(chunk))
            body += chunk
        return bytes(body)

    def _hold(self, length: int) -> None:
        if length > self._max_body:
            why = f"the request body is too long: the limit is {self._max_body} bytes"
            raise RefusalError(413, why, _CLOSE)
        if length > self.held:
            try:
                self._room.take(length - self.held)
            except RefusalError as error:
                error.headers.update(_CLOSE)
                raise
            self.held = length
