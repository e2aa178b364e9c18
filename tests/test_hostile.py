"""Damaged bytes: every truncation and every flipped bit of golden frames, and of payloads alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec as sc
from pysplitcodec.errors import CorruptFrameError, FrameError
from pysplitcodec.native import core

VECTORS = Path(__file__).resolve().parent / "vectors"
FRAME_FILES = ("pack", "narrow-frames", "shapes", "channels", "lzma")
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
    assert any("lzma" in name for name, _ in chosen) and any("channels" in n for n, _ in chosen)


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
