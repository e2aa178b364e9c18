"""What the coders are compared with: liblzma, general compressors and order-0 entropy coders."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pysplitcodec.bench import run_length
from pysplitcodec.bench.liblzma import DICT_SIZE, Liblzma
from pysplitcodec.bench.operations import Array
from pysplitcodec.bench.samples import Samples
from pysplitcodec.errors import MissingDependencyError

__all__ = ["Coder", "Skip", "peers", "unit"]

# To say what is left out, and why.
Skip = Callable[[str, str], None]


class Coder(NamedTuple):
    """Both ways of one coder, from a sample to what `decode` takes, of `length` bytes.

    A sample is packed bytes, or indices where a coder takes them.  `model_bytes` is the size of a
    trained model, which both ends must hold.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    samples: Sequence[Any]
    length: Callable[[Any], int] = len
    model_bytes: int = 0


def unit(samples: Samples, skip: Skip) -> tuple[str, Coder]:
    """Return the name and coder that the others' sizes and times are divided by."""
    try:
        liblzma = Liblzma(len(samples.packed[0]))
    except OSError as error:
        skip("liblzma", f"{error}; the unit is Python's lzma")
    else:
        return "liblzma lc=lp=pb=0", Coder(liblzma.encode, liblzma.decode, samples.packed)
    try:
        import lzma
    except ImportError:
        raise MissingDependencyError("bench coders needs liblzma or Python's lzma") from None
    settings = {"preset": 6, "dict_size": DICT_SIZE, "lc": 0, "lp": 0, "pb": 0}
    raw = [{"id": lzma.FILTER_LZMA1, **settings}]
    return "Python lzma lc=lp=pb=0", Coder(
        lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=raw),
        lambda data: lzma.decompress(data, lzma.FORMAT_RAW, filters=raw),
        samples.packed,
    )


def peers(samples: Samples, skip: Skip) -> dict[str, Coder]:
    """Return the compressors that are installed, by name."""
    found: dict[str, Coder] = {}
    for package, make in _PACKAGES.items():
        try:
            module = importlib.import_module(package)
        except ImportError:
            skip(package, "not installed")
        else:
            found.update(make(module, samples))
    return {**found, "run-length Huffman": _run_length(samples)}


def _lzma(lzma: Any, samples: Samples) -> dict[str, Coder]:
    """As .xz."""
    return {
        "xz -6": Coder(lambda data: lzma.compress(data, preset=6), lzma.decompress, samples.packed)
    }


def _zlib(zlib: Any, samples: Samples) -> dict[str, Coder]:
    return {"zlib -6": Coder(zlib.compress, zlib.decompress, samples.packed)}


def _bz2(bz2: Any, samples: Samples) -> dict[str, Coder]:
    return {"bz2 -9": Coder(bz2.compress, bz2.decompress, samples.packed)}


def _zstd(zstandard: Any, samples: Samples) -> dict[str, Coder]:
    decode = zstandard.ZstdDecompressor().decompress
    return {
        f"zstd -{level}": Coder(zstandard.ZstdCompressor(level).compress, decode, samples.packed)
        for level in (3, 19)
    }


def _brotli(brotli: Any, samples: Samples) -> dict[str, Coder]:
    return {"brotli -11": Coder(brotli.compress, brotli.decompress, samples.packed)}


def _blosc2(blosc2: Any, samples: Samples) -> dict[str, Coder]:
    """Its zstd at the highest level, of packed bytes as they are and of indices shuffled by bit."""

    def coder(shuffle: Any, data: list[bytes]) -> Coder:
        settings = {
            "typesize": 1,
            "clevel": 9,
            "codec": blosc2.Codec.ZSTD,
            "filters": [shuffle],
            "nthreads": 1,
        }
        return Coder(lambda one: blosc2.compress2(one, **settings), blosc2.decompress2, data)

    indices = [sample.tobytes() for sample in samples.indices]
    return {
        "blosc2 zstd -9": coder(blosc2.Filter.NOFILTER, samples.packed),
        "blosc2 bitshuffle zstd -9": coder(blosc2.Filter.BITSHUFFLE, indices),
    }


def _constriction(constriction: Any, samples: Samples) -> dict[str, Coder]:
    """Its ANS and its range coder, with how often each index occurs as the model.

    A payload starts with that, in 12 bits of 2 bytes for each index: once, or for each channel
    (the first axis of a sample) where that makes the payloads of all samples smaller.
    """
    stack, queue = constriction.stream.stack, constriction.stream.queue
    categorical = constriction.stream.model.Categorical

    def ans(rows: Array, models: list[Any]) -> Any:
        coder = stack.AnsCoder()
        for row, model in zip(rows[::-1], models[::-1]):
            coder.encode_reverse(row, model)
        return coder.get_compressed()

    def range_(rows: Array, models: list[Any]) -> Any:
        coder = queue.RangeEncoder()
        for row, model in zip(rows, models):
            coder.encode(row, model)
        return coder.get_compressed()

    def coder(encode: Any, decoder: Any, tables: int) -> Coder:
        """With `tables` of them, each for as many elements."""
        shape = (tables, 1 << samples.bits)

        def models(table: Array) -> list[Any]:
            return [categorical(row, perfect=False) for row in table.astype(np.float32)]

        def to_payload(sample: Array) -> bytes:
            rows = sample.reshape(tables, -1).astype(np.int32)
            counts = np.array([np.bincount(row, minlength=shape[1]) for row in rows])
            table = (-(-counts * 4095 // rows.shape[1])).astype(np.uint16)  # rounded up
            return b"".join((table.tobytes(), encode(rows, models(table)).tobytes()))

        def from_payload(payload: bytes) -> Array:
            table = np.frombuffer(payload, np.uint16, shape[0] * shape[1]).reshape(shape)
            words = decoder(np.frombuffer(payload, np.uint32, offset=table.nbytes))
            count = samples.indices[0].size // tables
            rows = [words.decode(model, count) for model in models(table)]
            return np.concatenate(rows).astype(np.uint8)

        return Coder(to_payload, from_payload, list(samples.indices))

    def smaller(encode: Any, decoder: Any) -> Coder:
        choice = [
            coder(encode, decoder, tables) for tables in sorted({1, samples.indices.shape[1]})
        ]
        return min(choice, key=lambda one: sum(map(len, map(one.encode, one.samples))))

    return {
        "constriction ANS": smaller(ans, stack.AnsCoder),
        "constriction range": smaller(range_, queue.RangeDecoder),
    }


def _run_length(samples: Samples) -> Coder:
    bits, count = samples.bits, samples.indices[0].size
    return Coder(
        lambda sample: run_length.encode(sample, bits),
        lambda payload: run_length.decode(payload, bits, count),
        list(samples.indices),
    )


_PACKAGES: dict[str, Callable[[Any, Samples], dict[str, Coder]]] = {
    "lzma": _lzma,
    "zlib": _zlib,
    "bz2": _bz2,
    "zstandard": _zstd,
    "brotli": _brotli,
    "blosc2": _blosc2,
    "constriction": _constriction,
}
