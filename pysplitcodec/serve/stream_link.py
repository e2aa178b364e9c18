"""TCP as a transport: one connection, with many requests under way."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Union

from pysplitcodec.errors import ArgumentError, ProtocolError, ServerError
from pysplitcodec.serve.messages import MAX_REPLY_LEN, FrameReply, Hello
from pysplitcodec.serve.packets import LENGTH, MAX_LEN, packet, prepare
from pysplitcodec.serve.transport import check_fits, check_timeout

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine

    from pysplitcodec.serve.messages import FrameRequest

__all__ = ["StreamTransport"]

# Whom to trust: a context, or the path of certificates in PEM.
Trusted = Union[ssl.SSLContext, str, "os.PathLike[str]"]
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StreamTransport:
    """A server that listens on host:port for packets over TCP; see `Transport`.

    timeout_s: how long it may take to connect.  token: what the server needs, if it has tokens.
    tls: whom to trust; None: without TLS.  Raises ArgumentError for ports and times that are none,
    and OSError for certificates that cannot be read.
    """

    max_len: int | None = MAX_LEN
    lossy = False

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 10.0,
        token: str | None = None,
        tls: Trusted | None = None,
    ) -> None:
        if not 1 <= port < 65536:
            raise ArgumentError(f"port is {port}: expected 1 to 65535")
        check_timeout(timeout_s)
        self.host, self.port = host, port
        self._timeout_s, self._token = timeout_s, token
        self._tls = (
            tls
            if tls is None or isinstance(tls, ssl.SSLContext)
            else ssl.create_default_context(cafile=tls)
        )
        self._connection: _Connection | None = None

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Connect; see `Transport`.  The ServerError of a server that refuses has its status."""
        self.close()
        connection = _Connection(f"{self.host}, port {self.port}", replied, lost)
        connection.open(self._connected())
        self._connection = connection

    def send(self, request: FrameRequest) -> None:
        """Send a request; see `Transport`."""
        message = request.pack()
        check_fits(len(message), self.max_len, "a stream")
        if self._connection is None:
            raise ServerError("the connection is closed")
        self._connection.send(packet(message))

    def close(self) -> None:
        """Disconnect; see `Transport`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _connected(self) -> _Ends:
        try:
            return await asyncio.wait_for(self._greeted(), self._timeout_s)
        except asyncio.TimeoutError:
            raise ServerError(f"it did not answer within {self._timeout_s:g} s") from None

    async def _greeted(self) -> _Ends:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self._tls)
        try:
            prepare(writer.get_extra_info("socket"))
            if self._token is not None:
                writer.write(packet(Hello(self._token).pack()))
                await _reply(reader)
        except BaseException:
            writer.close()
            raise
        return reader, writer


class _Connection:
    """A connection, and the thread that reads from it."""

    _loop: asyncio.AbstractEventLoop
    _writer: asyncio.StreamWriter
    _gone: ServerError | None = None
    _closing = False

    def __init__(
        self, where: str, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        self._where, self._replied, self._lost = where, replied, lost

    def open(self, connected: Coroutine[Any, Any, _Ends]) -> None:
        """Wait until it is there; ServerError if that fails."""
        done: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(connected, done)), name="stream", daemon=True
        )
        self._thread.start()
        done.result()

    def send(self, data: bytes) -> None:
        if self._gone is not None:
            raise self._gone
        with contextlib.suppress(RuntimeError):  # it has ended just now, and `lost` is called
            self._loop.call_soon_threadsafe(self._writer.write, data)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._writer.transport.abort)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _live(self, connected: Coroutine[Any, Any, _Ends], done: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            reader, self._writer = await connected
        except (OSError, EOFError, ProtocolError, ServerError) as error:
            done.set_exception(self._error("cannot connect to", error))
            return
        done.set_result(None)
        try:
            while True:
                self._replied(await _reply(reader))
        except (OSError, EOFError, ProtocolError, ServerError) as error:
            self._gone = self._error("lost the connection to", error)
        finally:
            self._writer.transport.abort()
        if not self._closing:
            self._lost(self._gone)

    def _error(self, what: str, error: Exception) -> ServerError:
        why = "the server closed it" if isinstance(error, EOFError) else error
        status = error.status if isinstance(error, ServerError) else None
        return ServerError(f"{what} {self._where}: {why}", status)


async def _reply(reader: asyncio.StreamReader) -> FrameReply:
    """The next reply.  Raises ServerError for a refusal of what was sent as a whole."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > MAX_REPLY_LEN:
        raise ProtocolError(f"a reply has {length} bytes: expected {MAX_REPLY_LEN} at most")
    reply = FrameReply.read(await reader.readexactly(length))
    if reply.id == 0 and reply.error:
        raise ServerError(f"{reply.status}: {reply.error}", reply.status, reply.retry_after_s)
    return reply
