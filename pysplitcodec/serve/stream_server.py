"""A service over TCP: connections on which many requests may be under way."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pysplitcodec.serve.framed import Answers, refusal
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.messages import HELLO, FrameReply, Hello
from pysplitcodec.serve.packets import LENGTH, packet, prepare

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

    from pysplitcodec.serve.service import Service

__all__ = ["serve_stream"]

_LINK = "stream"
# Bytes of the longest packet of a client that has not said who it is.
_MAX_HELLO = 4096


@asynccontextmanager
async def serve_stream(
    service: Service, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Answer connections to a listening socket while the statement runs.

    tls: has certificate and key.  What is under way when the statement ends is answered, for at
    most `limits.stop_s`, before connections are closed.
    """
    connections: dict[_Connection, asyncio.Task[None]] = {}
    stopping = False

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if stopping:
            writer.close()
            return
        one = _Connection(service, reader, writer)
        connections[one] = asyncio.get_running_loop().create_task(one.run())
        connections[one].add_done_callback(lambda _: connections.pop(one))

    wait_s = None if tls is None else max(service.limits.body_s, 1)
    server = await asyncio.start_server(
        connected, sock=listener, ssl=tls, ssl_handshake_timeout=wait_s
    )
    try:
        yield
    finally:
        stopping = True
        server.close()
        for one in connections:
            one.stop()
        await asyncio.gather(*connections.values())


class _Connection:
    def __init__(
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service, self._limits = service, service.limits
        self._reader, self._writer = reader, writer
        self._peer = str((writer.get_extra_info("peername") or ["-"])[0])
        self._answers = Answers(service, _LINK)
        self._slots = asyncio.Semaphore(self._limits.max_waiting_of_one)
        self._flushing = asyncio.Lock()
        self._stopping = False
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def stop(self) -> None:
        """Take no more requests."""
        self._stopping = True  # for `wait_for`, before Python 3.12, may lose what cancels it
        self._reading.cancel()

    async def run(self) -> None:
        await asyncio.wait([self._reading])
        error = None if self._reading.cancelled() else self._reading.exception()
        await self._answers.drained()
        with contextlib.suppress(OSError):
            # EOFError and OSError: it has left by itself.
            if isinstance(error, Exception) and not isinstance(error, (EOFError, OSError)):
                await self._send(refusal(self._service, error, self._peer, _LINK))
            await self._leave()

    async def _read(self) -> None:
        """Take requests until one is refused, the client leaves or is left, or the server stops."""
        with contextlib.suppress(OSError):  # it may have left already
            prepare(self._writer.get_extra_info("socket"))
        service, authorization = self._service, None
        while not (self._stopping or self._writer.transport.is_closing()):
            known = authorization is not None or service.tokens is None
            data = await self._packet(known)
            if data[:1] == bytes((HELLO,)):
                authorization = f"Bearer {Hello.read(data).token}"
                service.client(authorization, self._peer)
                await self._send(FrameReply(0).pack())
                continue
            client = service.client(authorization, self._peer)
            await self._slots.acquire()
            answer = self._answers.begin(data, client, self._send)
            answer.add_done_callback(lambda _: self._slots.release())

    async def _packet(self, known: bool) -> bytes:
        """The next packet; once begun, it has to be there in time.

        Raises RefusalError, and IncompleteReadError where the client leaves.
        """
        first = await self._reader.readexactly(1)
        try:
            return await asyncio.wait_for(self._rest(first, known), self._limits.body_s)
        except asyncio.TimeoutError:
            why = f"the packet did not come within {self._limits.body_s:g} s"
            raise RefusalError(408, why) from None

    async def _rest(self, first: bytes, known: bool) -> bytes:
        (length,) = LENGTH.unpack(first + await self._reader.readexactly(LENGTH.size - 1))
        if not known and length > _MAX_HELLO:
            raise RefusalError(401, "a hello with a token has to come first")
        if length > self._limits.max_body:
            why = f"the packet has {length} bytes: the limit is {self._limits.max_body}"
            raise RefusalError(413, why)
        with self._service.room.taken(length):
            return await self._reader.readexactly(length)

    async def _send(self, reply: bytes) -> None:
        """Send a reply, unless the client has left; one that does not read is left."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        self._writer.write(packet(reply))
        if not transport.get_write_buffer_size():
            return
        try:
            async with self._flushing:
                await asyncio.wait_for(self._writer.drain(), self._limits.body_s)
        except (asyncio.TimeoutError, OSError):
            transport.abort()

    async def _leave(self) -> None:
        """Close, in the end; were bytes left unread, the client would lose what was sent last."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._discard(), self._limits.drain_s)
        self._writer.close()
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.stop_s, self._writer.transport.abort)

    async def _discard(self) -> None:
        while await self._reader.read(1 << 16):
            pass
