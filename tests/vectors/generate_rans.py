"""Golden vectors of coder 3 of wire format version 1, from tests/reference/rans.py alone.

    python tests/vectors/generate_rans.py            compare rans.json with what the reference gives
    python tests/vectors/generate_rans.py --write    write it

A released vector is never rewritten: a difference means that the reference or this script is wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reference"))

import rans  # noqa: E402
import reference as ref  # noqa: E402

RANS = 3


def frequencies(rng: random.Random, count: int, skew: int) -> list[int]:
    """Some that add up to 4096; with more skew the first one has more of it."""
    cuts = sorted(rng.sample(range(1, rans.TOTAL - skew), count - 1))
    steps = [high - low for low, high in zip([0, *cuts], [*cuts, rans.TOTAL - skew])]
    return [steps[0] + skew, *steps[1:]]


def widths(rng: random.Random, bits: int) -> list[int]:
    """Of classes, such that each value has one."""
    found = [0] * rans.class_count(bits)
    values = 1 << bits * rans.group_of(bits)
    while (missing := values - sum(1 << width for width in found)) > 0:
        fits = [i for i, width in enumerate(found) if width < 4 and 1 << width <= missing]
        found[rng.choice(fits)] += 1
    return found


def model_of(bits: int, channels: int, body: bytes) -> bytes:
    head = b"SPM\1" + bytes([RANS, bits]) + channels.to_bytes(2, "little")
    return ref.with_checksum(head + body)


def body_of(rng: random.Random, bits: int, channels: int, skew: int) -> bytes:
    body = b""
    for _ in range(channels):
        of_channel = zip(frequencies(rng, rans.class_count(bits), skew), widths(rng, bits))
        body += b"".join((f + rans.TOTAL * w).to_bytes(2, "little") for f, w in of_channel)
    return body


def likely_planes(
    rng: random.Random, bits: int, channels: int, length: int, body: bytes
) -> list[list[int]]:
    """Indices that occur as often as the model says."""
    planes = []
    for classes in rans.parse_body(body, bits, channels):
        values = []
        for _ in range(-(-length // rans.group_of(bits))):
            slot = rng.randrange(rans.TOTAL)
            of = next(one for one in reversed(classes) if one.start <= slot)
            values.append(of.first + rng.randrange(1 << of.width))
        places = range(rans.group_of(bits))
        plane = [value >> bits * place & ((1 << bits) - 1) for value in values for place in places]
        planes.append(plane[:length])
    return planes


def in_shape_order(planes: Sequence[Sequence[int]], outer: int) -> list[int]:
    """From channel by channel to [outer, channels, inner]."""
    inner = len(planes[0]) // outer
    return [index for o in range(outer) for plane in planes for index in plane[o * inner :][:inner]]


CASES: list[tuple[str, tuple[int, ...], int | None, int, int]] = [
    # name, shape, axis, bits, skew
    *((f"bits-{bits}", (2, 7, 9), None, bits, 2000) for bits in range(1, 9)),
    ("lanes-1", (3, 37, 37), 0, 1, 3000),
    ("lanes-3", (3, 23, 31), 0, 3, 3000),
    ("lanes-7", (3, 19, 19), 0, 7, 3000),
    ("lanes-just", (2, 32, 32), 0, 2, 3500),
    ("lanes-not-quite", (3, 11, 31), 0, 4, 3800),
    ("channels-last", (9, 7, 3), 2, 2, 2500),
    ("channels-between", (2, 3, 31), 1, 1, 3000),
    ("channels-none", (11, 13), None, 3, 2500),
    ("certain", (1, 50, 20), 0, 2, 4096 - 17),
    ("too-short", (3, 5), 0, 2, 2500),
]


def good_entries() -> Iterator[dict[str, Any]]:
    for name, shape, axis, bits, skew in CASES:
        rng = random.Random(name)
        elements = ref.elements_of(shape)
        seen = 0 if axis is None and len(shape) >= 3 else axis
        channels = 1 if seen is None else shape[seen]
        outer = 1 if seen is None else ref.elements_of(shape[:seen])
        body = body_of(rng, bits, channels, skew)
        planes = likely_planes(rng, bits, channels, elements // channels, body)
        payload = rans.encode(planes, bits, body)
        if len(payload) < ref.packed_size(elements, bits):
            assert rans.decode(payload, channels, elements // channels, bits, body) == planes
        else:
            payload = b""  # the packed bytes take its place
        yield {
            "name": name,
            "shape": list(shape),
            "axis": axis,
            "bits": bits,
            "model": model_of(bits, channels, body).hex(),
            "indices": ref.pack(in_shape_order(planes, outer), bits).hex(),
            "payload": payload.hex(),
        }


def bad_payloads() -> Iterator[tuple[str, str, bytes]]:
    """Of `bits-1`: 63 indices in each of 2 channels, one lane."""
    entry = next(entry for entry in good_entries() if entry["name"] == "bits-1")
    body, payload = bytes.fromhex(entry["model"])[8:-4], bytes.fromhex(entry["payload"])
    yield "empty", "no states", b""
    yield "half-a-state", "the state is cut", payload[:2]
    yield "odd", "half a word", payload + b"\0"
    yield "state-too-low", "the state is below 65,536", b"\xff\xff\0\0" + payload[4:]
    yield "word-missing", "the last word is missing", payload[:-2]
    yield "words-missing", "all words are missing", payload[:4]
    yield "word-left", "a word is left", payload[:4] + b"\0\0" + payload[4:]
    yield "end-state", "the state does not end as 65,536", payload[:4] + b"\1\0" + payload[6:]
    yield "packed-length", "as long as the packed bytes", payload[:4] + bytes(12)
    # A plane of 64 indices has the groups of one of 63, and an index in the place of none.
    indices = ref.unpack(bytes.fromhex(entry["indices"]), 126, 1)
    planes = [[*indices[at : at + 63], 0] for at in (0, 63)]
    assert rans.encode(planes, 1, body) == payload
    planes[1][63] = 1
    yield "behind-the-end", "an index behind the end of a channel", rans.encode(planes, 1, body)


def bad_models() -> Iterator[tuple[str, str, bytes]]:
    def table(*words: tuple[int, int]) -> bytes:
        return b"".join((f + rans.TOTAL * w).to_bytes(2, "little") for f, w in words)

    plain = [(256, 0)] * 16
    yield "model-short", "a class is missing", model_of(2, 1, table(*plain[1:]))
    yield "model-long", "a class too many", model_of(2, 1, table(*plain, (1, 0)))
    yield "model-channels", "two channels, one table", model_of(2, 2, table(*plain))
    yield "model-above", "the sum is 4097", model_of(2, 1, table((257, 0), *plain[1:]))
    yield "model-below", "the sum is 4095", model_of(2, 1, table((255, 0), *plain[1:]))
    yield "model-zero", "a frequency of 0", model_of(2, 1, table((0, 0), (512, 0), *plain[2:]))
    yield "model-values", "17 values", model_of(2, 1, table((256, 1), *plain[1:]))
    wide = [(128, 1)] * 32
    yield "model-width", "32 values in a class", model_of(7, 1, table((128, 5), *wide[1:]))
    yield "model-uncovered", "127 of 128 values", model_of(7, 1, table((128, 1), *wide[1:31]))
    yield "model-narrow", "63 values", model_of(6, 1, table((128, 0), *wide[1:]))


def entries() -> list[dict[str, Any]]:
    good = list(good_entries())
    like = next(entry for entry in good if entry["name"] == "bits-1")
    bad = [
        {"name": name, "why": why, "like": "bits-1", "payload": payload.hex()}
        for name, why, payload in bad_payloads()
    ]
    models = [{"name": name, "why": why, "model": data.hex()} for name, why, data in bad_models()]
    for entry in bad:
        body = bytes.fromhex(like["model"])[8:-4]
        try:
            rans.decode(bytes.fromhex(entry["payload"]), 2, 63, 1, body)
        except rans.PayloadError:
            continue
        raise AssertionError(entry["name"])
    for model in models:
        data = bytes.fromhex(model["model"])
        try:
            rans.parse_body(data[8:-4], data[5], data[6])
        except rans.ModelError:
            continue
        raise AssertionError(model["name"])
    return [*good, *bad, *models]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries()) + "\n]\n"
    path = HERE / "rans.json"
    if arguments.write:
        path.write_text(text)
        return 0
    if not path.exists() or path.read_text() != text:
        print("rans.json differs from what the reference gives", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
