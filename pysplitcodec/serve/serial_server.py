"""A service over a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pysplitcodec.serial_packets import BAUD, Packets, open_port, packet, read_some
from pysplitcodec.serve.framed import Answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pysplitcodec.serve.service import Service

__all__ = ["serve_serial"]

_LINK = "serial"
# How long the thread that reads may take to see that it is to stop.
_POLL_S = 0.2
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 1.0, 30.0

_log = logging.getLogger("pysplitcodec.serve")


@asynccontextmanager
async def serve_serial(service: Service, port: str, baud: int = BAUD) -> AsyncIterator[None]:
    """Answer what comes over a serial port while the statement runs.

    port: a device or a URL of pyserial's.  One that fails later, such as a plug that is pulled, is
    opened again and again.  Whoever has the line needs no token.  What is under way when the
    statement ends is answered, for at most `limits.stop_s`.  Raises what `open_port` raises.
    """
    line = _Line(service, port, baud)
    try:
        yield
    finally:
        await line.stop()


class _Line:
    def __init__(self, service: Service, port: str, baud: int) -> None:
        self._name, self._baud, self._limits = port, baud, service.limits
        self._answers = Answers(service, _LINK)
        self._slots = threading.Semaphore(self._limits.max_waiting_of_one)
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._port = self._opened()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="serial")
        self._reader = threading.Thread(target=self._live, name="serial", daemon=True)
        self._reader.start()

    async def stop(self) -> None:
        self._stopping.set()
        await self._loop.run_in_executor(None, self._reader.join)
        await self._answers.drained()
        self._port.close()
        self._writer.shutdown(wait=False)

    def _opened(self) -> Any:
        port = open_port(self._name, self._baud)
        port.write_timeout = max(self._limits.body_s, _POLL_S)
        return port

    def _live(self) -> None:
        """Read for ever; runs in a thread."""
        backoff_s = 0.0
        while not self._stopping.wait(backoff_s):
            try:
                if backoff_s:
                    self._port = self._opened()
                    _log.warning("serial port %s is there again", self._name)
                    backoff_s = 0.0
                self._read()
            except OSError as error:
                if not backoff_s:
                    _log.error("serial port %s is lost: %s", self._name, error)
                self._writer.submit(self._port.close).result()  # not while it writes
                backoff_s = min(max(2 * backoff_s, _FIRST_BACKOFF_S), _LAST_BACKOFF_S)

    def _read(self) -> None:
        packets = Packets(self._limits.max_body)
        while not self._stopping.is_set():
            for message in packets.feed(read_some(self._port, _POLL_S)):
                while not self._slots.acquire(timeout=_POLL_S):
                    if self._stopping.is_set():
                        return
                self._loop.call_soon_threadsafe(self._take, message)

    def _take(self, message: bytes) -> None:
        answer = self._answers.begin(message, self._name, self._send)
        answer.add_done_callback(lambda _: self._slots.release())

    async def _send(self, reply: bytes) -> None:
        # Where the port is lost or takes nothing the reply is too, as anything may be on the way.
        with contextlib.suppress(OSError):
            await self._loop.run_in_executor(self._writer, self._port.write, packet(reply))
