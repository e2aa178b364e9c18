"""Coder "rans": golden vectors, the reference, hostile payloads and models, and fitting."""

from __future__ import annotations

import json
import lzma
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import generate_rans
import numpy as np
import pytest
import rans as reference
import reference as ref
from hypothesis import given, settings
from hypothesis import strategies as st

from pysplitcodec import Codebook, Codec, RansModel, decode, errors
from pysplitcodec.model import framed, load_model
from pysplitcodec.native import CODERS

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"

RANS, PACK = CODERS["rans"], CODERS["pack"]
ENTRIES: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((VECTORS / "rans.json").read_text())
}
GOOD = [name for name, entry in ENTRIES.items() if "indices" in entry]
BAD = [name for name, entry in ENTRIES.items() if "like" in entry]
BAD_MODELS = [name for name in ENTRIES if name not in (*GOOD, *BAD)]


class Core:
    """Coder "rans" of one binding."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def encode(self, indices: np.ndarray, bits: int, axis: int, model: bytes) -> tuple[bytes, int]:
        native = self.module.Model(model)
        flat = np.ascontiguousarray(indices)
        return self.module.coder_encode(RANS, indices.shape, bits, flat, axis, native)

    def decode(
        self, payload: bytes, shape: tuple[int, ...], bits: int, axis: int, model: bytes
    ) -> np.ndarray:
        out = np.empty(shape, np.uint8)
        native = self.module.Model(model)
        self.module.coder_decode(RANS, shape, bits, payload, out, axis, native)
        return out


def binding(name: str) -> Core:
    if name == "cffi":
        pytest.importorskip("cffi")
        from pysplitcodec import _abi

        return Core(_abi)
    return Core(pytest.importorskip("pysplitcodec._core"))


@pytest.fixture(scope="module", params=["pybind11", "cffi"])
def core(request: pytest.FixtureRequest) -> Core:
    return binding(request.param)


def seen_axis(shape: tuple[int, ...], axis: int | None) -> int | None:
    return 0 if axis is None and len(shape) >= 3 else axis


def planes_of(indices: np.ndarray, axis: int | None) -> np.ndarray:
    """[channels, indices of one], as docs/format.md has them."""
    seen = seen_axis(indices.shape, axis)
    if seen is None:
        return indices.reshape(1, -1)
    return np.moveaxis(indices, seen, 0).reshape(indices.shape[seen], -1)


# ------------------------------------------------------------------ golden vectors


def test_vectors_are_what_the_reference_gives() -> None:
    command = [sys.executable, str(VECTORS / "generate_rans.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", GOOD)
def test_golden_vectors(core: Core, name: str) -> None:
    entry = ENTRIES[name]
    shape, bits = tuple(entry["shape"]), entry["bits"]
    axis = -1 if entry["axis"] is None else entry["axis"]
    model, payload = bytes.fromhex(entry["model"]), bytes.fromhex(entry["payload"])
    packed = bytes.fromhex(entry["indices"])
    indices = np.array(ref.unpack(packed, math.prod(shape), bits), np.uint8).reshape(shape)
    wanted = (payload, RANS) if payload else (packed, PACK)
    assert core.encode(indices, bits, axis, model) == wanted
    if payload:
        assert np.array_equal(core.decode(payload, shape, bits, axis, model), indices)


@pytest.mark.parametrize("name", BAD)
def test_bad_vectors(core: Core, name: str) -> None:
    entry = ENTRIES[ENTRIES[name]["like"]]
    payload = bytes.fromhex(ENTRIES[name]["payload"])
    model = bytes.fromhex(entry["model"])
    with pytest.raises(errors.CorruptFrameError):
        core.decode(payload, tuple(entry["shape"]), entry["bits"], -1, model)


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(core: Core, name: str) -> None:
    with pytest.raises(errors.CoderModelError):
        core.module.Model(bytes.fromhex(ENTRIES[name]["model"]))


# ------------------------------------------------------------------ any shape


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int | None, bytes]:
    """Indices, bits, axis and a model that they may or may not be typical of."""
    shape = tuple(draw(st.lists(st.integers(1, 12), max_size=3)))
    axis = draw(st.sampled_from([None, *range(len(shape))]))
    bits = draw(st.integers(1, 8))
    seen = seen_axis(shape, axis)
    channels = 1 if seen is None else shape[seen]
    rng = random.Random(draw(st.integers(0, 2**32)))
    skew = draw(st.sampled_from([0, 2000, 3900, 4096 - 65]))
    body = generate_rans.body_of(rng, bits, channels, skew)
    length = math.prod(shape) // channels
    planes = generate_rans.likely_planes(rng, bits, channels, length, body)
    if draw(st.booleans()):
        planes = [[rng.randrange(1 << bits) for _ in plane] for plane in planes]
    outer = 1 if seen is None else math.prod(shape[:seen])
    flat = np.array(generate_rans.in_shape_order(planes, outer), np.uint8)
    return flat.reshape(shape), bits, axis, framed("rans", bits, channels, body)


@given(cases())
@settings(max_examples=300)
def test_same_bytes_as_the_reference(core: Core, case: Any) -> None:
    indices, bits, axis, model = case
    number = -1 if axis is None else axis
    planes = planes_of(indices, axis).tolist()
    wanted = reference.encode(planes, bits, model[8:-4])
    payload, used = core.encode(indices, bits, number, model)
    if used == PACK:
        assert len(wanted) >= ref.packed_size(indices.size, bits)
        assert payload == ref.pack(indices.ravel().tolist(), bits)
        return
    assert payload == wanted
    assert reference.decode(payload, len(planes), len(planes[0]), bits, model[8:-4]) == planes
    assert np.array_equal(core.decode(payload, indices.shape, bits, number, model), indices)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 37, 41), 0),
        ((37, 41, 3), 2),
        ((900, 3), 0),
        ((1100,), 0),
        ((1, 128, 33), 0),
        ((2, 2, 3000), 1),
        ((5000,), None),
    ],
)
def test_many_groups(core: Core, bits: int, shape: tuple[int, ...], axis: int | None) -> None:
    rng = np.random.default_rng(bits)
    indices = np.minimum(rng.geometric(0.7, shape) - 1, (1 << bits) - 1).astype(np.uint8)
    number = -1 if axis is None else axis
    channels = len(planes_of(indices, axis))
    of_channel = indices[None, None] if axis is None else indices[None]
    model = RansModel.fit(of_channel, bits, channel_axis=axis or 0).to_bytes()
    payload, used = core.encode(indices, bits, number, model)
    planes = planes_of(indices, axis).tolist()
    wanted = reference.encode(planes, bits, model[8:-4])
    assert (payload == wanted) if used == RANS else len(wanted) >= len(payload)
    assert used == RANS or channels > 500
    if used == RANS:
        assert np.array_equal(core.decode(payload, shape, bits, number, model), indices)


# ------------------------------------------------------------------ hostile payloads


@given(data=st.data())
@settings(max_examples=200)
def test_what_is_accepted_is_what_the_encoder_writes(core: Core, data: st.DataObject) -> None:
    """Every payload is refused, or the only one of its indices."""
    shape = data.draw(st.sampled_from([(2, 5, 7), (3, 40), (1, 2100), (4, 16, 17)]))
    bits = data.draw(st.integers(1, 8))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    body = generate_rans.body_of(rng, bits, shape[0], 3000)
    length = math.prod(shape[1:])
    planes = generate_rans.likely_planes(rng, bits, shape[0], length, body)
    model = framed("rans", bits, shape[0], body)
    indices = np.array(planes, np.uint8).reshape(shape)
    payload, used = core.encode(indices, bits, 0, model)
    if used == PACK or data.draw(st.booleans()):
        damaged = bytearray(data.draw(st.binary(max_size=120)))
    else:
        damaged = bytearray(payload)
        for at in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=3)):
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        cut = data.draw(st.integers(0, len(payload)))
        if data.draw(st.booleans()):
            del damaged[cut : cut + data.draw(st.sampled_from([1, 2, 4]))]
    try:
        found = core.decode(bytes(damaged), shape, bits, 0, model)
    except errors.CorruptFrameError:
        with pytest.raises(reference.PayloadError):
            reference.decode(bytes(damaged), shape[0], length, bits, body)
    else:
        assert core.encode(found, bits, 0, model) == (bytes(damaged), RANS)


def test_model_of_another_shape(core: Core) -> None:
    model = RansModel.fit(np.zeros((1, 3, 8, 8), np.uint8), 2).to_bytes()
    indices = np.zeros((3, 50), np.uint8)
    assert core.encode(indices, 2, 0, model)[1] == RANS  # rows and columns are free
    for shape, bits in (((4, 50), 2), ((3, 50), 3)):
        with pytest.raises(errors.CoderModelError):
            core.encode(np.zeros(shape, np.uint8), bits, 0, model)
    with pytest.raises(errors.CoderModelError):
        core.module.coder_encode(RANS, (3, 50), 2, indices, 0, None)


# ------------------------------------------------------------------ fitting


def tables_of(model: RansModel) -> list[list[Any]]:
    return reference.parse_body(model.to_bytes()[8:-4], model.bits, model.channels)


@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    bits=st.integers(1, 8),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_fitted_models_are_valid(
    shape: list[int], bits: int, seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(1 - len(shape), len(shape) - 2))
    levels = 1 + seed % (1 << bits)
    indices = np.random.default_rng(seed).integers(0, levels, shape).astype(np.uint8)
    model = RansModel.fit(indices, bits, channel_axis=axis)
    channels = shape[1:][axis]
    assert (model.bits, model.channels) == (bits, channels)
    assert len(tables_of(model)) == channels
    assert RansModel.fit(indices.copy(), bits, channel_axis=axis) == model
    assert load_model(model.to_bytes()) == model
    assert pickle.loads(pickle.dumps(model)) == model


@pytest.mark.parametrize("bits", range(1, 9))
def test_fitted_models_come_near_the_entropy(bits: int) -> None:
    """Of neighbouring values that are much alike, and of one that stands out."""
    rng = np.random.default_rng(bits)
    levels = np.arange(1 << bits)
    weights = np.exp(-np.abs(levels - [[levels.size / 3], [0]]) * 4 / levels.size)
    weights[1, 0] += weights[1].sum()
    weights /= weights.sum(axis=1, keepdims=True)
    planes = [rng.choice(levels, (4, 1, 16384), p=weights[c]) for c in range(2)]
    indices = np.concatenate(planes, axis=1).astype(np.uint8)
    model = RansModel.fit(indices, bits)
    wanted = 0.0
    for channel in range(2):
        p = np.bincount(indices[0, channel], minlength=1 << bits) / 16384
        wanted -= 16384 * float((p[p > 0] * np.log2(p[p > 0])).sum()) / 8
    payload, used = binding("pybind11").encode(indices[0], bits, 0, model.to_bytes())
    assert used == RANS
    assert len(payload) <= wanted * 1.01 + 24


def test_one_index_that_stands_out_gets_a_class() -> None:
    """As zero does behind a ReLU: 256 values, and one that has half of it all."""
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 256, (1, 1, 20000)).astype(np.uint8)
    indices[rng.random(indices.shape) < 0.5] = 77
    (table,) = tables_of(RansModel.fit(indices, 8))
    assert [one.width for one in table if one.first == 77] == [0]


def test_groups_are_counted_as_they_are_coded() -> None:
    indices = np.array([[[1, 1, 1, 1, 1, 1]]], np.uint8)
    (table,) = tables_of(RansModel.fit(np.repeat(indices, 1000, axis=0), 1))
    frequencies = [one.frequency for one in table]
    assert frequencies[0b1111] + frequencies[0b0011] > 4000
    assert abs(frequencies[0b1111] - frequencies[0b0011]) <= 2


def test_what_cannot_be_fitted() -> None:
    fine = np.zeros((2, 3, 4, 4), np.uint8)
    with pytest.raises(errors.FeatureError):
        RansModel.fit(fine + np.uint8(4), 2)
    with pytest.raises(errors.FeatureError):
        RansModel.fit(fine[:0], 2)
    with pytest.raises(errors.ArgumentError):
        RansModel.fit(fine, 9)
    with pytest.raises(errors.ArgumentError):
        RansModel.fit(fine, 2, channel_axis=3)
    with pytest.raises(errors.ArgumentError, match="65536 channels"):
        RansModel.fit(np.zeros((1, 65536), np.uint8), 2)
    with pytest.raises(errors.CoderModelError):
        RansModel(b"SPM\1")


# ------------------------------------------------------------------ codecs


@pytest.mark.parametrize(("shape", "axis"), [((4, 20, 20), None), ((20, 20, 4), -1)])
def test_codec_with_a_model(shape: tuple[int, ...], axis: int | None) -> None:
    rng = np.random.default_rng(1)
    features = np.maximum(rng.normal(0, 1, (30, *shape)), 0).astype(np.float32)
    book = Codebook([0.0, 0.5, 1.0, 2.0])
    indices = np.stack([book.quantize(feature) for feature in features])
    model = RansModel.fit(indices, 2, channel_axis=axis or 0)
    codec = Codec(book, "rans", shape=shape, dtype="float32", channel_axis=axis, model=model)
    frame = codec.encode(features[0])
    assert len(frame) < 10 + 400
    assert frame[1] == RANS
    assert np.array_equal(codec.decode(frame), book.dequantize(indices[0]))
    with pytest.raises(errors.CoderModelError, match="RansModel"):
        Codec(book, "rans", shape=shape, dtype="float32", channel_axis=axis)
    whole = codec.encode(features[0], self_describing=True)
    assert np.array_equal(decode(whole), book.dequantize(indices[0]))


def test_smaller_than_the_aim_on_real_features(data_dir: Path) -> None:
    """At most 1.15 of LZMA's bytes, tuned for packed indices."""
    options = {"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 65536}
    ratios = []
    files = sorted((data_dir / "features").glob("tiny_split2_*_b?.npz"))
    if not files:
        pytest.skip(f"no features in {data_dir}")
    for path in files:
        bits = int(path.stem[-1])
        data = np.load(path)
        model = RansModel.fit(data["calibration"], bits).to_bytes()
        ours = theirs = 0
        for indices in data["test"][:40]:
            ours += len(binding("pybind11").encode(indices, bits, 0, model)[0])
            packed = ref.pack(indices.ravel().tolist(), bits)
            theirs += len(lzma.compress(packed, lzma.FORMAT_RAW, filters=[options]))
        ratios.append(ours / theirs)
    assert max(ratios) <= 1.15
