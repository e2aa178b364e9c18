"""The splitcodec wire format, version 1, written a second time: docs/format.md as a program.

For reading, and for holding the C core against.  Standard library only, no speed, nothing shared
with the package.  Floats never appear as Python floats: a float of 32 or 16 bits is the integer of
its bits, and its value is an exact integer number of 2**-149, the least positive float32.
"""

from __future__ import annotations

import functools
import itertools
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for whoever loads this by its path

import adaptive
import context
import rans

VERSION = 1
FLOAT32, FLOAT16, BFLOAT16, INT8, UINT8 = range(5)
PACK, LZMA, RANGE, RANS, CONTEXT = range(5)
MAX_ELEMENTS = 2**29 - 1
MAX_RANK = 8
MAX_GROUPS = 65536
HAS_MODEL, IS_SLICE = 0x80, 0x40  # beside the axis in a description
DTYPES = {
    "float32": FLOAT32,
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "int8": INT8,
    "uint8": UINT8,
}
CODERS = {"pack": PACK, "lzma": LZMA, "range": RANGE, "rans": RANS, "context": CONTEXT}


class FrameError(Exception):
    """The bytes are refused.  The subclasses are the reasons of docs/format.md."""


class NotAFrameError(FrameError):
    pass


class FrameVersionError(FrameError):
    pass


class TruncatedFrameError(FrameError):
    pass


class ChecksumError(FrameError):
    pass


class CodecMismatchError(FrameError):
    pass


class CorruptFrameError(FrameError):
    pass


class FrameLimitError(FrameError):
    pass


class CoderUnavailableError(Exception):
    pass


# ------------------------------------------------------------------ floats as integers

# Bits of the exponent and of the fraction; one more is the sign.
LAYOUTS = {FLOAT32: (8, 23), FLOAT16: (5, 10), BFLOAT16: (8, 7)}


def is_negative(bits: int, dtype: int = FLOAT32) -> bool:
    """Whether the sign bit is 1, whatever the rest is."""
    return bits >> sum(LAYOUTS[dtype]) == 1


def is_finite(bits: int, dtype: int = FLOAT32) -> bool:
    exponent_width, fraction_width = LAYOUTS[dtype]
    highest = (1 << exponent_width) - 1
    return bits >> fraction_width & highest != highest


def exact(bits: int, dtype: int = FLOAT32) -> int:
    """The value of a finite float, in units of 2**-149."""
    exponent_width, fraction_width = LAYOUTS[dtype]
    exponent = bits >> fraction_width & ((1 << exponent_width) - 1)
    fraction = bits & ((1 << fraction_width) - 1)
    if exponent:
        fraction |= 1 << fraction_width
        exponent -= 1
    least = 2 - (1 << (exponent_width - 1)) - fraction_width  # log2 of the least positive value
    magnitude = fraction << (exponent + least + 149)
    return -magnitude if is_negative(bits, dtype) else magnitude


def exact_of_int(value: int) -> int:
    return value << 149


def widen(bits: int, dtype: int) -> int:
    """The float32 that has the value of a 16-bit float; for a NaN one of the same sign."""
    sign = is_negative(bits, dtype) << 31
    if not is_finite(bits, dtype):
        fraction_width = LAYOUTS[dtype][1]
        return sign | 0x7F800000 | (bits & ((1 << fraction_width) - 1)) << (23 - fraction_width)
    magnitude = abs(exact(bits, dtype))
    exponent = max(magnitude.bit_length() - 23, 0)
    if exponent == 0:
        return sign | magnitude
    return sign | exponent << 23 | (magnitude >> (exponent - 1) & 0x7FFFFF)


@functools.cache
def narrow(bits: int, dtype: int) -> int:
    """The finite 16-bit float nearest to a finite float32, on a tie the even one; same sign."""
    exponent_width, fraction_width = LAYOUTS[dtype]
    largest = (((1 << exponent_width) - 1) << fraction_width) - 1
    magnitude = abs(exact(bits))
    below, above = 0, largest + 1  # without a sign, floats ascend like their bits
    while above - below > 1:
        middle = (below + above) // 2
        if exact(middle, dtype) <= magnitude:
            below = middle
        else:
            above = middle
    candidates = range(below, min(below + 1, largest) + 1)
    closest = min(candidates, key=lambda half: (abs(exact(half, dtype) - magnitude), half & 1))
    return is_negative(bits) << 15 | closest


def key(bits: int) -> int:
    """The ordered integer key of a float32: signed, and ascending with the value."""
    flipped = bits ^ (0x7FFFFFFF if bits >> 31 else 0)
    return flipped - 2**32 if flipped >> 31 else flipped


def bits_of_key(value: int) -> int:
    raw = value & 0xFFFFFFFF
    return raw ^ (0x7FFFFFFF if raw >> 31 else 0)


def key_of_int(value: int) -> int:
    return key(struct.unpack("<I", struct.pack("<f", value))[0])


# ------------------------------------------------------------------ codec


class Codec(NamedTuple):
    """What both ends agree on; centroids as float32 bits, one codebook per group of channels."""

    codebooks: tuple[tuple[int, ...], ...]
    dtype: int
    shape: tuple[int, ...]
    axis: int | None = None  # counts the channels; several codebooks need it
    model: bytes = b""  # of a coder, where there is one
    slice_of: tuple[int, int] | None = None  # first channel, channels of the whole feature

    @property
    def bits(self) -> int:
        return len(self.codebooks[0]).bit_length() - 1

    @property
    def description(self) -> bytes:
        assert self.axis is not None or len(self.codebooks) == 1
        axis_byte = 0 if self.axis is None else self.axis + 1
        if self.model:
            axis_byte |= HAS_MODEL
        if self.slice_of:
            axis_byte |= IS_SLICE
        numbers = [*self.shape, *([] if self.axis is None else [len(self.codebooks)])]
        numbers += self.slice_of or ()
        numbers += itertools.chain(*self.codebooks)
        if self.model:
            numbers.append(len(self.model))
        head = struct.pack("<4B", self.bits, self.dtype, len(self.shape), axis_byte)
        return head + struct.pack(f"<{len(numbers)}I", *numbers) + self.model

    @property
    def id(self) -> int:
        return id_of(self.description, bool(self.model))

    @property
    def elements(self) -> int:
        return elements_of(self.shape)


def id_of(description: bytes, has_model: bool) -> int:
    """Without the model's checksum: a CRC of bytes and their own CRC does not tell the bytes."""
    return crc32c(description[:-4] if has_model else description)


def elements_of(shape: Sequence[int]) -> int:
    """Number of elements; ValueError for a shape that no frame may have."""
    if len(shape) > MAX_RANK:
        raise ValueError("rank is above 8")
    product = 1
    for dim in shape:
        product *= max(dim, 1)  # a 0 does not excuse the other dimensions
    if product > MAX_ELEMENTS:
        raise ValueError("too many elements")
    return 0 if 0 in shape else product


def check_groups(groups: int, shape: Sequence[int], axis: int) -> None:
    """ValueError for an axis or codebooks that no codec of that shape may have."""
    if shape[axis] == 0 or shape[axis] % groups:
        raise ValueError("channels do not form equal groups")


def check_slice(first: int, whole: int, shape: Sequence[int], axis: int) -> None:
    """ValueError for a slice that no feature of that many channels has."""
    if shape[axis] >= whole or first + shape[axis] > whole:
        raise ValueError("a slice that is no part of the whole")
    elements_of([whole if at == axis else dim for at, dim in enumerate(shape)])


def check_centroids(centroids: Sequence[int]) -> None:
    if len(centroids) not in (2, 4, 8, 16, 32, 64, 128, 256):
        raise ValueError("not 2**bits centroids")
    if not all(map(is_finite, centroids)):
        raise ValueError("a centroid is not finite")
    if 0x80000000 in centroids:
        raise ValueError("a centroid is -0.0")
    values = [exact(bits) for bits in centroids]
    if any(low >= high for low, high in zip(values, values[1:])):
        raise ValueError("centroids do not ascend")


def groups_of(codec: Codec) -> Iterable[int]:
    """The group of each element's channel, in row-major order."""
    if len(codec.codebooks) == 1:
        return itertools.repeat(0)
    if codec.elements == 0:
        return ()
    axis = codec.axis
    assert axis is not None
    channels = codec.shape[axis] // len(codec.codebooks)
    return (at[axis] // channels for at in itertools.product(*map(range, codec.shape)))


def planes(shape: Sequence[int], axis: int | None) -> list[list[list[int]]]:
    """Channels, rows and columns as coders see them: [c][y][x] is the number of the element.

    Empty for a shape without elements, which no coder sees.
    """
    count = elements_of(shape)
    if count == 0:
        return []
    if axis is None and len(shape) >= 3:
        axis = 0
    others = [dim for at, dim in enumerate(shape) if at != axis]
    columns = others[-1] if others else 1
    channels: list[list[int]] = [[] for _ in range(1 if axis is None else shape[axis])]
    for element, at in enumerate(itertools.product(*map(range, shape))):
        channels[0 if axis is None else at[axis]].append(element)
    return [
        [elements[start : start + columns] for start in range(0, len(elements), columns)]
        for elements in channels
    ]


def channels_of(shape: Sequence[int], axis: int | None) -> int:
    if axis is None:
        return shape[0] if len(shape) >= 3 else 1
    return shape[axis]


# ------------------------------------------------------------------ quantiser


def nearest(centroids: Sequence[int], value: int) -> int:
    """What the quantiser means: the nearest centroid, the lower of two; `value` is exact."""
    distances = [abs(value - exact(bits)) for bits in centroids]
    return distances.index(min(distances))


def index_of(centroids: Sequence[int], dtype: int, element: int) -> int:
    if dtype not in LAYOUTS:
        return nearest(centroids, exact_of_int(element))
    if is_finite(element, dtype):
        return nearest(centroids, exact(element, dtype))
    return 0 if is_negative(element, dtype) else len(centroids) - 1


def quantize(codec: Codec, feature: Sequence[int]) -> list[int]:
    """Indices of a feature: the bits of floats, or integers."""
    return [
        index_of(codec.codebooks[group], codec.dtype, element)
        for element, group in zip(feature, groups_of(codec))
    ]


def threshold(low: int, high: int) -> int:
    """Key of the largest float32 not above the exact midpoint of two centroids."""
    twice = exact(low) + exact(high)
    below, above = key(low), key(high)  # below is not above the midpoint, above is
    while above - below > 1:
        middle = (below + above) // 2
        if 2 * exact(bits_of_key(middle)) <= twice:
            below = middle
        else:
            above = middle
    return 0 if below == -1 else below  # -0.0 counts as +0.0


def thresholds(centroids: Sequence[int]) -> list[int]:
    return [threshold(low, high) for low, high in zip(centroids, centroids[1:])]


def key_of(dtype: int, element: int) -> int:
    if dtype in (INT8, UINT8):
        return key_of_int(element)
    return key(element if dtype == FLOAT32 else widen(element, dtype))


def quantize_by_keys(codec: Codec, feature: Sequence[int]) -> list[int]:
    """How an implementation does it.  Gives the same indices as `quantize`."""
    tables = [thresholds(centroids) for centroids in codec.codebooks]
    keys = [key_of(codec.dtype, element) for element in feature]
    return [
        sum(limit < own for limit in tables[group]) for own, group in zip(keys, groups_of(codec))
    ]


def restored(centroids: Sequence[int], dtype: int) -> list[int]:
    """What the indices 0, 1, ... give: the bits of floats, or integers."""
    if dtype == FLOAT32:
        return list(centroids)
    if dtype in LAYOUTS:
        return [narrow(bits, dtype) for bits in centroids]
    low, high = (-128, 127) if dtype == INT8 else (0, 255)
    half, one = exact_of_int(1) // 2, exact_of_int(1)
    return [min(max((exact(bits) + half) // one, low), high) for bits in centroids]


def dequantize(codec: Codec, indices: Sequence[int]) -> list[int]:
    """Values of indices: the bits of floats, or integers."""
    tables = [restored(centroids, codec.dtype) for centroids in codec.codebooks]
    return [tables[group][index] for index, group in zip(indices, groups_of(codec))]


# ------------------------------------------------------------------ bit packing


def packed_size(elements: int, bits: int) -> int:
    return (elements * bits + 7) // 8


def pack(indices: Sequence[int], bits: int) -> bytes:
    whole = 0
    for i, index in enumerate(indices):
        whole |= index << (i * bits)
    return whole.to_bytes(packed_size(len(indices), bits), "little")


def unpack(packed: bytes, elements: int, bits: int) -> list[int]:
    if len(packed) != packed_size(elements, bits):
        raise CorruptFrameError("payload has the wrong length")
    whole = int.from_bytes(packed, "little")
    if whole >> (elements * bits):
        raise CorruptFrameError("an unused bit is set")
    return [whole >> (i * bits) & ((1 << bits) - 1) for i in range(elements)]


# ------------------------------------------------------------------ coder 1: LZMA


class _Probabilities:
    """All adaptive bits of LZMA with lc = lp = pb = 0, each starting at one half."""

    def __init__(self) -> None:
        def half(count: int) -> list[int]:
            return [1024] * count

        self.is_match = half(12)
        self.is_rep = half(12)
        self.is_rep0 = half(12)
        self.is_rep0_long = half(12)
        self.is_rep1 = half(12)
        self.is_rep2 = half(12)
        self.literal = half(0x300)
        # choice, choice2, low (tree of 3 bits), mid (3), high (8); for matches and for repeats
        self.length, self.rep_length = (
            [half(1), half(1), half(8), half(8), half(256)] for _ in range(2)
        )
        self.slot = [half(64) for _ in range(4)]
        self.special = [half(1 << (slot // 2 - 1)) if slot >= 4 else [] for slot in range(14)]
        self.align = half(16)


def _after_literal(state: int) -> int:
    return 0 if state < 4 else state - 3 if state < 10 else state - 6


class _Decoder:
    """A range decoder over `data`, whose first byte is skipped."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 5:
            raise CorruptFrameError("lzma payload ends early")
        self.data, self.at = data, 5
        self.code, self.range = int.from_bytes(data[1:5], "big"), 0xFFFFFFFF

    def _normalize(self) -> None:
        if self.range < 1 << 24:
            if self.at == len(self.data):
                raise CorruptFrameError("lzma payload ends early")
            self.range <<= 8
            self.code = self.code << 8 | self.data[self.at]
            self.at += 1

    def bit(self, probabilities: list[int], at: int) -> int:
        zero = probabilities[at]
        bound = (self.range >> 11) * zero
        bit = int(self.code >= bound)
        if bit:
            self.code -= bound
            self.range -= bound
            probabilities[at] = zero - (zero >> 5)
        else:
            self.range = bound
            probabilities[at] = zero + ((2048 - zero) >> 5)
        self._normalize()
        return bit

    def direct(self, count: int) -> int:
        value = 0
        for _ in range(count):
            self.range >>= 1
            bit = int(self.code >= self.range)
            self.code -= self.range * bit
            value = value << 1 | bit
            self._normalize()
        return value

    def tree(self, probabilities: list[int], count: int) -> int:
        node = 1
        for _ in range(count):
            node = node << 1 | self.bit(probabilities, node)
        return node - (1 << count)

    def reverse_tree(self, probabilities: list[int], count: int) -> int:
        node, value = 1, 0
        for i in range(count):
            bit = self.bit(probabilities, node)
            node = node << 1 | bit
            value |= bit << i
        return value

    def length(self, table: list[list[int]]) -> int:
        choice, choice2, low, mid, high = table
        if not self.bit(choice, 0):
            return 2 + self.tree(low, 3)
        if not self.bit(choice2, 0):
            return 10 + self.tree(mid, 3)
        return 18 + self.tree(high, 8)


def dictionary_size(packed_length: int) -> int:
    return min(max(packed_length, 4096), 1 << 20)


def decode_lzma(payload: bytes, size: int) -> bytes:
    """The `size` packed bytes of an lzma payload."""
    if not payload or len(payload) >= size:
        raise CorruptFrameError("an lzma payload is shorter than the packed indices")
    if payload[0] != 0xFF:
        raise CorruptFrameError("lzma properties are not lc = lp = pb = 0")
    p, coder, out = _Probabilities(), _Decoder(payload), bytearray()
    state, reps = 0, [0, 0, 0, 0]  # distances less one
    reach = dictionary_size(size)
    while len(out) < size:
        if not coder.bit(p.is_match, state):
            node = 1
            if state >= 7:  # after a match: the byte at rep0 guides until it differs
                guide = out[-reps[0] - 1]
                while node < 0x100:
                    expected = guide >> 7
                    guide = guide << 1 & 0xFF
                    bit = coder.bit(p.literal, ((1 + expected) << 8) + node)
                    node = node << 1 | bit
                    if bit != expected:
                        break
            while node < 0x100:
                node = node << 1 | coder.bit(p.literal, node)
            out.append(node & 0xFF)
            state = _after_literal(state)
            continue
        if not coder.bit(p.is_rep, state):
            length = coder.length(p.length)
            state = 7 if state < 7 else 10
            reps = [_distance(p, coder, length), *reps[:3]]
            if reps[0] == 0xFFFFFFFF:
                raise CorruptFrameError("lzma payload has an end marker")
        else:
            if not out:
                raise CorruptFrameError("lzma repeats before the first byte")
            if not coder.bit(p.is_rep0, state):
                if not coder.bit(p.is_rep0_long, state):
                    if reps[0] >= len(out):
                        raise CorruptFrameError("lzma distance reaches before the first byte")
                    out.append(out[-reps[0] - 1])
                    state = 9 if state < 7 else 11
                    continue
            else:
                which = 1
                if coder.bit(p.is_rep1, state):
                    which = 2 + coder.bit(p.is_rep2, state)
                reps.insert(0, reps.pop(which))
            length = coder.length(p.rep_length)
            state = 8 if state < 7 else 11
        if reps[0] >= len(out):
            raise CorruptFrameError("lzma distance reaches before the first byte")
        if reps[0] >= reach:  # other readers may accept it
            raise CorruptFrameError("lzma distance reaches beyond the dictionary")
        if length > size - len(out):
            raise CorruptFrameError("lzma payload gives too many bytes")
        for _ in range(length):
            out.append(out[-reps[0] - 1])
    if coder.at != len(payload) or coder.code != 0:
        raise CorruptFrameError("lzma payload does not end with the last byte")
    return bytes(out)


def _distance(p: _Probabilities, coder: _Decoder, length: int) -> int:
    slot = coder.tree(p.slot[min(length - 2, 3)], 6)
    if slot < 4:
        return slot
    count = slot // 2 - 1
    base = (2 | slot & 1) << count
    if slot < 14:
        return base + coder.reverse_tree(p.special[slot], count)
    return base + (coder.direct(count - 4) << 4) + coder.reverse_tree(p.align, 4)


class _Encoder:
    """A range encoder; the mirror of _Decoder."""

    def __init__(self) -> None:
        self.low, self.range, self.out = 0, 0xFFFFFFFF, bytearray(1)

    def _carry(self) -> None:
        if self.low >> 32:
            self.low &= 0xFFFFFFFF
            at = len(self.out) - 1
            while self.out[at] == 0xFF:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1

    def _shift(self) -> None:
        self.out.append(self.low >> 24)
        self.low = self.low << 8 & 0xFFFFFFFF

    def _normalize(self) -> None:
        self._carry()
        if self.range < 1 << 24:
            self.range <<= 8
            self._shift()

    def bit(self, probabilities: list[int], at: int, bit: int) -> None:
        zero = probabilities[at]
        bound = (self.range >> 11) * zero
        if bit:
            self.low += bound
            self.range -= bound
            probabilities[at] = zero - (zero >> 5)
        else:
            self.range = bound
            probabilities[at] = zero + ((2048 - zero) >> 5)
        self._normalize()

    def direct(self, value: int, count: int) -> None:
        for i in reversed(range(count)):
            self.range >>= 1
            self.low += self.range * (value >> i & 1)
            self._normalize()

    def tree(self, probabilities: list[int], value: int, count: int) -> None:
        node = 1
        for i in reversed(range(count)):
            bit = value >> i & 1
            self.bit(probabilities, node, bit)
            node = node << 1 | bit

    def reverse_tree(self, probabilities: list[int], value: int, count: int) -> None:
        node = 1
        for i in range(count):
            bit = value >> i & 1
            self.bit(probabilities, node, bit)
            node = node << 1 | bit

    def length(self, table: list[list[int]], length: int) -> None:
        choice, choice2, low, mid, high = table
        self.bit(choice, 0, int(length >= 10))
        if length < 10:
            self.tree(low, length - 2, 3)
            return
        self.bit(choice2, 0, int(length >= 18))
        if length < 18:
            self.tree(mid, length - 10, 3)
        else:
            self.tree(high, length - 18, 8)

    def finish(self) -> bytes:
        for _ in range(4):
            self._shift()
        self.out[0] = 0xFF
        return bytes(self.out)


class LzmaWriter:
    """Codes one operation at a time, whatever they are: also what no encoder should write."""

    def __init__(self) -> None:
        self._p, self._coder, self._state = _Probabilities(), _Encoder(), 0
        self.reps = [0, 0, 0, 0]
        self.out = bytearray()

    def literal(self, byte: int) -> None:
        p, state, node = self._p, self._state, 1
        self._coder.bit(p.is_match, state, 0)
        guide = self.out[-self.reps[0] - 1] if state >= 7 else -1
        for i in reversed(range(8)):
            bit = byte >> i & 1
            at = node
            if guide >= 0:
                expected = guide >> i & 1
                at += (1 + expected) << 8
                if bit != expected:
                    guide = -1
            self._coder.bit(p.literal, at, bit)
            node = node << 1 | bit
        self.out.append(byte)
        self._state = _after_literal(state)

    def match(self, distance: int, length: int) -> None:
        """A new distance, 1 or more; length 2 to 273."""
        p, coder, state = self._p, self._coder, self._state
        coder.bit(p.is_match, state, 1)
        coder.bit(p.is_rep, state, 0)
        coder.length(p.length, length)
        value = distance - 1
        slot = value if value < 4 else 2 * (value.bit_length() - 1) | _second_bit(value)
        coder.tree(p.slot[min(length - 2, 3)], slot, 6)
        if slot >= 4:
            count = slot // 2 - 1
            rest = value & ((1 << count) - 1)
            if slot < 14:
                coder.reverse_tree(p.special[slot], rest, count)
            else:
                coder.direct(rest >> 4, count - 4)
                coder.reverse_tree(p.align, rest & 15, 4)
        self.reps = [value, *self.reps[:3]]
        self._state = 7 if state < 7 else 10
        self._copy(length)

    def repeat(self, which: int, length: int) -> None:
        """One of the last four distances; length 2 to 273, or 1 with which = 0."""
        p, coder, state = self._p, self._coder, self._state
        coder.bit(p.is_match, state, 1)
        coder.bit(p.is_rep, state, 1)
        coder.bit(p.is_rep0, state, int(which > 0))
        if which == 0:
            coder.bit(p.is_rep0_long, state, int(length > 1))
        else:
            coder.bit(p.is_rep1, state, int(which > 1))
            if which > 1:
                coder.bit(p.is_rep2, state, which - 2)
        if length > 1:
            coder.length(p.rep_length, length)
        self.reps.insert(0, self.reps.pop(which))
        self._state = (8 if state < 7 else 11) if length > 1 else 9 if state < 7 else 11
        self._copy(length)

    def finish(self) -> bytes:
        return self._coder.finish()

    def _copy(self, length: int) -> None:
        for _ in range(length):
            at = len(self.out) - self.reps[0] - 1
            self.out.append(self.out[at] if at >= 0 else 0)


def _second_bit(value: int) -> int:
    return value >> (value.bit_length() - 2) & 1


def encode_lzma(packed: bytes) -> bytes:
    """A right and simple encoder: the longest match from each place, never a choice weighed."""
    writer, at, reach = LzmaWriter(), 0, dictionary_size(len(packed))
    while at < len(packed):
        limit = min(273, len(packed) - at)
        repeats = [_common(packed, at, rep + 1, limit) for rep in writer.reps]
        length, distance = 0, 0
        for candidate in range(1, min(at, reach) + 1):
            common = _common(packed, at, candidate, limit)
            if common > length:
                length, distance = common, candidate
        best = max(repeats)
        if best >= 2 and best + 1 >= length:
            writer.repeat(repeats.index(best), best)
        elif length >= 3:
            writer.match(distance, length)
        elif repeats[0] >= 1 and at > 0:
            writer.repeat(0, 1)
        else:
            writer.literal(packed[at])
        at = len(writer.out)
    return writer.finish()


def _common(data: bytes, at: int, distance: int, limit: int) -> int:
    if distance > at:
        return 0
    length = 0
    while length < limit and data[at + length] == data[at + length - distance]:
        length += 1
    return length


# ------------------------------------------------------------------ models, and coders 2 to 4


class Model(NamedTuple):
    """A coder's model without header and checksum."""

    coder: int
    bits: int
    channels: int
    body: bytes

    @property
    def whole(self) -> bytes:
        head = b"SPM\1" + struct.pack("<BBH", self.coder, self.bits, self.channels)
        return with_checksum(head + self.body)


class Reference(NamedTuple):
    """What a coder that sees channels, rows and columns brings.

    check_body(body, bits, channels) and decode(payload, bits, planes, body), which gives indices in
    the order of the planes; body is None without a model of this coder.  Both raise ValueError or
    CorruptFrameError.
    """

    check_body: Callable[[bytes, int, int], None]
    decode: Callable[[bytes, int, list[list[list[int]]], bytes | None], list[int]]


# By the coder's number.  A model of a coder that is not here has a body of any bytes.
REFERENCES: dict[int, Reference] = {
    RANGE: Reference(adaptive.check_body, adaptive.decode_indices),
    RANS: Reference(rans.check_body, rans.decode_indices),
    CONTEXT: Reference(context.check_body, context.decode),
}


def parse_model(data: bytes) -> Model:
    """The parts of a model; CorruptFrameError for what is none."""
    if len(data) < 12 or data[:4] != b"SPM\1":
        raise CorruptFrameError("neither a model's length nor its magic")
    if crc32c(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CorruptFrameError("a damaged model")
    model = Model(*struct.unpack_from("<BBH", data, 4), data[8:-4])
    if model.coder not in (RANGE, RANS, CONTEXT):
        raise CorruptFrameError("a model of a coder that takes none")
    if not 1 <= model.bits <= 8 or model.channels == 0:
        raise CorruptFrameError("a model's bits or channels")
    if model.coder in REFERENCES:
        try:
            REFERENCES[model.coder].check_body(model.body, model.bits, model.channels)
        except ValueError as error:
            raise CorruptFrameError(str(error)) from None
    return model


def check_model(codec: Codec) -> None:
    """CorruptFrameError for a model that no such codec may have."""
    model = parse_model(codec.model)
    if codec.elements == 0:
        raise CorruptFrameError("a model for no elements")
    if (model.bits, model.channels) != (codec.bits, channels_of(codec.shape, codec.axis)):
        raise CorruptFrameError("a model for other bits or channels")


def decode_planes(codec: Codec, coder: int, payload: bytes) -> list[int]:
    """Indices in the order of the elements, by one of REFERENCES."""
    if len(payload) >= packed_size(codec.elements, codec.bits):
        raise CorruptFrameError("a coded payload is shorter than the packed indices")
    model = parse_model(codec.model) if codec.model else None
    body = model.body if model and model.coder == coder else None
    seen = planes(codec.shape, codec.axis)
    indices = [0] * codec.elements
    order = itertools.chain.from_iterable(itertools.chain.from_iterable(seen))
    try:
        decoded = REFERENCES[coder].decode(payload, codec.bits, seen, body)
    except ValueError as error:
        raise CorruptFrameError(str(error)) from None
    for element, index in zip(order, decoded):
        indices[element] = index
    return indices


# ------------------------------------------------------------------ frames


def _crc_table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC_TABLE = tuple(_crc_table())


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def with_checksum(data: bytes) -> bytes:
    return data + struct.pack("<I", crc32c(data))


def build_compact(codec_id: int, coder: int, payload: bytes) -> bytes:
    return with_checksum(struct.pack("<BBI", 0xC0 | VERSION, coder, codec_id) + payload)


def build_self_describing(description: bytes, coder: int, payload: bytes) -> bytes:
    length = 8 + len(description) + 1 + len(payload) + 4
    head = b"SPC" + struct.pack("<BI", VERSION, length)
    return with_checksum(head + description + bytes([coder]) + payload)


def build(codec: Codec, coder: int, payload: bytes, self_describing: bool = False) -> bytes:
    if self_describing:
        return build_self_describing(codec.description, coder, payload)
    return build_compact(codec.id, coder, payload)


def encode_pack(codec: Codec, feature: Sequence[int], self_describing: bool = False) -> bytes:
    """The frame of a feature under coder 0: the only right bytes."""
    return build(codec, PACK, pack(quantize(codec, feature), codec.bits), self_describing)


def encode(codec: Codec, feature: Sequence[int], self_describing: bool = False) -> bytes:
    """A frame of a feature under coder 1: one of many right ones."""
    packed = pack(quantize(codec, feature), codec.bits)
    payload = encode_lzma(packed)
    if not packed or len(payload) >= len(packed):
        return build(codec, PACK, packed, self_describing)
    return build(codec, LZMA, payload, self_describing)


def encode_context(codec: Codec, feature: Sequence[int], self_describing: bool = False) -> bytes:
    """The frame of a feature under coder 4: the only right bytes."""
    indices = quantize(codec, feature)
    packed, body = pack(indices, codec.bits), parse_model(codec.model).body
    seen = planes(codec.shape, codec.axis)
    order = itertools.chain.from_iterable(itertools.chain.from_iterable(seen))
    symbols = [indices[element] for element in order]
    payload, whole_length = context.encode(symbols, codec.bits, seen, body)
    fits = whole_length < len(packed)
    each = iter(symbols)
    values = [[[next(each) for _ in row] for row in plane] for plane in seen]
    rival = adaptive.encode(values, codec.bits, None, len(payload) if fits else len(packed))
    if rival is not None:
        return build(codec, RANGE, rival, self_describing)
    return build(codec, *((CONTEXT, payload) if fits else (PACK, packed)), self_describing)


class Decoded(NamedTuple):
    codec: Codec
    coder: int
    indices: list[int]
    feature: list[int]  # the bits of floats, or integers


def decode(frame: bytes, codec: Codec | None = None, max_elements: int = MAX_ELEMENTS) -> Decoded:
    """The feature of one frame.  Without a codec the frame has to bring its own.

    The checks are in the order of docs/format.md, which decides what a frame with several faults
    is refused for.
    """
    frame = bytes(frame)
    codec_id, described, coder, payload = _parse(frame)
    if codec is None:
        if described is None:
            raise FrameError("a compact frame can only be read with its codec")
        if described.elements > max_elements:
            raise FrameLimitError("more elements than the caller allows")
        try:
            for centroids in described.codebooks:
                check_centroids(centroids)
        except ValueError as error:
            raise CorruptFrameError(str(error)) from None
        if described.model:
            check_model(described)
        codec = described
    elif codec_id != codec.id:
        raise CodecMismatchError("another codec made the frame")
    if coder not in (PACK, LZMA, *REFERENCES):
        raise CoderUnavailableError(f"coder {coder}")
    if coder in REFERENCES:
        indices = decode_planes(codec, coder, payload)
    else:
        size = packed_size(codec.elements, codec.bits)
        packed = decode_lzma(payload, size) if coder == LZMA else payload
        indices = unpack(packed, codec.elements, codec.bits)
    return Decoded(codec, coder, indices, dequantize(codec, indices))


def _parse(frame: bytes) -> tuple[int, Codec | None, int, bytes]:
    """Codec id, codec if the frame brings it (centroids and model unchecked), coder, payload."""
    if not frame:
        raise TruncatedFrameError("no bytes")
    compact = frame[0] >> 4 == 0xC
    if compact:
        if frame[0] & 0xF != VERSION:
            raise FrameVersionError(f"version {frame[0] & 0xF}")
    else:
        if frame[:3] != b"SPC"[: len(frame)]:
            raise NotAFrameError("neither magic")
        if len(frame) < 4:
            raise TruncatedFrameError("ends in the magic")
        if frame[3] != VERSION:
            raise FrameVersionError(f"version {frame[3]}")
    if len(frame) < (10 if compact else 16):
        raise TruncatedFrameError("shorter than any frame")
    if not compact and struct.unpack_from("<I", frame, 4)[0] != len(frame):
        raise TruncatedFrameError("not as long as it says")
    body, checksum = frame[:-4], struct.unpack("<I", frame[-4:])[0]
    if crc32c(body) != checksum:
        raise ChecksumError("damaged")
    if compact:
        _, coder, codec_id = struct.unpack_from("<BBI", body)
        return codec_id, None, coder, body[6:]
    bits, dtype, rank, axis_byte = struct.unpack_from("<4B", body, 8)
    has_model, is_slice = axis_byte & HAS_MODEL, axis_byte & IS_SLICE
    axis_byte &= ~(HAS_MODEL | IS_SLICE)
    if not 1 <= bits <= 8 or dtype not in DTYPES.values() or rank > MAX_RANK or axis_byte > rank:
        raise CorruptFrameError("bits, dtype, rank or axis")
    if is_slice and not axis_byte:
        raise CorruptFrameError("a slice without an axis")
    groups, head = 1, 4 + 4 * rank
    slice_of = None
    if axis_byte:
        if len(body) < 8 + head + (12 if is_slice else 4):
            raise CorruptFrameError("the number of codebooks, or the slice, lies beyond the frame")
        groups = struct.unpack_from("<I", body, 8 + head)[0]
        if not 1 <= groups <= MAX_GROUPS:
            raise CorruptFrameError("no codebooks, or too many")
        head += 4
    if is_slice:
        slice_of = struct.unpack_from("<2I", body, 8 + head)
        head += 8
    size = head + 4 * groups * 2**bits
    model_at = 8 + size + 4
    if has_model:
        if len(body) < model_at:
            raise CorruptFrameError("the length of the model lies beyond the frame")
        model_length = struct.unpack_from("<I", body, model_at - 4)[0]
        if not 12 <= model_length <= len(body) - model_at:
            raise CorruptFrameError("no model, or one that reaches beyond the frame")
        size += 4 + model_length
    if len(body) < 8 + size + 1:
        raise CorruptFrameError("the description reaches beyond the frame")
    description, coder, payload = body[8 : 8 + size], body[8 + size], body[8 + size + 1 :]
    shape = struct.unpack_from(f"<{rank}I", description, 4)
    codebooks = tuple(
        struct.unpack_from(f"<{2**bits}I", description, head + 4 * group * 2**bits)
        for group in range(groups)
    )
    axis = axis_byte - 1 if axis_byte else None
    model = body[model_at : 8 + size] if has_model else b""
    try:
        elements_of(shape)
        if axis is not None:
            check_groups(groups, shape, axis)
        if axis is not None and slice_of is not None:
            check_slice(*slice_of, shape, axis)
    except ValueError as error:
        raise CorruptFrameError(str(error)) from None
    codec = Codec(codebooks, dtype, shape, axis, model, slice_of)
    return id_of(description, bool(has_model)), codec, coder, payload
