"""Write inputs that the fuzz targets start from: seeds.py FOLDER makes FOLDER/TARGET/*.

They are the golden vectors, and payloads of small models.  Those need the package installed, and
are left out without it.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
FRAME_FILES = ("pack", "narrow-frames", "shapes", "channels", "slices", "lzma")
DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}
CODERS = ("pack", "lzma")
MOST_ELEMENTS = 512  # FUZZ_MOST_ELEMENTS
MOST_BYTES = 2048  # of one seed: longer ones only slow the fuzzer down

Seed = tuple[str, bytes]


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return entries


def frames() -> Iterator[dict[str, Any]]:
    """Every golden frame, with what it has from the entry that it is like."""
    entries = [entry for name in FRAME_FILES for entry in load(name)]
    by_name = {entry["name"]: entry for entry in entries}
    for entry in entries:
        yield {**by_name.get(entry.get("like", ""), {}), **entry}


def shape_bytes(shape: list[int]) -> bytes | None:
    """What fuzz_shape reads as this shape, if it can."""
    found = [len(shape)]
    product = 1
    for dim in shape:
        product *= max(dim, 1)
        if dim >= 128 and dim % 4:
            return None
        found.append(dim if dim < 128 else 127 + dim // 4)
    return bytes(found) if len(shape) <= 4 and product <= MOST_ELEMENTS else None


WIDTHS = {
    book["name"]: (len(book["centroids"]) // 8).bit_length() - 1 for book in load("codebooks")
}


def bits_of(entry: dict[str, Any]) -> int:
    return WIDTHS[entry["codebook"] if "codebook" in entry else entry["codebooks"][0]]


def from_frames() -> Iterator[Seed]:
    for number, entry in enumerate(frames()):
        for kind in ("compact", "self_describing"):
            if kind in entry:
                yield "frame", bytes([number % 4 << 4]) + bytes.fromhex(entry[kind])
        shape = shape_bytes(entry["shape"])
        if shape is not None and "compact" in entry:
            yield from for_decoders(number, entry, shape, bytes.fromhex(entry["compact"]))
            yield "round_trip", round_trip(number, entry, shape)


def for_decoders(number: int, entry: dict[str, Any], shape: bytes, frame: bytes) -> Iterator[Seed]:
    """The payload of a compact frame, and the indices if they are known."""
    if len(frame) < 10 or frame[0] != 0xC1 or frame[1] >= len(CODERS):
        return
    target = f"decode_{CODERS[frame[1]]}"
    head = bits_of(entry) - 1 | number % 4 << 4
    yield target, bytes([head]) + shape + frame[6:-4]
    if "indices" in entry:
        damage = bytes([number % 256, number % 3])
        yield target, bytes([head | 8]) + shape + damage + bytes.fromhex(entry["indices"])


def round_trip(number: int, entry: dict[str, Any], shape: bytes) -> bytes:
    """The feature with other codebooks: those of the vectors do not fit into a few bytes."""
    bits, coder = bits_of(entry), bytes.fromhex(entry["compact"])[1]
    dtype = entry["dtype"]
    size = DTYPES[dtype]
    feature = bytes.fromhex(entry["feature"])
    elements = [feature[at : at + size][::-1] for at in range(0, len(feature), size)]
    head = bytes([bits - 1 | (number & 1) << 3 | number % 16 << 4])
    choice = bytes([list(DTYPES).index(dtype) | coder << 3 | (number % 4 == 0) << 7])
    groups = len(entry["codebooks"]) if "codebooks" in entry else 1
    layout = bytes([entry.get("axis", -1) + 1 | min(groups - 1, 31) << 3, number % 3])
    first, spacing = (number << 24) % 2**32, 0x3F800000 >> bits
    codebook = first.to_bytes(4, "little") + spacing.to_bytes(4, "little")
    return head + choice + shape + layout + codebook + b"".join(elements)


def from_bad() -> Iterator[Seed]:
    """Bytes that readers refuse, also with length and checksum put right, and payloads alone."""
    for number, entry in enumerate(load("bad")):
        frame = bytes.fromhex(entry["frame"])
        for help_given in (0, 3, 7):
            yield "frame", bytes([help_given]) + frame
        shape = shape_bytes(entry["shape"])
        if shape is not None:
            yield from for_decoders(number, entry, shape, frame)


def for_known_codecs() -> Iterator[Seed]:
    """Compact frames of the codecs that frame.c has.  Some of them have a model of coder 4."""
    for which, packed_len in enumerate((32, 25, 113, 12)):
        frame = bytes([0xC1, 0, 0, 0, 0, 0]) + bytes(packed_len) + bytes(4)
        yield "frame", bytes([6 | which << 6]) + frame
        stream = bytes.fromhex("ff006dd4470000")  # zeros, of docs/format.md
        yield "frame", bytes([6 | which << 6, 0xC1, 1, 0, 0, 0, 0]) + stream + bytes(4)
        yield "frame", bytes([6 | which << 6, 0xC1, CONTEXT, 0, 0, 0, 0, 0x55]) + bytes(4)
        one_state = bytes([0, 0, 1, 0])
        yield "frame", bytes([6 | which << 6, 0xC1, RANS, 0, 0, 0, 0]) + one_state + bytes(4)


# ---------------------------------------------------------------- coders with models

RANGE, RANS, CONTEXT = 2, 3, 4
TARGETS = {RANGE: "decode_range", RANS: "decode_rans", CONTEXT: "decode_context"}


def small(rng: random.Random, most: int, size: int) -> bytes:
    """A number near 0."""
    return rng.randint(-most, most).to_bytes(size, "little", signed=True)


def context_channel(rng: random.Random, bits: int, channel: int, taps: int, units: int) -> bytes:
    """What a model of coder 4 says of a channel."""
    nodes, lefts = (1 << min(bits, 4)) - 1, 1 << 2 * min(bits, 2)
    body = bytes([taps, units, rng.randint(0, units), rng.randint(6, 12)])
    for _ in range(taps):
        back = rng.randint(0, min(channel, 255))
        body += bytes([back, rng.randrange(25 if back else 10) | rng.randrange(2) << 7])
    body += b"".join(small(rng, 90 if taps <= 20 else 7, 1) for _ in range(taps * units))
    body += b"".join(small(rng, 3000, 2) for _ in range(units))
    body += b"".join(small(rng, 900, 2) for _ in range(nodes * units))
    return body + b"".join(small(rng, 12, 1) for _ in range(nodes * lefts))


def planes_bytes(shape: list[int], axis: int | None, has_model: bool = True) -> bytes:
    """What the decoders' read_planes reads as these symbols."""
    where = 3 if len(shape) == 2 else 0 if axis is None else 3 - axis
    channels = 1 if len(shape) == 2 else shape[axis or 0]
    rows, columns = (size for at, size in enumerate(shape) if len(shape) == 2 or at != (axis or 0))
    layout = where | channels - 1 << 2 | (0 if has_model else 32) | (64 if prod(shape) > 64 else 0)
    return bytes([layout, rows - 1, columns - 1])


def smooth(rng: random.Random, bits: int, n: int) -> bytes:
    """Indices like their neighbours, so that they can be coded."""
    top, at, found = (1 << bits) - 1, 0, []
    for _ in range(n):
        if rng.random() < 0.12:
            at = min(max(at + rng.choice((-1, 1, top)), 0), top)
        found.append(at)
    return bytes(found)


def rans_channel(rng: random.Random, bits: int) -> bytes:
    """What a model of coder 3 says of a channel: the first values are the most frequent."""
    classes, width = (16, 16, 64, 16, 32, 32, 32, 32)[bits - 1], max(bits - 5, 0)
    left, body = 4096, b""
    for behind in range(classes - 1, -1, -1):
        frequency = min(max(left // 3 - rng.randrange(9), 1), left - behind) if behind else left
        left -= frequency
        body += (frequency | width << 12).to_bytes(2, "little")
    return body


def range_channel(rng: random.Random, bits: int, channel: int, questions: int) -> bytes:
    """What a model of coder 2 says of a channel: 0 is the most probable bit."""
    body = bytes([questions])
    for _ in range(questions):
        where = bytes([rng.randint(0, channel), 0xFF, rng.choice((0, 1, 0xFF))])
        body += where + bytes([rng.randint(1, (1 << bits) - 1)])
    return body + bytes(rng.randint(130, 220) for _ in range(((1 << bits) - 1) << questions))


# shape, axis, taps, units.  The last ones are the most that a channel may have.
PLANES: list[tuple[list[int], int | None, int, int]] = [
    ([2, 2, 5], None, 2, 1),
    ([4, 5, 3], 2, 3, 2),
    ([3, 2, 9], 1, 4, 3),
    ([6, 7], None, 3, 2),
    ([1, 35], None, 5, 3),
    ([3, 2], None, 20, 9),
    ([1, 1, 50], None, 1, 2),
    ([2, 3, 5], None, 0, 1),
    ([2, 3], None, 255, 1),
    ([2, 3], None, 30, 16),
    ([2, 12, 60], None, 0, 1),
]


def for_models() -> Iterator[Seed]:
    """Models, each with a payload and with indices to make one from."""
    rng = random.Random(4)
    for number, (shape, axis, taps, units) in enumerate(PLANES):
        channels = 1 if len(shape) == 2 else shape[axis or 0]
        for bits in (1 + number % 8, 1 + (number + 3) % 8):
            context = b"".join(
                context_channel(rng, bits, channel, taps if channel == channels - 1 else 1, units)
                for channel in range(channels)
            )
            rans = b"".join(rans_channel(rng, bits) for _ in range(channels))
            adaptive = bytes([4 + number % 3]) + b"".join(
                range_channel(rng, bits, channel, min(taps, 2)) for channel in range(channels)
            )
            indices = smooth(rng, bits, prod(shape))
            if len(indices) <= 64:
                yield from of_model(number, CONTEXT, shape, axis, bits, context, indices)
            if len(adaptive) <= 2047:
                yield from of_model(number, RANGE, shape, axis, bits, adaptive, indices)
            yield from of_model(number, RANS, shape, axis, bits, rans, indices)
    for target in TARGETS.values():
        for kind in (0, 8):
            planes = planes_bytes([6, 9], None, has_model=False)
            yield target, bytes([kind | 2]) + planes + bytes(2) + smooth(rng, 2, 54)


def of_model(
    number: int,
    coder: int,
    shape: list[int],
    axis: int | None,
    bits: int,
    body: bytes,
    indices: bytes,
) -> Iterator[Seed]:
    channels = 1 if len(shape) == 2 else shape[axis or 0]
    # the length with and without the bit that has the body mended
    said = (len(body) | (0x8000 if number % 4 else 0)).to_bytes(2, "little")
    start = planes_bytes(shape, axis) + said + body
    head = bits - 1 | number % 4 << 4 | (number // 4 + 1) % 4 << 6
    damage = bytes([number, number % 3])
    yield TARGETS[coder], bytes([head | 8]) + start + damage + indices
    try:
        import numpy as np

        from pysplitcodec.native import core
    except ImportError:
        return
    if not core.coder_available(coder):
        return
    model = b"SPM\1" + bytes([coder, bits]) + channels.to_bytes(2, "little") + body
    model += core.crc32c(model).to_bytes(4, "little")
    payload, used = core.coder_encode(
        coder,
        shape,
        bits,
        np.frombuffer(indices, np.uint8),
        -1 if axis is None else axis,
        core.Model(model),
    )
    if used == coder:
        yield TARGETS[coder], bytes([head]) + start + payload
        frame = model_frame(coder, shape, axis, bits, model, payload)
        yield "frame", bytes([3 | number % 4 << 4]) + frame + bytes(4)


def model_frame(
    coder: int, shape: list[int], axis: int | None, bits: int, model: bytes, payload: bytes
) -> bytes:
    """A self-describing frame of a codec with the model and one codebook, without its checksum."""
    head = bytes([bits, 0, len(shape), (0 if axis is None else axis + 1) | 0x80])
    dims = b"".join(size.to_bytes(4, "little") for size in shape)
    groups = b"" if axis is None else (1).to_bytes(4, "little")
    centroids = b"".join(struct.pack("<f", level) for level in range(1 << bits))
    description = head + dims + groups + centroids + len(model).to_bytes(4, "little") + model
    return b"SPC\1" + bytes(4) + description + bytes([coder]) + payload


def prod(shape: list[int]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n


def main() -> None:
    folder = Path(sys.argv[1])
    for number, (target, seed) in enumerate(
        [*from_frames(), *from_bad(), *for_known_codecs(), *for_models()]
    ):
        if len(seed) <= MOST_BYTES or target in TARGETS.values():
            (folder / target).mkdir(parents=True, exist_ok=True)
            (folder / target / f"seed-{number:04}").write_bytes(seed)


if __name__ == "__main__":
    main()
