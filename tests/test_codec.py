"""Codecs: features to frames and back."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import os
import pickle
import pkgutil
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, errors
from pysplitcodec.native import numpy_dtype

BOOK = Codebook([-1, 0, 1, 2])
DTYPES: Any = ("float32", "float16", "bfloat16", "int8", "uint8")


def codec_for(shape: Any = (4, 5), dtype: Any = "float32", coder: str = "lzma") -> Codec:
    return Codec(BOOK, coder, shape=shape, dtype=dtype)


def feature_for(codec: Codec, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if "float" in codec.dtype:
        return np.asarray(rng.normal(size=codec.shape)).astype(numpy_dtype(codec.dtype))
    info = np.iinfo(codec.dtype)
    return np.array(rng.integers(info.min, info.max + 1, codec.shape), dtype=codec.dtype)


def expected(codec: Codec, feature: np.ndarray) -> np.ndarray:
    assert isinstance(codec.codebook, Codebook)
    return codec.codebook.dequantize(codec.codebook.quantize(feature), codec.dtype)


# ------------------------------------------------------------------ construction


@pytest.mark.parametrize("coder", ["pack", "lzma"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (1, 2, 1, 2, 1, 2, 1, 2), (5, 0, 3)])
def test_round_trip(shape: tuple[int, ...], dtype: Any, coder: str) -> None:
    codec = codec_for(shape, dtype, coder)
    feature = feature_for(codec)
    for full in (False, True):
        frame = codec.encode(feature, self_describing=full)
        assert type(frame) is bytes
        restored = codec.decode(frame)
        assert type(restored) is np.ndarray
        assert (restored.shape, restored.dtype) == (shape, np.dtype(dtype))
        assert restored.tobytes() == expected(codec, feature).tobytes()
        assert restored.flags.writeable and restored.flags.c_contiguous
    assert len(codec.encode(feature, self_describing=True)) > len(codec.encode(feature))


def test_attributes() -> None:
    codec = Codec(BOOK, shape=[2, np.int64(3)])
    assert (codec.codebook, codec.coder, codec.shape, codec.dtype) == (
        BOOK,
        "lzma",
        (2, 3),
        "float32",
    )
    assert all(type(dim) is int for dim in codec.shape)
    assert repr(codec) == (
        "Codec(Codebook([-1, 0, 1, 2]), coder='lzma', shape=(2, 3), dtype='float32')"
    )
    assert Codec(BOOK, shape=5).shape == (5,)  # type: ignore[arg-type]
    assert 0 <= codec.id < 2**32
    assert list(sc.coders()) == ["pack", "lzma", "range", "rans", "context"]
    assert sc.coders()["pack"] and sc.coders()["lzma"]


def test_id_names_codebook_shape_and_dtype_but_not_the_coder() -> None:
    codec = codec_for()
    assert codec.id == codec_for().id == codec_for(coder="pack").id
    others = [
        codec_for((5, 4)),
        codec_for((20,)),
        codec_for((1, 4, 5)),
        codec_for(dtype="int8"),
        Codec(Codebook([-1, 0, 1, 3]), shape=(4, 5)),
        Codec(Codebook([-1, 0]), shape=(4, 5)),
    ]
    assert len({codec.id, *(other.id for other in others)}) == 7
    frame = codec.encode(feature_for(codec))
    assert np.array_equal(codec_for(coder="pack").decode(frame), codec.decode(frame))
    for other in others:
        for full in (False, True):
            frame = codec.encode(feature_for(codec), self_describing=full)
            with pytest.raises(errors.CodecMismatchError, match=f"{codec.id:08x}.*{other.id:08x}"):
                other.decode(frame)


@pytest.mark.parametrize("coder", ["zip", "", "LZMA", None, 0, []])
def test_wrong_coder(coder: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="coder"):
        Codec(BOOK, coder, shape=(1,))
    with pytest.raises(errors.ArgumentError, match="coder"):
        sc.encode(np.zeros(1, dtype=np.float32), BOOK, coder)


@pytest.mark.parametrize("dtype", ["float64", "", None, np.float32, 0, []])
def test_wrong_dtype(dtype: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="dtype"):
        Codec(BOOK, "pack", shape=(1,), dtype=dtype)


@pytest.mark.parametrize(
    "shape",
    [
        (-1,),
        (2.0,),
        ("2",),
        "2",
        None,
        (None,),
        (1,) * 9,
        (2**29,),
        (2**32,),
        (2**64,),
        (2**15, 2**15),
        (0, 2**29),
        (2**40, 0),
    ],
)
def test_wrong_shape(shape: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="shape"):
        Codec(BOOK, "pack", shape=shape)


def test_largest_shapes() -> None:
    for shape in ((2**29 - 1,), (0, 2**29 - 1), (2**14, 2**14, 1, 1, 1, 1, 1, 1)):
        codec = Codec(BOOK, "pack", shape=shape)
        assert codec.bound() == 10 + (codec_elements(shape) * 2 + 7) // 8


def codec_elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def test_wrong_codebook() -> None:
    for book in ([0, 1], None, BOOK.centroids):
        with pytest.raises(errors.ArgumentError, match="Codebook"):
            Codec(book, shape=(1,))  # type: ignore[arg-type]


def test_missing_coder(monkeypatch: pytest.MonkeyPatch) -> None:
    # a build of the core without liblzma
    from pysplitcodec import codec as module

    class Without:
        def __getattr__(self, name: str) -> Any:
            return getattr(core, name)

        def coder_available(self, number: int) -> bool:
            return number == 0

    core = module.core
    monkeypatch.setattr(module, "core", Without())
    with pytest.raises(errors.CoderUnavailableError, match=r"'lzma' is not in .* has pack"):
        Codec(BOOK, "lzma", shape=(1,))
    assert Codec(BOOK, "pack", shape=(1,)).coder == "pack"
    assert [name for name, there in sc.coders().items() if there] == ["pack"]


# ------------------------------------------------------------------ encoding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("coder", ["pack", "lzma"])
def test_layouts(dtype: Any, coder: str) -> None:
    codec = codec_for((6, 8), dtype, coder)
    feature = feature_for(codec)
    want = codec.encode(feature)
    wide = np.zeros((12, 24), dtype=dtype)
    wide[::2, ::3] = feature
    raw = np.frombuffer(b"?" + feature.tobytes(), np.uint8)[1:].view(dtype).reshape(6, 8)
    readonly = feature.copy()
    readonly.setflags(write=False)
    reverse = feature[::-1, ::-1].copy()
    views = [
        np.asfortranarray(feature),
        feature.T.copy().T,
        wide[::2, ::3],
        reverse[::-1, ::-1],
        raw,
        readonly,
        np.ma.masked_array(feature),
    ]
    for view in views:
        before = np.array(view)
        assert codec.encode(view) == want
        assert np.array_equal(view, before)
    assert codec.encode(np.broadcast_to(feature[0], (6, 8))) == codec.encode(
        np.tile(feature[0], (6, 1))
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_order_said_explicitly(dtype: Any) -> None:
    # as zarr has it: numpy keeps the "<" that was asked for
    codec = codec_for((3,), dtype)
    explicit = np.dtype(dtype).newbyteorder("<" if sys.byteorder == "little" else ">")
    assert explicit.isnative
    feature = np.array([0, 1, 2], dtype=explicit)
    frame = codec.encode(feature)
    assert frame == codec.encode(np.array([0, 1, 2], dtype=dtype))
    out = np.zeros(3, dtype=explicit)
    assert codec.decode(frame, out=out) is out
    assert out.tolist() == [0, 1, 2]
    assert sc.decode(sc.encode(feature, BOOK)).tolist() == [0, 1, 2]


def test_scalars() -> None:
    for scalar in (np.float32(1.2), np.int8(1), np.uint8(1), np.array(1, dtype=np.float32)):
        codec = codec_for((), scalar.dtype.name)
        frame = codec.encode(scalar)
        assert codec.decode(frame).shape == ()
        assert codec.decode(frame) == 1
        out = np.zeros((), dtype=scalar.dtype)
        assert codec.decode(frame, out=out) is out and out == 1
        assert sc.decode(sc.encode(scalar, BOOK)) == 1


def test_objects_with_array_interface() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.ones((4, 5), dtype=np.float32)

    codec = codec_for()
    assert codec.encode(Tensor()) == codec.encode(np.ones((4, 5), dtype=np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (np.zeros((4, 5)), "dtype float64: expected float32"),
        (np.zeros((4, 5), dtype=np.int8), "dtype int8"),
        (np.zeros((4, 5), dtype=np.float16), "dtype float16"),
        (np.zeros((4, 5), dtype=object), "dtype object"),
        (np.zeros((4, 5), dtype=np.dtype(np.float32).newbyteorder()), "byte order"),
        (np.zeros((5, 4), dtype=np.float32), r"shape \(5, 4\): expected \(4, 5\)"),
        (np.zeros(20, dtype=np.float32), r"shape \(20,\)"),
        (np.zeros((1, 4, 5), dtype=np.float32), "shape"),
        (np.float32(0), r"shape \(\)"),
        ([[0.0] * 5] * 4, "feature is a list"),
        (None, "feature is a NoneType"),
        (b"0" * 80, "feature is a bytes"),
    ],
    ids=repr,
)
def test_wrong_feature(feature: Any, message: str) -> None:
    for full in (False, True):
        with pytest.raises(errors.FeatureError, match=message):
            codec_for().encode(feature, self_describing=full)


shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)


@given(
    st.integers(1, 8),
    st.sampled_from(DTYPES),
    st.sampled_from(["pack", "lzma"]),
    shapes,
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
)
@settings(max_examples=300)
def test_any_feature(
    bits: int, dtype: Any, coder: str, shape: Any, seed: int, sparsity: int
) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.choice(np.arange(-300, 300), 1 << bits, replace=False)
    codec = Codec(Codebook(np.sort(levels)), coder, shape=shape, dtype=dtype)
    raw = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    raw[rng.integers(0, 4, shape) < sparsity] = 0
    feature = raw.view(dtype).reshape(shape)  # every bit pattern, NaNs among them
    for full in (False, True):
        frame = codec.encode(feature, self_describing=full)
        assert len(frame) <= codec.bound(self_describing=full)
        payload = (feature.size * bits + 7) // 8
        header = 17 + 4 * feature.ndim + (4 << bits) if full else 10
        assert codec.bound(self_describing=full) == header + payload
        if coder == "pack":
            assert len(frame) == header + payload
        assert codec.decode(frame).tobytes() == expected(codec, feature).tobytes()
        assert codec.encode(feature, self_describing=full) == frame
        info = sc.inspect(frame)
        assert info.frame_len == len(frame)
        assert info.payload_len == len(frame) - header
    again = sc.decode(sc.encode(feature, codec.codebook, coder))
    assert (again.dtype, again.shape) == (feature.dtype, feature.shape)
    assert again.tobytes() == expected(codec, feature).tobytes()


def test_compressible_features_shrink() -> None:
    codec = codec_for((64, 64))
    feature = np.zeros((64, 64), dtype=np.float32)
    assert len(codec.encode(feature)) < 40 < codec.bound()
    assert sc.inspect(codec.encode(feature)).coder == "lzma"
    noise = np.random.default_rng(0).choice([-1, 0, 1, 2], (64, 64)).astype(np.float32)
    assert sc.inspect(codec.encode(noise)).coder == "pack"
    assert len(codec.encode(noise)) == codec.bound()


def test_encoding_levels_is_lossless() -> None:
    book = Codebook(np.sort(np.random.default_rng(0).normal(size=256)))
    codec = Codec(book, shape=(256,))
    assert np.array_equal(codec.decode(codec.encode(book.centroids)), book.centroids)


# ------------------------------------------------------------------ decoding


@pytest.mark.parametrize("coder", ["pack", "lzma"])
def test_out(coder: str) -> None:
    codec = codec_for(coder=coder)
    frame = codec.encode(feature_for(codec))
    out = np.full((4, 5), np.nan, dtype=np.float32)
    assert codec.decode(frame, out=out) is out
    assert np.array_equal(out, codec.decode(frame))
    stack = np.full((3, 4, 5), np.nan, dtype=np.float32)
    codec.decode(frame, stack[1])
    assert np.array_equal(stack[1], out)
    assert np.isnan(stack[[0, 2]]).all()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((4, 5)), "out has dtype float64"),
        (np.zeros((4, 5), dtype=np.int8), "out has dtype int8"),
        (np.zeros((5, 4), dtype=np.float32), r"out has shape \(5, 4\)"),
        (np.zeros(20, dtype=np.float32), "out has shape"),
        (np.zeros((4, 10), dtype=np.float32)[:, ::2], "out is not contiguous"),
        (np.zeros((4, 5), dtype=np.float32, order="F"), "out is not contiguous"),
        (np.zeros((4, 5), dtype=np.dtype(np.float32).newbyteorder()), "out has byte order"),
        ([[0.0] * 5] * 4, "out is a list"),
        (bytearray(80), "out is a bytearray"),
    ],
    ids=repr,
)
def test_wrong_out(out: Any, message: str) -> None:
    codec = codec_for()
    frame = codec.encode(feature_for(codec))
    with pytest.raises(errors.FeatureError, match=message):
        codec.decode(frame, out=out)


def test_read_only_out() -> None:
    codec = codec_for()
    out = np.zeros((4, 5), dtype=np.float32)
    out.setflags(write=False)
    with pytest.raises(errors.FeatureError, match="writeable"):
        codec.decode(codec.encode(feature_for(codec)), out=out)
    assert not out.any()


def test_decode_of_what_is_no_buffer() -> None:
    for frame in (None, 5, "SPC", [1, 2, 3]):
        with pytest.raises(TypeError):
            codec_for().decode(frame)
        with pytest.raises(TypeError):
            sc.decode(frame)


def test_decode_of_a_compact_frame_without_codec() -> None:
    codec = codec_for()
    with pytest.raises(errors.FrameError, match=f"compact frame of codec {codec.id:08x}"):
        sc.decode(codec.encode(feature_for(codec)))


def test_limit_of_elements() -> None:
    feature = np.zeros((10, 10), dtype=np.float32)
    frame = sc.encode(feature, BOOK)
    assert sc.decode(frame, max_elements=100).shape == (10, 10)
    for limit in (99, 1, 0):
        with pytest.raises(errors.FrameLimitError, match=f"100 elements: the limit is {limit}"):
            sc.decode(frame, max_elements=limit)
    assert sc.decode(frame, max_elements=2**70).shape == (10, 10)
    empty = sc.encode(feature[:0], BOOK)
    assert sc.decode(empty, max_elements=0).shape == (0, 10)


def test_encode_functions_agree() -> None:
    for dtype in DTYPES:
        codec = codec_for(dtype=dtype)
        feature = feature_for(codec)
        for coder in ("pack", "lzma"):
            own = codec_for(dtype=dtype, coder=coder)
            assert sc.encode(feature, BOOK, coder) == own.encode(feature, self_describing=True)
    assert sc.encode(feature, BOOK) == sc.encode(feature, BOOK, "lzma")
    with pytest.raises(errors.ArgumentError, match="shape"):
        sc.encode(np.zeros((1,) * 9, dtype=np.float32), BOOK)
    with pytest.raises(errors.FeatureError):
        sc.encode(np.zeros(3), BOOK)
    with pytest.raises(errors.FeatureError):
        sc.encode([0.0], BOOK)  # type: ignore[arg-type]


# ------------------------------------------------------------------ batches


@pytest.mark.parametrize("shape", [(4, 5), (), (0,), (3,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batches(shape: tuple[int, ...], dtype: Any) -> None:
    codec = codec_for(shape, dtype)
    features = np.stack([feature_for(codec, seed) for seed in range(5)])
    for full in (False, True):
        frames = codec.encode_batch(features, self_describing=full)
        assert frames == [codec.encode(part, self_describing=full) for part in features]
        assert frames == codec.encode_batch(list(features), self_describing=full)
        assert frames == codec.encode_batch(iter(features), self_describing=full)
        restored = codec.decode_batch(frames)
        assert (restored.shape, restored.dtype) == ((5, *shape), np.dtype(dtype))
        assert np.array_equal(restored, expected(codec, features))
        out = np.empty((5, *shape), dtype=dtype)
        assert codec.decode_batch(frames, out) is out
        assert np.array_equal(out, restored)
    assert codec.encode_batch(features[:0]) == []
    assert codec.decode_batch([]).shape == (0, *shape)


def test_batch_with_gaps() -> None:
    codec = codec_for()
    features = np.random.default_rng(0).normal(size=(6, 4, 5)).astype(np.float32)
    frames = codec.encode_batch(features[::2])
    out = np.full((6, 4, 5), np.nan, dtype=np.float32)
    codec.decode_batch(frames, out[::2])  # every feature by itself is contiguous
    assert np.array_equal(out[::2], expected(codec, features[::2]))
    assert np.isnan(out[1::2]).all()


def test_wrong_batches() -> None:
    codec = codec_for()
    for features in (
        np.zeros((4, 5), dtype=np.float32),
        np.zeros((2, 5, 4), dtype=np.float32),
        np.zeros((2, 4, 5)),
        [np.zeros((4, 5), dtype=np.float32), np.zeros((5, 4), dtype=np.float32)],
    ):
        with pytest.raises(errors.FeatureError):
            codec.encode_batch(features)
    frames = codec.encode_batch(np.zeros((3, 4, 5), dtype=np.float32))
    with pytest.raises(errors.FeatureError, match=r"out has shape \(2, 4, 5\)"):
        codec.decode_batch(frames, np.empty((2, 4, 5), dtype=np.float32))
    with pytest.raises(errors.FeatureError, match="dtype"):
        codec.decode_batch(frames, np.empty((3, 4, 5)))
    frames[1] = frames[1][:-1]
    with pytest.raises(errors.ChecksumError, match="frame 1 of 3"):
        codec.decode_batch(frames)
    frames[1] = codec_for((20,)).encode(np.zeros(20, dtype=np.float32))
    with pytest.raises(errors.CodecMismatchError, match="frame 1 of 3"):
        codec.decode_batch(frames)


def test_wrong_batches_of_scalars() -> None:
    codec = codec_for(())
    with pytest.raises(errors.FeatureError):
        codec.encode_batch(np.array(1, dtype=np.float32))  # no batch dimension


def test_batch_out_that_is_no_array() -> None:
    codec = codec_for((2,))
    frames = codec.encode_batch(np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(errors.FeatureError, match="out"):
        codec.decode_batch(frames, [[0.0, 0.0]])  # type: ignore[arg-type]


# ------------------------------------------------------------------ threads, copies, files


@pytest.mark.parametrize("coder", ["pack", "lzma"])
def test_threads_share_a_codec(coder: str) -> None:
    codec = codec_for((64, 64), coder=coder)
    small = codec_for((3,), coder=coder)  # work buffers are kept per thread: mix the sizes
    features = [feature_for(codec, seed) for seed in range(16)]
    frames = codec.encode_batch(features)
    restored = codec.decode_batch(frames)

    def work(i: int) -> bool:
        for _ in range(10):
            if codec.encode(features[i]) != frames[i]:
                return False
            small.decode(small.encode(features[i][0, :3]))
            if not np.array_equal(codec.decode(frames[i]), restored[i]):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(len(features))))


def test_other_threads_run_while_coding() -> None:
    # Nobody is made to give the GIL up here, so this thread sees the other one inside the core only
    # if the core has released it.  An encoding takes some tenths of a second.
    codec = codec_for((400_000,), "uint8")
    feature = np.random.default_rng(0).choice([0, 0, 0, 1, 2], 400_000).astype(np.uint8)
    inside, seen = threading.Event(), threading.Event()

    def work() -> None:
        for _ in range(10):
            inside.set()
            codec.encode(feature)
            inside.clear()
            if seen.is_set():
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive() and not seen.is_set():
            inside.wait(0.01)  # gives the GIL up; comes back when it is free
            if inside.is_set():
                seen.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen.is_set()


def test_documented_promises() -> None:
    assert "GIL is released" in " ".join((Codec.__doc__ or "").split())
    assert "safe to use from many threads" in " ".join((Codec.__doc__ or "").split())


def test_copies() -> None:
    for dtype in DTYPES:
        codec = codec_for(dtype=dtype, coder="pack")
        frame = codec.encode(feature_for(codec))
        copies = [
            pickle.loads(pickle.dumps(codec, protocol))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ]
        for again in (*copies, copy.copy(codec), copy.deepcopy(codec)):
            assert again.id == codec.id
            assert (again.coder, again.dtype) == ("pack", dtype)
            assert again.encode(feature_for(codec)) == frame


def test_dict_and_file(tmp_path: Path) -> None:
    codec = codec_for((2, 0, 3), "int8", "pack")
    description = json.loads(json.dumps(codec.to_dict()))
    assert set(description) == {"coder", "shape", "dtype", "codebook"}
    assert Codec.from_dict(description).id == codec.id
    for path in (tmp_path / "codec.json", str(tmp_path / "text.json")):
        codec.save(path)
        again = Codec.load(path)
        assert (again.id, again.coder) == (codec.id, "pack")


GOOD = {"coder": "pack", "shape": [1], "dtype": "int8", "codebook": {"centroids": [0, 1]}}


@pytest.mark.parametrize(
    "description",
    [
        {},
        {**GOOD, "coder": "zip"},
        {**GOOD, "coder": None},
        {**GOOD, "coder": []},
        {**GOOD, "dtype": "float64"},
        {**GOOD, "dtype": {}},
        {**GOOD, "shape": [-1]},
        {**GOOD, "shape": "1"},
        {**GOOD, "shape": [1.5]},
        {**GOOD, "shape": [10**30]},
        {**GOOD, "shape": None},
        {**GOOD, "shape": {"a": 1}},
        {**GOOD, "codebook": None},
        {**GOOD, "codebook": {}},
        {**GOOD, "codebook": {"centroids": [1, 0]}},
        *({key: value for key, value in GOOD.items() if key != left} for left in GOOD),
        None,
        5,
        "codec",
        [],
    ],
    ids=repr,
)
def test_wrong_descriptions(tmp_path: Path, description: Any) -> None:
    assert Codec.from_dict(GOOD).dtype == "int8"
    with pytest.raises(errors.ArgumentError):
        Codec.from_dict(description)
    path = tmp_path / "codec.json"
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(errors.ArgumentError):
        Codec.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", pytest.param(b"[" * 100_000, id="deep")]
)
def test_corrupt_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "codec.json"
    path.write_bytes(content)
    with pytest.raises(errors.ArgumentError, match=r"codec\.json"):
        Codec.load(path)
    with pytest.raises(FileNotFoundError):
        Codec.load(tmp_path / "none.json")


# ------------------------------------------------------------------ the package


# What importing the package must not bring along.
HEAVY = [
    *("torch", "ai_edge_litert", "tflite_runtime", "tensorflow", "starlette", "uvicorn", "httpx"),
    *("typer", "rich", "matplotlib", "PIL", "cffi", "safetensors", "numcodecs"),
]


def test_import_needs_numpy_alone(tmp_path: Path) -> None:
    pytest.importorskip("pysplitcodec._core")
    code = (
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import pysplitcodec\n"
        "codec = pysplitcodec.Codec(pysplitcodec.Codebook([0, 1]), shape=(8,))\n"
        "codec.decode(codec.encode(numpy.zeros(8, dtype='float32')))\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        f"print(sorted(tops & {set(HEAVY)!r}))\n"
        "print(sorted(name for name in sys.modules if name.startswith('pysplitcodec')))"
    )
    environment = {key: os.environ[key] for key in os.environ if key != "SPLITCODEC_BINDING"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    heavy, own = result.stdout.splitlines()
    assert heavy == "[]"
    assert own == str(
        sorted(
            f"pysplitcodec{name}"
            for name in (
                *("", "._core", ".auto", ".codebook", ".codec", ".context_model", ".errors"),
                *(".fit", ".frame", ".model", ".native", ".range_model", ".rans", ".slices"),
            )
        )
    )


def test_all_names_are_there() -> None:
    assert len(set(sc.__all__)) == len(sc.__all__)
    for name in sc.__all__:
        assert getattr(sc, name) is not None
    for module in ("auto", "codebook", "codec", "context_model", "frame", "native", "range_model"):
        loaded = importlib.import_module(f"pysplitcodec.{module}")
        for name in loaded.__all__:
            assert hasattr(loaded, name)


def test_every_error_is_a_split_codec_error() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 10
    assert all(issubclass(value, errors.SplitCodecError) for value in classes)
    tree = errors.__doc__ or ""
    for value in classes:  # the tree at the top of the file is whole
        assert value.__name__ in tree
    for value in (errors.FrameError, errors.ArgumentError, errors.FeatureError):
        assert issubclass(value, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)


def _documented_modules() -> list[str]:
    names = ["pysplitcodec"]
    names += [module.name for module in pkgutil.walk_packages(sc.__path__, "pysplitcodec.")]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", _documented_modules())
def test_docstrings(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"needs an extra: {error}")
    namespace = {**vars(module), "np": np, "sc": sc, "pysplitcodec": sc}
    results = doctest.testmod(module, extraglobs=namespace, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    if name in ("pysplitcodec.codebook", "pysplitcodec.codec"):
        assert results.attempted > 0


def test_random_order_of_calls_keeps_codecs_apart() -> None:
    # codecs of many sizes in one thread share its work buffer
    rng = random.Random(0)
    codecs = [codec_for((size,), dtype) for size in (1, 50, 4000, 20000) for dtype in DTYPES]
    features = [feature_for(codec) for codec in codecs]
    frames = [codec.encode(feature) for codec, feature in zip(codecs, features)]
    for _ in range(200):
        at = rng.randrange(len(codecs))
        if rng.randrange(2):
            assert codecs[at].encode(features[at]) == frames[at]
        else:
            restored = codecs[at].decode(frames[at])
            assert np.array_equal(restored, expected(codecs[at], features[at]))
