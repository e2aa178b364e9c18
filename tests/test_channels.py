"""Codebooks per channel, 16-bit floats, and batches in threads."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, errors
from pysplitcodec.native import numpy_dtype

DTYPES: Any = ("float32", "float16", "bfloat16", "int8", "uint8")
LAYOUTS: Any = [
    # shape, axis, codebooks
    ((4, 6, 6), 0, 4),
    ((4, 6, 6), 0, 2),
    ((4, 50, 61), 0, 4),
    ((6, 6, 4), -1, 4),
    ((6, 6, 4), -1, 2),
    ((3, 8, 5), 1, 8),
    ((70,), 0, 70),
    ((1, 3, 7, 7), 1, 3),
]


def books_for(count: int, bits: int = 2, seed: int = 0) -> list[Codebook]:
    rng = np.random.default_rng(seed)
    return [
        Codebook(np.sort(rng.choice(np.arange(-400, 500), 1 << bits, replace=False)) / 4)
        for _ in range(count)
    ]


def feature_for(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 60, size=shape)
    if dtype == "uint8":
        values = np.abs(values)
    return np.clip(values, -128, 255 if dtype == "uint8" else 127).astype(numpy_dtype(dtype))


def by_channel(codec: Codec, feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values as the codebooks give them one by one."""
    assert isinstance(codec.codebook, tuple) and codec.channel_axis is not None
    indices, values = np.empty(codec.shape, np.uint8), np.empty_like(feature)
    each = codec.shape[codec.channel_axis] // len(codec.codebook)
    for channel in range(codec.shape[codec.channel_axis]):
        at = (slice(None),) * codec.channel_axis + (slice(channel, channel + 1),)
        book = codec.codebook[channel // each]
        indices[at] = book.quantize(np.ascontiguousarray(feature[at]))
        values[at] = book.dequantize(np.ascontiguousarray(indices[at]), codec.dtype)
    return indices, values


@pytest.mark.parametrize("coder", ["pack", "lzma"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "count"), LAYOUTS)
def test_each_channel_has_its_codebook(
    shape: Any, axis: int, count: int, dtype: Any, coder: str
) -> None:
    for bits in (1, 2, 5, 8):
        codec = Codec(books_for(count, bits), coder, shape=shape, dtype=dtype, channel_axis=axis)
        feature = feature_for(shape, dtype, bits)
        indices, values = by_channel(codec, feature)
        assert np.array_equal(codec.quantize(feature), indices)
        assert codec.dequantize(indices).tobytes() == values.tobytes()
        assert codec.decode(codec.encode(feature)).tobytes() == values.tobytes()
        full = codec.encode(feature, self_describing=True)
        assert sc.decode(full).tobytes() == values.tobytes()
        info = sc.inspect(full)
        assert (info.codebooks, info.channel_axis) == (count, axis % len(shape))
        assert info.codec_id == codec.id and codec.bits == bits


def test_one_codebook_of_its_own_is_just_a_codebook() -> None:
    (book,) = books_for(1)
    codec = Codec([book], shape=(4, 5))
    assert codec.codebook == book and codec.channel_axis is None
    assert codec.id == Codec(book, shape=(4, 5)).id


@pytest.mark.parametrize("coder", ["pack", "lzma"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_one_codebook_with_an_axis(axis: int, dtype: Any, coder: str) -> None:
    (book,) = books_for(1)
    shape = (4, 6, 5)
    codec = Codec(book, coder, shape=shape, dtype=dtype, channel_axis=axis)
    assert codec.codebook == book and codec.channel_axis == axis % 3
    assert codec.id == Codec([book], shape=shape, dtype=dtype, channel_axis=axis).id
    without = Codec(book, coder, shape=shape, dtype=dtype)
    feature = feature_for(shape, dtype)
    frame = codec.encode(feature)
    assert codec.decode(frame).tobytes() == without.decode(without.encode(feature)).tobytes()
    assert frame[6:-4] == without.encode(feature)[6:-4]
    full = codec.encode(feature, self_describing=True)
    assert len(full) == len(without.encode(feature, self_describing=True)) + 4
    assert full == sc.encode(feature, book, coder, channel_axis=axis)
    assert (
        sc.decode(full).tobytes() == codec.decode(full).tobytes() == codec.decode(frame).tobytes()
    )
    info = sc.inspect(full)
    assert (info.codebooks, info.channel_axis, info.codec_id) == (1, axis % 3, codec.id)
    for ours, theirs in ((codec, without), (without, codec)):
        for self_describing in (False, True):
            with pytest.raises(errors.CodecMismatchError, match="channel axis"):
                ours.decode(theirs.encode(feature, self_describing=self_describing))


def test_one_codebook_of_an_axis_by_id() -> None:
    (book,) = books_for(1)
    axes = (None, 0, 1, 2)
    assert len({Codec(book, shape=(4, 4, 4), channel_axis=axis).id for axis in axes}) == 4


def test_copies_and_files_of_one_codebook_with_an_axis(tmp_path: Path) -> None:
    (book,) = books_for(1)
    codec = Codec(book, shape=(3, 4), dtype="int8", channel_axis=-1)
    assert codec.to_dict()["channel_axis"] == 1
    assert codec.to_dict()["codebook"] == book.to_dict()
    codec.save(tmp_path / "codec.json")
    for other in (
        pickle.loads(pickle.dumps(codec)),
        Codec.from_dict(json.loads(json.dumps(codec.to_dict()))),
        Codec.load(tmp_path / "codec.json"),
    ):
        assert (other.id, other.codebook, other.channel_axis) == (codec.id, book, 1)
    assert repr(codec) == (
        f"Codec({book!r}, coder='lzma', shape=(3, 4), dtype='int8', channel_axis=1)"
    )
    assert "channel_axis" not in Codec(book, shape=(3, 4)).to_dict()


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((4, 5), 2, "channel_axis is 2: .*counts the channels"),
        ((4, 5), -3, "channel_axis is -3"),
        ((4, 5), "0", "channel_axis is '0'"),
        ((4, 5), 1.0, r"channel_axis is 1\.0"),
        ((), 0, "channel_axis is 0"),
        ((0, 5), 0, "0 channels"),
    ],
)
def test_wrong_axis_of_one_codebook(shape: Any, axis: Any, message: str) -> None:
    (book,) = books_for(1)
    with pytest.raises(errors.ArgumentError, match=message):
        Codec(book, shape=shape, channel_axis=axis)
    with pytest.raises(errors.ArgumentError, match=message):
        sc.encode(np.zeros(shape, np.float32), book, channel_axis=axis)


def test_nothing_in_channels_of_one_codebook() -> None:
    codec = Codec(books_for(1)[0], shape=(3, 0), channel_axis=0)
    frame = codec.encode(np.empty((3, 0), np.float32), self_describing=True)
    assert sc.decode(frame).shape == codec.decode(frame).shape == (3, 0)
    assert sc.inspect(frame).channel_axis == 0


def test_equal_codebooks_give_the_payload_of_one() -> None:
    (book,) = books_for(1)
    feature = feature_for((4, 6, 6), "float32")
    one, four = Codec(book, shape=(4, 6, 6)), Codec([book] * 4, shape=(4, 6, 6), channel_axis=0)
    assert one.encode(feature)[6:-4] == four.encode(feature)[6:-4]
    assert one.id != four.id


def test_id_depends_on_axis_and_order() -> None:
    books = books_for(4)
    ids = {
        Codec(books, shape=(4, 4), channel_axis=0).id,
        Codec(books, shape=(4, 4), channel_axis=1).id,
        Codec(books[::-1], shape=(4, 4), channel_axis=0).id,
        Codec(books[:2], shape=(4, 4), channel_axis=0).id,
        Codec(books, shape=(4, 4), channel_axis=0, dtype="float16").id,
        Codec(books, shape=(4, 4), channel_axis=0, dtype="bfloat16").id,
    }
    assert len(ids) == 6
    assert Codec(books, shape=(4, 4), channel_axis=-1).id in ids


@pytest.mark.parametrize(
    ("books", "axis", "message"),
    [
        (books_for(4), None, "channel_axis is None"),
        (books_for(4), 2, "channel_axis is 2"),
        (books_for(4), -3, "channel_axis is -3"),
        (books_for(4), "0", "channel_axis is '0'"),
        (books_for(3), 0, "3 codebooks for 4 channels"),
        (books_for(8), 0, "8 codebooks for 4 channels"),
        (books_for(2), 1, "2 codebooks for 5 channels"),
        ([], 0, "0 codebooks"),
        ([*books_for(3), Codebook([0, 1])], 0, r"codebooks of \[1, 2\] bits"),
        ([*books_for(3), [0, 1, 2, 3]], 0, "expected a Codebook"),
        ("abcd", 0, "expected a Codebook"),
    ],
)
def test_wrong_codebooks(books: Any, axis: Any, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        Codec(books, shape=(4, 5), channel_axis=axis)


def test_too_many_codebooks() -> None:
    (book,) = books_for(1, bits=1)
    assert Codec([book] * 65536, "pack", shape=(65536,), channel_axis=0).id
    with pytest.raises(errors.ArgumentError, match="65537 codebooks"):
        Codec([book] * 65537, "pack", shape=(65537,), channel_axis=0)


def test_shape_without_channels() -> None:
    with pytest.raises(errors.ArgumentError, match="2 codebooks for 0 channels"):
        Codec(books_for(2), shape=(0, 5), channel_axis=0)
    empty = Codec(books_for(5), shape=(0, 5), channel_axis=1)
    assert empty.decode(empty.encode(np.empty((0, 5), np.float32))).shape == (0, 5)


def test_copies_and_files(tmp_path: Path) -> None:
    codec = Codec(books_for(4), shape=(3, 4), dtype="float16", channel_axis=-1)
    feature = feature_for((3, 4), "float16")
    codec.save(tmp_path / "codec.json")
    for other in (
        pickle.loads(pickle.dumps(codec)),
        Codec.from_dict(json.loads(json.dumps(codec.to_dict()))),
        Codec.load(tmp_path / "codec.json"),
    ):
        assert (other.id, other.codebook, other.channel_axis) == (codec.id, codec.codebook, 1)
        assert (
            other.decode(codec.encode(feature)).tobytes()
            == codec.decode(codec.encode(feature)).tobytes()
        )
    assert repr(codec) == (
        "Codec(<4 codebooks of 2 bits>, coder='lzma', shape=(3, 4), dtype='float16', "
        "channel_axis=1)"
    )


def test_encode_function() -> None:
    feature, books = feature_for((3, 4), "int8"), books_for(4)
    codec = Codec(books, shape=(3, 4), dtype="int8", channel_axis=1)
    frame = sc.encode(feature, books, channel_axis=1)
    assert frame == codec.encode(feature, self_describing=True)
    assert sc.decode(frame).tobytes() == codec.decode(codec.encode(feature)).tobytes()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.zeros((4, 3), np.uint8), "shape"),
        (np.zeros((3, 4), np.int8), "dtype int8"),
        (np.full((3, 4), 4, np.uint8), "indices reach 4"),
    ],
)
def test_wrong_indices(indices: Any, message: str) -> None:
    codec = Codec(books_for(4), shape=(3, 4), channel_axis=1)
    with pytest.raises(errors.FeatureError, match=message):
        codec.dequantize(indices)


# ------------------------------------------------------------------ fitting


@pytest.mark.parametrize("method", ["kmeans", "minmax", "quantile"])
def test_fit_channels(method: Any) -> None:
    features = np.random.default_rng(0).normal(size=(10, 4, 6, 6)).astype(np.float32)
    features *= np.float32([1, 10, 100, 0.1])[:, None, None]
    books = Codebook.fit_channels(features, 2, 1, method=method)
    assert books == [Codebook.fit(features[:, c], 2, method) for c in range(4)]
    assert Codebook.fit_channels(np.moveaxis(features, 1, -1), 2, -1, method=method) == books
    pairs = Codebook.fit_channels(features, 2, 1, groups=2, method=method)
    assert pairs == [Codebook.fit(features[:, c : c + 2], 2, method) for c in (0, 2)]
    codec = Codec(books, shape=features.shape[1:], channel_axis=0)
    one = Codec(Codebook.fit(features, 2, method), shape=features.shape[1:])
    error, of_one = (
        np.mean((c.decode(c.encode(features[0])) - features[0]) ** 2) for c in (codec, one)
    )
    assert error < of_one


def test_fit_channels_that_hardly_vary() -> None:
    feature = np.zeros((4, 100), np.float32)
    feature[1] = np.linspace(-1, 3, 100)
    feature[2, 7] = 9
    feature[3] = -0.0
    books = Codebook.fit_channels(feature, 2, 0)
    whole = Codebook.fit(feature, 2)
    assert books[1] == Codebook.fit(feature[1], 2)
    for c in (0, 2, 3):
        assert set(np.unique(feature[c])) <= set(books[c].centroids)
        assert set(books[c].centroids) <= set(whole.centroids) | {0, 9}
        assert np.array_equal(books[c].dequantize(books[c].quantize(feature[c])), feature[c])
    with pytest.raises(errors.CodebookError, match="distinct"):
        Codebook.fit_channels(np.zeros((4, 10), np.float32), 2, 0)


@pytest.mark.parametrize(
    ("axis", "groups", "message"),
    [
        (2, None, "channel_axis is 2"),
        (-3, None, "channel_axis is -3"),
        (None, None, "channel_axis is None"),
        (0, 3, "groups is 3"),
        (0, 0, "groups is 0"),
        (0, 1.0, "groups is 1.0"),
    ],
)
def test_wrong_fit_channels(axis: Any, groups: Any, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        Codebook.fit_channels(np.zeros((4, 5), np.float32), 2, axis, groups=groups)


# ------------------------------------------------------------------ 16-bit floats


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_all_16_bit_floats_have_the_index_of_their_value(dtype: Any, bits: int) -> None:
    values = np.arange(65536, dtype=np.uint16).view(numpy_dtype(dtype))
    for spread in (1.0, 1e-6, 1e5):
        rng = np.random.default_rng(bits)
        book = Codebook(np.sort(rng.normal(0, spread, 1 << bits)))
        assert np.array_equal(book.quantize(values), book.quantize(values.astype(np.float32)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_values_are_the_nearest_finite_ones(dtype: Any) -> None:
    kind = numpy_dtype(dtype)
    everything = np.arange(65536, dtype=np.uint16).view(kind)
    finite = everything[np.isfinite(everything.astype(np.float32))]
    largest = float(np.max(finite.astype(np.float64)))
    centroids = np.float32([-1e38, -70000, -1.0009766, -1e-8, 0.1, 1.0004883, 65519.9, 65520])
    got = Codebook(centroids).dequantize(np.arange(8, dtype=np.uint8), dtype)
    limited = np.clip(centroids.astype(np.float64), -largest, largest)
    assert got.dtype == kind
    assert got.tobytes() == limited.astype(kind).tobytes()


def test_bfloat16_without_ml_dtypes() -> None:
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import pysplitcodec as sc\n"
        "try:\n"
        "    sc.Codec(sc.Codebook([0, 1]), shape=(4,), dtype='bfloat16')\n"
        "except sc.errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pysplitcodec[bfloat16]'" in found.stdout


# ------------------------------------------------------------------ batches in threads


@given(st.integers(0, 40), st.integers(2, 7), st.sampled_from(["pack", "lzma"]))
def test_threads_change_nothing(count: int, threads: int, coder: str) -> None:
    codec = Codec(books_for(3), coder, shape=(3, 4, 4), channel_axis=0)
    features = feature_for((count, 3, 4, 4), "float32")
    frames = codec.encode_batch(features)
    assert frames == [codec.encode(feature) for feature in features]
    assert codec.encode_batch(features, threads=threads) == frames
    assert codec.encode_batch(iter(features), threads=threads) == frames
    restored = codec.decode_batch(frames)
    assert restored.tobytes() == b"".join(codec.decode(frame).tobytes() for frame in frames)
    assert codec.decode_batch(frames, threads=threads).tobytes() == restored.tobytes()


def test_batches_that_are_not_contiguous() -> None:
    codec = Codec(books_for(3), shape=(3, 4), channel_axis=0)
    features = feature_for((6, 3, 4), "float32")
    out = np.zeros((12, 3, 4), np.float32)
    frames = codec.encode_batch(np.asfortranarray(features), threads=2)
    assert frames == codec.encode_batch(features)
    codec.decode_batch(frames, out[::2], threads=2)
    assert np.array_equal(out[::2], codec.decode_batch(frames)) and not out[1::2].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bad_frame_of_a_batch_is_named(threads: int) -> None:
    codec = Codec(books_for(3), shape=(3, 4), channel_axis=0)
    frames = codec.encode_batch(feature_for((20, 3, 4), "float32"))
    frames[13] = frames[13][:-1] + bytes([frames[13][-1] ^ 1])
    with pytest.raises(errors.ChecksumError, match="frame 13 of 20"):
        codec.decode_batch(frames, threads=threads)
    with pytest.raises(TypeError):
        codec.decode_batch([*frames[:3], 7], threads=threads)


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", None, True])
def test_wrong_threads(threads: Any) -> None:
    codec = Codec(books_for(1)[0], shape=(3, 4))
    with pytest.raises(errors.ArgumentError, match="threads is"):
        codec.encode_batch(np.zeros((2, 3, 4), np.float32), threads=threads)
    with pytest.raises(errors.ArgumentError, match="threads is"):
        codec.decode_batch([], threads=threads)


def test_wrong_batch_in_threads() -> None:
    codec = Codec(books_for(1)[0], shape=(3, 4))
    with pytest.raises(errors.FeatureError, match="dtype float64"):
        codec.encode_batch(np.zeros((9, 3, 4)), threads=2)
    with pytest.raises(errors.FeatureError, match="shape"):
        codec.encode_batch([np.zeros((3, 4), np.float32), np.zeros(3, np.float32)], threads=2)
