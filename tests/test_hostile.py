"""Damaged bytes: every truncation and every flipped bit of golden frames, and of payloads alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import context
import numpy as np
import pytest
import reference as ref

import pysplitcodec as sc
from pysplitcodec.errors import CorruptFrameError, FrameError
from pysplitcodec.model import framed, load_model
from pysplitcodec.native import core

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"

FRAME_FILES = ("pack", "narrow-frames", "shapes", "channels", "slices", "lzma", "context")
MOST_BYTES = (
    400  # of a frame or payload: longer ones take their time and hold no other kind of byte
)
MOST_ELEMENTS = 4096


def _load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    return entries


def _frames() -> Iterator[dict[str, Any]]:
    entries = [entry for name in FRAME_FILES for entry in _load(name)]
    by_name = {entry["name"]: entry for entry in entries}
    for entry in entries:
        yield {**by_name.get(entry.get("like", ""), {}), **entry}


FRAMES = {entry["name"]: entry for entry in _frames()}
CENTROIDS = {
    entry["name"]: np.frombuffer(bytes.fromhex(entry["centroids"]), ">f4").astype(np.float32)
    for entry in _load("codebooks")
}


def _chosen(most: int) -> list[tuple[str, str]]:
    """Frames of all files, evenly, of both kinds."""
    small: list[tuple[str, str]] = [
        (name, kind)
        for kind in ("compact", "self_describing")
        for name, entry in FRAMES.items()
        if kind in entry and len(entry[kind]) // 2 <= MOST_BYTES
    ]
    return small[:: -(-len(small) // most)]


def _codebooks(entry: dict[str, Any]) -> list[sc.Codebook]:
    names = entry["codebooks"] if "codebooks" in entry else [entry["codebook"]]
    return [sc.Codebook(CENTROIDS[name]) for name in names]


def _reader(name: str, kind: str) -> Callable[[bytes], Any]:
    """Give what reads the frame: its codec, or nothing but the frame."""
    if kind == "self_describing":
        return sc.decode
    entry = FRAMES[name]
    codec = sc.Codec(
        _codebooks(entry),
        shape=entry["shape"],
        dtype=entry["dtype"],
        channel_axis=entry.get("axis"),
        model=load_model(bytes.fromhex(entry["model"])) if "model" in entry else None,
        slice_of=tuple(entry["slice_of"]) if "slice_of" in entry else None,
    )
    return codec.decode


def _truncated(data: bytes) -> Iterator[bytes]:
    return (data[:length] for length in range(len(data)))


def _flipped(data: bytes) -> Iterator[bytes]:
    changed = bytearray(data)
    for bit in range(8 * len(data)):
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
        changed[bit // 8] ^= 1 << bit % 8


def _skip_without(coder: int) -> None:
    if not core.coder_available(coder):
        pytest.skip(f"this build has no coder {coder}")


def test_enough_frames() -> None:
    chosen = _chosen(200)
    assert 150 <= len(chosen) <= 200
    assert {kind for _, kind in chosen} == {"compact", "self_describing"}
    for kind in ("lzma", "channels", "slices", "context"):
        assert any(kind in name for name, _ in chosen), kind


@pytest.mark.parametrize("damage", [_truncated, _flipped])
@pytest.mark.parametrize("kind", ["compact", "self_describing"])
def test_frames(kind: str, damage: Callable[[bytes], Iterator[bytes]]) -> None:
    """The checksum finds every one."""
    for name, its_kind in _chosen(200):
        if its_kind != kind:
            continue
        read = _reader(name, kind)
        for number, bytes_ in enumerate(damage(bytes.fromhex(FRAMES[name][kind]))):
            try:
                read(bytes_)
            except FrameError:
                continue
            pytest.fail(f"{name}, {kind}: accepted with damage {number}")


def _codecs_with_models() -> Iterator[tuple[sc.Codec, np.ndarray]]:
    """Of the vectors of coders `range` and `rans`, which hold payloads alone, and a feature."""
    for coder in ("range", "rans"):
        for entry in _load(coder):
            if "indices" not in entry and "packed" not in entry:
                continue
            shape, bits = entry["shape"], entry["bits"]
            if coder == "rans":
                model = bytes.fromhex(entry["model"])
            else:
                model = framed(coder, bits, shape[0], bytes.fromhex(entry["model_body"]))
            packed = bytes.fromhex(entry.get("indices") or entry["packed"])
            indices = ref.unpack(packed, int(np.prod(shape)), bits)
            feature = np.array(indices, np.float32).reshape(shape)
            yield (
                sc.Codec(
                    *(sc.Codebook(np.arange(1 << bits)), coder),
                    shape=shape,
                    channel_axis=entry.get("axis", 0),
                    model=load_model(model),
                ),
                feature,
            )


@pytest.mark.parametrize("damage", [_truncated, _flipped])
def test_frames_with_models(damage: Callable[[bytes], Iterator[bytes]]) -> None:
    """Refused as well, the model's bytes in a self-describing frame included."""
    seen = set()
    for codec, feature in _codecs_with_models():
        for full, read in ((False, codec.decode), (True, sc.decode)):
            frame = codec.encode(feature, self_describing=full)
            if len(frame) > MOST_BYTES:
                continue
            assert np.array_equal(read(frame), feature)
            seen.add((sc.inspect(frame).coder, full))
            for number, bytes_ in enumerate(damage(frame)):
                try:
                    read(bytes_)
                except FrameError:
                    continue
                pytest.fail(f"{codec!r}: accepted with damage {number}")
    assert seen >= {(coder, full) for coder in ("range", "rans") for full in (False, True)}


def _payloads(coder: int) -> Iterator[tuple[str, bytes, int, list[int], int]]:
    """Names, payloads, bits, shapes and elements of the small golden frames of a coder."""
    for name, entry in FRAMES.items():
        frame = bytes.fromhex(entry.get("compact", ""))
        n = int(np.prod(entry["shape"], dtype=np.int64))
        if frame and frame[1] == coder and len(frame) <= MOST_BYTES and 0 < n <= MOST_ELEMENTS:
            bits = _codebooks(entry)[0].bits
            yield name, frame[6:-4], bits, entry["shape"], n


@pytest.mark.parametrize("damage", [_truncated, _flipped])
@pytest.mark.parametrize("coder", [0, 1])
def test_payloads(coder: int, damage: Callable[[bytes], Iterator[bytes]]) -> None:
    """Below the checksum: refused, or indices that a codebook can be looked up with."""
    _skip_without(coder)
    payloads = list(_payloads(coder))
    assert len(payloads) >= 10
    for name, payload, bits, shape, n in payloads[:: -(-len(payloads) // 60)]:
        indices = np.empty(n, np.uint8)
        core.coder_decode(coder, shape, bits, payload, indices)
        assert indices.max() < 1 << bits
        for number, bytes_ in enumerate(damage(payload)):
            indices.fill(0xFF)
            try:
                core.coder_decode(coder, shape, bits, bytes_, indices)
            except CorruptFrameError:
                continue
            assert damage is _flipped, f"{name}: {number} bytes of {len(payload)} accepted"
            assert indices.max() < 1 << bits, (
                f"{name}: impossible indices from flipped bit {number}"
            )


# ---------------------------------------------------------------- coders with a model


def _small_context_model(bits: int, channels: int) -> bytes:
    """One unit that sees the row above and, but in the first channel, the channel before."""
    nodes, lefts = (1 << min(bits, 4)) - 1, 1 << 2 * min(bits, 2)
    body = b""
    for channel in range(channels):
        taps = bytes([0, 7]) + (bytes([1, 12]) if channel else b"")
        weights, bias = bytes([30] * (len(taps) // 2)), b"\x10\xff"
        outputs = b"".join(
            (200 * (-1) ** node).to_bytes(2, "little", signed=True) for node in range(nodes)
        )
        left = bytes((37 * i) % 20 for i in range(nodes * lefts))
        body += bytes([len(taps) // 2, 1, 0, 8]) + taps + weights + bias + outputs + left
    return framed("context", bits, channels, body)


@pytest.mark.parametrize("damage", [_truncated, _flipped])
@pytest.mark.parametrize(
    ("bits", "shape", "axis"),
    [
        (1, [2, 9, 40], -1),
        (2, [3, 8, 17], -1),
        (3, [8, 17, 3], 2),
        (4, [12, 40], -1),
        (5, [5, 4, 12], 1),
        (8, [2, 6, 20], 0),
    ],
)
def test_context_payloads(
    bits: int, shape: list[int], axis: int, damage: Callable[[bytes], Iterator[bytes]]
) -> None:
    """There is nothing in them that tells damage, but indices stay below 2^bits."""
    _skip_without(4)
    channels = shape[axis] if axis >= 0 else shape[0] if len(shape) > 2 else 1
    bytes_of_model = _small_context_model(bits, channels)
    model = core.Model(bytes_of_model)
    steps = np.random.default_rng(bits).random(int(np.prod(shape))) < 0.1
    given = (np.cumsum(steps) % (1 << bits)).astype(np.uint8)
    # by the reference, since the core may take the rival of coder 4
    seen = ref.planes(shape, None if axis < 0 else axis)
    symbols = [int(given[element]) for plane in seen for row in plane for element in row]
    payload, _ = context.encode(symbols, bits, seen, ref.parse_model(bytes_of_model).body)
    indices = np.empty_like(given)
    core.coder_decode(4, shape, bits, payload, indices, axis, model)
    assert (indices == given).all()
    for number, bytes_ in enumerate(damage(payload)):
        indices.fill(0xFF)
        try:
            core.coder_decode(4, shape, bits, bytes_, indices, axis, model)
        except CorruptFrameError:
            continue
        assert indices.max() < 1 << bits, f"impossible indices from damage {number}"


def test_payloads_are_shorter_than_the_packed_indices() -> None:
    """No writer of coder 4 makes another one, however it goes on."""
    _skip_without(4)
    model = core.Model(_small_context_model(2, 1))
    indices = np.empty(40, np.uint8)
    for size in (10, 11, 100):
        for fill in (0, 1, 0x55, 0xFF):
            with pytest.raises(CorruptFrameError):
                core.coder_decode(4, [40], 2, bytes([fill]) * size, indices, -1, model)
