"""Coder "context": codecs with its models, their training, and the reference."""

from __future__ import annotations

import itertools
import pickle
import random
import re
import struct
from pathlib import Path
from typing import Any

import context
import generate as vectors
import numpy as np
import pytest
import reference as ref

import pysplitcodec as sc
from pysplitcodec import Codebook, Codec, ContextModel, errors
from pysplitcodec.bench import samples
from pysplitcodec.model import framed, load_model
from pysplitcodec.native import core

HERE = Path(__file__).resolve().parent
FORMAT = HERE.parent / "docs" / "format.md"


def _calibration(bits: int, shape: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Indices that resemble their neighbours: [count, *shape], the last two rows and columns."""
    steps = np.random.default_rng(seed).normal(size=(count, *shape))
    walk = np.cumsum(np.cumsum(steps, axis=-1), axis=-2)
    walk /= np.abs(walk).max(axis=(-1, -2), keepdims=True)
    return np.clip((walk + 1) * (1 << bits) / 2, 0, (1 << bits) - 1).astype(np.uint8)


def _random_model(bits: int, channels: int, seed: int = 0) -> ContextModel:
    rng = random.Random(f"model {bits} {channels} {seed}")
    networks = [vectors.random_network(rng, bits, c, 4, 2, 1, 9) for c in range(channels)]
    return ContextModel(vectors.model_of(bits, networks).whole)


def _numbers(values: Any) -> list[int]:
    """The bits of float32 values, as the reference has them."""
    return [int(value) for value in np.asarray(values, np.float32).view(np.uint32)]


def _books(bits: int, count: int) -> list[Codebook]:
    return [Codebook(np.arange(1 << bits) * (c + 1) - c) for c in range(count)]


# ------------------------------------------------------------------ the reference


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_reference_says_the_same(bits: int) -> None:
    rng = random.Random(f"context {bits}")
    for number in range(6):
        sizes = rng.randint(1, 3), rng.randint(1, 4), rng.choice((1, 2, 7, 31, 32, 33, 40))
        networks = []
        for channel in range(sizes[0]):
            units = rng.randint(1, 16)
            fields = rng.randint(0, 30), units, rng.randint(0, units), rng.randint(1, 16)
            networks.append(vectors.random_network(rng, bits, channel, *fields))
        body = context.build(networks)
        model = ContextModel(ref.Model(ref.CONTEXT, bits, sizes[0], body).whole)
        numbers = np.arange(np.prod(sizes)).reshape(sizes).tolist()
        if number % 2:
            symbols = [rng.randrange(1 << bits) for _ in range(int(np.prod(sizes)))]
        else:  # as the model foresees them

            def decide(zero: int) -> int:
                return int(rng.randrange(32768) >= zero)

            symbols = context.walk(bits, sizes, networks, decide)
        payload, whole = context.encode(symbols, bits, numbers, body)
        assert context.decode(payload, bits, numbers, body) == symbols
        feature = np.array(symbols, np.float32).reshape(sizes)
        codec = Codec(Codebook(np.arange(1 << bits)), "context", shape=sizes, model=model)
        frame = codec.encode(feature)
        centroids = tuple(_numbers(np.arange(1 << bits)))
        reference = ref.Codec((centroids,), ref.FLOAT32, sizes, None, model.to_bytes())
        assert frame == ref.encode_context(reference, _numbers(symbols))
        if whole < ref.packed_size(len(symbols), bits):
            own = ref.build(reference, ref.CONTEXT, payload)  # even if its rival is shorter
            assert np.array_equal(codec.decode(own), feature)
        assert np.array_equal(codec.decode(frame), feature)


def test_numbers_of_the_page() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    table = context.LOGISTIC
    crc = core.crc32c(struct.pack("<512H", *table))
    assert f"0x{crc:08x}" in text
    assert re.search(rf"{', '.join(map(str, table[:5]))} ... {table[-1]}\.", text)
    assert f"logit[n]) >> {context.GAIN_SHIFT})) mod 2^32" in text
    assert (
        text.count(f"(mistake + {1 << (context.LOW_BIAS_SHIFT - 1)}) >> {context.LOW_BIAS_SHIFT})")
        == 1
    )
    for name, shift in (
        ("context bias[..]", context.CONTEXT_BIAS_SHIFT),
        ("channel bias", context.CHANNEL_BIAS_SHIFT),
    ):
        assert f"wrap16({name}[n] + ((mistake + {1 << (shift - 1)}) >> {shift}))" in text


# ------------------------------------------------------------------ codecs


@pytest.mark.parametrize("binding", ["_core", "_abi"])
def test_improbable_ends(binding: str) -> None:
    # decisions that leave less than a byte's worth of the range, one after the other
    module = pytest.importorskip(f"pysplitcodec.{binding}")
    network = vectors.constant_network(1, 32767, [-32767], 1)
    bytes_ = vectors.model_of(1, [network]).whole
    codec = module.Codec(module.Codebook(np.float32([0, 1])), -1, 0, (16, 16), module.Model(bytes_))
    reference = ref.Codec((tuple(_numbers([0, 1])),), ref.FLOAT32, (16, 16), None, bytes_)
    seen = ref.planes((16, 16), None)
    for at, last in itertools.product(range(12), range(6)):
        feature = np.zeros((16, 16), np.float32)
        feature.flat[256 - last :] = feature.flat[at] = 1
        payload, _ = context.encode([int(x) for x in feature.flat], 1, seen, bytes_[8:-4])
        for frame in (
            codec.encode(ref.CONTEXT, 0, feature),
            ref.build(reference, ref.CONTEXT, payload),  # even if its rival is shorter
        ):
            restored = np.empty_like(feature)
            assert codec.decode(frame, restored)
            assert np.array_equal(restored, feature)


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize(
    ("shape", "axis", "channels"),
    [((3, 9, 11), None, 3), ((9, 11, 3), 2, 3), ((9, 11), None, 1), ((4, 33), 0, 4)],
)
def test_round_trips(bits: int, shape: tuple[int, ...], axis: int | None, channels: int) -> None:
    books = _books(bits, channels) if axis is not None else Codebook(np.arange(1 << bits))
    model = _random_model(bits, channels)
    codec = Codec(books, "context", shape=shape, channel_axis=axis, model=model)
    assert codec.model == model
    sparse = np.random.default_rng(bits).random(shape) < 0.02
    zeros = np.zeros(shape, np.uint8)
    for indices in (zeros, zeros + sparse, zeros + ((1 << bits) - 1)):
        feature = codec.dequantize(indices.astype(np.uint8))
        for full in (False, True):
            frame = codec.encode(feature, self_describing=full)
            assert np.array_equal(codec.decode(frame), feature)
            if full:
                assert np.array_equal(sc.decode(frame), feature)
                assert frame == sc.encode(feature, books, "context", channel_axis=axis, model=model)
    assert codec.encode_batch([feature] * 3) == [codec.encode(feature)] * 3


def test_kept_codecs(tmp_path: Path) -> None:
    model = _random_model(2, 3)
    codec = Codec(Codebook([0, 1, 2, 3]), "context", shape=(3, 8, 9), model=model)
    model.save(tmp_path / "model.spm")
    codec.save(tmp_path / "codec.json")
    for again in (
        ContextModel.load(tmp_path / "model.spm"),
        load_model(model.to_bytes()),
        pickle.loads(pickle.dumps(model)),
    ):
        assert type(again) is ContextModel
        assert again == model and hash(again) == hash(model) and len(again) == len(model)
        assert (again.bits, again.channels, again.coder) == (2, 3, "context")
    feature = codec.dequantize(_calibration(2, (3, 8, 9), 1)[0])
    for other in (
        Codec.load(tmp_path / "codec.json"),
        Codec.from_dict(codec.to_dict()),
        pickle.loads(pickle.dumps(codec)),
    ):
        assert other.model == model and other.id == codec.id
        assert other.encode(feature) == codec.encode(feature)
    assert repr(model) == f"<ContextModel of 2 bits and 3 channels: {len(model)} bytes>"
    assert repr(model) in repr(codec)


@pytest.mark.parametrize(
    ("bits", "shape", "axis", "message"),
    [
        (3, (3, 8, 9), None, "2 bits"),
        (2, (4, 8, 9), None, "3 channels"),
        (2, (8, 9), None, "3 channels"),
        (2, (3, 8, 9), 1, "3 channels"),
        (2, (3, 0, 9), None, "expected elements"),
    ],
)
def test_wrong_models(bits: int, shape: tuple[int, ...], axis: int | None, message: str) -> None:
    book = Codebook(np.arange(1 << bits))
    with pytest.raises(errors.CoderModelError, match=message):
        Codec(book, "context", shape=shape, channel_axis=axis, model=_random_model(2, 3))


def test_models_of_other_coders() -> None:
    with pytest.raises((errors.CoderModelError, errors.CoderUnavailableError)):
        ContextModel(framed("rans", 2, 3, b""))
    with pytest.raises(errors.CoderModelError):
        ContextModel(framed("context", 2, 3, b"\1"))


def test_no_model() -> None:
    with pytest.raises(errors.CoderModelError, match="ContextModel"):
        Codec(Codebook([0, 1]), "context", shape=(3, 4))
    with pytest.raises(errors.CoderModelError, match="ContextModel"):
        sc.encode(np.zeros((3, 4), np.float32), Codebook([0, 1]), "context")


def test_frames_of_another_model() -> None:
    shape, book = (2, 20, 20), Codebook([0, 1, 2, 3])
    models = [_random_model(2, 2, seed) for seed in range(2)]
    assert len(models[0]) == len(models[1])
    one, other = (Codec(book, "context", shape=shape, model=model) for model in models)
    plain = Codec(book, "lzma", shape=shape)
    assert len({one.id, other.id, plain.id}) == 3
    frame = one.encode(np.zeros(shape, np.float32))
    for reader in (other, plain):
        with pytest.raises(errors.CodecMismatchError, match="model differ"):
            reader.decode(frame)
    # a codec with the model reads every coder's frames
    assert Codec(book, "pack", shape=shape, model=models[0]).decode(frame).shape == shape


# ------------------------------------------------------------------ training


def _cost(codec: Codec, indices: np.ndarray) -> int:
    return sum(len(codec.encode(codec.dequantize(one))) for one in indices)


def test_training_is_repeatable() -> None:
    indices = _calibration(2, (2, 8, 12), 40)
    calls: list[tuple[int, int]] = []
    fit = {"bits": 2, "budget_bytes": 900, "epochs": 1}
    one = ContextModel.fit(indices, **fit, progress=lambda *at: calls.append(at))
    assert calls == [(1, 2), (2, 2)]
    assert ContextModel.fit(indices, **fit) == ContextModel.fit(indices, **fit, seed=0) == one
    assert ContextModel.fit(indices, **fit, seed=1) != one
    last = np.ascontiguousarray(np.moveaxis(indices, 1, -1))
    assert ContextModel.fit(last, **fit, channel_axis=-1) == one


@pytest.mark.parametrize("bits", range(1, 9))
def test_few_samples(bits: int) -> None:
    indices = _calibration(bits, (2, 6, 7), 5, seed=bits)
    least = re.search(r"at least (\d+)", str(_refused(indices, bits)))
    assert least is not None
    for budget in (int(least[1]), 2500, 16384):
        if budget < int(least[1]):
            continue
        model = ContextModel.fit(indices, bits, budget_bytes=budget, epochs=0.5)
        assert len(model) <= budget
        assert (model.bits, model.channels) == (bits, 2)
        codec = Codec(
            Codebook(np.arange(1 << bits)), "context", shape=indices.shape[1:], model=model
        )
        for one in indices:
            assert np.array_equal(codec.decode(codec.encode(one.astype(np.float32))), one)
    with pytest.raises(errors.ArgumentError):
        ContextModel.fit(indices, bits, budget_bytes=int(least[1]) - 1)


def _refused(indices: np.ndarray, bits: int) -> Exception:
    with pytest.raises(errors.ArgumentError, match="budget_bytes is 12") as caught:
        ContextModel.fit(indices, bits, budget_bytes=12)
    return caught.value


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("shape", [(1,), (3, 4), (2, 4, 5)])
def test_constant_features(shape: tuple[int, ...], index: int) -> None:
    indices = np.full((30, *shape), index, np.uint8)
    model = ContextModel.fit(indices, 2, budget_bytes=2000, epochs=1)
    codec = Codec(Codebook([0, 1, 2, 3]), "context", shape=shape, channel_axis=0, model=model)
    feature = codec.dequantize(indices[0])
    assert np.array_equal(codec.decode(codec.encode(feature)), feature)
    other = codec.dequantize(np.uint8(3) - indices[0])
    assert np.array_equal(codec.decode(codec.encode(other)), other)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"epochs": -1}, errors.ArgumentError, "epochs is -1"),
        ({"epochs": float("nan")}, errors.ArgumentError, "epochs is nan"),
        ({"epochs": float("inf")}, errors.ArgumentError, "epochs is inf"),
        ({"epochs": "5"}, errors.ArgumentError, "epochs is '5'"),
        ({"budget_bytes": 0}, errors.ArgumentError, "budget_bytes is 0"),
        ({"budget_bytes": -1}, errors.ArgumentError, "budget_bytes is -1"),
        ({"budget_bytes": 1e4}, errors.ArgumentError, "budget_bytes is 10000.0"),
        ({"seed": -1}, errors.ArgumentError, "seed is -1"),
        ({"seed": None}, errors.ArgumentError, "seed is None"),
        ({"bits": 0}, errors.ArgumentError, "bits is 0"),
        ({"bits": 1}, errors.FeatureError, "indices reach 3"),
        ({"channel_axis": 3}, errors.ArgumentError, "channel_axis is 3"),
        ({"indices": np.zeros((3, 4), np.int8)}, errors.FeatureError, "int8"),
        ({"indices": np.zeros((0, 4), np.uint8)}, errors.FeatureError, "not empty"),
        ({"indices": np.zeros((1, 65536), np.uint8)}, errors.FeatureError, "65536 channels"),
    ],
)
def test_wrong_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"indices": np.full((4, 2, 3, 3), 3, np.uint8), "bits": 2, "epochs": 0}
    with pytest.raises(error, match=message):
        ContextModel.fit(**{**arguments, **changed})


def test_smaller_than_lzma() -> None:
    generated = samples.generate()[:, :3]
    book = Codebook.fit(generated, 2)
    indices = np.stack([book.quantize(one) for one in generated])
    model = ContextModel.fit(indices[:24], 2, budget_bytes=1500, epochs=0.5)
    held = indices[24:]
    codec = Codec(book, "context", shape=held.shape[1:], model=model)
    assert _cost(codec, held) < 0.8 * _cost(Codec(book, "lzma", shape=held.shape[1:]), held)


@pytest.mark.slow
def test_much_smaller_than_lzma_on_a_real_feature(data_dir: Path) -> None:
    path = data_dir / "features" / "tiny_split1_ptq_b2.npz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with np.load(path) as arrays:
        found = samples.samples_of(path.name, dict(arrays), None)
    assert found.calibration is not None
    shape, bits = found.indices.shape[1:], found.bits
    model = ContextModel.fit(found.calibration[:16], bits, budget_bytes=4096, epochs=2)
    assert len(model) <= 4096
    held = found.indices[:20]
    book = Codebook(np.arange(1 << bits))
    context_codec = Codec(book, "context", shape=shape, model=model)
    lzma_codec = Codec(book, "lzma", shape=shape)
    assert _cost(context_codec, held) <= 0.70 * _cost(lzma_codec, held)
