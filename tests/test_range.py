"""Coder `range`: C core through both bindings, reference, models and their fit."""

from __future__ import annotations

import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import adaptive as ref
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, RangeModel, errors
from pysplitcodec.model import framed, load_model
from pysplitcodec.native import CODERS

HERE = Path(__file__).resolve().parent
RANGE = CODERS["range"]


VECTORS = json.loads((HERE / "vectors" / "range.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["_core", "_abi"])
def core(request: pytest.FixtureRequest) -> Any:
    if request.param == "_abi":
        pytest.importorskip("cffi")
    return importlib.import_module(f"pysplitcodec.{request.param}")


def smooth(shape: tuple[int, ...], bits: int, seed: int = 0) -> np.ndarray:
    """Indices that go slowly up and down along each axis, with some noise."""
    rng = np.random.default_rng(seed)
    values = np.zeros(shape)
    for axis, size in enumerate(shape):
        wave = np.sin(np.arange(size) / 3 + rng.random() * 6)
        values += wave.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    values += rng.normal(0, 0.2, shape)
    return np.clip(
        np.floor((values / len(shape) + 1) * (1 << bits) / 2), 0, (1 << bits) - 1
    ).astype(np.uint8)


def planes_of(indices: np.ndarray, axis: int) -> np.ndarray:
    """[channels, rows, columns], as docs/format.md says."""
    if axis < 0 and indices.ndim >= 3:
        axis = 0
    moved = np.moveaxis(indices, axis, 0) if axis >= 0 else indices[None]
    rest = moved.shape[1:]
    return moved.reshape(moved.shape[0], -1, rest[-1] if rest else 1)


def decoded(core: Any, payload: bytes, coder: int, like: np.ndarray, *rest: Any) -> np.ndarray:
    out = np.full(like.shape, 0xFF, np.uint8)
    bits, axis, model = rest
    core.coder_decode(coder, like.shape, bits, payload, out, axis, model)
    return out


# ------------------------------------------------------------------ bytes


@pytest.mark.parametrize("entry", VECTORS, ids=lambda entry: entry["name"])
def test_vectors(entry: dict[str, Any], core: Any) -> None:
    bits, shape = entry["bits"], tuple(entry["shape"])
    indices = np.empty(shape, np.uint8)
    core.unpack(np.frombuffer(bytes.fromhex(entry["packed"]), np.uint8), bits, indices)
    body = bytes.fromhex(entry["model_body"])
    model = core.Model(framed("range", bits, shape[0], body))
    read = ref.read_model(body, bits, shape[0])
    cases = [(entry["payload"], None, None), (entry["payload_with_model"], model, read)]
    for text, own, of_reference in cases:
        payload, used = core.coder_encode(RANGE, shape, bits, indices, 0, own)
        if text is None:
            assert used == CODERS["pack"]
            continue
        assert (payload.hex(), used) == (text, RANGE)
        assert np.array_equal(decoded(core, payload, RANGE, indices, bits, 0, own), indices)
        assert ref.decode(payload, *shape, bits, of_reference) == indices.tolist()


def test_table_of_the_format() -> None:
    text = (HERE.parent / "docs" / "format.md").read_text(encoding="utf-8")
    _, _, after = text.partition("### 4.3 range")
    table = after.partition("entry 127 - *b*.")[2].partition("#")[0]
    assert [int(number) for number in table.split()] == ref.LOGISTIC


def bodies(bits: int, channels: int) -> st.SearchStrategy[bytes]:
    """Bodies of models: any questions, any tables."""

    @st.composite
    def body(draw: st.DrawFn) -> bytes:
        found = []
        signed = st.one_of(st.integers(-3, 3), st.integers(-128, 127))
        for channel in range(channels):
            questions = []
            for _ in range(draw(st.integers(0, min(8, 10 - bits)))):
                back, down, right = draw(st.integers(0, channel)), draw(signed), draw(signed)
                if back == 0 and (down, right) >= (0, 0):
                    down, right = -1, right
                least = draw(st.integers(1, (1 << bits) - 1))
                questions.append(ref.Question(back, down, right, least))
            size = ((1 << bits) - 1) << len(questions)
            seed = draw(st.integers(0, 2**32 - 1))
            table = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
            found.append((questions, table.tobytes()))
        return bytes(ref.write_model(draw(st.integers(1, 15)), found))

    return body()


@settings(max_examples=150)
@given(data=st.data())
def test_round_trip_and_reference(core: Any, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 8))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=0, max_size=4)))
    if data.draw(st.booleans()):
        shape = (*shape, data.draw(st.sampled_from([1, 95, 96, 97, 200])))
    axis = data.draw(st.integers(-1, len(shape) - 1))
    if data.draw(st.booleans()):
        indices = smooth(shape, bits, data.draw(st.integers(0, 99))) if shape else np.uint8(1)
        indices = np.asarray(indices)
    else:
        seed = data.draw(st.integers(0, 99))
        indices = np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=np.uint8)
    indices = np.ascontiguousarray(indices).reshape(shape)
    planes = planes_of(indices, axis)
    model = read = None
    if data.draw(st.booleans()):
        body = data.draw(bodies(bits, len(planes)))
        model = core.Model(framed("range", bits, len(planes), body))
        read = ref.read_model(body, bits, len(planes))
    payload, used = core.coder_encode(RANGE, shape, bits, indices, axis, model)
    assert np.array_equal(decoded(core, payload, used, indices, bits, axis, model), indices)
    if indices.size < 500:
        expected = ref.encode(planes.tolist(), bits, read)
        assert (payload if used == RANGE else None) == expected


@settings(max_examples=200)
@given(data=st.data())
def test_any_payload(core: Any, data: st.DataObject) -> None:
    """Refused by core and reference alike, or read by both alike."""
    bits = data.draw(st.integers(1, 8))
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 20)))
    if data.draw(st.booleans()):
        indices = smooth(shape, bits)
        whole, _ = core.coder_encode(RANGE, shape, bits, indices, 0, None)
        cut = data.draw(st.integers(0, len(whole)))
        payload = whole[:cut] + data.draw(st.binary(max_size=4))
    else:
        payload = data.draw(st.binary(max_size=40))
    like = np.empty(shape, np.uint8)
    try:
        expected = ref.decode(payload, *shape, bits, None)
    except ref.CorruptPayloadError:
        with pytest.raises(errors.CorruptFrameError):
            decoded(core, payload, RANGE, like, bits, 0, None)
    else:
        assert decoded(core, payload, RANGE, like, bits, 0, None).tolist() == expected
        assert ref.encode(expected, bits, None) in (payload, None)


def test_what_does_not_shrink_is_packed(core: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 9, 9), dtype=np.uint8)
    payload, used = core.coder_encode(RANGE, noise.shape, 8, noise, 0, None)
    assert (len(payload), used) == (noise.size, CODERS["pack"])


def test_channels_last_is_channels_first() -> None:
    indices = smooth((3, 8, 10), 2)
    core = importlib.import_module("pysplitcodec.native").core
    last = np.ascontiguousarray(np.moveaxis(indices, 0, 2))
    first = core.coder_encode(RANGE, indices.shape, 2, indices, 0, None)
    assert first == core.coder_encode(RANGE, indices.shape, 2, indices, -1, None)
    assert first == core.coder_encode(RANGE, last.shape, 2, last, 2, None)


# ------------------------------------------------------------------ models


def small_body(**changed: int) -> bytes:
    one = {"shift": 5, "count": 1, "back": 0, "down": 255, "right": 0, "least": 1, **changed}
    return bytes([*one.values()]) + bytes(6)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        small_body(shift=0),
        small_body(shift=16),
        small_body(count=0),
        small_body(count=2),
        small_body(back=1),
        small_body(down=0),
        small_body(down=1),
        small_body(down=0, right=1),
        small_body(least=0),
        small_body(least=4),
        small_body()[:-1],
        small_body() + b"\0",
    ],
)
def test_wrong_body(body: bytes, core: Any) -> None:
    core.Model(framed("range", 2, 1, small_body()))
    with pytest.raises(errors.CoderModelError):
        core.Model(framed("range", 2, 1, body))
    with pytest.raises(ref.BadModelError):
        ref.read_model(body, 2, 1)


@given(st.binary(max_size=60), st.integers(1, 8), st.integers(1, 3))
def test_any_body(core: Any, body: bytes, bits: int, channels: int) -> None:
    try:
        ref.read_model(body, bits, channels)
    except ref.BadModelError:
        with pytest.raises(errors.CoderModelError):
            core.Model(framed("range", bits, channels, body))
    else:
        core.Model(framed("range", bits, channels, body))


def test_wrong_model() -> None:
    data = framed("range", 2, 1, small_body())
    model = RangeModel(data)
    assert (model.bits, model.channels, model.to_bytes(), len(model)) == (2, 1, data, len(data))
    for at in range(len(data)):
        with pytest.raises(errors.SplitCodecError):
            RangeModel(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
    with pytest.raises(errors.CoderModelError, match="2 bits and 1 channels"):
        Codec(Codebook([0, 1]), "range", shape=(1, 4, 4), channel_axis=0, model=model)
    with pytest.raises(errors.CoderModelError):
        Codec(Codebook([0, 1, 2, 3]), "range", shape=(2, 4, 4), channel_axis=0, model=model)


# ------------------------------------------------------------------ fit


def calibration(bits: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.stack([smooth((channels, 12, 14), bits, seed + i) for i in range(30)])


@pytest.mark.parametrize("bits", range(1, 9))
def test_fit(bits: int, tmp_path: Path) -> None:
    indices = calibration(bits)
    model = RangeModel.fit(indices, bits)
    assert model == RangeModel.fit(indices.copy(), bits)
    assert (model.bits, model.channels) == (bits, 3)
    model.save(tmp_path / "model")
    for same in (
        RangeModel.load(tmp_path / "model"),
        load_model(model.to_bytes()),
        pickle.loads(pickle.dumps(model)),
    ):
        assert same == model and type(same) is RangeModel
    book = Codebook(np.arange(1 << bits))
    codec = Codec(book, "range", shape=(3, 12, 14), channel_axis=0, model=model)
    without = Codec(book, "range", shape=(3, 12, 14), channel_axis=0)
    assert codec.id != without.id
    sizes = np.zeros(2)
    for feature in calibration(bits, seed=100)[:10].astype(np.float32):
        frames = codec.encode(feature), without.encode(feature)
        sizes += [len(frame) for frame in frames]
        assert np.array_equal(codec.decode(frames[0]), feature)
        full = codec.encode(feature, self_describing=True)
        assert np.array_equal(sc.decode(full), feature)
        with pytest.raises(errors.CodecMismatchError):
            without.decode(frames[0])
    assert sizes[0] < sizes[1]


def test_fit_of_channels_last() -> None:
    indices = calibration(2)
    last = np.moveaxis(indices, 1, 3)
    model = RangeModel.fit(last, 2, channel_axis=-1)
    assert model == RangeModel.fit(indices, 2) == RangeModel.fit(last, 2, channel_axis=2)
    codec = Codec(Codebook(range(4)), "range", shape=(12, 14, 3), channel_axis=2, model=model)
    feature = last[0].astype(np.float32)
    assert np.array_equal(codec.decode(codec.encode(feature)), feature)


@pytest.mark.parametrize(
    "shape", [(5, 1), (1, 1), (9, 4), (6, 2, 1, 1), (1, 3, 1, 5), (2, 1, 7, 1)]
)
def test_fit_of_little(shape: tuple[int, ...]) -> None:
    for bits in (1, 3, 8):
        rng = np.random.default_rng(0)
        for indices in (np.zeros(shape, np.uint8), rng.integers(0, 1 << bits, shape, np.uint8)):
            model = RangeModel.fit(indices, bits)
            assert model.channels == shape[1]


def test_budget() -> None:
    indices = calibration(2)
    largest = RangeModel.fit(indices, 2)
    least = 12 + 1 + 3 * (1 + 3)
    sizes = []
    for budget in (least, 100, 200, 500, 1000, len(largest)):
        sizes.append(len(RangeModel.fit(indices, 2, budget_bytes=budget)))
        assert sizes[-1] <= budget
    assert sizes == sorted(sizes) and sizes[0] == least and sizes[0] < sizes[2] < sizes[4]
    with pytest.raises(errors.ArgumentError, match=f"at least {least}"):
        RangeModel.fit(indices, 2, budget_bytes=least - 1)
    for wrong in (1e6, True, "1000"):
        with pytest.raises(errors.ArgumentError, match="budget_bytes"):
            RangeModel.fit(indices, 2, budget_bytes=wrong)  # type: ignore[arg-type]


def test_wrong_calibration() -> None:
    indices = calibration(2)
    for wrong in (indices.astype(np.int64), indices[:0], indices[0, 0, 0]):
        with pytest.raises(errors.FeatureError):
            RangeModel.fit(wrong, 2)
    with pytest.raises(errors.FeatureError, match="expected less than 2"):
        RangeModel.fit(indices, 1)
    for bits in (0, 9, 2.0, True, None):
        with pytest.raises(errors.ArgumentError, match="bits"):
            RangeModel.fit(indices, bits)  # type: ignore[arg-type]
    for axis in (3, -4, None):
        with pytest.raises(errors.ArgumentError, match="channel_axis"):
            RangeModel.fit(indices, 2, channel_axis=axis)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tiny_split2_tcl_b1", "tiny_split2_ptq_b2", "tiny_split2_tcl_b3"])
def test_size_on_real_features(name: str, data_dir: Path) -> None:
    path = data_dir / "features" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    bits = int(name[-1])
    with np.load(path) as data:
        model = RangeModel.fit(data["calibration"][:200], bits)
        test = data["test"][:40]
    book = Codebook(np.arange(1 << bits))
    sizes = {}
    for coder, own in (("lzma", None), ("range", None), ("range", model)):
        codec = Codec(book, coder, shape=test.shape[1:], channel_axis=0, model=own)
        sizes[coder, own is model] = sum(len(codec.encode(np.float32(each))) - 10 for each in test)
    lzma = sizes["lzma", False]
    assert sizes["range", False] < 0.85 * lzma
    assert sizes["range", True] < 0.73 * lzma
