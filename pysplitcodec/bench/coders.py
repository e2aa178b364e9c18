"""`splitcodec bench coders`: payload sizes and speed of every coder beside general compressors."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench.machine import describe
from pysplitcodec.bench.operations import Array
from pysplitcodec.bench.timing import median_ns
from pysplitcodec.errors import ArgumentError, FeatureError
from pysplitcodec.native import CODERS, core

__all__ = ["CoderReport", "Samples", "generate", "measure", "samples_of"]


@dataclass(frozen=True)
class Samples:
    """Indices to code: uint8 [samples, ...], each below 2**bits, and where they come from."""

    name: str
    indices: Array
    bits: int

    def describe(self) -> dict[str, Any]:
        """The name, how many samples, and the shape and bits of each."""
        count, *shape = self.indices.shape
        return {"name": self.name, "samples": count, "shape": shape, "bits": self.bits}


@dataclass
class CoderReport:
    """What has been measured so far; docs/cli.md says what each name means."""

    input: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=describe)
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


class _Coder(NamedTuple):
    """Both ways of one coder, from a sample to what `decode` takes, of `length` bytes.

    A sample is packed bytes or, for ours, indices: it packs them itself.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    samples: Sequence[Any]
    length: Callable[[Any], int] = len


def generate() -> Array:
    """Return features to code where there are none: float32 [32, 12, 32, 32], always the same.

    Random walks down and across each channel, and half of them cut to zero: neighbours resemble
    one another as in a real feature, and how much that saves says nothing about any network.
    """
    steps = np.random.default_rng(2).normal(size=(32, 12, 32, 32))
    walk = np.cumsum(np.cumsum(steps, axis=-1), axis=-2)
    middle = np.median(walk, axis=(-2, -1), keepdims=True)
    return np.maximum(walk - middle, 0).astype(np.float32)


def samples_of(name: str, arrays: dict[str, Array], bits: int | None) -> Samples:
    """Return what to code of a file's arrays.

    arrays: "test" and perhaps "centroids" and "calibration"; the first axis of "test" counts the
    samples.  With "centroids" it holds indices (uint8) of theirs; otherwise features (float32,
    float16, int8 or uint8), which are quantised to `bits` (default 2) by k-means of "calibration"
    or of themselves.  Raises FeatureError, ArgumentError or CodebookError if it does not.
    """
    test = arrays["test"]
    if test.ndim < 2 or test.size == 0:
        raise FeatureError(f"{name} has shape {test.shape}: expected samples along the first axis")
    if "centroids" not in arrays:
        book = sc.Codebook.fit(arrays.get("calibration", test), bits or 2)
        return Samples(name, book.quantize(test), book.bits)
    book = sc.Codebook(arrays["centroids"])
    if bits not in (None, book.bits):
        raise ArgumentError(f"bits is {bits}: expected {book.bits}, of which {name} has indices")
    if test.dtype != np.uint8 or int(test.max()) >> book.bits:
        raise FeatureError(
            f"{name} has {test.dtype} up to {test.max()} beside {book.centroids.size} centroids: "
            "expected uint8 indices of them"
        )
    return Samples(name, np.ascontiguousarray(test), book.bits)


def measure(
    report: CoderReport, samples: Samples, *, seconds: float, progress: Callable[[str], None]
) -> None:
    """Add to `report` what every coder makes of the samples, one payload for each, in one thread.

    seconds: for each coder and way, beside what verifying takes.  Raises RuntimeError if a coder
    does not give back what it was given, which is a bug.
    """
    indices, bits = samples.indices, samples.bits
    shape = indices.shape[1:]
    packed = [_packed(sample, bits) for sample in indices]
    coders = {name: _ours(name, indices, bits) for name, there in sc.coders().items() if there}
    for name, coder in {**coders, **_peers(report, packed)}.items():
        progress(name)
        payloads = [coder.encode(sample) for sample in coder.samples]
        for payload, sample in zip(payloads, coder.samples):
            if bytes(coder.decode(payload)) != bytes(sample):
                raise RuntimeError(f"{name} does not give back what it was given")
        report.rows.append(_row(name, coder, payloads, packed, math.prod(shape), seconds))


def _row(
    name: str,
    coder: _Coder,
    payloads: list[Any],
    packed: list[bytes],
    elements: int,
    seconds: float,
) -> dict[str, Any]:
    def encode() -> None:
        for sample in coder.samples:
            coder.encode(sample)

    def decode() -> None:
        for payload in payloads:
            coder.decode(payload)

    (encode_ns,), (decode_ns,) = median_ns([encode], seconds), median_ns([decode], seconds)
    count, before = len(packed), sum(map(len, packed))
    after = sum(map(coder.length, payloads))
    return {
        "coder": name,
        "bytes_per_sample": round(after / count, 1),
        "bits_per_element": round(8 * after / count / elements, 4),
        "of_packed": round(after / before, 4),
        "encode_us": round(encode_ns / count / 1e3, 2),
        "decode_us": round(decode_ns / count / 1e3, 2),
        "encode_mb_s": round(before * 1e3 / encode_ns, 2),
        "decode_mb_s": round(before * 1e3 / decode_ns, 2),
        "round_trip": True,
    }


def _packed(sample: Array, bits: int) -> bytes:
    packed = np.empty(core.packed_size(sample.size, bits), np.uint8)
    core.pack(sample, bits, packed)
    return packed.tobytes()


def _ours(name: str, indices: Array, bits: int) -> _Coder:
    shape, restored = indices.shape[1:], np.empty(indices.shape[1:], np.uint8)

    def decode(coded: tuple[bytes, int]) -> Array:
        core.coder_decode(coded[1], shape, bits, coded[0], restored)
        return restored

    return _Coder(
        encode=lambda sample: core.coder_encode(CODERS[name], shape, bits, sample),
        decode=decode,
        samples=list(indices),
        length=lambda coded: len(coded[0]),
    )


def _peers(report: CoderReport, packed: list[bytes]) -> dict[str, _Coder]:
    """General compressors, those that are installed."""
    found: dict[str, _Coder] = {}
    for package, make in _PEERS.items():
        try:
            module = importlib.import_module(package)
        except ImportError:
            report.skipped.append({"name": package, "reason": "not installed"})
        else:
            found.update(make(module, packed))
    return found


def _lzma(lzma: Any, packed: list[bytes]) -> dict[str, _Coder]:
    """As .xz, and the best of it on such payloads: without header and checksums."""
    raw = [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]
    return {
        "xz -6": _Coder(lambda data: lzma.compress(data, preset=6), lzma.decompress, packed),
        "LZMA lc=lp=pb=0": _Coder(
            lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=raw),
            lambda data: lzma.decompress(data, lzma.FORMAT_RAW, filters=raw),
            packed,
        ),
    }


def _zlib(zlib: Any, packed: list[bytes]) -> dict[str, _Coder]:
    return {"zlib -6": _Coder(zlib.compress, zlib.decompress, packed)}


def _bz2(bz2: Any, packed: list[bytes]) -> dict[str, _Coder]:
    return {"bz2 -9": _Coder(bz2.compress, bz2.decompress, packed)}


def _zstd(zstandard: Any, packed: list[bytes]) -> dict[str, _Coder]:
    decode = zstandard.ZstdDecompressor().decompress
    return {
        f"zstd -{level}": _Coder(zstandard.ZstdCompressor(level).compress, decode, packed)
        for level in (3, 19)
    }


def _brotli(brotli: Any, packed: list[bytes]) -> dict[str, _Coder]:
    return {"brotli -11": _Coder(brotli.compress, brotli.decompress, packed)}


def _blosc2(blosc2: Any, packed: list[bytes]) -> dict[str, _Coder]:
    """Its zstd at the highest level; shuffling pays for wider elements than bytes."""
    settings = {"typesize": 1, "clevel": 9, "codec": blosc2.Codec.ZSTD, "nthreads": 1}
    return {
        "blosc2 zstd -9": _Coder(
            lambda data: blosc2.compress2(data, **settings), blosc2.decompress2, packed
        )
    }


_PEERS: dict[str, Callable[[Any, list[bytes]], dict[str, _Coder]]] = {
    "lzma": _lzma,
    "zlib": _zlib,
    "bz2": _bz2,
    "zstandard": _zstd,
    "brotli": _brotli,
    "blosc2": _blosc2,
}
