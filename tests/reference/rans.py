"""Coder 3 of the wire format, written a second time: docs/format.md, section 4.4, as a program.

Like reference.py: for reading, without speed, with whole numbers that have no width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TOTAL = 1 << 12
LEAST = 1 << 16


class PayloadError(ValueError):
    """The payload is refused."""


class ModelError(ValueError):
    """The body of the model is refused."""


class Class(NamedTuple):
    """Neighbouring values that share a frequency."""

    frequency: int
    start: int  # the first of `frequency` slots
    first: int  # the first of 2**width values
    width: int


def group_of(bits: int) -> int:
    """How many indices are coded as one value."""
    return {1: 4, 2: 2, 3: 2}.get(bits, 1)


def class_count(bits: int) -> int:
    return 32 if bits > 4 else 1 << bits * group_of(bits)


def lane_count(channels: int, groups: int) -> int:
    return 4 if groups >= 4 and channels * groups >= 1024 else 1


def parse_body(body: bytes, bits: int, channels: int) -> list[list[Class]]:
    """The classes of each channel."""
    count = class_count(bits)
    if len(body) != 2 * count * channels:
        raise ModelError("length")
    tables = []
    for channel in range(channels):
        classes, start, first = [], 0, 0
        for i in range(count):
            at = 2 * (channel * count + i)
            word = int.from_bytes(body[at : at + 2], "little")
            frequency, width = word % TOTAL, word // TOTAL
            if frequency == 0 or width > 4:
                raise ModelError("class")
            classes.append(Class(frequency, start, first, width))
            start += frequency
            first += 1 << width
        if start != TOTAL or first != 1 << bits * group_of(bits):
            raise ModelError("sum")
        tables.append(classes)
    return tables


def values_of(plane: Sequence[int], bits: int) -> list[int]:
    """The values of a channel's groups; what the last one lacks is 0."""
    group = group_of(bits)
    return [
        sum(index << bits * place for place, index in enumerate(plane[at : at + group]))
        for at in range(0, len(plane), group)
    ]


def plane_of(values: Sequence[int], length: int, bits: int) -> list[int]:
    """The reverse."""
    places = range(group_of(bits))
    indices = [value >> bits * place & ((1 << bits) - 1) for value in values for place in places]
    if any(indices[length:]):
        raise PayloadError("index behind the end of a channel")
    return indices[:length]


def encode(planes: Sequence[Sequence[int]], bits: int, body: bytes) -> bytes:
    """The payload of the channels' indices, row by row; it may be longer than the packed bytes."""
    tables = parse_body(body, bits, len(planes))
    lanes = lane_count(len(planes), len(values_of(planes[0], bits)))
    states = [LEAST] * lanes
    words = b""
    # What is decoded last is encoded first.
    for plane, classes in reversed(list(zip(planes, tables))):
        for number, value in reversed(list(enumerate(values_of(plane, bits)))):
            x = states[number % lanes]
            of = next(one for one in reversed(classes) if one.first <= value)
            if x >= of.frequency << (20 - of.width):
                words += (x % LEAST).to_bytes(2, "little")
                x //= LEAST
            x = (x << of.width) + value - of.first
            x = x // of.frequency * TOTAL + of.start + x % of.frequency
            states[number % lanes] = x
    return b"".join(x.to_bytes(4, "little") for x in states) + words


def decode(payload: bytes, channels: int, length: int, bits: int, body: bytes) -> list[list[int]]:
    """The indices of each channel, `length` of them; PayloadError if no encoder wrote this."""
    tables = parse_body(body, bits, channels)
    groups = -(-length // group_of(bits))
    lanes = lane_count(channels, groups)
    head, words = payload[: 4 * lanes], payload[4 * lanes :]
    if len(head) < 4 * lanes or len(words) % 2 != 0:
        raise PayloadError("length")
    if len(payload) >= -(-channels * length * bits // 8):
        raise PayloadError("not shorter than packed")
    states = [int.from_bytes(head[4 * lane :][:4], "little") for lane in range(lanes)]
    if min(states) < LEAST:
        raise PayloadError("state")
    planes = []
    for classes in tables:
        values = []
        for number in range(groups):
            x = states[number % lanes]
            slot = x % TOTAL
            of = next(one for one in reversed(classes) if one.start <= slot)
            x = x // TOTAL * of.frequency + slot - of.start
            values.append(of.first + x % (1 << of.width))
            x >>= of.width
            if x < LEAST:
                if not words:
                    raise PayloadError("no words left")
                x = x * LEAST + int.from_bytes(words[-2:], "little")
                words = words[:-2]
            states[number % lanes] = x
        planes.append(plane_of(values, length, bits))
    if words or states != [LEAST] * lanes:
        raise PayloadError("end")
    return planes


# ------------------------------------------------------------------ as reference.py asks


def check_body(body: bytes, bits: int, channels: int) -> None:
    parse_body(body, bits, channels)


def decode_indices(
    payload: bytes, bits: int, planes: Sequence[Sequence[Sequence[int]]], body: bytes | None
) -> list[int]:
    """Indices in the order of the planes."""
    if body is None:
        raise PayloadError("coder rans needs a model of its own")
    length = len(planes[0]) * len(planes[0][0])
    return [index for plane in decode(payload, len(planes), length, bits, body) for index in plane]
