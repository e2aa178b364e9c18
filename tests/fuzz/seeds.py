"""Write the golden vectors as inputs of the fuzz targets: seeds.py FOLDER makes FOLDER/TARGET/*."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
FRAME_FILES = ("pack", "narrow-frames", "shapes", "channels", "lzma")
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
    layout = bytes([entry.get("axis", 0) | min(groups - 1, 63) << 2])
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
    """Compact frames of the codecs that frame.c has."""
    for which, packed_len in enumerate((32, 25, 113, 1)):
        frame = bytes([0xC1, 0, 0, 0, 0, 0]) + bytes(packed_len) + bytes(4)
        yield "frame", bytes([6 | which << 6]) + frame
        stream = bytes.fromhex("ff006dd4470000")  # zeros, of docs/format.md
        yield "frame", bytes([6 | which << 6, 0xC1, 1, 0, 0, 0, 0]) + stream + bytes(4)


def main() -> None:
    folder = Path(sys.argv[1])
    for number, (target, seed) in enumerate([*from_frames(), *from_bad(), *for_known_codecs()]):
        if len(seed) <= MOST_BYTES:
            (folder / target).mkdir(parents=True, exist_ok=True)
            (folder / target / f"seed-{number:04}").write_bytes(seed)


if __name__ == "__main__":
    main()
