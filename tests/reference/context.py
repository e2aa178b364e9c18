"""Coder 4, `context`, from section 4.5 of docs/format.md.

For reading and for comparing: one symbol after the other, every neighbour looked up.  What is
refused raises ValueError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from range_coder import Decoder, Encoder

# ------------------------------------------------------------------ every constant of the coder

NODE_BITS = 4  # upper bits of an index that a model predicts
NEAR_BITS = 2  # upper bits of a symbol that choose an entry of a table

UNITS_MOST = 16
REACH = 2  # rows and columns that a tap is away, at most
SHIFT_MOST = 16
SUM_MOST = 32767  # of a unit
OUTPUTS_MOST = 65535  # of a node

LOGIT_MOST = 2047  # logits are in 1/256
LEFT_SCALE = 16  # entries of the table for what is to the left are in 1/16
LOGISTIC_STEPS = 32  # entries of the logistic table for a logit of 1

GAIN_BITS = 16  # gains are in 1/65536
BIAS_BITS = 2  # biases are in 1/1024: as many bits more than a logit
GAIN_SHIFT = 15
CONTEXT_BIAS_SHIFT = 9
CHANNEL_BIAS_SHIFT = 9
LOW_BIAS_SHIFT = 8


def _logistic() -> Iterator[int]:
    for i in range(2 * (LOGIT_MOST + 1) * LOGISTIC_STEPS // 256):
        logit = (i + 0.5) / LOGISTIC_STEPS - (LOGIT_MOST + 1) / 256
        yield round(32768 / (1 + math.exp(-logit)))  # none is near a half


LOGISTIC = tuple(_logistic())


def node_bits(bits: int) -> int:
    return min(bits, NODE_BITS)


def near_bits(bits: int) -> int:
    return min(bits, NEAR_BITS)


def node_count(bits: int) -> int:
    return (1 << node_bits(bits)) - 1


def wrapped(value: int, bits: int) -> int:
    """The value as a signed integer of so many bits has it."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


# ------------------------------------------------------------------ models


class Tap(NamedTuple):
    """A neighbour: channels back, rows and columns away; its level, or whether that is not 0."""

    back: int
    row: int
    column: int
    is_set: bool


class Network(NamedTuple):
    """One channel's part of a model; nodes are counted from 1, and 1 is the first here."""

    linear: int
    shift: int
    taps: list[Tap]
    weights: list[list[int]]  # [taps][units]
    biases: list[int]  # [units]
    outputs: list[list[int]]  # [nodes][units]
    lefts: list[list[int]]  # [nodes][left, and what is left of it]


def parse(body: bytes, bits: int, channels: int) -> list[Network]:
    """The networks of a body.  ValueError if it is none."""
    networks, at = [], 0

    def take(layout: str, count: int) -> list[int]:
        nonlocal at
        form = f"<{count}{layout}"
        if at + struct.calcsize(form) > len(body):
            raise ValueError("the model ends early")
        values = struct.unpack_from(form, body, at)
        at += struct.calcsize(form)
        return list(values)

    def take_rows(layout: str, rows: int, count: int) -> list[list[int]]:
        return [take(layout, count) for _ in range(rows)]

    for number in range(channels):
        taps, units, linear, shift = take("B", 4)
        nodes = node_count(bits)
        network = Network(
            linear,
            shift,
            [_tap(*take("B", 2)) for _ in range(taps)],
            take_rows("b", taps, units),
            take("h", units),
            take_rows("h", nodes, units),
            take_rows("b", nodes, 1 << 2 * near_bits(bits)),
        )
        _check(network, bits, number)
        networks.append(network)
    if at != len(body):
        raise ValueError("bytes follow the model")
    return networks


def _tap(back: int, place: int) -> Tap:
    row, column = divmod(place & 0x7F, 2 * REACH + 1)
    return Tap(back, row - REACH, column - REACH, place >= 0x80)


def _check(network: Network, bits: int, number: int) -> None:
    units = len(network.biases)
    if not 1 <= units <= UNITS_MOST or network.linear > units:
        raise ValueError("units")
    if not 1 <= network.shift <= SHIFT_MOST:
        raise ValueError("shift")
    for tap in network.taps:
        if tap.back > number or tap.row > REACH:
            raise ValueError("a tap beyond the channels or rows that there are")
        if tap.back == 0 and tap.row >= 0:
            raise ValueError("a tap that is not known yet")
    for unit in range(units):
        most = abs(network.biases[unit])
        for tap, weights in zip(network.taps, network.weights):
            most += abs(weights[unit]) * (1 if tap.is_set else node_count(bits))
        if most > SUM_MOST:
            raise ValueError("the sum of a unit")
    for outputs in network.outputs:
        if sum(map(abs, outputs)) > OUTPUTS_MOST:
            raise ValueError("the outputs of a node")


def check_body(body: bytes, bits: int, channels: int) -> None:
    parse(body, bits, channels)


def build(networks: Sequence[Network]) -> bytes:
    """The body of networks, right ones or not."""
    body = b""
    for network in networks:
        units = len(network.biases)
        body += struct.pack("<4B", len(network.taps), units, network.linear, network.shift)
        for tap in network.taps:
            place = (tap.row + REACH) * (2 * REACH + 1) + tap.column + REACH
            body += struct.pack("<2B", tap.back, place | 0x80 * tap.is_set)
        for layout, rows in (
            ("b", network.weights),
            ("h", [network.biases]),
            ("h", network.outputs),
            ("b", network.lefts),
        ):
            for row in rows:
                body += struct.pack(f"<{len(row)}{layout}", *row)
    return body


def logits_of(network: Network, level: Callable[[Tap], int]) -> list[int]:
    """The logit of each node; `level` gives that of a tap's symbol."""
    inputs = [min(level(tap), 1) if tap.is_set else level(tap) for tap in network.taps]
    sums = list(network.biases)
    for value, weights in zip(inputs, network.weights):
        for unit, weight in enumerate(weights):
            sums[unit] += value * weight
    units = [total if unit < network.linear else max(total, 0) for unit, total in enumerate(sums)]
    logits = []
    for outputs in network.outputs:
        total = sum(value * output for value, output in zip(units, outputs))
        rounded = (total + (1 << (network.shift - 1))) >> network.shift
        logits.append(max(-LOGIT_MOST, min(rounded, LOGIT_MOST)))
    return logits


# ------------------------------------------------------------------ what is learned on the way


class Lesson(NamedTuple):
    """A decision that has been made, and by how much the prediction was mistaken."""

    context: int
    node: int
    logit: int
    mistake: int


class Learned:
    """Gains and biases of the nodes.  All starts anew with each payload."""

    def __init__(self, bits: int) -> None:
        nodes = node_count(bits) + 1  # the first is not used
        contexts = 1 << 3 * near_bits(bits)
        self.gains = [1 << GAIN_BITS] * nodes
        self.context_biases = [[0] * nodes for _ in range(contexts)]
        self.channel_biases = [0] * nodes
        self.low_biases = [0] * (1 << bits)

    def start_channel(self) -> None:
        self.channel_biases = [0] * len(self.channel_biases)

    def logit(self, context: int, node: int, logit: int) -> int:
        """The logit of a model, corrected."""
        scaled = wrapped(logit * self.gains[node], 32) >> GAIN_BITS
        bias = self.context_biases[context][node] + self.channel_biases[node]
        return scaled + _rounded(bias, BIAS_BITS)

    def learn(self, lesson: Lesson) -> None:
        context, node, logit, mistake = lesson
        change = (mistake * logit) >> GAIN_SHIFT
        self.gains[node] = (self.gains[node] + change) % 2**32
        for biases, shift in (
            (self.context_biases[context], CONTEXT_BIAS_SHIFT),
            (self.channel_biases, CHANNEL_BIAS_SHIFT),
        ):
            biases[node] = wrapped(biases[node] + _rounded(mistake, shift), 16)

    def low_logit(self, node: int) -> int:
        return _rounded(self.low_biases[node], BIAS_BITS)

    def learn_low(self, node: int, mistake: int) -> None:
        bias = self.low_biases[node] + _rounded(mistake, LOW_BIAS_SHIFT)
        self.low_biases[node] = wrapped(bias, 16)


def _rounded(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift


# ------------------------------------------------------------------ the way through a feature


def walk(
    bits: int,
    sizes: tuple[int, int, int],
    networks: Sequence[Network],
    decide: Callable[[int], int],
) -> list[int]:
    """The symbols, in their order: channels, rows and columns.

    decide: given the probability of a 0 in 1/32768, gives the bit.
    """
    channels, rows, columns = sizes
    known: dict[tuple[int, int, int], int] = {}  # what is not there counts as 0
    learned = Learned(bits)
    low, near = bits - node_bits(bits), near_bits(bits)

    def code_bit(logit: int) -> tuple[int, int]:
        """A bit, and by how much its prediction was mistaken."""
        used = max(-LOGIT_MOST, min(logit, LOGIT_MOST))
        one = LOGISTIC[(used + LOGIT_MOST + 1) * LOGISTIC_STEPS // 256]
        bit = decide(32768 - one)
        return bit, (bit << 15) - one

    for c in range(channels):
        network = networks[c]
        learned.start_channel()
        before: list[Lesson] = []  # of the symbol before: learned after this one
        for y in range(rows):
            for x in range(columns):

                def level(tap: Tap, at: tuple[int, int, int] = (c, y, x)) -> int:
                    place = (at[0] - tap.back, at[1] + tap.row, at[2] + tap.column)
                    return known.get(place, 0) >> low

                def top(row: int, column: int, at: tuple[int, int, int] = (c, y, x)) -> int:
                    return known.get((at[0], at[1] + row, at[2] + column), 0) >> (bits - near)

                left, left_of_left, up, up_left = top(0, -1), top(0, -2), top(-1, 0), top(-1, -1)
                context = (left << near | up) << near | up_left
                beside = left << near | left_of_left
                logits = logits_of(network, level)
                now: list[Lesson] = []
                node = 1
                for _ in range(node_bits(bits)):
                    logit = logits[node - 1]
                    better = learned.logit(context, node, logit)
                    better += LEFT_SCALE * network.lefts[node - 1][beside]
                    bit, mistake = code_bit(better)
                    now.append(Lesson(context, node, logit, mistake))
                    node = 2 * node + bit
                for _ in range(low):
                    bit, mistake = code_bit(learned.low_logit(node))
                    learned.learn_low(node, mistake)
                    node = 2 * node + bit
                known[c, y, x] = node - (1 << bits)
                for lesson in before:
                    learned.learn(lesson)
                before = now
    return list(known.values())


def sizes_of(planes: Sequence[Sequence[Sequence[int]]]) -> tuple[int, int, int]:
    return len(planes), len(planes[0]), len(planes[0][0])


def decode(
    payload: bytes, bits: int, planes: Sequence[Sequence[Sequence[int]]], body: bytes | None
) -> list[int]:
    """Indices in the order of the planes."""
    if body is None:
        raise ValueError("coder context needs a model of its own")
    coder = Decoder(payload)
    sizes = sizes_of(planes)
    symbols = walk(bits, sizes, parse(body, bits, sizes[0]), coder.get)
    coder.finish()
    return symbols


def encode(
    symbols: Sequence[int], bits: int, planes: Sequence[Sequence[Sequence[int]]], body: bytes
) -> tuple[bytes, int]:
    """The payload of indices in the order of the planes, and its length before zeros are left out.

    A frame has this payload if that length is below the packed length, else coder 0.
    """
    coder = Encoder()
    steps = (symbol >> i & 1 for symbol in symbols for i in reversed(range(bits)))

    def decide(zero: int) -> int:
        bit = next(steps)
        coder.put(zero, bit)
        return bit

    sizes = sizes_of(planes)
    walk(bits, sizes, parse(body, bits, sizes[0]), decide)
    return coder.finish(), coder.length
