"""Packets over serial lines, which lose and damage bytes: COBS with a CRC-32C, zeros between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.native import core

__all__ = [
    "BAUD",
    "Packets",
    "closed_port",
    "open_port",
    "opened",
    "packet",
    "parse_port",
    "read_some",
]

# What a port has that says nothing.
BAUD = 115200

_CHECKSUM = 4


def _cobs() -> Any:
    try:
        from cobs import cobs
    except ImportError:
        raise MissingDependencyError(
            "packets over serial lines need cobs: pip install 'pysplitcodec[serial]'"
        ) from None
    return cobs


def open_port(port: str, baud: int) -> Any:
    """Return pyserial's port at a device, such as /dev/ttyACM0, or one of its URLs.

    Raises what `closed_port` does, and OSError if the port cannot be opened; ArgumentError also for
    rates that it does not take.
    """
    made = closed_port(port, baud)
    try:
        made.open()
    except ValueError as error:
        raise ArgumentError(f"port is {port!r}, baud {baud}: {error}") from None
    return made


def closed_port(port: str, baud: int) -> Any:
    """Return such a port that is not open yet.

    Raises MissingDependencyError without pyserial and cobs, and ArgumentError for URLs and rates
    that pyserial does not know.
    """
    _cobs()
    try:
        import serial
    except ImportError:
        raise MissingDependencyError(
            "serial ports need pyserial: pip install 'pysplitcodec[serial]'"
        ) from None
    try:
        return serial.serial_for_url(port, baud, do_not_open=True)
    except ValueError as error:
        raise ArgumentError(f"port is {port!r}, baud {baud}: {error}") from None


def parse_port(text: str) -> tuple[str, int]:
    """Read PORT or PORT:BAUD; a URL has its rate, where there is one, as pyserial has it."""
    port, _, baud = text.rpartition(":")
    return (port, int(baud)) if port and baud.isdecimal() and "://" not in text else (text, BAUD)


def read_some(port: Any, timeout_s: float) -> bytes:
    """Return what has come, waiting for at most this long for some; b"" if nothing did."""
    port.timeout = timeout_s
    first = bytes(port.read(1))
    return first + bytes(port.read(port.in_waiting)) if first else b""


def packet(content: bytes) -> bytes:
    """Return the packet of a content, with a zero before and behind it."""
    whole = content + core.crc32c(content).to_bytes(_CHECKSUM, "little")
    return b"\0" + bytes(_cobs().encode(whole)) + b"\0"


def opened(between: bytes) -> bytes | None:
    """Return the content of what is between two zeros; None if it is no packet, or damaged."""
    cobs = _cobs()
    try:
        whole = bytes(cobs.decode(between))
    except cobs.DecodeError:
        return None
    end = len(whole) - _CHECKSUM
    if end < 0 or core.crc32c(whole[:end]) != int.from_bytes(whole[end:], "little"):
        return None
    return whole[:end]


class Packets:
    """Finds packets in bytes as they come.

    max_len: of a content; longer packets are passed over, and never held.
    """

    def __init__(self, max_len: int) -> None:
        # COBS adds a byte for each 254, and one.
        self._longest = (max_len + _CHECKSUM) * 255 // 254 + 2
        self._pending = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, and give the contents of the sound packets that end in them."""
        *ended, rest = data.split(b"\0")
        for part in ended:
            self._add(part)
            between, fits = bytes(self._pending), not self._too_long
            self._pending.clear()
            self._too_long = False
            content = opened(between) if between and fits else None
            if content is not None:
                yield content
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if self._too_long or len(self._pending) + len(part) > self._longest:
            self._pending.clear()
            self._too_long = True
        else:
            self._pending += part
