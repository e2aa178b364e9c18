"""The range coder of coders 2 and 4, from section 4.6 of docs/format.md.

A payload is a number below 1, its bytes are the digits behind the point.
"""

from __future__ import annotations

PROBABILITY_BITS = 15  # of a bit being 0: 1 to 32767, in 1/32768
LEAST_RANGE = 1 << 24
WHOLE_RANGE = 0xFFFFFFFF
FIRST_BYTES = 4  # that a decoder reads at the start, and an encoder writes at the end


def bound_of(width: int, zero: int) -> int:
    """The part of a range that stands for a 0."""
    return (width >> PROBABILITY_BITS) * zero


class Encoder:
    """Writes decisions.  `low` is the whole number so far, so that carries take care of themselves.

    `length` is that of the payload before zeros at its end are left out, but without the last
    three bytes, which are always 0.

    An implementation keeps 32 bits of it, and adds 1 to the bytes that are out when they overflow.
    """

    def __init__(self) -> None:
        self.low, self.range, self.length = 0, WHOLE_RANGE, 1

    def put(self, zero: int, bit: int) -> None:
        bound = bound_of(self.range, zero)
        if bit:
            self.low += bound
            self.range -= bound
        else:
            self.range = bound
        while self.range < LEAST_RANGE:
            self.range <<= 8
            self.low <<= 8
            self.length += 1

    def finish(self) -> bytes:
        """The least number of the range whose last three bytes are 0, without zeros at its end."""
        last = -(-self.low // LEAST_RANGE) * LEAST_RANGE
        whole = last.to_bytes(self.length + 3, "big")
        return whole.rstrip(b"\0") or b"\0"


class Decoder:
    """Reads decisions.  ValueError, at the start or the end, for what no encoder writes."""

    def __init__(self, payload: bytes) -> None:
        if not payload:
            raise ValueError("a payload has a byte")
        if len(payload) > 1 and payload[-1] == 0:
            raise ValueError("a zero at the end")
        self.payload, self.at = payload, 0
        self.code, self.range = 0, WHOLE_RANGE
        for _ in range(FIRST_BYTES):
            self._read()
        if self.code >= self.range:
            raise ValueError("a number beyond the first range")

    def _read(self) -> None:
        byte = self.payload[self.at] if self.at < len(self.payload) else 0
        self.code = self.code << 8 | byte
        self.at += 1

    def get(self, zero: int) -> int:
        bound = bound_of(self.range, zero)
        bit = int(self.code >= bound)
        if bit:
            self.code -= bound
            self.range -= bound
        else:
            self.range = bound
        while self.range < LEAST_RANGE:
            self.range <<= 8
            self._read()
        return bit

    def finish(self) -> None:
        if self.at < len(self.payload) + FIRST_BYTES - 1 or self.code >= LEAST_RANGE:
            raise ValueError("the payload does not end where the decisions do")
