"""A slow link on one machine: a TCP relay that holds back what passes, without root.

It stands between a client and a server on loopback and passes bytes on as a link would: at its
rate, after its latency, with the overhead of its packets, late where packets are lost, and not at
all while it is cut.  What a plan says of a link can so be tried with the real device's and server's
code.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.channel import AnyLink, as_channel
from pysplitcodec.plan.tables import check_count
from pysplitcodec.serve.line import Line

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Line", "Relay"]

_log = logging.getLogger(__name__)

# What is read at a time: the payload of a TCP segment on Ethernet.
_CHUNK = 1460
# Bytes in the kernel; more would only take them from a sender that the line has not got to yet.
_RECEIVE_BUFFER = 16 << 10
# On their way or not taken by the receiver: 1.5 MB, 0.6 s of latency at 20 Mbit/s.
_MAX_PARCELS = 1024

# When it arrives if something is sent behind it; when if nothing is; what.
_Parcels = asyncio.Queue[tuple[float, float, bytes]]


class Relay:
    """Passes TCP connections on to host:port over a link; for a `with` statement.

    host: a name or an IPv4 address.  link: of each of the two directions, which do not disturb each
    other; all connections share them.  A trace begins with the statement.  jitter_s: what is read
    at a time arrives later by 0 to so many seconds, uniformly.  seed: of losses, jitter and a
    fading channel.  `Line` says what a loss does; what is behind it in the same connection waits.
    Connecting takes no time, for it is the kernel that answers.  A connection that host:port
    refuses is closed.

    port: on 127.0.0.1, where clients find it inside the statement.
    Raises ArgumentError for a port that is none and a negative jitter.

    >>> from pysplitcodec.plan import Link
    >>> from pysplitcodec.serve import TailClient
    >>> with Relay("127.0.0.1", 8000, Link("slow", bits_per_s=1e6, latency_s=0.02)) as relay:
    ...     with TailClient(f"http://127.0.0.1:{relay.port}") as tail:
    ...         tail.ready()                                        # doctest: +SKIP
    True
    """

    def __init__(
        self, host: str, port: int, link: AnyLink, *, jitter_s: float = 0.0, seed: int = 0
    ) -> None:
        if not 1 <= port < 65536:
            raise ArgumentError(f"port is {port}: expected 1 to 65535")
        check_count("relay", jitter_s=jitter_s)
        self._host, self._to_port = host, port
        self._channel, self._jitter_s, self._seed = as_channel(link), jitter_s, seed
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._listener: socket.socket | None = None
        self._running = False
        self.port = 0

    def __enter__(self) -> Relay:
        self._held = _bound_socket(0)  # nobody else has the port while the relay is cut
        self.port = self._held.getsockname()[1]
        self._up, self._down = (
            Line(self._channel, draws, jitter_s=self._jitter_s)
            for draws in np.random.SeedSequence(self._seed).spawn(2)
        )
        self._began = time.monotonic()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="relay", daemon=True
        )
        self._thread.start()
        ready.wait()
        self._running = True
        self.restore()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running = False
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._held.close()

    def cut(self) -> None:
        """Close all connections at once, and refuse new ones until `restore`.

        It is as if the server died: what is on its way is lost.  Safe to call from any thread, and
        again.  Raises ArgumentError outside the statement.
        """
        self._wait_for(self._cut)

    def restore(self) -> None:
        """Let clients connect again, at the same port; raises as `cut`."""
        self._wait_for(self._restore)

    def _wait_for(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._running:
            raise ArgumentError("relay is not running: expected a call inside its with statement")
        asyncio.run_coroutine_threadsafe(change(), self._loop).result()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._stop.wait()
        await self._cut()

    async def _restore(self) -> None:
        if self._listener is None:
            self._listener = _bound_socket(self.port)
            self._listener.listen()
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _cut(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        connections = dict(self._connections)
        for task, near in connections.items():
            task.cancel()
            await asyncio.wait([task])
            near.close()  # a task that had not begun does not

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):  # it has left again
            near, _ = listener.accept()
            near.setblocking(False)
            task = self._loop.create_task(self._connect(near))
            self._connections[task] = near
            task.add_done_callback(self._connections.pop)

    async def _connect(self, near: socket.socket) -> None:
        ends: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=near, limit=_CHUNK)
            ends.append(writer)
            far_reader, far_writer = await self._upstream()
            ends.append(far_writer)
            there, back = _Parcels(_MAX_PARCELS), _Parcels(_MAX_PARCELS)
            await _all(
                self._take(reader, self._up, there),
                self._deliver(there, far_writer),
                self._take(far_reader, self._down, back),
                self._deliver(back, writer),
            )
        except OSError as error:
            _log.warning("relay to %s, port %d: %s", self._host, self._to_port, error)
        finally:
            for end in ends:
                end.transport.abort()  # what was delivered is with the kernel

    async def _upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = _small_socket()
        try:
            await self._loop.sock_connect(made, (self._host, self._to_port))
            return await asyncio.open_connection(sock=made, limit=_CHUNK)
        except BaseException:
            made.close()
            raise

    async def _take(self, reader: asyncio.StreamReader, line: Line, parcels: _Parcels) -> None:
        chunk = b"first"
        while chunk:
            chunk = await reader.read(_CHUNK)
            more_s, arrives_s = line.take(self._now_s(), len(chunk))
            await parcels.put((arrives_s, line.alone_s, chunk))
            await self._until(more_s)

    async def _deliver(self, parcels: _Parcels, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # drain until the kernel has all
        while True:
            arrives_s, alone_s, chunk = await parcels.get()
            await self._until(arrives_s)
            if parcels.empty():
                await self._until(alone_s)
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    async def _until(self, time_s: float) -> None:
        left_s = time_s - self._now_s()
        if left_s > 0:
            await asyncio.sleep(left_s)


async def _all(*moves: Coroutine[Any, Any, None]) -> None:
    """Until all are done, or one fails."""
    tasks = [asyncio.create_task(move) for move in moves]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _small_socket() -> socket.socket:
    """One whose sender waits for the line, not for 64 kB segments, which loopback has."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _CHUNK)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    return made


def _bound_socket(port: int) -> socket.socket:
    """One on loopback that leaves the port to others of this user; 0: a port that is free."""
    made = _small_socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made
