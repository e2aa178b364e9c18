"""A serial line as a transport, on which messages are lost where bytes are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pysplitcodec.errors import ArgumentError, ProtocolError, ServerError
from pysplitcodec.serial_packets import BAUD, Packets, closed_port, open_port, packet, read_some
from pysplitcodec.serve.messages import MAX_REPLY_LEN, FrameReply
from pysplitcodec.serve.transport import check_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysplitcodec.serve.messages import FrameRequest

__all__ = ["SerialTransport"]

# How long the thread that reads may take to see that it is to stop.
_POLL_S = 0.2


class SerialTransport:
    """The server at the other end of a serial line; see `Transport`.

    port: a device, such as /dev/ttyUSB0, or a URL of pyserial's.  timeout_s: how long the line may
    take a request in; `send` waits for it.  What is damaged on the way is lost.

    Raises ArgumentError for times that are none, URLs and rates that pyserial does not know, and
    MissingDependencyError without pyserial and cobs.
    """

    max_len: int | None = None
    lossy = True

    def __init__(self, port: str, baud: int = BAUD, *, timeout_s: float = 10.0) -> None:
        check_timeout(timeout_s)
        closed_port(port, baud)  # raises for what will not do
        self.port, self.baud = port, baud
        self._timeout_s = timeout_s
        self._line: _Line | None = None

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Open the port, whether or not there is a server; see `Transport`."""
        self.close()
        try:
            port = open_port(self.port, self.baud)
        except (OSError, ArgumentError) as error:
            raise ServerError(f"cannot open serial port {self.port}: {error}") from None
        port.write_timeout = self._timeout_s
        self._line = _Line(port, self.port, replied, lost)

    def send(self, request: FrameRequest) -> None:
        """Send a request; see `Transport`."""
        data = packet(request.pack())
        if self._line is None:
            raise ServerError("the connection is closed")
        self._line.send(data)

    def close(self) -> None:
        """Close the port; see `Transport`."""
        line, self._line = self._line, None
        if line is not None:
            line.close()


class _Line:
    """An open port, and the thread that reads from it."""

    def __init__(
        self,
        port: Any,
        name: str,
        replied: Callable[[FrameReply], None],
        lost: Callable[[ServerError], None],
    ) -> None:
        self._port, self._name = port, name
        self._replied, self._lost = replied, lost
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._gone: ServerError | None = None
        self._thread = threading.Thread(target=self._live, name="serial", daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        if self._gone is not None:
            raise self._gone
        try:
            with self._writing:
                self._port.write(data)
        except OSError as error:
            raise self._error(error) from None

    def close(self) -> None:
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _live(self) -> None:
        packets = Packets(MAX_REPLY_LEN)
        try:
            while not self._closing.is_set():
                for message in packets.feed(read_some(self._port, _POLL_S)):
                    self._take(message)
        except OSError as error:
            self._gone = self._error(error)
        finally:
            with self._writing:
                self._port.close()
        if self._gone is not None and not self._closing.is_set():
            self._lost(self._gone)

    def _take(self, message: bytes) -> None:
        try:
            reply = FrameReply.read(message)
        except ProtocolError:
            return  # something else talks on this line
        self._replied(reply)

    def _error(self, error: OSError) -> ServerError:
        return ServerError(f"lost serial port {self._name}: {error}")
