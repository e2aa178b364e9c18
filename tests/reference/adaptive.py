"""Coder 2, range: section 4.3 of docs/format.md as a program.  See reference.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

# One half of the logistic function of a table's byte; what docs/format.md calls P(128) to P(255).
LOGISTIC = [round(32768 / (1 + math.exp(-(step + 0.5) / 16))) for step in range(128)]


class CorruptPayloadError(ValueError):
    """No encoder makes such a payload."""


class BadModelError(ValueError):
    """The bytes are no model's body."""


class Question(NamedTuple):
    """Is the index `back` channels before, `down` rows and `right` columns on at least `least`?"""

    back: int
    down: int
    right: int
    least: int


class Channel(NamedTuple):
    questions: list[Question]
    table: list[int]  # probabilities of a 0 in 1/32768: context by context, node by node from 1


class Model(NamedTuple):
    shift: int
    channels: list[Channel]


LEASTS = {1: (1,), 2: (1, 2), 3: (1, 2, 4), 4: (1, 3, 8), 5: (6, 14), 6: (12,), 7: (24,), 8: (48,)}


def questions_without_model(bits: int) -> list[Question]:
    pairs = [(Question(0, -1, 0, least), Question(0, 0, -1, least)) for least in LEASTS[bits]]
    return list(itertools.chain(*pairs))


# ------------------------------------------------------------------ models


def _signed(byte: int) -> int:
    return byte - 256 if byte >= 128 else byte


def read_model(body: bytes, bits: int, channels: int) -> Model:
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        if len(body) - at < count:
            raise BadModelError("too short")
        at += count
        return body[at - count : at]

    (shift,) = take(1)
    if not 1 <= shift <= 15:
        raise BadModelError("shift")
    found = []
    for channel in range(channels):
        (count,) = take(1)
        if count > 8 or count + bits > 10:
            raise BadModelError("too many questions")
        questions = []
        for _ in range(count):
            back, down, right, least = take(4)
            question = Question(back, _signed(down), _signed(right), least)
            if back > channel or not 1 <= least < 1 << bits:
                raise BadModelError("question")
            if back == 0 and (question.down, question.right) >= (0, 0):
                raise BadModelError("question about what is yet to come")
            questions.append(question)
        table = [probability(byte) for byte in take(((1 << bits) - 1) << count)]
        found.append(Channel(questions, table))
    if at != len(body):
        raise BadModelError("too long")
    return Model(shift, found)


def write_model(shift: int, channels: Sequence[tuple[Sequence[Question], bytes]]) -> bytes:
    """The reverse, from the bytes of the tables."""
    body = bytes([shift])
    for questions, table in channels:
        body += bytes([len(questions)])
        for back, down, right, least in questions:
            body += bytes([back, down % 256, right % 256, least])
        body += table
    return body


def probability(byte: int) -> int:
    return LOGISTIC[byte - 128] if byte >= 128 else 32768 - LOGISTIC[127 - byte]


# ------------------------------------------------------------------ what both ends do


# Codes a bit, which an encoder knows, where a 0 has this probability.
CodeBit = Callable[[int, int], int]


def _code(planes: list[list[list[int]]], bits: int, model: Model | None, code_bit: CodeBit) -> None:
    """Code all indices in their order; a decoder's planes are filled on the way."""
    rows, columns = len(planes[0]), len(planes[0][0])
    levels = 1 << bits
    if model is None:
        questions = questions_without_model(bits)
        counters = [16384] * ((levels - 1) << len(questions))
    coded = 0
    for number, plane in enumerate(planes):
        if model is not None:
            questions = model.channels[number].questions
            counters = list(model.channels[number].table)
        for row, column in itertools.product(range(rows), range(columns)):
            context = 0
            for i, question in enumerate(questions):
                y, x = row + question.down, column + question.right
                inside = 0 <= y < rows and 0 <= x < columns
                if inside and planes[number - question.back][y][x] >= question.least:
                    context += 1 << i
            if model is not None:
                shift, least = model.shift, 64
            else:
                shift, least = 3 if coded < 256 else 4 if coded < 2048 else 5, 192
            node = 1
            for k in reversed(range(bits)):
                at = context * (levels - 1) + node - 1
                bit = code_bit(counters[at], plane[row][column] >> k & 1)
                target = least if bit else 32768 - least
                counters[at] += (target - counters[at]) >> shift  # rounds down
                node = 2 * node + bit
            plane[row][column] = node - levels
            coded += 1


# ------------------------------------------------------------------ encoder


def encode(
    planes: Sequence[Sequence[Sequence[int]]],
    bits: int,
    model: Model | None,
    below: int | None = None,
) -> bytes | None:
    """Payload of indices [channels][rows][columns]; None if it is not shorter than `below` bytes.

    Those are the packed ones where nothing is said, which are then stored instead.
    """
    low, span, written = 0, 0xFFFFFFFF, 4  # low is all that is written, and four bytes

    def code_bit(zero: int, bit: int) -> int:
        nonlocal low, span, written
        bound = (span >> 15) * zero
        if bit:
            low, span = low + bound, span - bound
        else:
            span = bound
        while span < 1 << 24:
            low, span, written = low << 8, span << 8, written + 1
        return bit

    _code([[list(row) for row in plane] for plane in planes], bits, model, code_bit)
    last = -(-low // (1 << 24)) << 24
    payload = last.to_bytes(written, "big")[:-3]
    packed = (sum(len(row) for plane in planes for row in plane) * bits + 7) // 8
    return None if len(payload) >= (below or packed) else payload.rstrip(b"\0") or b"\0"


# ------------------------------------------------------------------ decoder


def decode(
    payload: bytes, channels: int, rows: int, columns: int, bits: int, model: Model | None
) -> list[list[list[int]]]:
    packed = (channels * rows * columns * bits + 7) // 8
    if not 1 <= len(payload) < packed:
        raise CorruptPayloadError("length")
    read = 4
    code, span = int.from_bytes((payload + bytes(4))[:4], "big"), 0xFFFFFFFF

    def code_bit(zero: int, _: int) -> int:
        nonlocal code, span, read
        bound = (span >> 15) * zero
        bit = int(code >= bound)
        if bit:
            code, span = code - bound, span - bound
        else:
            span = bound
        while span < 1 << 24:
            byte = payload[read] if read < len(payload) else 0
            code, span, read = code << 8 | byte, span << 8, read + 1
        return bit

    planes = [[[0] * columns for _ in range(rows)] for _ in range(channels)]
    _code(planes, bits, model, code_bit)
    if read < len(payload) + 3 or code >= 1 << 24 or (len(payload) > 1 and payload[-1] == 0):
        raise CorruptPayloadError("does not end as an encoder ends it")
    return planes


# ------------------------------------------------------------------ as reference.py asks


def check_body(body: bytes, bits: int, channels: int) -> None:
    read_model(body, bits, channels)


def decode_indices(
    payload: bytes, bits: int, planes: Sequence[Sequence[Sequence[int]]], body: bytes | None
) -> list[int]:
    """Indices in the order of the planes."""
    channels, rows, columns = len(planes), len(planes[0]), len(planes[0][0])
    model = None if body is None else read_model(body, bits, channels)
    found = decode(payload, channels, rows, columns, bits, model)
    return list(itertools.chain.from_iterable(itertools.chain.from_iterable(found)))
