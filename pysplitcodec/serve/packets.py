"""Messages in a stream of bytes, each behind its length as u32, little-endian: docs/links.md."""

from __future__ import annotations

import contextlib
import socket
import struct

__all__ = ["LENGTH", "MAX_LEN", "packet", "prepare"]

LENGTH = struct.Struct("<I")
MAX_LEN = 0xFFFFFFFF

# A peer that is gone without a word is noticed after 15 + 3 * 5 s.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


def packet(message: bytes) -> bytes:
    """A message behind its length."""
    return LENGTH.pack(len(message)) + message


def prepare(made: socket.socket) -> None:
    """Have a connection send at once, and notice when nobody is there any more."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        with contextlib.suppress(AttributeError):  # of systems that do not have it
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
