"""splitcodec as a codec of numcodecs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec as sc
from pysplitcodec import errors

numcodecs = pytest.importorskip("numcodecs", reason='needs "pysplitcodec[numcodecs]"')

from pysplitcodec.codecs.numcodecs import SplitCodec  # noqa: E402

CENTROIDS = [-1.0, 0.0, 0.1, 2.5]


def chunk(shape: tuple[int, ...], dtype: str = "float32", order: str = "C") -> np.ndarray:
    rng = np.random.default_rng(7)
    values: np.ndarray = rng.normal(size=shape) if dtype == "float32" else rng.integers(0, 5, shape)
    return np.asarray(values, dtype=dtype, order=order)  # type: ignore[call-overload]


def expected(values: np.ndarray) -> np.ndarray:
    book = sc.Codebook(CENTROIDS)
    return book.dequantize(book.quantize(values), values.dtype.name)


def test_entry_point_finds_the_codec(tmp_path: Path) -> None:
    # in a process that has not imported it
    code = (
        "import json, numcodecs, sys\n"
        "assert not any(name.startswith('pysplitcodec') for name in sys.modules)\n"
        "codec = numcodecs.get_codec({'id': 'splitcodec', 'centroids': [0, 1], 'coder': 'pack'})\n"
        "print(json.dumps(codec.get_config()), type(codec).__module__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr
    config, _, module = result.stdout.strip().rpartition(" ")
    assert json.loads(config) == {"id": "splitcodec", "centroids": [0.0, 1.0], "coder": "pack"}
    assert module == "pysplitcodec.codecs.numcodecs"


def test_config_round_trip() -> None:
    for coder in ("pack", "lzma"):
        centroids = np.float32([0.1, 0.2, 0.3, 1e-40])
        centroids.sort()
        codec = SplitCodec(centroids, coder)
        config = json.loads(json.dumps(codec.get_config()))
        again = numcodecs.get_codec(config)
        assert isinstance(again, SplitCodec)
        assert again == codec
        assert again.codebook == codec.codebook
        assert again.codebook.centroids.tobytes() == centroids.tobytes()
        assert again != SplitCodec([0, 1], coder)
        assert again != SplitCodec(centroids, "pack" if coder == "lzma" else "lzma")
    assert SplitCodec([0, 1]).coder == "lzma"
    book = sc.Codebook(CENTROIDS)
    assert SplitCodec(book) == SplitCodec(CENTROIDS)
    assert repr(SplitCodec([0, 1], "pack")) == "SplitCodec(Codebook([0, 1]), coder='pack')"


@pytest.mark.parametrize("coder", ["pack", "lzma"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (1000,), (3, 5), (10, 20, 3), (2,) * 9])
def test_round_trip(shape: tuple[int, ...], dtype: str, coder: str) -> None:
    codec = SplitCodec(CENTROIDS, coder)
    values = chunk(shape, dtype)
    frame = codec.encode(values)
    assert type(frame) is bytes
    flat = values.reshape(-1) if values.ndim > 8 else values
    assert frame == sc.encode(flat, codec.codebook, coder)
    restored = codec.decode(frame)
    want = expected(values)
    assert restored.dtype == values.dtype
    assert restored.shape == flat.shape
    assert restored.tobytes() == want.tobytes()
    out = np.empty_like(values)
    assert codec.decode(frame, out=out) is out
    assert out.tobytes() == want.tobytes()


def test_memory_order_is_kept() -> None:
    # what zarr does with chunks of an array of order "F"
    codec = SplitCodec(CENTROIDS)
    values = chunk((6, 4, 5), order="F")
    restored = np.asarray(codec.decode(codec.encode(values)))
    again = restored.reshape(-1, order="A").reshape(values.shape, order="F")
    assert np.array_equal(again, expected(values))
    out = np.empty(values.shape, dtype=np.float32, order="F")
    codec.decode(codec.encode(values), out=out)
    assert np.array_equal(out, expected(values))


def test_chunks_of_a_larger_array() -> None:
    codec = numcodecs.get_codec({"id": "splitcodec", "centroids": CENTROIDS, "coder": "lzma"})
    array = chunk((50, 33))
    store: dict[tuple[int, int], bytes] = {}
    size = 16
    for row in range(0, 50, size):
        for column in range(0, 33, size):
            part = array[row : row + size, column : column + size]  # a view with gaps
            padded = np.zeros((size, size), dtype=np.float32)
            padded[: part.shape[0], : part.shape[1]] = part
            store[row, column] = codec.encode(padded)
            assert codec.encode(part) == codec.encode(np.ascontiguousarray(part))
    restored = np.full_like(array, np.nan)
    scratch = np.empty((size, size), dtype=np.float32)
    for (row, column), frame in store.items():
        part = restored[row : row + size, column : column + size]
        part[:] = codec.decode(frame, out=scratch)[: part.shape[0], : part.shape[1]]
    assert np.array_equal(restored, expected(array))


def test_buffers() -> None:
    codec = SplitCodec([0, 100, 200, 255], "pack")
    want = np.array([0, 100, 200, 255], dtype=np.uint8)
    for values in (bytes([3, 90, 160, 255]), bytearray([3, 90, 160, 255]), memoryview(want)):
        assert codec.decode(codec.encode(values)).tolist() == want.tolist()
    frame = codec.encode(want)
    for buffer in (bytearray(frame), memoryview(frame), np.frombuffer(frame, dtype=np.uint8)):
        assert codec.decode(buffer).tolist() == want.tolist()
    out = bytearray(4)
    codec.decode(frame, out=out)
    assert out == bytes(want)
    floats = SplitCodec([0, 1], "pack")
    target = np.empty(8, dtype=np.uint8)
    floats.decode(floats.encode(np.float32([0, 1])), out=target)
    assert target.view(np.float32).tolist() == [0, 1]


def test_any_codec_reads_a_frame() -> None:
    frame = SplitCodec(CENTROIDS, "lzma").encode(chunk((4, 4)))
    restored = SplitCodec([0, 1], "pack").decode(frame)
    assert np.array_equal(restored, expected(chunk((4, 4))))


def test_encoding_again_changes_nothing() -> None:
    codec = SplitCodec(CENTROIDS)
    once = codec.decode(codec.encode(chunk((100,))))
    assert np.array_equal(codec.decode(codec.encode(once)), once)


@pytest.mark.parametrize("dtype", ["float64", "uint16", "int16", "bool", "complex64", ">f4"])
def test_wrong_dtype(dtype: str) -> None:
    with pytest.raises(errors.FeatureError):
        SplitCodec(CENTROIDS).encode(np.zeros(4, dtype=dtype))


def test_wrong_arguments() -> None:
    wrong: Any
    for wrong in ([0], [1, 0], [0, 1, 2], [0, float("nan")], "ab", None):
        with pytest.raises(errors.CodebookError):
            SplitCodec(wrong)
    for wrong in ("zip", None, 1, []):
        with pytest.raises(errors.ArgumentError):
            SplitCodec([0, 1], wrong)


def test_wrong_frames() -> None:
    codec = SplitCodec(CENTROIDS)
    frame = codec.encode(chunk((9,)))
    for damaged in (b"", frame[:-1], frame + b"\0", b"\0" * 40, frame[:-1] + b"?"):
        with pytest.raises(errors.FrameError):
            codec.decode(damaged)
    compact = sc.Codec(codec.codebook, "pack", shape=(9,)).encode(chunk((9,)))
    with pytest.raises(errors.FrameError):
        codec.decode(compact)


def test_wrong_out() -> None:
    codec = SplitCodec(CENTROIDS)
    frame = codec.encode(chunk((9,)))
    with pytest.raises(errors.ArgumentError, match="36"):
        codec.decode(frame, out=np.empty(10, dtype=np.float32))
    with pytest.raises(errors.ArgumentError):
        codec.decode(frame, out=np.empty(9, dtype=np.uint8))
    with pytest.raises(errors.FrameLimitError):  # before anything is allocated
        codec.decode(frame, out=np.empty(2, dtype=np.float32))
