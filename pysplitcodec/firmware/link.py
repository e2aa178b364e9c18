"""The host's end of a link to firmware: packets, as docs/firmware.md has them."""

from __future__ import annotations

import time
from typing import Protocol

from pysplitcodec import serial_packets
from pysplitcodec.errors import FirmwareError, from_status

__all__ = ["TOO_LONG", "Link", "SerialStream", "Stream", "packet"]

_ERROR = ord("!")
TOO_LONG = 65
_CODES = {
    64: "the packet was damaged on the way",
    TOO_LONG: "the packet is longer than there is room for",
    66: "the firmware does not know packets of this type",
    67: "the packet has another length than its type has",
    68: "the packet is out of turn",
}


class Stream(Protocol):
    """Bytes to and from firmware, in order, some of them perhaps lost."""

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting for at most this long for some; b"" if nothing did."""

    def write(self, data: bytes) -> None:
        """Send all of it."""


class SerialStream:
    """A serial port, such as a board's USB: "/dev/ttyACM0".

    Raises MissingDependencyError without pyserial, OSError if the port cannot be opened.
    """

    def __init__(self, port: str, baud: int = serial_packets.BAUD) -> None:
        self._serial = serial_packets.open_port(port, baud)

    def read(self, timeout_s: float) -> bytes:
        return serial_packets.read_some(self._serial, timeout_s)

    def write(self, data: bytes) -> None:
        self._serial.write(data)

    def __enter__(self) -> SerialStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._serial.close()


def packet(kind: str, sequence: int, body: bytes = b"") -> bytes:
    """Return one packet as it goes over the link, a zero before and behind it.

    kind: one ASCII character; sequence: 1 to 255, which the answer repeats.
    """
    return serial_packets.packet(bytes((ord(kind), sequence)) + body)


class Link:
    """Requests and their answers, one at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._sequence = 0
        self._pending = b""

    def send(self, kind: str, body: bytes = b"") -> None:
        """Send a request without waiting for its answer."""
        self._sequence = self._sequence % 255 + 1
        self._stream.write(packet(kind, self._sequence, body))

    def receive(self, timeout_s: float = 10.0) -> tuple[str, bytes]:
        """Return type and body of the answer to the last request.

        Answers to earlier ones, and what is no packet, are passed over.  Raises FirmwareError if it
        is an error, or if none comes in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\0" not in self._pending:
                left = deadline - time.monotonic()
                came = self._stream.read(left) if left > 0 else b""
                if not came:
                    raise FirmwareError(f"no answer within {timeout_s:g} s")
                self._pending += came
            one, _, self._pending = self._pending.partition(b"\0")
            kind, sequence, body = _opened(one)
            # damaged requests are answered with sequence 0: nobody knows what they were
            if kind == _ERROR and sequence in (self._sequence, 0):
                code = body[0] if body else None
                raise FirmwareError(f"the firmware answered with {_error_text(code)}", code)
            if kind and sequence == self._sequence:
                return chr(kind), body

    def request(self, kind: str, body: bytes = b"", timeout_s: float = 10.0) -> tuple[str, bytes]:
        """`send`, then `receive`."""
        self.send(kind, body)
        return self.receive(timeout_s)


def _opened(one: bytes) -> tuple[int, int, bytes]:
    """Type, sequence and body; type 0 if it is no packet."""
    content = serial_packets.opened(one)
    if content is None or len(content) < 2:
        return 0, 0, b""
    return content[0], content[1], content[2:]


def _error_text(code: int | None) -> str:
    if code is None:
        return "an error without a code"
    # the others are those of the C core
    text = _CODES.get(code) or type(from_status(code, "")).__name__
    return f"error {code}: {text}"
